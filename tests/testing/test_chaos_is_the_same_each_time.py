"""What goes wrong depends on the seed, the prompt and how often it came; not on the order of requests."""

from collections import Counter

import pytest

from orchestrator.errors import DefinitionError
from orchestrator.testing import Break, Chaos, Fail, Hang, Say, ScriptedRequest
from orchestrator.testing.prefix_cache import pack_ids


def request(prompt: int, *, attempt: int = 1, number: int = 1) -> ScriptedRequest:
    return ScriptedRequest(
        number=number,
        rid=f"{number:032}",
        packed_prompt=pack_ids([prompt, 1, 2]),
        sampling_params={},
        stream=True,
        attempt=attempt,
        priority=0,
        cache_salt="",
        session_id=None,
        labels={},
    )


def test_the_order_of_requests_changes_nothing() -> None:
    asked = [(prompt, attempt) for prompt in range(200) for attempt in (1, 2, 3)]
    one, other = (Chaos(seed=7, fail=0.25, break_off=0.1, hang=0.05) for _ in range(2))
    forwards = {key: one(request(key[0], attempt=key[1], number=number)) for number, key in enumerate(asked, start=1)}
    backwards = {
        key: other(request(key[0], attempt=key[1], number=number)) for number, key in enumerate(reversed(asked))
    }
    assert forwards == backwards
    assert forwards != {key: Chaos(seed=8, fail=0.25)(request(key[0], attempt=key[1])) for key in asked}


def test_the_shares_are_as_asked() -> None:
    chaos = Chaos(seed=1, fail=0.25, break_off=0.1, hang=0.05)
    kinds = Counter(type(chaos(request(prompt))) for prompt in range(4000))
    assert abs(kinds[Fail] - 1000) < 100
    assert abs(kinds[Break] - 400) < 70
    assert abs(kinds[Hang] - 200) < 50


def test_a_prompt_is_answered_in_the_end() -> None:
    chaos = Chaos(seed=1, fail=1.0, at_most=3)
    kinds = [type(chaos(request(5, attempt=attempt))) for attempt in range(1, 6)]
    assert kinds == [Fail, Fail, Fail, Say, Say]


def test_failures_come_as_proxies_and_as_the_engine_write_them() -> None:
    failures = [Chaos(seed=1, fail=1.0)(request(prompt)) for prompt in range(100)]
    ways = Counter(reply.in_stream for reply in failures if isinstance(reply, Fail))
    assert ways.total() == 100
    assert min(ways[True], ways[False]) > 25


def test_answers_may_be_the_tests_own() -> None:
    assert Chaos(seed=1, otherwise=lambda asked: Say(f"reply {asked.number}"))(request(5, number=3)) == Say("reply 3")


@pytest.mark.parametrize(("fail", "hang"), [(0.7, 0.4), (-0.1, 0.0)])
def test_shares_that_are_no_parts_of_a_whole_are_refused(fail: float, hang: float) -> None:
    with pytest.raises(DefinitionError, match="Give fractions"):
        Chaos(seed=1, fail=fail, hang=hang)
