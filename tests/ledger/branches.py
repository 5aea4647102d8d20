"""A worker process that, once told to, takes steps of one run in many branches until its budget is used up."""

import json
import sys
from random import Random

import anyio

from orchestrator import Usage
from orchestrator.database import Database
from orchestrator.errors import BudgetExceeded
from orchestrator.ledger import Bound, Ledger
from orchestrator.steps import RunScope
from orchestrator.usage import Outcome
from tests.ledger.books import PRICE, Books

__all__ = ["BOUND", "MOST"]

MOST = Usage(prompt=40, output=20)
BOUND = Bound(tokens=MOST.total, nano=PRICE.cost(MOST))


async def _branch(books: Books, random: Random, branch: int, taken: list[int]) -> None:
    """Takes steps until one is refused; each uses up a part of what it reserved."""
    for step in range(100 * branch, 100 * branch + 100):
        try:
            reservation = await books.reserve(step, bound=BOUND)
        except BudgetExceeded:
            return
        usage = Usage(prompt=40, cached=random.randint(0, 40), output=random.randint(0, 20))
        await books.settle(reservation, random.choice(list(Outcome)), usage)
        taken.append(step)


async def _main(url: str, scope: RunScope, first: int, branches: int) -> None:
    taken: list[int] = []
    async with Database.open(url, pool_size=branches) as database:
        books = Books(database=database, ledger=Ledger(database), scope=scope)
        print("ready", flush=True)
        await anyio.to_thread.run_sync(sys.stdin.readline)
        async with anyio.create_task_group() as group:
            for branch in range(first, first + branches):
                group.start_soon(_branch, books, Random(branch), branch, taken)
    print(json.dumps(taken), flush=True)


if __name__ == "__main__":
    anyio.run(_main, sys.argv[1], RunScope.model_validate_json(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
