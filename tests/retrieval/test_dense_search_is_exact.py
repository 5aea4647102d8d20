import numpy as np
import pytest
from numpy.typing import NDArray

from orchestrator_retrieval.index import BLAS_FROM, open_index

DIMENSION = 32


def unit_vectors(count: int, seed: int) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((count, DIMENSION), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("queries", [1, BLAS_FROM - 1, BLAS_FROM, 40])
def test_search_finds_what_brute_force_finds(queries: int) -> None:
    vectors, asked = unit_vectors(500, seed=1), unit_vectors(queries, seed=2)
    ids = np.arange(500) * 7 + 1000
    index = open_index(DIMENSION)
    index.add(ids.tolist(), vectors)
    brute_force = ids[np.argsort(-(asked @ vectors.T), axis=1)[:, :10]]
    assert index.search(asked, 10) == brute_force.tolist()


def test_ids_stay_what_they_are_when_others_are_removed() -> None:
    vectors = unit_vectors(20, seed=3)
    index = open_index(DIMENSION)
    index.add(range(100, 120), vectors)
    index.remove([100, 105, 119, 999])
    assert len(index) == 17
    left = [place for place in range(20) if place not in (0, 5, 19)]
    assert [found[0] for found in index.search(vectors[left], 1)] == [100 + place for place in left]


def test_an_id_can_come_back_with_another_vector() -> None:
    vectors = unit_vectors(2, seed=4)
    index = open_index(DIMENSION)
    index.add([7], vectors[:1])
    index.remove([7])
    index.add([7, 8], vectors[::-1].copy())
    assert index.search(vectors, 1) == [[8], [7]]


def test_an_index_with_less_than_was_asked_for_returns_what_it_has() -> None:
    index = open_index(DIMENSION)
    assert index.search(unit_vectors(2, seed=5), 3) == [[], []]
    index.add([1], unit_vectors(1, seed=6))
    assert index.search(unit_vectors(2, seed=5), 3) == [[1], [1]]
