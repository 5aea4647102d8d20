"""Which answer is next, without any run."""

import pytest

from orchestrator.approvals import Effect
from orchestrator.reruns import Answer, Record, RecordedStep, Rerun, Tally


def step(name: str, nano: int = 0) -> RecordedStep:
    return RecordedStep(workflow_id="answer-1", run_id="run-1", activity_id=name, nano=nano)


def answer(key: str, name: str, place: str = "", nano: int = 0) -> Answer:
    return Answer(key=key, place=place, step=step(name, nano))


def record(*answers: Answer, live_reads: bool = False, place: str = "") -> Record:
    told = Rerun(of="answer-1", backtest="b", answers=answers, live_reads=live_reads, place=place)
    return Record(told)


def test_each_call_has_the_next_answer_to_the_same_call() -> None:
    made = record(answer("a", "1", nano=5), answer("b", "2"), answer("a", "3", nano=7))
    found = [made.find(key, "tool", "read") for key in ("a", "a", "b")]
    assert found == [step("1", 5), step("3", 7), step("2")]
    assert made.tally == Tally(answered=3, nano=12)


@pytest.mark.parametrize("effect", ["read", "idempotent"])
def test_calls_that_change_nothing_may_be_asked_more_often(effect: Effect) -> None:
    made = record(answer("a", "1"), answer("a", "2"))
    assert [made.find("a", "tool", effect) for _ in range(4)] == [step("1"), step("2"), step("2"), step("2")]


def test_a_write_is_answered_as_often_as_it_was_made() -> None:
    made = record(answer("a", "1"), live_reads=True)
    assert [made.find("a", "order", "write") for _ in range(2)] == [step("1"), "off_record"]
    assert made.tally.off_record == ("order",)


def test_only_reads_are_ever_made() -> None:
    effects: tuple[Effect, ...] = ("read", "idempotent", "write")
    strict, lenient = record(), record(live_reads=True)
    assert [strict.find("a", "tool", effect) for effect in effects] == ["off_record"] * 3
    assert [lenient.find("a", "tool", effect) for effect in effects] == ["live", "off_record", "off_record"]
    assert (lenient.tally.live, len(lenient.tally.off_record)) == (1, 2)


def test_a_child_goes_by_its_own_part_of_the_record_and_by_the_rest_where_it_has_none() -> None:
    answers = (answer("a", "own", place=""), answer("a", "first", place="/0"), answer("a", "second", place="/1"))
    parent = record(*answers, answer("b", "elsewhere", place="/7"))
    children = [Record(parent.for_child()) for _ in range(3)]
    assert [child.find("a", "tool", "read") for child in children] == [step("first"), step("second"), step("own")]
    assert Record(children[0].for_child()).rerun.place == "/0/0"
    assert parent.find("a", "tool", "read") == step("own")
    assert parent.find("b", "tool", "read") == step("elsewhere")
    assert [child.tally.answered for child in children] == [1, 1, 1]


def test_who_goes_on_goes_on_where_the_other_stopped() -> None:
    first = record(answer("a", "1"), answer("a", "2"))
    first.find("a", "tool", "read")
    first.for_child()
    second = Record(first.going_on())
    assert second.find("a", "tool", "read") == step("2")
    assert second.for_child().place == "/1"
    assert second.tally.answered == 2


def test_people_answer_each_question_once() -> None:
    said = Answer(key="q", said="yes")
    made = record(said, Answer(key="r", silent=True))
    assert made.said("q", "ask_human") == said
    assert made.said("q", "ask_human") is None
    silent = made.said("r", "ask_human")
    assert silent is not None
    assert silent.silent
    assert made.tally == Tally(answered=2, off_record=("ask_human",))
