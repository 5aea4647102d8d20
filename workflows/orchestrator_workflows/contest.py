"""The second act of the demo: one attempt beside best-of-N on the same puzzles, with both bills."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import anyio
from pydantic import BaseModel, JsonValue
from rich.columns import Columns
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from orchestrator.cli.render import dollars, receipt_table
from orchestrator.runs import Run
from orchestrator.session import Session
from orchestrator.steps import RunStatus
from orchestrator.usage import Usd
from orchestrator_workflows.puzzles import Puzzle
from orchestrator_workflows.solve import Solution, solve

__all__ = ["AT_MOST", "Bout", "Tally", "contest", "show_bout", "show_contest", "tally"]

AT_MOST = 16
"""Drafts of best-of-N."""
BEST: JsonValue = {"kind": "best_of", "at_most": AT_MOST, "parallel": AT_MOST}


@dataclass(frozen=True)
class Bout:
    """A puzzle, tried once, and as often as it takes."""

    puzzle: Puzzle
    single: Run
    best: Run


class Side(BaseModel):
    """What one way of trying came to."""

    solved: int
    cost: Usd
    tokens: int


class Tally(BaseModel):
    """Both ways, by the receipts of the ledger."""

    puzzles: int
    at_most: int
    """Drafts of the best-of-N."""
    single: Side
    best: Side


async def contest(
    session: Session, tenant: str, puzzles: Sequence[Puzzle], *, within: timedelta, told: Callable[[Bout], None]
) -> Sequence[Bout]:
    """Tries puzzle after puzzle both ways; begins none after the time is up."""
    bouts: list[Bout] = []
    ends = anyio.current_time() + within.total_seconds()
    for puzzle in puzzles:
        if bouts and anyio.current_time() > ends:
            break
        single = await _tried(session, tenant, puzzle.problem("direct"))
        best = await _tried(session, tenant, puzzle.problem(BEST))
        bouts.append(Bout(puzzle, single, best))
        told(bouts[-1])
    return bouts


async def _tried(session: Session, tenant: str, problem: dict[str, Any]) -> Run:
    run_id = await session.runs.start(solve.signature.name, problem, tenant=tenant)
    return await session.runs.wait(run_id)


def tally(bouts: Sequence[Bout]) -> Tally:
    """Who solved how many, at what cost."""

    def side(runs: Sequence[Run]) -> Side:
        return Side(
            solved=sum(_solved(run) for run in runs),
            cost=sum((run.receipt.cost for run in runs), Decimal(0)),
            tokens=sum(run.receipt.usage.total for run in runs),
        )

    return Tally(
        puzzles=len(bouts),
        at_most=AT_MOST,
        single=side([bout.single for bout in bouts]),
        best=side([bout.best for bout in bouts]),
    )


def show_bout(bout: Bout, console: Console) -> None:
    """One line: the puzzle, and both answers."""
    said = "   ".join(f"{name}: {_answer(run)}" for name, run in (("once", bout.single), ("best", bout.best)))
    console.print(f"{said}   [dim]{escape(bout.puzzle.question)}[/]", highlight=False)


def show_contest(bouts: Sequence[Bout], console: Console) -> None:
    """The bills of the puzzle that shows it best, and the tally."""
    shown = max(bouts, key=lambda bout: _solved(bout.best) - _solved(bout.single))
    console.print(f"\n[bold]{escape(shown.puzzle.question)}[/] [dim]({shown.puzzle.answer})[/]", highlight=False)
    names = ("One attempt", f"Best of {AT_MOST}")
    console.print(
        Columns([
            Panel(receipt_table(run), title=f"{name}: {_answer(run)}")
            for name, run in zip(names, (shown.single, shown.best), strict=True)
        ])
    )  # fmt: skip
    result = tally(bouts)
    table = Table(title=f"{result.puzzles} puzzles", title_justify="left", title_style="bold")
    table.add_column("")
    for column in ("solved", "cost", "for each solved"):
        table.add_column(column, justify="right")
    for name, side in zip(names, (result.single, result.best), strict=True):
        each = dollars(side.cost / side.solved) if side.solved else "-"
        table.add_row(name, str(side.solved), dollars(side.cost), each)
    console.print(table)


def _solved(run: Run) -> bool:
    return run.status is RunStatus.COMPLETED and bool(Solution.model_validate(run.result).correct)


def _answer(run: Run) -> str:
    if run.status is not RunStatus.COMPLETED:
        return "[red]✘[/] none"
    solution = Solution.model_validate(run.result)
    tried = "" if len(solution.trials) == 1 else f" of {len(solution.trials)} drafts"
    return f"{'[green]✔[/]' if solution.correct else '[red]✘[/]'} {escape(solution.answer)}{tried}"
