"""Weights fitted live, from what an engine tells anyway: no patch and no profile of the model is needed.

Two kinds of equations say how long something took. Of each call, how long it decoded: that is its steps, and the work
done for all calls meanwhile. And SGLang's own sums over its decode steps (`decode_moments` of `/v1/loads`). Least
squares over both, none of the weights negative; what they leave open stays near `ASSUMED`, scaled. Older evidence
fades, so that the weights follow the engine.

Pure; imports nothing that does I/O.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any, Literal

from orchestrator.attribution.clock import NOTHING, STEP, Clock, change_between
from orchestrator.attribution.work import ASSUMED, Stages, Weights

__all__ = ["Fit", "Method", "Moments", "non_negative"]

Method = Literal["fitted", "assumed", "flat"]
"""Where a window's weights come from. `flat`: some of its calls have no times of the engine's."""

ENOUGH = 20
"""Equations that weights are fitted to, at least."""
FADING = 0.97
"""What a window's evidence counts in the next window: half an hour matters."""
PULL = 0.1
"""Of `ASSUMED`, against one equation: twice as much or nothing at all is three deviations from it."""
SHORTEST = 1_000
"""Microseconds: a stage shorter than that says nothing."""
NOISE = 100_000
"""Microseconds: of shorter stages, the times aren't exact enough to count in full."""

_UNITS = (ASSUMED.step, ASSUMED.prefill, ASSUMED.decode, ASSUMED.context)


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Sums over decode steps, between two looks at a server."""

    steps: float
    sequences: float
    us: float
    sequences_squared: float
    sequences_by_us: float

    @classmethod
    def between(cls, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> "Moments | None":
        """What two looks at the same boot differ by, each as in `engine_counters.moments`; `None` without steps."""
        older, newer = (before or {}).get("decode") or [0] * 6, (after or {}).get("decode") or [0] * 6
        added = [float(new) - float(old) for new, old in zip(newer, older, strict=True)][:5]
        if min(added) < 0 or not (added[0] and added[2]):
            return None
        return cls(**dict(zip(cls.__dataclass_fields__, added, strict=True)))


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What was learned so far: the sums that least squares needs, in units of `ASSUMED`."""

    gram: Sequence[float] = (0.0,) * 16
    target: Sequence[float] = (0.0,) * 4
    time: float = 0.0
    """The sum of squares of what the equations say, as they are weighted."""
    rows: float = 0.0

    @property
    def method(self) -> Method:
        return "fitted" if self.rows >= ENOUGH else "assumed"

    @property
    def weights(self) -> Weights:
        """The best weights, given the evidence; `ASSUMED` where there is too little."""
        if self.rows < ENOUGH:
            return ASSUMED
        prior = max(1e-6, sum(self.target) / sum(self.gram))
        solution = [prior] * 4
        for _ in range(2):
            pull = PULL * self._error(solution) / (prior * prior)
            gram = [value + (pull if index % 5 == 0 else 0.0) for index, value in enumerate(self.gram)]
            solution = non_negative(gram, [value + pull * prior for value in self.target])
        step, prefill, decode, context = (value * unit for value, unit in zip(solution, _UNITS, strict=True))
        return Weights(step=step, prefill=prefill, decode=decode, context=context)

    def _error(self, solution: Sequence[float]) -> float:
        """Mean square of what an equation is off by."""
        explained = sum(
            value * (2 * self.target[i] - sum(self.gram[4 * i + j] * other for j, other in enumerate(solution)))
            for i, value in enumerate(solution)
        )
        return max(1e-9 * self.time, self.time - explained) / self.rows

    def learn(self, calls: Iterable[Stages], *, start: int, end: int, moments: Iterable[Moments] = ()) -> "Fit":
        """With the evidence of a further window.

        Args:
            calls: all that were active beside those that finished in the window.
        """
        known = sorted((call for call in calls if call.timed), key=lambda call: call.key)
        progress = _Progress(known, Clock(known, self.weights))
        sums = _Sums(self)
        generated, read = 0.0, 0.0
        for call in known:
            if not start <= call.end < end:
                continue
            if call.end - call.turn >= SHORTEST:
                done = progress.between(call.turn, call.end)
                sums.add((call.steps, *done), call.end - call.turn)
                generated, read = generated + done[1], read + done[2]
            if call.turn - call.start >= SHORTEST:
                done = progress.between(call.start, call.turn)
                if done[0] and not done[1]:  # else nobody knows how many steps it was
                    sums.add((0.0, *done), call.turn - call.start)
        for moment in moments:
            sums.add_moments(moment, read / generated if generated else 0.0)
        return sums.fit

    def dump(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(replace(self, gram=list(self.gram), target=list(self.target)))

    @classmethod
    def load(cls, values: Mapping[str, Any] | None) -> "Fit":
        """From JSON; nothing learned where there is none."""
        return cls(**values) if values else cls()


class _Sums:
    """The sums of a fit, while equations are added to it."""

    def __init__(self, before: Fit) -> None:
        self._gram = [FADING * value for value in before.gram]
        self._target = [FADING * value for value in before.target]
        self._time, self._rows = FADING * before.time, FADING * before.rows

    @property
    def fit(self) -> Fit:
        return Fit(gram=self._gram, target=self._target, time=self._time, rows=self._rows)

    def add(self, amounts: Sequence[float], took: float) -> None:
        """One equation: so many steps, tokens prefilled, tokens decoded and tokens read took so long.

        Its error grows with the root of what it took, and so it counts.
        """
        scaled = [amount * unit for amount, unit in zip(amounts, _UNITS, strict=True)]
        for i, a in enumerate(scaled):
            for j, b in enumerate(scaled):
                self._gram[4 * i + j] += a * b / (took + NOISE)
            self._target[i] += a * took / (took + NOISE)
        self._time += took * took / (took + NOISE)
        self._rows += 1

    def add_moments(self, moments: Moments, context: float) -> None:
        """An equation for each step, from their sums alone; each sequence is taken to read `context` tokens."""
        mean = moments.us / moments.steps
        units = (_UNITS[0], 0.0, _UNITS[2], _UNITS[3] * context)
        powers = (0, 0, 1, 1)
        sequences = (moments.steps, moments.sequences, moments.sequences_squared)
        by_us = (moments.us, moments.sequences_by_us)
        for i, power in enumerate(powers):
            for j, other in enumerate(powers):
                self._gram[4 * i + j] += units[i] * units[j] * sequences[power + other] / mean
            self._target[i] += units[i] * by_us[power] / mean
        self._time += moments.us
        self._rows += moments.steps


class _Progress:
    """How much all calls together prefilled, decoded and read, up to each time at which one begins, turns or ends."""

    def __init__(self, calls: Sequence[Stages], clock: Clock) -> None:
        changes: dict[int, list[float]] = {}
        for call in calls:
            if call.turn > call.start:
                rate = call.uncached / (call.turn - call.start)
                change_between(changes, call.start, call.turn, (rate, 0.0, 0.0, 0.0))
            if call.end > call.turn:
                turn = clock.at(call.turn) / STEP
                pace = call.steps / (clock.at(call.end) / STEP - turn)
                change_between(
                    changes, call.turn, call.end, (0.0, pace, pace * (call.prompt - pace * turn), pace * pace)
                )
        self._at: dict[int, tuple[float, float, float]] = {}
        done, rates, before, ticked = (0.0, 0.0, 0.0), [0.0] * 4, 0, 0.0
        for at in clock.cuts:
            ticks = clock.at(at) / STEP
            dt, dtick, middle = at - before, ticks - ticked, (ticks + ticked) / 2
            done = (
                done[0] + dt * rates[0],
                done[1] + dtick * rates[1],
                done[2] + dtick * (rates[2] + rates[3] * middle),
            )
            self._at[at] = done
            rates = [rate + change for rate, change in zip(rates, changes.get(at, NOTHING), strict=True)]
            before, ticked = at, ticks

    def between(self, low: int, high: int) -> tuple[float, float, float]:
        before, after = self._at[low], self._at[high]
        return after[0] - before[0], after[1] - before[1], after[2] - before[2]


def non_negative(gram: Sequence[float], target: Sequence[float]) -> list[float]:
    """Least squares in four unknowns, none negative: of all sets of unknowns that aren't zero, the best.

    Args:
        gram: the 16 entries of the normal equations' matrix, which must be positive definite.
    """
    best, least = [0.0] * 4, 0.0
    for size in range(1, 5):
        for chosen in combinations(range(4), size):
            part = _solve([[gram[4 * i + j] for j in chosen] for i in chosen], [target[i] for i in chosen])
            error = -sum(value * target[i] for value, i in zip(part, chosen, strict=True))
            if min(part) >= 0 and error < least:
                least, best = error, [0.0] * 4
                for value, i in zip(part, chosen, strict=True):
                    best[i] = value
    return best


def _solve(matrix: Sequence[Sequence[float]], vector: Sequence[float]) -> list[float]:
    """Gaussian elimination; a positive definite matrix needs no pivots."""
    size = len(vector)
    rows = [[*row, value] for row, value in zip(matrix, vector, strict=True)]
    for column in range(size):
        for below in range(column + 1, size):
            factor = rows[below][column] / rows[column][column]
            rows[below] = [a - factor * b for a, b in zip(rows[below], rows[column], strict=True)]
    solution = [0.0] * size
    for index in reversed(range(size)):
        known = sum(rows[index][j] * solution[j] for j in range(index + 1, size))
        solution[index] = (rows[index][size] - known) / rows[index][index]
    return solution
