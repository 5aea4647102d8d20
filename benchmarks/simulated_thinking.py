"""Strategies against simulated replies: what drives them, with a clock of tokens and without any engine.

Drafts run beside one another at a token a tick each, a draft that is given up has cost what it had written by then, and
judging is free. The real driver does the same over an engine; a script that answers with `World.reply` there plays the
same distribution.
"""

from collections import Counter
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Protocol

from orchestrator.strategies import Abort, Draft, Drafted, Event, Finish, Judge, Judged, Room, Strategy

__all__ = ["Outcome", "Reply", "World", "think"]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What comes of a draft."""

    answer: str | None
    tokens: int
    price: int = 1
    """Of a token, in proportion to other models'."""
    whole: bool = True
    likelihood: float | None = None
    confidence: float | None = None
    weakest: float | None = None

    def told(self, trial: int) -> Drafted:
        return Drafted(
            trial=trial,
            answer=self.answer,
            whole=self.whole,
            likelihood=self.likelihood,
            confidence=self.confidence,
            weakest=self.weakest,
            tokens=self.tokens,
        )


class World(Protocol):
    """A task, and the models that answer it."""

    def reply(self, draft: Draft, number: int, revised: str | None) -> Reply:
        """To a draft that is the `number`-th of its pool, and may revise an answer."""
        ...

    def score(self, answer: str) -> float:
        """What an exact judge says: 1 where it is right."""
        ...


@dataclass(frozen=True)
class Outcome:
    """What came of a strategy."""

    right: bool
    tokens: int
    cost: int
    """In tokens of the cheapest model."""
    drafts: int


def think(strategy: Strategy, world: World, *, seed: int) -> Outcome:
    """Lets a strategy answer a task, to the end."""
    state, now, begun = strategy.begin(seed), 0, Counter[str | None]()
    news, replies, since = list[tuple[int, int, Event]](), dict[int, Reply](), dict[int, int]()
    spent = dict[int, int]()
    while True:
        state, moves = strategy.ask(state, Room())
        for move in moves:
            match move:
                case Draft():
                    revised = None if move.builds_on is None else state.trials[move.builds_on].answer
                    reply = world.reply(move, begun[move.pool], revised)
                    begun[move.pool] += 1
                    replies[move.trial], since[move.trial], spent[move.trial] = reply, now, reply.tokens
                    heappush(news, (now + reply.tokens, move.trial, reply.told(move.trial)))
                case Judge():
                    score = world.score(state.trials[move.trial].answer or "")
                    heappush(news, (now, move.trial, Judged(trial=move.trial, score=score, passed=score == 1.0)))
                case Abort():
                    spent[move.trial] = min(spent[move.trial], now - since[move.trial])
                case Finish():
                    answer = None if move.trial is None else state.trials[move.trial].answer
                    return Outcome(
                        right=answer is not None and world.score(answer) == 1.0,
                        tokens=sum(spent.values()),
                        cost=sum(tokens * replies[trial].price for trial, tokens in spent.items()),
                        drafts=len(spent),
                    )
        now, _, event = heappop(news)
        state = strategy.tell(state, event)
