"""What an engine does for a call, and what that takes: the model of a step's time that attribution rests on.

One step of an engine takes `step + prefill * tokens prefilled + decode * sequences + context * KV tokens read` (linear
step times, as in Vidur, https://arxiv.org/abs/2405.05465). Pure; imports nothing that does I/O.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["ASSUMED", "Call", "CallKey", "Stages", "Weights", "stages_of"]

CallKey = tuple[str | int, ...]
"""Anything that sorts: ties are broken by it, so that the order of the input never matters."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Microseconds that the parts of a step take."""

    step: float
    """Of any step, however little there is to do: reading the weights, launching kernels."""
    prefill: float
    """For each uncached prompt token."""
    decode: float
    """For each sequence that gets a token."""
    context: float
    """For each token of KV cache that a decoding sequence reads: what makes long contexts dear."""

    def work(self, *, uncached: int, prompt: int, output: int, batch: float = 1.0) -> float:
        """Microseconds that a whole call takes, when it decodes in a batch of this size."""
        for_each_token = self.step / batch + self.decode + self.context * (prompt + output / 2)
        return self.prefill * uncached + output * for_each_token

    def dump(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def load(cls, values: Mapping[str, Any]) -> "Weights":
        """From JSON, which may hold more."""
        return cls(**{name: float(values[name]) for name in cls.__dataclass_fields__})


ASSUMED = Weights(step=10_000, prefill=100, decode=50, context=0.01)
"""Before a server's own are known: a model of some ten billion parameters on a data-centre GPU, roughly. Only their
proportions matter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One engine call, by what is known of it. Times are Unix time in microseconds."""

    key: CallKey
    prompt: int | None = None
    cached: int | None = None
    output: int | None = None
    entered: int | None = None
    """The prefill began; this and the next two by the engine's clock."""
    prefilled: int | None = None
    finished: int | None = None
    began: int | None = None
    """It was reserved; this and the next by our own clock, for calls of which the engine said nothing."""
    ended: int | None = None
    """`None` too where somebody else closed it, nobody knows how long after it ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """When a call was prefilled, `[start, turn)`, and when it decoded, `[turn, end)`."""

    key: CallKey
    start: int
    turn: int
    end: int
    uncached: int
    prompt: int
    output: int
    timed: bool = True
    """Whether these are the engine's own times."""

    @property
    def steps(self) -> int:
        """Steps that it decoded in: a prefill makes the first token."""
        return max(1, self.output - 1)


def stages_of(call: Call, weights: Weights | None) -> Stages | None:
    """The stages of a call; `None` where it took no GPU time that anybody knows of.

    - The engine gave its end but no beginning: it never entered, as when it was cancelled in the queue. `None`.
    - No end of its prefill: it was aborted in it if it has no output; else it is put where the work says.
    - Times that run backwards are put in order: the end of a prefill is never outside of its call.
    - No times, or no time between them: the call is put at its beginning, as long as it would take alone, but not
      beyond its end by our clock. Without any tokens it is `None`.

    Args:
        weights: `None` where the engine's speed isn't known; then a call without times is taken to last until its end
            by our clock, and is `None` without one.
    """
    prompt, output = max(0, call.prompt or 0), max(0, call.output or 0)
    uncached = max(0, prompt - max(0, call.cached or 0))
    entered = call.prefilled if call.entered is None else call.entered
    if entered is None and call.finished is not None:
        return None
    alone = max(1.0, (weights or ASSUMED).work(uncached=uncached, prompt=prompt, output=output))
    timed = entered is not None and call.finished is not None and call.finished > entered
    if timed:
        start, end = entered, call.finished
    elif prompt or output:
        start = call.began if entered is None else entered
        end = _end(start, call.ended, None if weights is None else round(alone))
    else:
        return None
    if start is None or end is None:
        return None
    if timed and call.prefilled is not None:
        turn = min(max(call.prefilled, start), end)
    elif not output:
        turn = end
    else:
        part = (weights or ASSUMED).prefill * uncached / alone
        turn = min(end, start + round((end - start) * part))
    return Stages(
        key=call.key, start=start, turn=turn, end=end, uncached=uncached, prompt=prompt, output=output, timed=timed
    )


def _end(start: int | None, ended: int | None, alone: int | None) -> int | None:
    if start is None or (ended is None and alone is None):
        return None
    ends = [] if alone is None else [start + alone]
    if ended is not None:
        ends.append(max(ended, start + 1))
    return min(ends)
