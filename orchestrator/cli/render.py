"""How runs, bills and steps look on a terminal."""

from collections.abc import AsyncIterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from rich.tree import Tree

from orchestrator.history import RunEvent
from orchestrator.ledger import BillLine
from orchestrator.runs import Run
from orchestrator.usage import Receipt, Savings

__all__ = ["bill_table", "dollars", "follow", "receipt_table", "savings", "seconds", "show_in_full", "tokens"]

UNKNOWN = "-"

_MARKS = {
    "step.completed": "[green]✔[/]",
    "step.failed": "[red]✘[/]",
    "step.timed_out": "[red]✘[/]",
    "step.cancelled": "[yellow]✘[/]",
}


def dollars(amount: Decimal | None) -> str:
    """US dollars, to the nano-dollar but without zeros that say nothing."""
    if amount is None:
        return UNKNOWN
    text = f"{amount:.9f}".rstrip("0")
    whole, _, part = text.partition(".")
    return f"${whole}.{part.ljust(2, '0')}"


def seconds(span: timedelta | None) -> str:
    """A duration; a dash where it isn't known."""
    return UNKNOWN if span is None else f"{span.total_seconds():,.2f} s"


def tokens(count: int | None) -> str:
    """A number of tokens; a dash where it isn't known."""
    return UNKNOWN if count is None else f"{count:,}"


def savings(saved: Savings) -> str:
    """What kept results saved."""
    count = "1 kept result" if saved.results == 1 else f"{saved.results:,} kept results"
    return f"{count} saved {dollars(saved.usd)}" + (f" and {tokens(saved.tokens)} tokens" if saved.tokens else "")


async def follow(run_id: str, events: AsyncIterable[RunEvent], console: Console) -> None:
    """Prints a run's steps and questions as they happen, until it ends."""
    started: dict[int, tuple[datetime, str]] = {}
    with console.status("starting") as status:
        async for event in events:
            if event.type == "step.started" and event.step is not None:
                what = f"[bold]{event.name}[/] [dim]{escape((event.summary or '')[:90])}[/]"
                started[event.step] = (event.at, what)
                status.update(what)
            elif event.step in started and event.type in _MARKS:
                since, what = started.pop(event.step)
                took = f"{(event.at - since).total_seconds():.1f} s"
                console.print(f"{_MARKS[event.type]} {what} [dim]{took}{_figures(event.receipt)}[/]")
                if event.error:
                    console.print(f"  [red]{escape(event.error)}[/]", highlight=False)
                status.update(next((what for _, what in started.values()), "thinking"))
            elif event.question is not None:
                console.print(_about_question(run_id, event), highlight=False)


def _about_question(run_id: str, event: RunEvent) -> str:
    said = escape(event.summary or "")
    if event.type == "question.asked":
        whom = f" {escape(event.name)}:" if event.name else ""
        reply = f"orchestrator reply {run_id} {event.question} ..."
        return f"[cyan]?[/]{whom} {said}\n  [dim]answer with: {escape(reply)}[/]"
    if event.type == "question.refused":
        return f"[red]✘[/] {said}\n  [red]an answer didn't fit: {escape(event.error or '')}[/]"
    if event.type == "question.answered":
        return f"[green]✔[/] answered{f' by {escape(event.name)}' if event.name else ''}: {said}"
    how = "nobody answered in time" if event.type == "question.timed_out" else "not asked any more"
    return f"[yellow]✘[/] {how}: question {event.question}"


def _figures(receipt: Receipt | None) -> str:
    if receipt is not None and receipt.saved.results:
        return f", {savings(receipt.saved)}"
    if receipt is None or not receipt.usage.total:
        return ""
    used = receipt.usage
    prompt = f"{tokens(used.uncached)} + {tokens(used.cached)} cached"
    return f", {prompt} → {tokens(used.output)} tokens, {dollars(receipt.cost)}"


def show_in_full(shown: Table | Tree) -> None:
    """Prints a table or tree on stdout as wide as it is: ids must be whole, and a terminal can wrap its lines."""
    console = Console()
    console.width = max(console.width, Measurement.get(console, console.options.update(width=1000), shown).maximum)
    console.print(shown)


def receipt_table(run: Run) -> Table:
    """A run's totals."""
    receipt = run.receipt
    table = Table(title="Receipt", show_header=False, title_justify="left", title_style="bold")
    table.add_column()
    table.add_column(justify="right")
    table.add_row("prefill, uncached", f"{tokens(receipt.usage.uncached)} tokens")
    table.add_row("prefill, cached", f"{tokens(receipt.usage.cached)} tokens")
    table.add_row("decode", f"{tokens(receipt.usage.output)} tokens")
    table.add_row("engine time", seconds(receipt.timings.engine))
    table.add_row("queue time", seconds(receipt.timings.queue))
    table.add_row("steps, attempts", f"{receipt.steps}, {receipt.attempts}")
    table.add_row("waste", dollars(receipt.waste))
    if receipt.saved.results:
        table.add_row("not in the cost", savings(receipt.saved))
    table.add_row(
        "[bold]cost[/]", f"[bold]{dollars(receipt.cost)}[/]" + (" (estimated in part)" if receipt.estimated else "")
    )
    return table


def bill_table(lines: Sequence[BillLine]) -> Table:
    """A run's bill, line by line."""
    table = Table(title="Bill", title_justify="left", title_style="bold")
    for column in ("step", "outcome"):
        table.add_column(column, overflow="fold")
    for column in ("attempts", "uncached", "cached", "decode", "cost"):
        table.add_column(column, justify="right", no_wrap=True)
    for line in lines:
        receipt, usage = line.receipt, line.receipt.usage
        table.add_row(
            f"{line.kind} {line.name}", line.outcome or "open", str(receipt.attempts),
            tokens(usage.uncached), tokens(usage.cached), tokens(usage.output), dollars(receipt.cost),
        )  # fmt: skip
    return table
