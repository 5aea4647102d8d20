"""Cases whose shares can be worked out by hand."""

import pytest

from orchestrator.attribution import ASSUMED, Call, CallKey, Evidence, Split, Stages, Weights, split, stages_of

EVEN = Weights(step=1_000, prefill=10, decode=100, context=0)
SECOND = 1_000_000


def _call(
    name: str, start: int, turn: int, end: int, *, uncached: int = 100, prompt: int = 100, output: int = 101
) -> Stages:
    return Stages(key=(name,), start=start, turn=turn, end=end, uncached=uncached, prompt=prompt, output=output)


def _split(*calls: Stages, weights: Weights = EVEN, gpus: int = 1, evidence: tuple[Evidence, ...] = ()) -> Split:
    return split(calls, start=0, end=SECOND, gpus=gpus, weights=weights, evidence=evidence)


def _shares(result: Split) -> dict[CallKey, int]:
    return dict(result.shares)


def test_a_call_alone_has_all_its_time() -> None:
    result = _split(_call("a", 100_000, 200_000, 700_001))
    assert _shares(result) == {("a",): 600_001}
    assert (result.idle, result.overhead) == (399_999, 0)


def test_equal_calls_share_equally_and_the_odd_microsecond_goes_by_name() -> None:
    result = _split(_call("b", 0, 0, 500_001), _call("a", 0, 0, 500_001))
    assert _shares(result) == {("a",): 250_001, ("b",): 250_000}


def test_several_gpus_count_several_times() -> None:
    result = _split(_call("a", 0, 0, 500_000), gpus=4)
    assert (result.wall, result.attributed, result.idle) == (4_000_000, 2_000_000, 2_000_000)


def test_prefills_share_by_their_tokens() -> None:
    result = _split(
        _call("a", 0, 400_000, 400_000, uncached=300, output=0), _call("b", 0, 400_000, 400_000, uncached=100, output=0)
    )
    assert _shares(result) == {("a",): 300_000, ("b",): 100_000}


def test_decoding_calls_share_by_what_they_read() -> None:
    by_context = Weights(step=1_000, prefill=10, decode=0, context=1)
    # In the middle of its life, a call of 950 and 101 tokens has read 1,000 of them in a step.
    long = _call("long", 0, 0, 400_000, prompt=950)
    short = _call("short", 0, 0, 400_000, prompt=250)
    shares = _shares(_split(long, short, weights=by_context))
    assert shares["long",] == pytest.approx(400_000 * 1000 / 1300, abs=2)
    assert shares["short",] == pytest.approx(400_000 * 300 / 1300, abs=2)


def test_who_made_more_tokens_in_the_same_time_pays_more() -> None:
    result = _split(_call("a", 0, 0, 400_000, output=301), _call("b", 0, 0, 400_000, output=101))
    assert _shares(result) == {("a",): 300_000, ("b",): 100_000}


def test_a_prefill_that_fills_the_engine_is_not_paid_by_those_who_wait() -> None:
    # 100 ms of prefill work in 100 ms: whoever decodes gets no step meanwhile.
    result = _split(_call("a", 0, 0, 600_000), _call("b", 200_000, 300_000, 300_000, uncached=10_000, output=0))
    assert _shares(result) == {("a",): pytest.approx(500_000, rel=0.01), ("b",): pytest.approx(100_000, rel=0.01)}


def test_only_the_part_within_the_window_counts() -> None:
    result = _split(_call("a", -500_000, -400_000, 250_000), _call("b", 900_000, 950_000, 5 * SECOND))
    assert _shares(result) == {("a",): 250_000, ("b",): 100_000}


def test_busy_time_that_no_call_was_in_is_overhead() -> None:
    # In two seconds, one was without calls; the engine says that it idled for a quarter of it.
    look = Evidence(start=0, end=2 * SECOND, idle_us=250_000)
    result = _split(_call("a", 0, 0, 600_000), _call("b", 1_600_000, 1_600_000, 2 * SECOND), evidence=(look,))
    assert (result.attributed, result.idle, result.overhead) == (600_000, 100_000, 300_000)


def test_an_engine_that_idled_longer_than_it_was_without_calls_has_no_overhead() -> None:
    look = Evidence(start=0, end=SECOND, idle_us=SECOND)
    result = _split(_call("a", 0, 0, 600_000), evidence=(look,))
    assert (result.attributed, result.idle, result.overhead) == (600_000, 400_000, 0)


def test_without_counters_what_is_not_attributed_is_idle() -> None:
    result = _split(_call("a", 0, 0, 600_000))
    assert (result.idle, result.overhead) == (400_000, 0)


def test_work_done_again_is_nobodys() -> None:
    # 500 µs of prefill again, beside 1,000 µs of prefill, in 600 ms.
    look = Evidence(start=0, end=SECOND, retracted=50)
    result = _split(_call("a", 0, 600_000, 600_000, uncached=100, output=0), evidence=(look,))
    assert (result.attributed, result.overhead, result.idle) == (400_000, 200_000, 400_000)


def test_a_window_says_how_many_decoded_together_and_what_that_would_have_taken() -> None:
    many = [_call(str(index), index * 1_000, index * 1_000, 500_000 + index * 1_000) for index in range(100)]
    result = _split(*many)
    assert result.attributed == 599_000
    assert result.batch == pytest.approx(100 * 500 / 599)
    assert result.work == pytest.approx(100 * 101 * (1_000 / result.batch + 100))


def _told(**known: int | None) -> Call:
    return Call(key=("a",), **{"prompt": 1000, "output": 50, **known})


def _times(call: Call, weights: Weights | None = EVEN) -> tuple[int, int, int, bool] | None:
    stages = stages_of(call, weights)
    return None if stages is None else (stages.start, stages.turn, stages.end, stages.timed)


ALONE = 1000 * 10 + 50 * 1_100
"""Of a call of 1000 tokens in and 50 out."""


@pytest.mark.parametrize(
    ("call", "times"),
    [
        pytest.param(_told(entered=10, prefilled=20, finished=99), (10, 20, 99, True), id="as the engine told"),
        pytest.param(_told(entered=10, finished=99, output=0), (10, 99, 99, True), id="aborted in its prefill"),
        pytest.param(_told(entered=0, finished=650), (0, 100, 650, True), id="no end of the prefill"),
        pytest.param(_told(finished=99), None, id="never entered"),
        pytest.param(_told(entered=10, prefilled=5, finished=99), (10, 10, 99, True), id="prefill ends before it"),
        pytest.param(_told(entered=10, prefilled=500, finished=99), (10, 99, 99, True), id="prefill ends after it"),
        pytest.param(
            _told(entered=99, prefilled=50, finished=10), (99, 10_099, 99 + ALONE, False), id="the clock ran backwards"
        ),
        pytest.param(_told(began=7), (7, 10_007, 7 + ALONE, False), id="no times, nobody knows its end"),
        pytest.param(_told(began=0, ended=6_500), (0, 1_000, 6_500, False), id="no times, ended before"),
        pytest.param(_told(began=5, ended=5), (5, 5, 6, False), id="no times, and no time between ours"),
        pytest.param(_told(), None, id="nothing known of when"),
        pytest.param(_told(began=1, ended=9, prompt=None, output=None), None, id="nothing known of what"),
        pytest.param(_told(prompt=0, output=0, began=1, ended=9), None, id="nothing computed"),
    ],
)
def test_missing_and_wrong_times_are_put_right(call: Call, times: tuple[int, int, int, bool] | None) -> None:
    assert _times(call) == times


def test_without_weights_a_call_without_times_lasts_as_long_as_it_did_for_us() -> None:
    stages = stages_of(_told(began=0, ended=10 * SECOND), None)
    assert stages is not None
    assert (stages.start, stages.end) == (0, 10 * SECOND)
    assert stages_of(_told(began=0), None) is None


def test_more_cached_than_sent_is_no_negative_work() -> None:
    stages = stages_of(Call(key=("a",), prompt=5, cached=9, output=1, entered=0, finished=9), ASSUMED)
    assert stages is not None
    assert stages.uncached == 0
