"""Fuses rankings from different searches into one. Pure."""

from collections.abc import Sequence

__all__ = ["reciprocal_rank_fusion"]

RANK_CONSTANT = 60
"""Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods",
SIGIR 2009."""


def reciprocal_rank_fusion(rankings: Sequence[tuple[float, Sequence[int]]]) -> list[tuple[int, float]]:
    """Ids and their scores, best first, from rankings (best first) with a weight each.

    A ranking gives its `r`-th id `weight / (60 + r)`. Ties go to the smaller id, so that the same rankings always fuse
    to the same one.
    """
    scores: dict[int, float] = {}
    for weight, ranking in rankings:
        for rank, item in enumerate(ranking, start=1):
            scores[item] = scores.get(item, 0.0) + weight / (RANK_CONSTANT + rank)
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))
