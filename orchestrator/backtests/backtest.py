"""A backtest: stored runs again, as they would go now or in another way, and how that differs."""

import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, Literal

import anyio
from pydantic import BaseModel, ConfigDict
from temporalio.client import Client
from temporalio.service import RPCError

from orchestrator.backtests.accuracy import Accuracy, Check, Judgement
from orchestrator.backtests.compare import METHOD, Difference, Metric, compared
from orchestrator.backtests.gate import Condition
from orchestrator.backtests.originals import Figures, Original, Selection, read_originals
from orchestrator.backtests.records import HistoryGone, RunRecord, read_record
from orchestrator.backtests.starting import Ended, rerun
from orchestrator.backtests.variant import Variant
from orchestrator.budget import Budget
from orchestrator.database import Database
from orchestrator.errors import ConfigurationError, InvalidInput
from orchestrator.quotes.queues import read_queue
from orchestrator.reruns import Rerun
from orchestrator.signature import ReasoningWorkflow
from orchestrator.steps import Inheritance, RunStatus, engine_queue
from orchestrator.usage import Usd, usd_from_nano

__all__ = ["Backtest", "BacktestReport", "Pair", "Plan", "Side", "Skipped"]

LARGEST_HEADER = 1_500_000
"""Bytes; Temporal refuses a payload of 2 MiB."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)


class Skipped(_Value):
    """A run that wasn't run again."""

    run_id: str
    why: Literal["history_gone", "input_unfit", "record_too_large", "not_started"]
    """Its history isn't kept any more; its input doesn't fit the code as it is now; what it was told is too much for a
    header; or Temporal didn't take the rerun."""
    detail: str = ""


class Side(_Value):
    """One run of a pair."""

    run_id: str
    cost: Usd
    """Of a rerun, with what recorded answers of tools had cost the original."""
    tokens: int
    time: timedelta
    """In which at least one engine call was under way."""
    correct: bool | None
    """`None` where nothing says."""


class Pair(_Value):
    """A run and its rerun."""

    original: Side
    rerun: Side
    status: RunStatus
    """Of the rerun."""
    error: str | None
    answered: int
    """Calls answered from the record."""
    live: int
    """Reads made live."""
    off_record: Sequence[str]
    """What was asked that isn't on the record."""
    compared: bool
    """Whether it is in the differences; not, where the rerun ended for want of an answer on the record."""


class BacktestReport(_Value):
    """How the variant differs from the runs on record."""

    workflow: str
    tenant: str
    variant: Variant
    accuracy_by: Accuracy
    """What says that a result is right."""
    differences: Sequence[Difference]
    method: str
    """Of the intervals."""
    pairs: Sequence[Pair]
    skipped: Sequence[Skipped]
    failed: int
    """Reruns that didn't complete, those for want of an answer on the record left out."""
    off_record: int
    """Reruns that asked for something that isn't on the record."""
    off_record_calls: Mapping[str, int]
    """How often, by tool and collection."""
    unjudged: int
    """Compared pairs of which nothing says whether both are right."""
    check_problem: str | None
    """What the given check raised first, if it ever did."""
    strategies_used: int | None
    """Answers thought out by the variant's strategy; `None` where it has none. At 0, it changed nothing."""
    spent: Usd
    """What the backtest itself cost."""
    failed_by: Sequence[str]
    """The conditions by which it fails."""

    @property
    def counts(self) -> Mapping[str, int]:
        """What conditions may be about, besides differences."""
        return {
            "pairs": sum(pair.compared for pair in self.pairs),
            "skipped": len(self.skipped),
            "failed": self.failed,
            "off_record": self.off_record,
            "unjudged": self.unjudged,
        }


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to backtest, and how."""

    definition: type[ReasoningWorkflow[Any, Any]]
    selection: Selection
    variant: Variant
    check: Check | None = None
    """Whether a result is right for an input; by default the workflow's own check, else equality with the record."""
    live_reads: bool = False
    """Whether reads that aren't on the record may be made."""
    conditions: Sequence[Condition] = ()
    at_a_time: int = 4
    timeout: timedelta = timedelta(hours=1)
    """Of one rerun."""


@dataclass(frozen=True, kw_only=True)
class _Done:
    original: Original
    record: RunRecord
    ended: Ended


class Backtest:
    """Runs a plan."""

    def __init__(self, client: Client, database: Database, plan: Plan) -> None:
        self._client = client
        self._database = database
        self._plan = plan
        owner = plan.definition.orchestrator_app
        self.id = f"backtest-{uuid.uuid4().hex[:12]}"
        self._tools = {tool.name: tool for tool in owner.tools}

    async def originals(self) -> Sequence[Original]:
        """The runs that it is about, the latest first.

        Raises:
            UnknownName: the tenant never ran such a workflow.
            NoHistory: no such run completed.
            ConfigurationError: nobody would think for the reruns.
        """
        pool = self._plan.variant.pool
        if pool is not None and not (await read_queue(self._client, engine_queue(pool))).workers:
            raise ConfigurationError(
                f"no worker polls {engine_queue(pool)}",
                remedy="Start one with ORCHESTRATOR_ENGINE__POOL, or name another pool.",
            )
        async with self._database.read() as connection:
            return await read_originals(connection, self._plan.selection)

    async def run(self, originals: Sequence[Original], advance: Callable[[], object] = lambda: None) -> BacktestReport:
        """Runs them again.

        Args:
            advance: called once for each, when it is done or skipped.
        """
        limiter = anyio.CapacityLimiter(self._plan.at_a_time)
        done: dict[int, _Done | Skipped] = {}

        async def one(place: int, original: Original) -> None:
            async with limiter:
                done[place] = await self._again(original)
                advance()

        async with anyio.create_task_group() as tasks:
            for place, original in enumerate(originals):
                tasks.start_soon(one, place, original)
        ordered = [done[place] for place in range(len(originals))]
        return self._report(
            [each for each in ordered if isinstance(each, _Done)],
            [each for each in ordered if isinstance(each, Skipped)],
        )

    async def _again(self, original: Original) -> "_Done | Skipped":
        plan = self._plan
        try:
            async with self._database.read() as connection:
                record = await read_record(self._client, connection, original, self._tools)
        except HistoryGone:
            return Skipped(run_id=original.workflow_id, why="history_gone")
        try:
            value = plan.definition.signature.parse(record.input)
        except InvalidInput as error:
            return Skipped(run_id=original.workflow_id, why="input_unfit", detail=error.problem)
        told = Rerun(
            of=original.workflow_id,
            backtest=self.id,
            answers=tuple(record.answers),
            listings=record.listings,
            live_reads=plan.live_reads,
            pool=plan.variant.pool,
            strategy=plan.variant.strategy,
        )
        inheritance = Inheritance(tenant=plan.selection.tenant, budget=self._budget, rerun=told)
        if (size := len(inheritance.model_dump_json())) > LARGEST_HEADER:
            detail = f"{size:,} bytes for {len(record.answers):,} answers"
            return Skipped(run_id=original.workflow_id, why="record_too_large", detail=detail)
        try:
            ended = await rerun(self._client, self._database, plan.definition, value, inheritance, timeout=plan.timeout)
        except RPCError as error:
            return Skipped(run_id=original.workflow_id, why="not_started", detail=error.message)
        return _Done(original=original, record=record, ended=ended)

    @property
    def _budget(self) -> Budget | None:
        """That of reruns. Nobody tops them up, so they don't wait for it."""
        budget = self._plan.variant.budget or self._plan.definition.orchestrator_budget
        if budget is None or budget.on_exhausted != "pause":
            return budget
        return budget.model_copy(update={"on_exhausted": "fail"})

    def _report(self, done: Sequence[_Done], skipped: Sequence[Skipped]) -> BacktestReport:
        plan = self._plan
        accuracy = _accuracy(plan, done)
        judgement = Judgement(accuracy, plan.definition.signature, plan.check)
        pairs = [_pair(each, judgement) for each in done]
        missed = Counter(name for pair in pairs for name in pair.off_record)
        in_it = [pair for pair in pairs if pair.compared]
        report = BacktestReport(
            workflow=plan.selection.workflow,
            tenant=plan.selection.tenant,
            variant=plan.variant,
            accuracy_by=accuracy,
            differences=_differences(in_it),
            method=METHOD,
            pairs=pairs,
            skipped=skipped,
            failed=sum(pair.status is not RunStatus.COMPLETED for pair in in_it),
            off_record=sum(bool(pair.off_record) for pair in pairs),
            off_record_calls=dict(missed.most_common()),
            unjudged=sum(not _is_judged(pair) for pair in in_it),
            check_problem=judgement.problem,
            strategies_used=None
            if plan.variant.strategy is None
            else sum(each.ended.tally.strategies for each in done),
            spent=usd_from_nano(sum(each.ended.figures.nano for each in done)),
            failed_by=(),
        )
        differences = {made.metric: made for made in report.differences}
        held = [each.text for each in plan.conditions if each.holds(differences, report.counts)]
        return report.model_copy(update={"failed_by": held})


def _accuracy(plan: Plan, done: Sequence[_Done]) -> Accuracy:
    if plan.check is not None:
        return "check"
    # A rerun that didn't complete was never checked, and is none that passed.
    own = (each.ended.passed is not None or each.ended.status is not RunStatus.COMPLETED for each in done)
    if any(is_known and each.original.passed is not None for each, is_known in zip(done, own, strict=True)):
        return "workflow"
    return "match"


def _pair(done: _Done, judgement: Judgement) -> Pair:
    original, record, ended = done.original, done.record, done.ended
    completed = ended.status is RunStatus.COMPLETED
    before = judgement.original(record.input, record.result, original.passed)
    after: bool | None = False
    if completed:
        after = judgement.rerun(record.input, ended.result, ended.passed, recorded=record.result)
    figures = ended.figures
    return Pair(
        original=_side(original.workflow_id, original.figures, before),
        rerun=_side(
            ended.run_id,
            Figures(nano=figures.nano + ended.tally.nano, tokens=figures.tokens, thinking_us=figures.thinking_us),
            after,
        ),
        status=ended.status,
        error=ended.error,
        answered=ended.tally.answered,
        live=ended.tally.live,
        off_record=ended.tally.off_record,
        compared=ended.error_type != "OffRecord",
    )


def _side(run_id: str, figures: Figures, correct: bool | None) -> Side:
    return Side(
        run_id=run_id,
        cost=usd_from_nano(figures.nano),
        tokens=figures.tokens,
        time=timedelta(microseconds=figures.thinking_us),
        correct=correct,
    )


def _is_judged(pair: Pair) -> bool:
    return pair.original.correct is not None and pair.rerun.correct is not None


_FIGURE: Mapping[Metric, Callable[[Side], Decimal]] = {
    Metric.COST: lambda side: side.cost,
    Metric.TOKENS: lambda side: Decimal(side.tokens),
    Metric.TIME: lambda side: Decimal(side.time // timedelta(microseconds=1)).scaleb(-6),
    Metric.ACCURACY: lambda side: Decimal(100 if side.correct else 0),
}


def _differences(pairs: Sequence[Pair]) -> Sequence[Difference]:
    made: list[Difference] = []
    for metric, figure in _FIGURE.items():
        some = [pair for pair in pairs if metric is not Metric.ACCURACY or _is_judged(pair)]
        difference = compared(metric, [figure(pair.original) for pair in some], [figure(pair.rerun) for pair in some])
        if difference is not None:
            made.append(difference)
    return made
