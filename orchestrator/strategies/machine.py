"""The interface of strategies: pure ask/tell machines.

A strategy is a frozen value. Its state is another, small and JSON-able, that the caller keeps: `ask` says what to do
next, `tell` takes in what came of it. No clock, no I/O, and no chance but by the state's own seed: the same state and
the same room give the same moves, in whatever process, so a run that is replayed or goes on elsewhere decides alike.
(Ask/tell after SakanaAI/treequest.)
"""

from abc import abstractmethod
from collections.abc import Sequence
from random import Random
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.usage import Usd
from orchestrator.watches import Watch

__all__ = [
    "Abort",
    "Draft",
    "Drafted",
    "Event",
    "Finish",
    "Judge",
    "Judged",
    "Lost",
    "Move",
    "Room",
    "State",
    "Status",
    "Strategy",
    "Trial",
    "Turn",
]

Status = Literal["drafting", "drafted", "judging", "judged", "aborted", "lost"]
"""How far a trial is. `aborted`: the strategy gave it up. `lost`: it failed, or the budget refused it."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Trial(_Value):
    """One attempt at an answer, as the strategy remembers it; its text is kept by the caller."""

    number: int
    """From 0 on, in the order in which they were begun."""
    builds_on: int | None = None
    """The trial whose conversation it continues."""
    arm: str = ""
    """Which of a strategy's ways it was made by."""
    status: Status = "drafting"
    answer: str | None = None
    """Equal answers have equal texts here; `None` where it gave none."""
    whole: bool = True
    """Whether it came to its end, or was cut off."""
    likelihood: float | None = None
    """Geometric mean of its tokens' probabilities, from 0 to 1; known where the draft was measured."""
    confidence: float | None = None
    """Mean confidence of its tokens, as in `orchestrator.watches.ConfidenceFloor`; known where it was measured."""
    weakest: float | None = None
    """The lowest mean confidence of any group of its tokens; known where it was measured."""
    score: float | None = None
    """What the judge made of it, from 0 to 1; `None` also where judging it failed."""
    passed: bool | None = None
    """Whether it is right, where the judge can tell."""
    tokens: int = 0

    @property
    def answered(self) -> bool:
        """Whether it came to an answer."""
        return self.answer is not None and self.status in ("drafted", "judging", "judged")


class Draft(_Value):
    """Begin a trial."""

    move: Literal["draft"] = "draft"
    trial: int
    builds_on: int | None = None
    """The trial whose conversation is continued; `None` begins at the task."""
    how: Literal["afresh", "revise", "step"] = "afresh"
    """`revise`: say what is wrong with the trial it builds on, and ask again. `step`: ask for one more step of it."""
    pool: str | None = None
    """The engines to ask, where not those of the workflow."""
    temperature: float | None = None
    """`None`: as the caller asked."""
    measure: bool = False
    """Whether to measure likelihood and confidence, which costs bandwidth."""
    watch: Watch | None = None
    shows_budget: bool = False
    """Whether the model is told, at each of its steps, what it may still spend."""


class Judge(_Value):
    """Have a trial judged."""

    move: Literal["judge"] = "judge"
    trial: int


class Abort(_Value):
    """Give a trial up: its request ends at once, and what it cost is discarded."""

    move: Literal["abort"] = "abort"
    trial: int


class Finish(_Value):
    """The end. Trials that don't lead to the answer are discarded."""

    move: Literal["finish"] = "finish"
    trial: int | None
    """The answer; `None` where there is none."""
    confidence: float | None = None
    """From 0 to 1; what it rests on is the strategy's to say."""


Move = Draft | Judge | Abort | Finish


class Drafted(_Value):
    """A draft came to its end."""

    trial: int
    answer: str | None
    whole: bool = True
    likelihood: float | None = None
    confidence: float | None = None
    weakest: float | None = None
    tokens: int = 0


class Judged(_Value):
    """A judge has spoken."""

    trial: int
    score: Annotated[float, Field(ge=0, le=1)]
    passed: bool | None = None


class Lost(_Value):
    """A draft or its judgement failed, or didn't fit the budget."""

    trial: int


Event = Drafted | Judged | Lost


class Room(_Value):
    """What there is to spend. The caller works it out anew before each `ask`."""

    drafts: int | None = None
    """How many more drafts of the usual size fit the budget beside those that run; `None`: it doesn't bind."""
    congestion: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The share of their time that recent drafts have waited in the engine's queue."""
    draft_usd: Usd | None = None
    """What one more draft costs, by those that there were."""


class State(_Value):
    """What a strategy remembers."""

    seed: int = 0
    trials: tuple[Trial, ...] = ()
    asked: int = 0
    """How often it has made a move."""
    finished: Finish | None = None

    @property
    def answered(self) -> Sequence[Trial]:
        """The trials that came to an answer, in the order in which they were begun."""
        return [trial for trial in self.trials if trial.answered]


class Turn:
    """One `ask`: what a strategy sees, and where it puts its moves."""

    def __init__(self, state: State, room: Room) -> None:
        self.state = state
        self.room = room
        self.moves: list[Move] = []
        self.dice = Random(f"{state.seed}/{state.asked}/{_told(state)}")  # noqa: S311 - not for secrets
        self._drafted = 0

    @property
    def trials(self) -> Sequence[Trial]:
        return self.state.trials

    def of(self, *statuses: Status) -> Sequence[Trial]:
        """The trials that are so far."""
        return [trial for trial in self.state.trials if trial.status in statuses]

    @property
    def running(self) -> Sequence[Trial]:
        """Those that are being drafted or judged."""
        return self.of("drafting", "judging")

    def places(self, parallel: int, *, busy: Sequence[Trial] | None = None) -> int:
        """How many drafts may begin now, where `parallel` may run at once on an idle engine.

        `busy` are the trials that take a place; where not given, those that are being drafted.
        """
        if self.room.congestion > 0.5:
            parallel = max(1, parallel // 2)
        free = max(0, parallel - len(self.of("drafting") if busy is None else busy))
        return free if self.room.drafts is None else min(free, max(0, self.room.drafts - self._drafted))

    def draft(self, *, arm: str = "", **how: object) -> int:
        """Begins a trial; its number. Further arguments are fields of `Draft`."""
        number = len(self.state.trials)
        move = Draft.model_validate({"trial": number, **how})
        self._add(move)
        self._drafted += 1
        trial = Trial(number=number, builds_on=move.builds_on, arm=arm)
        self.state = self.state.model_copy(update={"trials": (*self.state.trials, trial)})
        return number

    def judge(self, trial: Trial) -> None:
        """Has a drafted trial judged."""
        self._add(Judge(trial=trial.number))
        self._set(trial.number, status="judging")

    def judge_answers(self) -> None:
        """Has all drafts judged that came to an answer."""
        for trial in self.of("drafted"):
            if trial.answered:
                self.judge(trial)

    def abort(self, *trials: Trial) -> None:
        """Gives trials up that are being drafted or judged."""
        for trial in trials:
            self._add(Abort(trial=trial.number))
            self._set(trial.number, status="aborted")

    def finish(self, trial: Trial | None, confidence: float | None = None) -> None:
        """Ends: what still runs is aborted."""
        self.abort(*self.running)
        move = Finish(trial=None if trial is None else trial.number, confidence=confidence)
        self._add(move)
        self.state = self.state.model_copy(update={"finished": move})

    def _add(self, move: Move) -> None:
        self.moves.append(move)

    def _set(self, number: int, **changes: object) -> None:
        self.state = _changed(self.state, number, **changes)


class Strategy(BaseModel):
    """How an answer is come by. A subclass decides; asking and telling are the same for all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def needs_judge(self) -> bool:
        """Whether it can do nothing without a judge."""
        return False

    @property
    def counts_answers(self) -> bool:
        """Whether it must know which answers are the same."""
        return False

    @property
    def label(self) -> str:
        """Its name in an inference path."""
        words = "".join(f"_{c.lower()}" if c.isupper() else c for c in type(self).__name__)
        return words.removeprefix("_")

    @property
    def throws_away(self) -> bool:
        """Whether it may throw a branch away, so that tools that write can't run in one."""
        return True

    @property
    @abstractmethod
    def drafts_at_most(self) -> int:
        """How many drafts it begins at the very most, those that fail included."""

    def described(self, state: State) -> str:
        """Its name in an inference path, with what it has decided on, where that is a way of its own."""
        return self.label

    def begin(self, seed: int = 0) -> State:
        """The state before the first move."""
        return State(seed=seed)

    def ask(self, state: State, room: Room) -> tuple[State, Sequence[Move]]:
        """What to do now, possibly nothing while something runs.

        Where nothing runs and the strategy knows no further move, or none fits the budget, it finishes with the best
        there is. After that, there are no moves.
        """
        if state.finished is not None:
            return state, ()
        turn = Turn(state, room)
        self.decide(turn)
        if turn.state.finished is None and not turn.running:
            turn.finish(*self.best(turn.state))
        if not turn.moves:
            return state, ()
        return turn.state.model_copy(update={"asked": state.asked + 1}), tuple(turn.moves)

    def tell(self, state: State, event: Event) -> State:
        """Takes in what came of a move. Telling it again changes nothing, nor does telling of a trial given up.

        Raises:
            ValueError: there is no such trial.
        """
        if not 0 <= event.trial < len(state.trials):
            raise ValueError(f"there is no trial {event.trial}: {len(state.trials)} were begun")
        status = state.trials[event.trial].status
        match event:
            case Drafted() if status == "drafting":
                return _changed(state, event.trial, status="drafted", **event.model_dump(exclude={"trial"}))
            case Judged() if status == "judging":
                return _changed(state, event.trial, status="judged", **event.model_dump(exclude={"trial"}))
            case Lost() if status in ("drafting", "judging"):
                return _changed(state, event.trial, status="lost" if status == "drafting" else "judged")
            case _:
                return state

    @abstractmethod
    def decide(self, turn: Turn) -> None:
        """Makes moves, or waits for what runs. It gets no further turn until something has changed."""

    def best(self, state: State) -> tuple[Trial | None, float | None]:
        """The best answer so far and how sure it is: one that passed, else the best scored, else the first."""
        answered = state.answered
        if not answered:
            return None, None
        found = max(answered, key=lambda trial: (bool(trial.passed), trial.score or 0.0, -trial.number))
        return found, found.score


def _told(state: State) -> int:
    """How much is known: the dice fall anew when it grows, whatever the order in which it came."""
    return sum(trial.status not in ("drafting", "aborted") for trial in state.trials)


def _changed(state: State, number: int, **changes: object) -> State:
    trials = list(state.trials)
    trials[number] = trials[number].model_copy(update=changes)
    return state.model_copy(update={"trials": tuple(trials)})
