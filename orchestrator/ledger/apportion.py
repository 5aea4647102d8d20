"""Splitting whole numbers, so that the parts add up to the whole: money over lines, GPU time over calls. Pure."""

from collections.abc import Hashable, Mapping
from typing import TypeVar

__all__ = ["apportion"]

K = TypeVar("K", bound=Hashable)


def apportion(total: int, weights: Mapping[K, int]) -> dict[K, int]:
    """Shares in proportion to weights that are not negative; all zero where the weights are.

    What rounding down leaves goes, one each, to those who were cut most; of equals, to the first.
    """
    whole = sum(weights.values())
    if not whole:
        return dict.fromkeys(weights, 0)
    shares = {key: total * weight // whole for key, weight in weights.items()}
    cut = sorted(weights, key=lambda key: total * weights[key] % whole, reverse=True)
    for key in cut[: total - sum(shares.values())]:
        shares[key] += 1
    return shares
