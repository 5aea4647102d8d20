"""Whether a server sends whole outputs or only what is new, chunks add up to the same ids, text and figures."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine import Generation
from orchestrator.usage import Timings, Usage
from tests.engine.fake_wire import chunk

STOP = {"type": "stop", "matched": 2}
ABORT = {"type": "abort", "message": "Aborted"}


def _fed(*chunks: Any) -> Generation:
    generation = Generation()
    for each in chunks:
        generation.feed(each)
    return generation


pieces = st.lists(
    st.tuples(st.text(max_size=5), st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4)), min_size=1
)


@given(pieces=pieces)
def test_whole_or_new(pieces: Sequence[tuple[str, list[int]]]) -> None:
    whole, new = Generation(), Generation()
    text, ids = "", list[int]()
    for number, (more_text, more_ids) in enumerate(pieces, 1):
        text, ids = text + more_text, ids + more_ids
        finish = STOP if number == len(pieces) else None
        whole.feed(chunk(text, ids, finish_reason=finish))
        new.feed(chunk(more_text, more_ids, made=len(ids), finish_reason=finish))
    for generation in (whole, new):
        assert (generation.ids, generation.text, generation.finish) == (ids, text, "stop")
        assert generation.usage.output == len(ids)


@given(pieces=pieces)
def test_a_chunk_said_twice_counts_once(pieces: Sequence[tuple[str, list[int]]]) -> None:
    generation = Generation()
    text, ids = "", list[int]()
    for more_text, more_ids in pieces:
        text, ids = text + more_text, ids + more_ids
        generation.feed(chunk(text, ids))
        generation.feed(chunk(text, ids))
    assert (generation.ids, generation.text, generation.finish) == (ids, text, None)


def test_an_abort_keeps_what_was_made() -> None:
    """SGLang's `_handle_abort_req`: no times and no prompt tokens; all the text, and of the ids all or the last."""
    whole = _fed(
        chunk("ab", [1, 2], prompt_tokens=9, cached_tokens=4),
        chunk("abcd", [1, 2, 3, 4], finish_reason=ABORT),
    )
    new = _fed(
        chunk("ab", [1, 2], made=2, prompt_tokens=9, cached_tokens=4),
        chunk("cd", [3, 4], made=4),
        chunk("abcd", [4], made=4, finish_reason=ABORT),
    )
    for generation in (whole, new):
        assert (generation.ids, generation.text, generation.finish) == ([1, 2, 3, 4], "abcd", "abort")
        assert generation.usage == Usage(prompt=9, cached=4, output=4)


def test_an_abort_in_the_queue_made_nothing() -> None:
    generation = _fed(chunk("", [], finish_reason=ABORT))
    assert (generation.ids, generation.text, generation.finish) == ([], "", "abort")
    assert generation.usage == Usage(output=0)
    assert generation.timings == Timings()


def test_a_reply_that_was_all_stop_string_is_empty() -> None:
    """The text that was sent before the stop string was whole is taken back by the last chunk."""
    generation = _fed(chunk("STO", [1]), chunk("", [1, 2], finish_reason=STOP))
    assert (generation.text, generation.ids) == ("", [1, 2])
    shorter = _fed(chunk("well STO", [1, 2]), chunk("well ", [1, 2, 3], finish_reason=STOP))
    assert shorter.text == "well "


def test_figures_are_kept_until_better_ones_come() -> None:
    generation = _fed(
        chunk("a", [1], prompt_tokens=9, cached_tokens=4, reasoning_tokens=1, queue_time=0.5),
        chunk("ab", [1, 2], reasoning_tokens=2),
        chunk("abc", [1, 2, 3], finish_reason={"type": "length", "length": 3}),
    )
    assert generation.usage == Usage(prompt=9, cached=4, output=3, reasoning=2)
    assert generation.timings.queue == timedelta(seconds=0.5)
    assert generation.finish == "length"


@pytest.mark.parametrize(
    ("meta", "timings"),
    [
        ({}, Timings()),
        ({"queue_time": 0.0}, Timings(queue=timedelta(0))),
        (
            {"forward_entry_time": 10.0, "prefill_finished_time": 10.5},
            Timings(prefill=timedelta(seconds=0.5)),
        ),
        (
            {"forward_entry_time": 10.0, "prefill_finished_time": 10.5, "request_finished_ts": 12.5},
            Timings(prefill=timedelta(seconds=0.5), decode=timedelta(seconds=2)),
        ),
        (
            {"forward_entry_time": 10.6, "prefill_finished_time": 10.5, "request_finished_ts": 10.4},
            Timings(prefill=timedelta(0), decode=timedelta(0)),
        ),
    ],
    ids=["none", "queue", "prefill", "all", "clocks that ran backwards"],
)
def test_times_are_the_engines_own(meta: dict[str, float], timings: Timings) -> None:
    said = chunk("a", [1])
    said["meta_info"] |= meta
    assert _fed(said).timings == timings
