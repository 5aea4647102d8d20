"""What past runs of a workflow say of strategies: how often each passed, and what it cost, by difficulty."""

import re
from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import select

from orchestrator.database import Database
from orchestrator.database.tables import accounts, runs
from orchestrator.steps import RunStatus
from orchestrator.strategies import Experience
from orchestrator.usage import usd_from_nano

__all__ = ["experience"]

REMEMBERED = 1_000
"""Runs, the latest ones: models and prompts change."""

_CHOICE = re.compile(r"\bauto\((easy|medium|hard)\)>(\w+)")
"""In an inference path, by `Auto.described`."""


async def experience(database: Database, *, tenant: str, workflow: str, version: str) -> Sequence[Experience]:
    """Of runs in which `Auto` chose one strategy and which say whether they passed.

    What a run cost beside its thought is counted too, and so are the runs that it started.
    """
    query = (
        select(runs.c.path, runs.c.passed, accounts.c.spent_nano)
        .join(accounts, accounts.c.id == runs.c.id)
        .where(
            runs.c.tenant == tenant,
            runs.c.workflow == workflow,
            runs.c.version == version,
            runs.c.status == RunStatus.COMPLETED,
            runs.c.passed.is_not(None),
            runs.c.path.like("%auto(%"),
        )
        .order_by(runs.c.closed_at.desc())
        .limit(REMEMBERED)
    )
    async with database.read() as connection:
        rows = (await connection.execute(query)).all()
    seen: defaultdict[tuple[str, str], list[tuple[bool, int]]] = defaultdict(list)
    for path, passed, nano in rows:
        choices = set(_CHOICE.findall(path))
        if len(choices) == 1:
            ((difficulty, strategy),) = choices
            seen[strategy, difficulty].append((passed, nano))
    return [
        Experience.model_validate(
            {
                "strategy": strategy,
                "difficulty": difficulty,
                "runs": len(ended),
                "passed": sum(passed for passed, _ in ended),
                "cost": usd_from_nano(sum(nano for _, nano in ended)),
            }
        )
        for (strategy, difficulty), ended in sorted(seen.items())
    ]
