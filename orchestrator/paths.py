"""The inference path: which kinds of steps a run took, in order, as one short text that runs can be grouped by.

Pure; imports nothing that does I/O.
"""

from collections.abc import Sequence

__all__ = ["MAX_PATH", "inference_path"]

MAX_PATH = 512
"""Characters; a longer path is cut off and ends with an ellipsis."""
LONGEST_CYCLE = 4


def inference_path(steps: Sequence[str]) -> str:
    """The path of a run: `retrieve > (generate > calculator)*3 > generate`.

    Steps that repeat are written once with their count, cycles of up to four steps too, so that runs that differ only
    in their number of turns are easy to compare and no path is long.
    """
    parts: list[str] = []
    place = 0
    while place < len(steps):
        length, times = _longest_repeat(steps, place)
        cycle = " > ".join(steps[place : place + length])
        if times > 1:
            cycle = f"({cycle})*{times}" if length > 1 else f"{cycle}*{times}"
        parts.append(cycle)
        place += length * times
    path = " > ".join(parts)
    return path if len(path) <= MAX_PATH else path[: MAX_PATH - 1] + "…"


def _longest_repeat(steps: Sequence[str], place: int) -> tuple[int, int]:
    """Length of the cycle that begins here and covers most steps, and how often it comes; the shortest of equals."""
    best = (1, 1)
    for length in range(1, LONGEST_CYCLE + 1):
        cycle = steps[place : place + length]
        times = 1
        while len(cycle) == length and steps[place + times * length : place + (times + 1) * length] == cycle:
            times += 1
        if times > 1 and length * times > best[0] * best[1]:
            best = (length, times)
    return best
