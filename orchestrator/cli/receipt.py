"""`receipt`: everything that a run was charged for, and whether the ledger still says what it said."""

import sys
from collections.abc import Sequence

import anyio
import click
from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from orchestrator.cli.render import dollars, savings, seconds, show_in_full, tokens
from orchestrator.errors import DamagedLedger
from orchestrator.ledger import (
    AttemptReceipt,
    CheckName,
    CorrectionReceipt,
    RunReceipt,
    StepReceipt,
    Verification,
    run_receipt,
    verify,
)
from orchestrator.session import upgraded_database
from orchestrator.settings import Settings
from orchestrator.steps import RunStatus
from orchestrator.usage import Outcome, Receipt

__all__ = ["receipt"]

BROKEN = 1
MOST_BREAKS = 20
"""So many breaks of a check are printed; the JSON has all."""

_CHECKS = {
    CheckName.SEALS: ("every settled row is as it was sealed", "seal"),
    CheckName.FINGERPRINTS: ("what was sealed under the fingerprints is in the chain", "fingerprint"),
    CheckName.SPENT: ("what each run has spent is the sum of its rows and of those below it", "run"),
    CheckName.RESERVED: ("what each run has reserved is the sum of the open rows", "run"),
    CheckName.COSTS: ("every cost is unit prices × usage", "row"),
    CheckName.USED_ONCE: ("no step is charged as used twice", "step"),
    CheckName.PARTS: ("cached tokens are part of the prompt, reasoning of the output", "row"),
}


@click.command()
@click.argument("run")
@click.option(
    "--verify", "verified", is_flag=True, help="Compute seals, totals and costs anew; exit with 1 on a break."
)
@click.option("--fingerprint", "fingerprints", multiple=True, help="Verify that the chain has a seal with this head.")
@click.option("--steps/--no-steps", "with_steps", default=True, help="Whether to list steps and attempts.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def receipt(
    settings: Settings, run: str, verified: bool, fingerprints: tuple[str, ...], with_steps: bool, as_json: bool
) -> None:
    """Show what a run was charged for, attempt by attempt, and the runs that it started.

    RUN is its id, or its first execution id. The fingerprint is the head of its last seal: keep it elsewhere, and
    --fingerprint proves later that what it covered is as it was.
    """

    async def read() -> tuple[RunReceipt | DamagedLedger, Verification | None]:
        async with upgraded_database(settings) as database, database.snapshot() as connection:
            verification = (
                await verify(connection, run, fingerprints=fingerprints) if verified or fingerprints else None
            )
            try:
                return await run_receipt(connection, run), verification
            except DamagedLedger as error:
                return error, verification

    found, verification = anyio.run(read)
    if isinstance(found, RunReceipt):
        made = found if with_steps else _without_steps(found)
        if as_json:
            click.echo(made.model_copy(update={"verification": verification}).model_dump_json())
        else:
            show_in_full(_run(made))
    if verification is not None and not (as_json and isinstance(found, RunReceipt)):
        _show(verification, Console(stderr=as_json))
    if isinstance(found, DamagedLedger):
        raise found
    if verification is not None and not verification.ok:
        sys.exit(BROKEN)


def _without_steps(made: RunReceipt) -> RunReceipt:
    return made.model_copy(update={"steps": (), "children": tuple(map(_without_steps, made.children))})


def _run(made: RunReceipt) -> Tree:
    colour = "green" if made.status is RunStatus.COMPLETED else "red" if made.status.has_ended else "yellow"
    label = f"[bold]{escape(made.run_id)}[/] {escape(made.workflow)} {escape(made.version)} [{colour}]{made.status}[/]"
    if made.passed is not None:
        label += ", [green]passed[/]" if made.passed else ", [red]not passed[/]"
    tree = Tree(f"{label}  {_totals(made.receipt)}", highlight=False)
    if made.error is not None:
        tree.add(f"[red]{escape(made.error)}[/]")
    if made.path:
        tree.add(f"[dim]path[/] {escape(made.path)}")
    tree.add(_fingerprint(made))
    if (budget := _budget(made)) is not None:
        tree.add(budget)
    for step in made.steps:
        _add_step(tree, step)
    if made.children:
        tree.add(f"its own steps  {_totals(made.own)}")
    for child in made.children:
        tree.children.append(_run(child))
    return tree


def _totals(total: Receipt) -> str:
    text = f"[bold]{dollars(total.cost)}[/]"
    if total.waste:
        text += f", [red]{dollars(total.waste)} of it wasted[/]"
    if total.saved.results:
        text += f", [green]{savings(total.saved)}[/]"
    counts = [_count(total.steps, "step"), _count(total.attempts, "attempt")]
    if total.usage.total:
        counts.append(f"{tokens(total.usage.total)} tokens")
    if total.estimated:
        counts.append("estimated in part")
    return f"{text} [dim]({', '.join(counts)})[/]"


def _fingerprint(made: RunReceipt) -> str:
    if made.fingerprint is None:
        why = "it was never sealed" if made.status.has_ended else "a run is sealed when it ends"
        return f"[dim]fingerprint[/] none: {why}"
    covered = f"{_count(sum(link.rows for link in made.seals), 'row')} in {_count(len(made.seals), 'seal')}"
    return f"[dim]fingerprint[/] {made.fingerprint} [dim]({covered})[/]"


def _budget(made: RunReceipt) -> str | None:
    if made.account is None:
        return None
    limit, spent, reserved = made.account.limit, made.account.spent, made.account.reserved
    parts: list[str] = []
    if limit.usd is not None:
        parts.append(_of(dollars(spent.usd), dollars(limit.usd), dollars(reserved.usd) if reserved.usd else None))
    if limit.tokens is not None:
        parts.append(_of(tokens(spent.tokens), f"{limit.tokens:,} tokens", tokens(reserved.tokens or None)))
    if limit.gpu is not None:
        parts.append(_of(seconds(spent.gpu), f"{seconds(limit.gpu)} of GPU time", seconds(reserved.gpu or None)))
    if limit.calls is not None:
        parts.append(_of(tokens(spent.calls), f"{limit.calls:,} calls", None))
    return f"[dim]budget[/] {'; '.join(parts)}" if parts else None


def _of(spent: str, limit: str, reserved: str | None) -> str:
    return f"{spent} of {limit}" + (f", {reserved} reserved" if reserved not in (None, "-") else "")


def _add_step(tree: Tree, step: StepReceipt) -> None:
    title = f"{escape(step.id)} {step.kind} {escape(step.name)}"
    if step.head_start is not None:
        title += f" [dim](begun {seconds(step.head_start)} before it was asked for)[/]"
    if len(step.attempts) == 1:
        _add_attempt(tree, step.attempts[0], title)
        return
    branch = tree.add(f"{title}  {_figures(step.receipt)}")
    for attempt in step.attempts:
        call = f", call {attempt.call}" if attempt.call else ""
        _add_attempt(branch, attempt, f"attempt {attempt.attempt}{call}")


def _add_attempt(tree: Tree, attempt: AttemptReceipt, title: str) -> None:
    if attempt.outcome is None:
        mark, became = "[yellow]…[/]", f"open, {dollars(attempt.reserved.usd)} reserved"
    elif attempt.outcome is Outcome.USED:
        mark, became = "[green]✔[/]", attempt.outcome
    else:
        mark, became = "[red]✘[/]", f"[red]{attempt.outcome}[/]"
    source = f" [dim]{escape(attempt.prices.source)}[/]" if attempt.prices.source else ""
    leaf = tree.add(f"{mark} {title}: {became}  {_figures(attempt.receipt)}{source}")
    for correction in attempt.corrections:
        leaf.add(_correction(correction))


def _figures(made: Receipt) -> str:
    used = made.usage
    parts: list[str] = []
    if used.total:
        parts.append(f"{tokens(used.uncached)} + {tokens(used.cached)} cached → {tokens(used.output)} tokens")
    if made.gpu is not None:
        parts.append(f"{made.gpu.total_seconds():,.3f} s GPU")
    parts.append(dollars(made.cost))
    if made.saved.results:
        parts.append(f"[green]{savings(made.saved)}[/]")
    if made.estimated:
        parts.append("[yellow]estimated[/]")
    return ", ".join(parts)


def _correction(made: CorrectionReceipt) -> str:
    parts: list[str] = []
    for name, change in (("prompt", made.prompt), ("cached", made.cached), ("output", made.output)):
        if change:
            parts.append(f"{change:+,} {name} tokens")
    if made.gpu:
        parts.append(f"{made.gpu.total_seconds():+,.3f} s GPU")
    parts.append(f"{'-' if made.cost < 0 else '+'}{dollars(abs(made.cost))}")
    return f"[dim]{made.reason}, {made.outcome}:[/] {', '.join(parts)}"


def _show(verification: Verification, console: Console) -> None:
    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    for check in verification.checks:
        holds, noun = _CHECKS[check.name]
        say(f"{'[green]✔[/]' if check.ok else '[red]✘[/]'} {holds} [dim]({_count(check.examined, noun)})[/]")
        for item in check.breaks[:MOST_BREAKS]:
            where = ", ".join(_where(item.run, item.seal))
            say(f"  [red]{escape(f'{where}: ' if where else '')}{escape(item.problem)}[/]")
        if (more := len(check.breaks) - MOST_BREAKS) > 0:
            say(f"  and {more:,} more: --json has them all")


def _where(run: str | None, seal: int | None) -> Sequence[str]:
    return [*([run] if run else ()), *([f"seal {seal}"] if seal is not None else ())]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
