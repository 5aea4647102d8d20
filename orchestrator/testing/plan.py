"""The tokens that a reply will have, if nothing cuts it short.

Pure: imports the tokenizer and the wire's shapes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from pydantic import JsonValue

from orchestrator.testing.tokenizer import IM_END, encode, piece
from orchestrator.testing.wire import SamplingParams

__all__ = ["NOTHING", "Plan", "plan_of"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    ids: tuple[int, ...]
    ends: tuple[int, ...]
    """`ends[n]` characters are the text of the first n tokens."""
    text: str
    final_text: str
    """Without the stop string."""
    finish: dict[str, JsonValue]
    reasoning_tokens: int = 0

    def reasoning_in(self, tokens: int) -> int:
        return min(self.reasoning_tokens, tokens)


NOTHING = Plan(ids=(), ends=(0,), text="", final_text="", finish={"type": "length", "length": 0})


def plan_of(written: str, params: SamplingParams, *, count_reasoning: bool = False) -> Plan:
    """Where the reply ends: by its end-of-turn token, a stop string, or `max_new_tokens`."""
    ids = encode(written)
    pieces = [piece(token) for token in ids]
    ends = [0, *accumulate(map(len, pieces))]
    text = "".join(pieces)
    reasoning_tokens = 0
    if count_reasoning and "</think>" in text:
        last = text.index("</think>") + len("</think>")
        reasoning_tokens = next(count for count, end in enumerate(ends) if end >= last)
    stop = _first_stop(text, params.stop)
    named = _first_named(ids, params.stop_token_ids or ())
    if named is not None and (stop is None or ends[named] <= stop[0]):
        finish: dict[str, JsonValue] = {"type": "stop", "matched": ids[named]}
        final_text = text[: ends[named]]
        ids, ends = ids[: named + 1], ends[: named + 2]
    elif stop is None:
        ids.append(IM_END)
        ends.append(len(text))
        final_text = text
        finish = {"type": "stop", "matched": IM_END}
    else:
        place, matched = stop
        after = place + len(matched)
        count = next(count for count, end in enumerate(ends) if end >= after)
        ids, ends = ids[:count], ends[: count + 1]
        final_text = text[: after if params.no_stop_trim else place]
        finish = {"type": "stop", "matched": matched}
    limit = params.max_new_tokens
    if limit is not None and limit < len(ids):
        ids, ends = ids[:limit], ends[: limit + 1]
        final_text = text[: ends[limit]]
        finish = {"type": "length", "length": limit}
    return Plan(
        ids=tuple(ids),
        ends=tuple(ends),
        text=text,
        final_text=final_text,
        finish=finish,
        reasoning_tokens=reasoning_tokens,
    )


def _first_stop(text: str, stop: str | Sequence[str] | None) -> tuple[int, str] | None:
    """Where the first of the stop strings begins in `text`, and which it is."""
    strings = [stop] if isinstance(stop, str) else list(stop or ())
    return min(((text.find(string), string) for string in strings if string and string in text), default=None)


def _first_named(ids: Sequence[int], stops: Sequence[int]) -> int | None:
    """Where the first of the stop tokens is."""
    return next((place for place, token in enumerate(ids) if token in stops), None)
