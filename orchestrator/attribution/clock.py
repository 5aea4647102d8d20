"""The pace at which calls decode: slow while the engine prefills, slower the larger the batch.

A call's tokens aren't made at a steady rate, but calls that decode at the same time get theirs in the same steps. So
there is one clock for all of them, which counts steps. Pure; imports nothing that does I/O.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from orchestrator.attribution.work import Stages, Weights

__all__ = ["STEP", "Clock", "change_between"]

STEP = 2.0**60
"""Ticks of a step."""
LEAST = 0.01
"""Of the time, left for decoding while prefills seem to take all of it: their times aren't that exact."""


class Clock:
    """Ticks since the first call began. Between two cuts its pace is constant; all ticks are integers."""

    def __init__(self, calls: Iterable[Stages], weights: Weights, *, cuts: Iterable[int] = ()) -> None:
        """Runs from the first cut to the last.

        Args:
            calls: all that were active between the cuts, in whatever order.
            cuts: further times, beside those at which calls begin, turn or end.
        """
        ordered = sorted(calls, key=lambda call: (call.start, call.key))
        self._origin = ordered[0].start if ordered else 0
        changes = self._changes(ordered)
        self.cuts: Sequence[int] = sorted({*changes, *cuts})
        """Times between which the pace is constant, in order."""
        self._paces: list[int] = []
        self._ticks: list[int] = []
        rates, ticks, before = [0.0] * 4, 0, 0
        for at in self.cuts:
            if self._ticks:
                self._paces.append(_pace(rates, (before + at) / 2 - self._origin, weights))
                ticks += self._paces[-1] * (at - before)
            self._ticks.append(ticks)
            rates = [rate + change for rate, change in zip(rates, changes.get(at, NOTHING), strict=True)]
            before = at

    def _changes(self, calls: Sequence[Stages]) -> dict[int, list[float]]:
        """By time, what is added to: tokens prefilled a microsecond; sequences decoding; the KV tokens that a step
        reads, as a line over the time since the origin."""
        changes: dict[int, list[float]] = {}
        for call in calls:
            if call.turn > call.start:
                rate = max(1, call.uncached) / (call.turn - call.start)
                change_between(changes, call.start, call.turn, (rate, 0.0, 0.0, 0.0))
            if call.end > call.turn:
                growth = call.steps / (call.end - call.turn)
                read = call.prompt - growth * (call.turn - self._origin)
                change_between(changes, call.turn, call.end, (0.0, 1.0, read, growth))
        return changes

    def at(self, time: int) -> int:
        """Ticks until a time between the first cut and the last."""
        index = bisect_right(self.cuts, time) - 1
        beyond = time - self.cuts[index]
        return self._ticks[index] + (beyond * self._paces[index] if beyond else 0)


NOTHING = (0.0,) * 4


def change_between(changes: dict[int, list[float]], begin: int, end: int, rates: Sequence[float]) -> None:
    """Notes that four rates are higher by so much from one time to another."""
    for at, sign in ((begin, 1.0), (end, -1.0)):
        known = changes.setdefault(at, [0.0] * 4)
        for index, rate in enumerate(rates):
            known[index] += sign * rate


def _pace(rates: Sequence[float], since: float, weights: Weights) -> int:
    """Ticks a microsecond, in a slice in whose middle these are the rates.

    What prefills leave of the time goes to steps that decode: all steps where a step prefills or decodes, and the part
    of each step where it does both.
    """
    prefilled, sequences, read, growth = rates
    left = max(LEAST, 1.0 - weights.prefill * max(0.0, prefilled))
    decoding = weights.decode * max(1.0, sequences) + weights.context * max(0.0, read + growth * since)
    return max(1, int(left / max(1.0, weights.step + decoding) * STEP))
