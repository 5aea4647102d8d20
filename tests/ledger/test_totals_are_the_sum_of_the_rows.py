"""Whatever the order and the repetition of reserving, settling, dying and refusing, the totals are the rows' sums."""

from dataclasses import dataclass
from typing import Literal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator import Budget, Usage
from orchestrator.database import Database
from orchestrator.errors import BudgetExceeded
from orchestrator.ledger import Bound, Replayed, Reservation
from orchestrator.usage import Outcome
from tests.ledger.books import PRICE, Books

MOST = Usage(prompt=40, output=20)
BOUND = Bound(tokens=MOST.total, nano=PRICE.cost(MOST))


@dataclass(frozen=True)
class Move:
    """What happens next to one of three steps."""

    what: Literal["try", "try again", "settle", "settle again"]
    step: int
    outcome: Outcome
    usage: Usage


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    prompt, output = draw(st.integers(0, 40)), draw(st.integers(0, 20))
    return Usage(
        prompt=prompt,
        cached=draw(st.none() | st.integers(0, prompt)),
        output=output,
        reasoning=draw(st.none() | st.integers(0, output)),
    )


moves = st.builds(
    Move,
    st.sampled_from(["try", "try", "try again", "settle", "settle", "settle again"]),
    st.integers(1, 3),
    st.sampled_from(Outcome),
    usages(),
)
budgets = st.none() | st.builds(Budget, tokens=st.integers(60, 200))


class Play:
    """The moves so far, and whose turn to settle it is."""

    def __init__(self, books: Books) -> None:
        self.books = books
        self.attempts = {1: 0, 2: 0, 3: 0}
        self.live: dict[int, Reservation] = {}
        """The latest attempts of their steps."""
        self.every: list[Reservation] = []
        self.answered: set[str] = set()

    async def make(self, move: Move) -> None:
        if move.what in ("try", "try again"):
            await self._reserve(move)
        elif move.what == "settle" and move.step in self.live:
            await self._settle(self.live[move.step], move)
        elif move.what == "settle again" and self.every:
            await self._settle(self.every[move.step % len(self.every)], move)

    async def _reserve(self, move: Move) -> None:
        if move.what == "try" or not self.attempts[move.step]:
            self.attempts[move.step] += 1
        try:
            answer = await self.books.ask(move.step, self.attempts[move.step], bound=BOUND, died=move.usage)
        except BudgetExceeded:
            self.live.pop(move.step, None)
            return
        if isinstance(answer, Replayed):
            assert str(move.step) in self.answered
        else:
            self.live[move.step] = answer
            self.every.append(answer)

    async def _settle(self, reservation: Reservation, move: Move) -> None:
        await self.books.settle(reservation, move.outcome, move.usage, result={"text": "x"})

    async def check(self) -> None:
        if not self.every:
            return  # the run's row comes with its first attempt
        await self.books.check()
        used = [row.activity_id for row in await self.books.rows() if row.outcome == Outcome.USED]
        self.answered = set(used)
        assert len(used) == len(self.answered)


@given(sequence=st.lists(moves, min_size=3, max_size=14), budget=budgets)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_at_every_moment(database: Database, sequence: list[Move], budget: Budget | None) -> None:
    books = Books.of_a_new_run(database, budget=budget)
    play = Play(books)
    for move in sequence:
        await play.make(move)
        await play.check()
    for reservation in play.live.values():
        await books.settle(reservation, Outcome.FAILED, MOST)
    await play.check()
    if play.every:
        run = await books.run()
        assert (run.reserved_nano, run.reserved_tokens) == (0, 0)
        assert all(row.outcome is not None for row in await books.rows())
        assert budget is None or run.spent_tokens <= (budget.tokens or 0)
