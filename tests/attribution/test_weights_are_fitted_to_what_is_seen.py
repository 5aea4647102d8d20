"""Weights come from the times and tokens of calls, whatever the engine; the assumed ones only fill in."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.simulated_engine import Simulated, simulate
from orchestrator.attribution import ASSUMED, Fit, Moments, Stages, Weights, stages_of
from orchestrator.attribution.weights import non_negative

SLOW = Weights(step=60_000, prefill=400, decode=900, context=0.3)
FAST = Weights(step=2_000, prefill=20, decode=10, context=0.05)


def _stages(engine: Simulated) -> list[Stages]:
    return [stages for call in engine.calls if (stages := stages_of(call, None)) is not None]


def _fitted(engine: Simulated, moments: Moments | None = None) -> Fit:
    """Learned from three looks at all calls, since the first rests on assumed weights."""
    fit = Fit()
    for _ in range(3):
        fit = fit.learn(_stages(engine), start=0, end=2**62, moments=[] if moments is None else [moments])
    return fit


@pytest.mark.parametrize("truth", [SLOW, FAST], ids=["slow", "fast"])
@pytest.mark.parametrize("mixed", [False, True], ids=["prefill or decode", "prefill and decode"])
def test_an_engine_far_from_what_is_assumed_is_found_out(truth: Weights, mixed: bool) -> None:
    engine = simulate(rate=20_000 / truth.step / 3, calls=400, weights=truth, mixed=mixed)
    weights = _fitted(engine).weights
    assert weights.step == pytest.approx(truth.step, rel=0.05)
    # Where steps don't mix, a token's part of the step that prefilled it is in its weight.
    assert truth.prefill * 0.95 < weights.prefill < truth.prefill + 2 * truth.step / 2_048
    reading = 3_500
    decoding, truly = (each.decode + each.context * reading for each in (weights, truth))
    assert decoding == pytest.approx(truly, rel=0.15)


def test_the_engines_own_sums_tell_more() -> None:
    engine = simulate(rate=1.0, calls=40, weights=SLOW)
    sums = {"prefill_tokens": engine.prefill_tokens, "prefill_us": engine.prefill_us, "decode": engine.decode_moments}
    moments = Moments.between(None, sums)
    assert moments is not None

    def off(fit: Fit) -> float:
        return abs(fit.weights.step / SLOW.step - 1)

    assert off(_fitted(engine, moments)) < off(_fitted(engine)) < 0.1


def test_little_evidence_changes_nothing() -> None:
    engine = simulate(rate=1, calls=5)
    fit = Fit().learn(_stages(engine), start=0, end=2**62)
    assert (fit.method, fit.weights) == ("assumed", ASSUMED)


def test_what_cant_be_told_apart_stays_in_the_proportion_assumed() -> None:
    # One call after the other, all alike: nothing says what of a step is whose.
    same = [
        Stages(key=(i,), start=i * 10**7, turn=i * 10**7, end=i * 10**7 + 2_000_000, uncached=0, prompt=500, output=101)
        for i in range(50)
    ]
    weights = Fit().learn(same, start=0, end=2**62).weights
    assert weights.step + weights.decode + weights.context * 550 == pytest.approx(20_000, rel=0.01)
    assert weights.decode / weights.step == pytest.approx(ASSUMED.decode / ASSUMED.step, rel=0.1)


def test_calls_without_engine_times_teach_nothing() -> None:
    flat = [
        Stages(key=(i,), start=i, turn=i, end=i + 10**6, uncached=1, prompt=1, output=9, timed=False) for i in range(50)
    ]
    fit = Fit().learn(flat, start=0, end=2**62)
    assert (fit.rows, fit.weights) == (0, ASSUMED)


def test_evidence_fades() -> None:
    slow, fast = simulate(rate=0.2, calls=100, weights=SLOW), simulate(rate=0.5, calls=100, weights=FAST)
    fit = _fitted(slow)
    for _ in range(200):
        fit = fit.learn(_stages(fast), start=0, end=2**62)
    assert fit.weights.step == pytest.approx(FAST.step, rel=0.1)


def test_what_was_learned_survives_as_json() -> None:
    fit = _fitted(simulate(rate=1, calls=60))
    again = Fit.load(json.loads(json.dumps(fit.dump())))
    assert (again.weights, again.dump()) == (fit.weights, fit.dump())
    assert Fit.load(None) == Fit()
    assert Weights.load(json.loads(json.dumps({**fit.weights.dump(), "batch": 3}))) == fit.weights


SUMS = [10.0, 40.0, 90_000.0, 170.0, 360_000.0, 40.0]


@pytest.mark.parametrize(
    ("before", "after", "known"),
    [
        (None, {"decode": SUMS}, True),
        ({"decode": SUMS}, {"decode": [2 * each for each in SUMS]}, True),
        ({"decode": SUMS}, {"decode": SUMS}, False),
        ({"decode": SUMS}, {"decode": [1.0] * 6}, False),
        ({"decode": SUMS}, {"decode": []}, False),
        ({"prefill_tokens": 5}, {"prefill_tokens": 9}, False),
        (None, None, False),
    ],
)
def test_sums_that_say_nothing_are_no_evidence(
    before: dict[str, object] | None, after: dict[str, object] | None, known: bool
) -> None:
    moments = Moments.between(before, after)
    if known:
        assert moments == Moments(steps=10, sequences=40, us=90_000, sequences_squared=170, sequences_by_us=360_000)
    else:
        assert moments is None


rows = st.lists(st.lists(st.floats(0, 10), min_size=5, max_size=5), min_size=1, max_size=8)


@given(rows)
def test_no_other_weights_fit_better(equations: list[list[float]]) -> None:
    gram = [sum(row[i] * row[j] for row in equations) + (0.01 if i == j else 0) for i in range(4) for j in range(4)]
    target = [sum(row[i] * row[4] for row in equations) for i in range(4)]
    found = non_negative(gram, target)
    for index, value in enumerate(found):
        slope = sum(gram[4 * index + j] * other for j, other in enumerate(found)) - target[index]
        # The conditions of Karush, Kuhn and Tucker.
        assert value >= 0
        assert slope >= -1e-6 * (1 + target[index])
        assert value == 0 or abs(slope) <= 1e-6 * (1 + target[index])
