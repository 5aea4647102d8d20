"""Exact nearest-neighbour search over unit vectors: FAISS, on the GPU where there is one.

FAISS and NumPy are imported when an index is made. An index is derived: the vectors are in the database.
"""

import logging
from collections.abc import Sequence
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]
    Ids = NDArray[np.int64]

__all__ = ["VectorIndex", "open_index"]

logger = logging.getLogger(__name__)

THREADS = 1
"""Of a search on the CPU. A second halves the time of a large batch on an idle machine; on a busy one OpenMP's barriers
make it 4 to 30 times as long (measured on two cores)."""

BLAS_FROM = 6
"""Queries from which a batch is one matrix product."""

GPU_SCRATCH = 64 * 2**20
"""Bytes. FAISS takes 1.5 GiB by default, which an engine on the same GPU would miss."""


class _Searchable(Protocol):
    def search(self, x: "Vectors", k: int) -> "tuple[Vectors, Ids]": ...


class VectorIndex:
    """Unit vectors under the caller's ids, searched exactly by inner product on the CPU.

    Ids are stable: removing some leaves the others as they are. Any thread may call any method; a lock makes a change
    and a search wait for one another, since FAISS allows only concurrent reads.
    """

    def __init__(self, dimension: int) -> None:
        faiss = _faiss()
        # FAISS 1.14 and later switch to BLAS at 128,000 numbers, tuned for many cores: on two, a batch of 32 then costs
        # as much as 32 single queries. To be removed once https://github.com/facebookresearch/faiss/pull/5109 is in.
        faiss.cvar.distance_compute_blas_threshold = BLAS_FROM * dimension
        self._flat = faiss.IndexFlatIP(dimension)
        self._mapped = faiss.IndexIDMap2(self._flat)
        self._lock = Lock()

    @property
    def device(self) -> str:
        """Where searches run: `"cpu"` or `"gpu:0"`."""
        return "cpu"

    def __len__(self) -> int:
        return int(self._mapped.ntotal)

    def add(self, ids: Sequence[int], vectors: "Vectors") -> None:
        """Adds vectors, of shape `(len(ids), dimension)`, under ids that the index doesn't hold."""
        import numpy as np

        with self._lock:
            self._mapped.add_with_ids(vectors, np.asarray(ids, np.int64))
            self._changed()

    def remove(self, ids: Sequence[int]) -> None:
        """Removes ids; those that the index doesn't hold are passed over."""
        import numpy as np

        with self._lock:
            self._mapped.remove_ids(np.asarray(ids, np.int64))
            self._changed()

    def search(self, queries: "Vectors", k: int) -> list[list[int]]:
        """For each query the ids of the `k` nearest vectors, nearest first; fewer where the index has fewer."""
        with self._lock:
            count = min(k, len(self))
            if count == 0:
                return [[] for _ in queries]
            _faiss().omp_set_num_threads(THREADS)  # of the calling thread
            return self._search(queries, count)

    def _search(self, queries: "Vectors", k: int) -> list[list[int]]:
        return cast("_Searchable", self._mapped).search(queries, k)[1].tolist()

    def _changed(self) -> None:
        """Called under the lock after each change."""


class GpuIndex(VectorIndex):
    """The same with searches on the first GPU.

    The index in main memory stays the authority; the GPU has a copy of its vectors, made anew at the first search
    after a change (FAISS can't remove from a GPU index: https://github.com/facebookresearch/faiss/issues/1818). Where
    the copy doesn't fit, searches run on the CPU and `device` says so.
    """

    _gpu = Lock()
    """One search at a time on the GPU: its resources aren't safe to share between threads, even to read."""

    def __init__(self, dimension: int) -> None:
        super().__init__(dimension)
        self._copy: tuple[_Searchable, Ids] | None = None
        self._fits = True

    @property
    def device(self) -> str:
        return "gpu:0" if self._fits else "cpu"

    def _search(self, queries: "Vectors", k: int) -> list[list[int]]:
        with self._gpu:
            if self._copy is None and self._fits:
                self._copy = self._copied()
            if self._copy is None:
                return super()._search(queries, k)
            index, ids = self._copy
            return ids[index.search(queries, k)[1]].tolist()

    def _copied(self) -> "tuple[_Searchable, Ids] | None":
        faiss = _faiss()
        try:
            copy = faiss.index_cpu_to_gpu(_gpu_resources(), 0, self._flat)
        except RuntimeError as error:  # what FAISS makes of any CUDA error
            self._fits = False
            logger.warning("%d vectors don't fit on the GPU, so searches run on the CPU: %s", len(self), error)
            return None
        return cast("_Searchable", copy), cast("Ids", faiss.vector_to_array(self._mapped.id_map))

    def _changed(self) -> None:
        self._copy = None
        self._fits = True


def open_index(dimension: int) -> VectorIndex:
    """An empty index on the best device that this machine has."""
    faiss = _faiss()
    # The GPU wheel also runs without a GPU; then it counts none.
    if hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0:
        return GpuIndex(dimension)
    return VectorIndex(dimension)


@cache
def _gpu_resources() -> object:
    resources = _faiss().StandardGpuResources()
    resources.setTempMemory(GPU_SCRATCH)
    return resources


def _faiss() -> Any:
    """FAISS, untyped: its stubs name torch's types, which aren't installed."""
    import faiss

    return cast("Any", faiss)
