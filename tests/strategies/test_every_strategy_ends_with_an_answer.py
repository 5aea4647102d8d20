"""Whatever comes of its moves, and however little there is to spend, every strategy keeps its bounds and ends."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.strategies import Abort, Draft, Finish, Judge, Room, Strategy
from tests.strategies.generated import events_for, rooms, strategies, wanted
from tests.strategies.play import Play, answers


class _Watched(Play):
    """A strategy whose every move is held against what it may do."""

    def __init__(self, strategy: Strategy, dice: Random) -> None:
        super().__init__(strategy, seed=dice.randrange(9))
        self.parallel: int = getattr(strategy, "parallel", 99)

    def check(self) -> None:
        before = self.state
        drafting = sum(trial.status == "drafting" for trial in before.trials)
        moves = self.ask()
        drafts = [move for move in moves if isinstance(move, Draft)]
        if self.room.drafts is not None:
            assert len(drafts) <= self.room.drafts
        if drafts:
            most = max(1, self.parallel // 2) if self.room.congestion > 0.5 else self.parallel
            assert drafting + len(drafts) <= most
        assert [draft.trial for draft in drafts] == [*range(len(before.trials), len(self.state.trials))]
        assert len(self.state.trials) <= self.strategy.drafts_at_most
        for draft in drafts:
            assert draft.builds_on is None or before.trials[draft.builds_on].status in ("drafted", "judged")
            assert (draft.how == "afresh") <= (draft.builds_on is None)
        judged = [move.trial for move in moves if isinstance(move, Judge)]
        assert all(before.trials[number].status == "drafted" for number in judged)
        assert len(set(judged)) == len(judged)
        aborted = [move.trial for move in moves if isinstance(move, Abort)]
        assert set(aborted) <= {*wanted(before), *(draft.trial for draft in drafts), *judged}
        assert (self.end is not None) == any(isinstance(move, Finish) for move in moves)
        assert self.end is not None or wanted(self.state), "it waits for nothing"


@given(strategy=strategies, dice=st.randoms(use_true_random=False), data=st.data())
@settings(max_examples=400, deadline=None)
def test_it_keeps_its_bounds_and_ends_with_an_answer_if_there_is_one(
    strategy: Strategy, dice: Random, data: st.DataObject
) -> None:
    play = _Watched(strategy, dice)
    play.room = data.draw(rooms)
    play.check()
    for _ in range(4 * strategy.drafts_at_most + 4):
        if play.end is not None:
            break
        for _ in range(dice.randint(1, 3)):
            if wanted(play.state):
                trial = dice.choice(wanted(play.state))
                play.state = strategy.tell(play.state, events_for(play.state, trial, dice))
        if dice.random() < 0.3:
            play.room = data.draw(rooms)
        play.check()
    assert play.end is not None, "it doesn't end"
    assert not wanted(play.state), "something still runs"
    answered = [trial.number for trial in play.state.answered]
    assert play.end.trial in answered if answered else play.end.trial is None
    assert play.end.confidence is None or 0 <= play.end.confidence <= 1
    assert not play.ask(), "a move after the end"
    play.room = Room(drafts=9)
    assert not play.ask(), "a move after the end"


@given(strategy=strategies)
@settings(deadline=None)
def test_without_any_budget_it_ends_at_once_without_an_answer(strategy: Strategy) -> None:
    play = Play(strategy, room=Room(drafts=0))
    assert play.ask() == (Finish(trial=None),)


@given(strategy=strategies)
@settings(deadline=None)
def test_it_begins_wherever_there_is_room_for_one_draft(strategy: Strategy) -> None:
    play = Play(strategy, room=Room(drafts=1))
    assert len(play.drafts()) == 1


@given(strategy=strategies)
@settings(deadline=None)
def test_the_only_answer_is_the_answer_however_it_was_come_by(strategy: Strategy) -> None:
    play = Play(strategy, room=Room(drafts=1))
    play.ask()
    play.room = Room(drafts=0)
    play.tell(*answers("x"))
    while play.end is None:
        play.tell(events_for(play.state, wanted(play.state)[0], Random(1)))
    assert play.answer == "x"
