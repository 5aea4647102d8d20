"""The same seed and the same news give the same moves, in one process or another, at once or after a pause."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from orchestrator.strategies import AnyStrategy, Event, Move, Room, State, Strategy
from tests.strategies.generated import events_for, rooms, strategies, wanted

ANY: TypeAdapter[AnyStrategy] = TypeAdapter(AnyStrategy)
MOVE: TypeAdapter[Move] = TypeAdapter(Move)
EVENT: TypeAdapter[Event] = TypeAdapter(Event)

Record = list[tuple[Room, tuple[Event, ...], State, tuple[Move, ...]]]


def _record(strategy: Strategy, dice: Random, data: st.DataObject) -> Record:
    """Each ask: the room, what was told before it, and what came of it."""
    state, record, news = strategy.begin(dice.randrange(9)), Record(), tuple[Event, ...]()
    while state.finished is None:
        room = data.draw(rooms) if dice.random() < 0.2 else Room()
        for event in news:
            state = strategy.tell(state, event)
        state, moves = strategy.ask(state, room)
        record.append((room, news, state, tuple(moves)))
        running = wanted(state)
        some = dice.sample(running, dice.randint(1, len(running))) if running else []
        news = tuple(events_for(state, trial, dice) for trial in some)
    return record


@given(strategy=strategies, dice=st.randoms(use_true_random=False), data=st.data())
@settings(max_examples=200, deadline=None)
def test_a_replay_decides_alike_also_by_way_of_json(strategy: Strategy, dice: Random, data: st.DataObject) -> None:
    record = _record(strategy, dice, data)
    state = strategy.begin(record[0][2].seed)
    for room, news, after, moves in record:
        told = ANY.validate_json(strategy.model_dump_json())
        assert told == strategy
        state = State.model_validate_json(state.model_dump_json())
        for event in news:
            assert EVENT.validate_json(event.model_dump_json()) == event
            state = told.tell(state, event)
        state, again = told.ask(state, Room.model_validate_json(room.model_dump_json()))
        assert state == after
        assert tuple(again) == moves
        assert [MOVE.validate_json(move.model_dump_json()) for move in again] == list(moves)


@given(strategy=strategies, dice=st.randoms(use_true_random=False), data=st.data())
@settings(max_examples=200, deadline=None)
def test_telling_again_or_in_another_order_changes_nothing(
    strategy: Strategy, dice: Random, data: st.DataObject
) -> None:
    record = _record(strategy, dice, data)
    state = strategy.begin(record[0][2].seed)
    known: list[Event] = []
    for room, news, after, moves in record:
        shuffled = [*news, *news, *known]
        dice.shuffle(shuffled)
        # News comes at least once after what was known before, since a judgement needs its draft.
        for event in shuffled:
            state = strategy.tell(state, event)
        known += news
        state, again = strategy.ask(state, room)
        assert (state, tuple(again)) == (after, moves)


@given(strategy=strategies, seed=st.integers(0, 99))
@settings(deadline=None)
def test_asking_twice_without_news_makes_no_second_move(strategy: Strategy, seed: int) -> None:
    state, _ = strategy.ask(strategy.begin(seed), Room())
    assert strategy.ask(state, Room()) == (state, ())


@given(strategy=strategies)
@settings(deadline=None)
def test_a_strategy_says_of_itself_what_a_caller_must_know(strategy: Strategy) -> None:
    assert strategy.kind == strategy.label  # type: ignore[attr-defined]
    assert strategy.described(strategy.begin()) == strategy.label
    assert strategy.drafts_at_most >= 1
    assert hash(strategy) == hash(ANY.validate_json(strategy.model_dump_json()))
