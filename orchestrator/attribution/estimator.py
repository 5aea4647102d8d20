"""The interval estimator: splits an engine's time between the calls that it worked for.

Time is cut wherever a call begins, ends its prefill or finishes. Each slice between two cuts is split over the calls
active in it by their rates of work. All sums are integers, in fixed point: the parts add up to the whole exactly, and
the order of the calls changes nothing. A sweep with running sums takes O(n log n) for n calls.

Pure; imports nothing that does I/O.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.attribution.clock import Clock
from orchestrator.attribution.work import CallKey, Stages, Weights
from orchestrator.ledger.apportion import apportion

__all__ = ["Evidence", "Split", "split"]

RATE = 2.0**80
"""Units of a rate of work: the work of a microsecond, each microsecond."""
LEAST = 1e-6
"""Microseconds that a token takes, at least: so that whoever is active has a share, whatever the weights."""
TICK = 100
"""Further bits of a rate by ticks, since there are many ticks in a microsecond."""
SUM = 256
"""Bits of the running sums, so that what is lost in them stays far below a microsecond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What an engine's own counters say of the time between two looks at them."""

    start: int
    end: int
    idle_us: int | None = None
    """Time in which it had nothing to do; `None` where it doesn't say."""
    retracted: int = 0
    """Tokens thrown away for want of memory, and computed again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A window's GPU time in microseconds, times the GPUs: `wall = attributed + idle + overhead`, exactly."""

    wall: int
    attributed: int
    idle: int
    overhead: int
    """Busy with none of the calls: requests that bypass us, health checks, and what was retracted."""
    shares: Mapping[CallKey, int]
    """Each call's part; together `attributed`."""
    work: float
    """What the calls would have taken by the weights, in steps of `batch` sequences."""
    batch: float
    """Sequences that decoded together, on average while any did."""
    untimed: int
    """Calls in it whose times aren't the engine's own."""


_CALL, _AGAIN = "call", "retracted"


def split(
    calls: Iterable[Stages], *, start: int, end: int, gpus: int, weights: Weights, evidence: Sequence[Evidence] = ()
) -> Split:
    """Splits a window `[start, end)` of a server.

    Args:
        calls: all that were active in it and in the time of the evidence, and best also those that were active beside
            them: how fast a call decoded in the window depends on how fast it did before and after.
        evidence: pieces of time that don't overlap; they may reach beyond the window.
    """
    ordered = sorted(calls, key=lambda call: call.key)
    inside = [call for call in ordered if call.start < end and call.end > start]
    activity = _Activity(ordered)
    edges = [at for piece in evidence for at in (piece.start, piece.end)]
    sweep = _Sweep(start, end, weights, Clock(ordered, weights, cuts=[start, end, *edges]))
    for call in inside:
        sweep.add(call)
    for piece in evidence:
        if piece.retracted > 0 and (busy := activity.within(piece.start, piece.end)):
            sweep.retract(piece, weights.prefill * piece.retracted / busy)
    shares, retracted = sweep.run()
    active = activity.within(start, end) * gpus
    pool = apportion(active, {**{(_CALL, *call.key): shares.get(call.key, 0) for call in inside}, (_AGAIN,): retracted})
    again = pool.pop((_AGAIN,))
    bypassing = sum(_bypassing(piece, activity, start, end) for piece in evidence) * gpus
    wall = (end - start) * gpus
    return Split(
        wall=wall,
        attributed=active - again,
        idle=wall - active - bypassing,
        overhead=bypassing + again,
        shares={key[1:]: share for key, share in pool.items()},
        work=sum(_work(call, start, end, weights, sweep.batch) for call in inside),
        batch=sweep.batch,
        untimed=sum(not call.timed for call in inside),
    )


def _work(call: Stages, start: int, end: int, weights: Weights, batch: float) -> float:
    """What a call would have taken in the window, if each of its stages went on evenly."""
    prefilling, decoding = (
        max(0, min(end, last) - max(start, first)) / max(1, last - first)
        for first, last in ((call.start, call.turn), (call.turn, call.end))
    )
    prefill = weights.work(uncached=call.uncached, prompt=0, output=0)
    return prefill * prefilling + decoding * weights.work(
        uncached=0, prompt=call.prompt, output=call.output, batch=batch
    )


class _Activity:
    """When any call was active."""

    def __init__(self, calls: Iterable[Stages]) -> None:
        self._spans: list[tuple[int, int]] = []
        for begin, end in sorted((call.start, call.end) for call in calls):
            if self._spans and begin <= self._spans[-1][1]:
                self._spans[-1] = (self._spans[-1][0], max(end, self._spans[-1][1]))
            else:
                self._spans.append((begin, end))

    def within(self, start: int, end: int) -> int:
        return sum(max(0, min(end, last) - max(start, first)) for first, last in self._spans)


def _bypassing(piece: Evidence, activity: _Activity, start: int, end: int) -> int:
    """Time in the window in which the engine was busy though none of the calls was active.

    The engine's idle time is spread over the time without calls, since it can't have been idle in theirs.
    """
    low, high = max(start, piece.start), min(end, piece.end)
    silent = piece.end - piece.start - activity.within(piece.start, piece.end)
    if piece.idle_us is None or high <= low or silent <= 0:
        return 0
    here = high - low - activity.within(low, high)
    return here * (silent - min(max(0, piece.idle_us), silent)) // silent


@dataclass(slots=True)
class _Delta:
    """What changes at a cut: sums of rates. Of decoding, a rate is a line over the clock's ticks."""

    prefill: int = 0
    decode: int = 0
    slope: int = 0
    sequences: int = 0
    retraction: int = 0

    def add(self, other: "_Delta") -> None:
        self.prefill += other.prefill
        self.decode += other.decode
        self.slope += other.slope
        self.sequences += other.sequences
        self.retraction += other.retraction


@dataclass(slots=True)
class _Stage:
    """A stage of a call, as far as it is in the window, and its rate of work."""

    key: CallKey
    begin: int
    end: int
    decodes: bool
    constant: int
    slope: int


@dataclass(slots=True)
class _Sums:
    """Running sums of time over work, up to a cut. A stage's share is the difference of two of them."""

    prefill: int = 0
    decode: int = 0
    decode_by_tick: int = 0


@dataclass(slots=True)
class _Sweep:
    start: int
    end: int
    weights: Weights
    clock: Clock
    batch: float = 1.0
    _stages: list[_Stage] = field(default_factory=list["_Stage"])
    _deltas: defaultdict[int, _Delta] = field(default_factory=lambda: defaultdict(_Delta))

    def add(self, call: Stages) -> None:
        """Both stages of a call."""
        if call.turn > call.start:
            rate = max(LEAST, self.weights.prefill) * max(1, call.uncached) / (call.turn - call.start)
            self._stage(call.key, call.start, call.turn, False, int(rate * RATE), 0)
        if call.end > call.turn:
            turn = self.clock.at(call.turn)
            pace = call.steps / (self.clock.at(call.end) - turn)
            per_tick = RATE * 2.0**TICK
            slope = int(self.weights.context * pace * pace * per_tick)
            each = max(LEAST, self.weights.decode + self.weights.context * call.prompt)
            at_turn = int(each * pace * per_tick)
            self._stage(call.key, call.turn, call.end, True, at_turn - slope * turn, slope)

    def _stage(self, key: CallKey, begin: int, end: int, decodes: bool, constant: int, slope: int) -> None:
        begin, end = max(begin, self.start), min(end, self.end)
        if end <= begin:
            return
        self._stages.append(_Stage(key, begin, end, decodes, constant, slope))
        for at, sign in ((begin, 1), (end, -1)):
            if decodes:
                delta = _Delta(decode=sign * constant, slope=sign * slope, sequences=sign)
            else:
                delta = _Delta(prefill=sign * constant)
            self._deltas[at].add(delta)

    def retract(self, piece: Evidence, rate: float) -> None:
        """Work done again, at a steady rate while calls are active."""
        begin, end = max(piece.start, self.start), min(piece.end, self.end)
        if end > begin:
            self._deltas[begin].add(_Delta(retraction=int(rate * RATE)))
            self._deltas[end].add(_Delta(retraction=-int(rate * RATE)))

    def run(self) -> tuple[dict[CallKey, int], int]:
        """Each call's share, and that of what was retracted, in one unit far below a microsecond."""
        sums, retracted = self._sweep()
        shares: defaultdict[CallKey, int] = defaultdict(int)
        for stage in self._stages:
            before, after = sums[stage.begin], sums[stage.end]
            if stage.decodes:
                share = 2 * stage.constant * (after.decode - before.decode)
                share += stage.slope * (after.decode_by_tick - before.decode_by_tick)
            else:
                share = 2 * stage.constant * (after.prefill - before.prefill)
            shares[stage.key] += max(0, share)
        return shares, retracted

    def _sweep(self) -> tuple[dict[int, _Sums], int]:
        """The running sums at each cut. In a slice, rates are taken at its middle."""
        sums: dict[int, _Sums] = {}
        now, rates, retracted, decoding, sequences = _Sums(), _Delta(), 0, 0, 0
        previous, ticked = self.start, self.clock.at(self.start)
        for at in sorted(self._deltas):
            ticks = self.clock.at(at)
            dt, dtick, middle = at - previous, ticks - ticked, ticks + ticked
            # Twice the work of the slice, since `middle` is twice its middle.
            work = 2 * rates.prefill * dt + ((2 * rates.decode + rates.slope * middle) * dtick >> TICK)
            if work > 0:
                again = 2 * rates.retraction * dt
                each = (dt << SUM) // (work + again)
                now.prefill += dt * each
                now.decode += dtick * each >> TICK
                now.decode_by_tick += dtick * middle * each >> TICK
                retracted += again * each
                decoding += dt if rates.sequences else 0
                sequences += dt * rates.sequences
            sums[at] = _Sums(now.prefill, now.decode, now.decode_by_tick)
            rates.add(self._deltas[at])
            previous, ticked = at, ticks
        self.batch = sequences / decoding if decoding else 1.0
        return sums, retracted
