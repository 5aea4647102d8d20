"""The itemised receipt of a run: its steps, their attempts, what corrected them, and the runs that it started."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.database.tables import charges
from orchestrator.errors import DamagedLedger
from orchestrator.ledger.rows import Reason, receipt_of, span
from orchestrator.ledger.seals import Seal, key_of
from orchestrator.ledger.tree import RunTree, read_tree
from orchestrator.ledger.verification import Verification
from orchestrator.steps import RunStatus, beside_of
from orchestrator.usage import Outcome, Receipt, Usd, usd_from_nano

__all__ = [
    "AccountState",
    "Amounts",
    "AttemptReceipt",
    "CorrectionReceipt",
    "RunReceipt",
    "StepReceipt",
    "UnitPrices",
    "run_receipt",
]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)


class UnitPrices(_Value):
    """What an attempt was charged by, in US dollars. With a GPU price, tokens have none of their own."""

    input: Usd
    """For a million uncached prompt tokens."""
    cached: Usd
    output: Usd
    gpu: Usd
    """For a GPU-hour."""
    call: Usd
    """For the attempt itself."""
    source: str | None
    """The row of the price book, or the setting."""


class CorrectionReceipt(_Value):
    """What was added to a settled attempt later; less than zero where it was taken away."""

    entry: int
    """From 1 on, in the order in which corrections came."""
    reason: Reason
    outcome: Outcome | None
    """Of what it takes away or adds."""
    prompt: int | None
    cached: int | None
    output: int | None
    reasoning: int | None
    queue: timedelta | None
    prefill: timedelta | None
    decode: timedelta | None
    gpu: timedelta | None
    cost: Usd
    at: datetime | None


class Amounts(_Value):
    """An amount of each thing that can be limited; `None` in a limit means that there is none."""

    usd: Usd | None
    tokens: int | None
    gpu: timedelta | None
    calls: int | None
    """Attempts of engine calls."""


class AttemptReceipt(_Value):
    """One paid call of one attempt of a step."""

    attempt: int
    call: int
    """0, or the number of a further paid call of the same attempt."""
    outcome: Outcome | None
    """What became of it: `discarded` too where its result was used first; `None` while it is open."""
    receipt: Receipt
    """What it used and cost, corrections included."""
    settled: Receipt | None
    """The same before corrections; `None` while it is open."""
    corrections: tuple[CorrectionReceipt, ...]
    prices: UnitPrices
    reserved: Amounts
    """Its upper bound, which stays reserved while it is open."""
    pool: str | None
    server: str | None
    rid: str | None
    """The engine's request id."""
    reserved_at: datetime
    settled_at: datetime | None


class StepReceipt(_Value):
    """A paid step."""

    execution: str
    """In which execution of the run it was, of those that it was continued in."""
    id: str
    """The id of its activity, unique in that execution."""
    kind: str
    """`generate`, `retrieve` or `tool`."""
    name: str
    """The model, collection or tool."""
    ahead_of: str | None
    """Of a tool call that was made before the model asked for it: the step that made the reply it was made beside."""
    head_start: timedelta | None
    """How long it ran before that reply was there, if the model then asked for it: the time that was won."""
    receipt: Receipt
    attempts: tuple[AttemptReceipt, ...]


class AccountState(_Value):
    """What a run and its descendants may spend, have reserved and have spent."""

    limit: Amounts
    reserved: Amounts
    spent: Amounts


class RunReceipt(_Value):
    """What a run used and cost, to the last attempt."""

    run_id: str
    """The id of its workflow, by which its user knows it."""
    execution: str
    """Its first execution id, by which the ledger knows it."""
    parent: str | None
    """First execution id of the run that started it."""
    workflow: str
    version: str
    tenant: str
    status: RunStatus
    error: str | None
    path: str | None
    """The kinds of its steps in order: the inference path."""
    passed: bool | None
    """What the workflow's check of correctness said."""
    started_at: datetime
    closed_at: datetime | None
    receipt: Receipt
    """Of its own steps and of all runs below it, each once."""
    own: Receipt
    """Of its own steps alone."""
    account: AccountState | None
    fingerprint: str | None
    """Head of its last seal: kept elsewhere, it proves later what the receipt said. `None` until it is sealed."""
    seals: tuple[Seal, ...]
    steps: tuple[StepReceipt, ...]
    children: "tuple[RunReceipt, ...]"
    verification: Verification | None = None
    """Of this run and all below it, where it was asked for."""


async def run_receipt(connection: AsyncConnection, run_id: str, *, tenant: str | None = None) -> RunReceipt:
    """The receipt of a run, by its workflow id or its first execution id.

    Wants a `Database.snapshot`, or its parts may be of different moments.

    Raises:
        UnknownName: the ledger knows no such run of the tenant.
        DamagedLedger: the rows are so broken that they can't be shown.
    """
    tree = await read_tree(connection, run_id, tenant=tenant)
    shown = [column for column in charges.c if column.name != "result"]
    query = select(*shown).where(charges.c.run.in_(select(tree.ids.c.id)))
    try:
        rows: dict[str, list[Any]] = defaultdict(list)
        for row in await connection.execute(query):
            rows[row.run].append(row)
        return _nested(tree, rows)
    except (TypeError, ValueError) as error:
        raise DamagedLedger(tree.runs[tree.top].workflow_id, str(error)) from error


def _nested(tree: RunTree, rows: Mapping[str, Sequence[Any]]) -> RunReceipt:
    made: dict[str, RunReceipt] = {}
    for run in tree.bottom_up:
        children = tuple(made.pop(child) for child in tree.children[run])
        made[run] = _run(tree, run, rows.get(run, ()), children)
    return made[tree.top]


def _run(tree: RunTree, run: str, rows: Sequence[Any], children: tuple[RunReceipt, ...]) -> RunReceipt:
    row, account = tree.runs[run], tree.accounts.get(run)
    steps = _steps(rows)
    own = receipt_of(rows, steps=len(steps))
    links = tuple(Seal.model_validate(link) for link in tree.seals[run])
    return RunReceipt(
        run_id=row.workflow_id,
        execution=run,
        parent=row.parent,
        workflow=row.workflow,
        version=row.version,
        tenant=row.tenant,
        status=RunStatus(row.status),
        error=row.error,
        path=row.path,
        passed=row.passed,
        started_at=row.started_at,
        closed_at=row.closed_at,
        receipt=sum((child.receipt for child in children), own),
        own=own,
        account=None if account is None else _account(account),
        fingerprint=links[-1].head if links else None,
        seals=links,
        steps=steps,
        children=children,
    )


def _account(row: Any) -> AccountState:
    def amounts(part: str, calls: int | None) -> Amounts:
        nano, tokens, gpu_us = (getattr(row, f"{part}_{unit}") for unit in ("nano", "tokens", "gpu_us"))
        return Amounts(usd=_usd(nano), tokens=tokens, gpu=span(gpu_us), calls=calls)

    return AccountState(
        limit=amounts("limit", row.limit_calls), reserved=amounts("reserved", None), spent=amounts("spent", row.calls)
    )


def _steps(rows: Iterable[Any]) -> tuple[StepReceipt, ...]:
    """In the order of their executions, and in these of their ids, which Temporal counts."""
    begun: dict[str, datetime] = {}
    by_step: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in sorted(rows, key=key_of):
        begun[row.run_id] = min(begun.get(row.run_id, row.reserved_at), row.reserved_at)
        by_step[row.run_id, row.activity_id].append(row)
    order = sorted(by_step, key=lambda step: (begun[step[0]], step[0], _place(step[1])))
    made = {step: _step(by_step[step]) for step in order}
    return tuple(_ahead(made, step) for step in made.values())


def _place(activity_id: str) -> tuple[int, str]:
    return (int(activity_id), "") if activity_id.isdecimal() else (0, activity_id)


def _step(rows: Sequence[Any]) -> StepReceipt:
    by_call: dict[tuple[int, int], list[Any]] = defaultdict(list)
    for row in rows:
        by_call[row.attempt, row.call].append(row)
    attempts = tuple(map(_attempt, by_call.values()))
    receipt = attempts[0].receipt if len(attempts) == 1 else receipt_of(rows)
    first = rows[0]
    return StepReceipt(
        execution=first.run_id,
        id=first.activity_id,
        kind=first.kind,
        name=first.name,
        ahead_of=beside_of(first.activity_id),
        head_start=None,
        receipt=receipt.model_copy(update={"steps": 1}),
        attempts=attempts,
    )


def _ahead(steps: Mapping[tuple[str, str], StepReceipt], step: StepReceipt) -> StepReceipt:
    """A step with its head start, by the clocks of the workers that took it and the reply."""
    reply = steps.get((step.execution, step.ahead_of or ""))
    ended = [each.settled_at for each in step.attempts if each.outcome is Outcome.USED and each.settled_at]
    heard = [each.settled_at for each in reply.attempts if each.settled_at] if reply else []
    if not ended or not heard:
        return step
    won = min(ended[-1], heard[-1]) - step.attempts[0].reserved_at
    return step.model_copy(update={"head_start": max(won, timedelta(0))})


def _attempt(rows: Sequence[Any]) -> AttemptReceipt:
    first, *more = rows
    settled = receipt_of([first])
    thrown_away = any(row.reason == Reason.DISCARD for row in more)
    return AttemptReceipt(
        attempt=first.attempt,
        call=first.call,
        outcome=Outcome.DISCARDED if thrown_away else _outcome(first),
        receipt=receipt_of(rows) if more else settled,
        settled=None if first.outcome is None else settled,
        corrections=tuple(map(_correction, more)),
        prices=UnitPrices(
            input=usd_from_nano(first.input_price),
            cached=usd_from_nano(first.cached_price),
            output=usd_from_nano(first.output_price),
            gpu=usd_from_nano(first.gpu_price),
            call=usd_from_nano(first.call_price),
            source=first.price_source,
        ),
        reserved=Amounts(
            usd=_usd(first.reserved_nano),
            tokens=first.reserved_tokens,
            gpu=span(first.reserved_gpu_us),
            calls=None,
        ),
        pool=first.pool,
        server=first.server,
        rid=first.rid,
        reserved_at=first.reserved_at,
        settled_at=first.settled_at,
    )


def _correction(row: Any) -> CorrectionReceipt:
    return CorrectionReceipt(
        entry=row.entry,
        reason=Reason(row.reason),
        outcome=_outcome(row),
        prompt=row.prompt_tokens,
        cached=row.cached_tokens,
        output=row.output_tokens,
        reasoning=row.reasoning_tokens,
        queue=span(row.queue_us),
        prefill=span(row.prefill_us),
        decode=span(row.decode_us),
        gpu=span(row.gpu_us),
        cost=usd_from_nano(row.cost_nano or 0),
        at=row.settled_at,
    )


def _outcome(row: Any) -> Outcome | None:
    return None if row.outcome is None else Outcome(row.outcome)


def _usd(nano: int | None) -> Usd | None:
    return None if nano is None else usd_from_nano(nano)
