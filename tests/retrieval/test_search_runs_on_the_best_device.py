"""There is no GPU here: its part of FAISS is replaced by copies in main memory, which is said by `FakeGpu`."""

from collections.abc import Iterator
from typing import Any, cast

import faiss
import numpy as np
import pytest

from orchestrator_retrieval import index as index_module
from orchestrator_retrieval.index import open_index

EYE = np.eye(4, dtype=np.float32)


class FakeGpu:
    """Counts the copies made for it, and can be full."""

    def __init__(self) -> None:
        self.copies = 0
        self.full = False

    def copy(self, _resources: object, device: int, index: Any) -> Any:
        assert device == 0
        if self.full:
            raise RuntimeError("CUDA error 2: out of memory")
        self.copies += 1
        return cast("Any", faiss).clone_index(index)


class FakeResources:
    def setTempMemory(self, size: int) -> None:
        assert size < 2**30


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGpu]:
    fake = FakeGpu()
    monkeypatch.setattr(faiss, "StandardGpuResources", FakeResources, raising=False)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", fake.copy, raising=False)
    index_module._gpu_resources.cache_clear()  # pyright: ignore[reportPrivateUsage]
    yield fake
    index_module._gpu_resources.cache_clear()  # pyright: ignore[reportPrivateUsage]


def test_without_a_gpu_searches_run_on_the_cpu_and_say_so() -> None:
    assert open_index(4).device == "cpu"


def test_the_gpu_wheel_on_a_machine_without_a_gpu_means_the_cpu(gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    assert open_index(4).device == "cpu"


def test_the_gpus_copy_is_made_anew_after_a_change_and_only_then(gpu: FakeGpu) -> None:
    index = open_index(4)
    assert index.device == "gpu:0"
    index.add([10, 20, 30], EYE[:3])
    assert index.search(EYE, 1)[:3] == [[10], [20], [30]]
    assert index.search(EYE[1:2], 1) == [[20]]
    assert gpu.copies == 1
    index.remove([10])
    index.add([40], EYE[3:])
    assert index.search(EYE[1:], 1) == [[20], [30], [40]]
    assert gpu.copies == 2


def test_vectors_that_do_not_fit_on_the_gpu_are_searched_on_the_cpu(gpu: FakeGpu) -> None:
    index = open_index(4)
    index.add([10, 20], EYE[:2])
    gpu.full = True
    assert index.search(EYE[:2], 1) == [[10], [20]]
    assert index.device == "cpu"
