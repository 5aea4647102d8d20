"""A strategy and its state, and whoever answers its moves: no engine, no driver."""

from collections.abc import Callable, Sequence

from orchestrator.strategies import (
    Draft,
    Drafted,
    Event,
    Finish,
    Judged,
    Lost,
    Move,
    Room,
    State,
    Strategy,
    Trial,
)

__all__ = ["Play", "answers", "confident", "play_out", "scores"]

Answer = Callable[[Draft, State], Drafted | Lost]
Judgement = Callable[[Trial], Judged | Lost]


class Play:
    """A strategy at work."""

    def __init__(self, strategy: Strategy, *, seed: int = 0, room: Room | None = None) -> None:
        self.strategy = strategy
        self.state = strategy.begin(seed)
        self.room = room or Room()
        self.moves: list[Move] = []
        """All that were made."""

    def ask(self) -> Sequence[Move]:
        """The next moves."""
        self.state, moves = self.strategy.ask(self.state, self.room)
        self.moves += moves
        return moves

    def tell(self, *events: Event) -> Sequence[Move]:
        """The next moves once these are known."""
        for event in events:
            self.state = self.strategy.tell(self.state, event)
        return self.ask()

    def drafts(self) -> Sequence[Draft]:
        """The drafts among the next moves."""
        return [move for move in self.ask() if isinstance(move, Draft)]

    @property
    def end(self) -> Finish | None:
        return self.state.finished

    @property
    def answer(self) -> str | None:
        """The answer at the end."""
        assert self.end is not None, "it still goes on"
        return None if self.end.trial is None else self.state.trials[self.end.trial].answer


def play_out(
    strategy: Strategy,
    answer: Answer,
    judgement: Judgement | None = None,
    *,
    seed: int = 0,
    room: Room | None = None,
) -> Play:
    """Plays to the end; what was begun first comes to its end first."""
    play = Play(strategy, seed=seed, room=room)
    moves = list(play.ask())
    while play.end is None:
        move = moves.pop(0)
        if move.move == "draft":
            moves += play.tell(answer(move, play.state))
        elif move.move == "judge":
            assert judgement is not None, f"{strategy.label} wants a judge"
            moves += play.tell(judgement(play.state.trials[move.trial]))
    return play


def answers(*texts: str | None, first: int = 0) -> Sequence[Drafted]:
    """Answers of the trials from `first` on."""
    return [Drafted(trial=first + number, answer=text) for number, text in enumerate(texts)]


def confident(*drafts: tuple[str | None, float], first: int = 0) -> Sequence[Drafted]:
    """Answers with the confidence of their weakest group, of the trials from `first` on."""
    return [
        Drafted(trial=first + number, answer=text, confidence=weakest + 1, weakest=weakest)
        for number, (text, weakest) in enumerate(drafts)
    ]


def scores(*values: float, first: int = 0, passed: bool | None = None) -> Sequence[Judged]:
    """Scores of the trials from `first` on."""
    return [Judged(trial=first + number, score=score, passed=passed) for number, score in enumerate(values)]
