"""A quote: what a run of a workflow will cost, how many tokens and how long it will take."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from fractions import Fraction
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio.client import Client

from orchestrator.budget import Budget
from orchestrator.database import Database
from orchestrator.database.tables import charges
from orchestrator.errors import NoHistory, UnknownName
from orchestrator.quotes.figures import CountSpread, TimeSpread, UsdSpread, fitted, half_up, percentile, scaled
from orchestrator.quotes.inputs import InputEffect, input_size, input_sizes
from orchestrator.quotes.past import Basis, Past, PastRun, known_workflows, latest_version, read_past
from orchestrator.quotes.queues import PoolHistory, Waiting, read_pools, read_rounds, waiting
from orchestrator.signature import ReasoningWorkflow
from orchestrator.steps import GENERATE, LEDGER_QUEUE, RETRIEVAL_QUEUE, RETRIEVE, tools_queue, workflows_queue
from orchestrator.tool import ToolOwner
from orchestrator.usage import Usd, usd_from_nano

__all__ = ["Confidence", "Input", "PathShare", "Quote", "Quotes", "Subject", "require_history"]

PATHS = 5
"""So many of the usual paths are told."""
FAIR, GOOD = 10, 50


class Confidence(StrEnum):
    """How much a quote's percentiles say, by the number of completed runs that they rest on."""

    NONE = "none"
    LOW = "low"
    """Fewer than 10: the 90th percentile is hardly more than the dearest run so far."""
    FAIR = "fair"
    """Fewer than 50."""
    GOOD = "good"


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)


class PathShare(_Value):
    """Runs that took the same path."""

    path: str
    """The kinds of steps in order."""
    runs: int
    cost_p50: Usd


class Quote(_Value):
    """What one more run of a workflow will take, going by those that there were.

    Figures are `None` where there is no history, never zero. The share in idle GPUs is not in them.
    """

    workflow: str
    version: str | None
    """The one quoted for; `None` where it isn't known."""
    tenant: str
    basis: Basis
    confidence: Confidence
    runs: int
    """Completed runs that the percentiles rest on."""
    ended: int
    """Those, and the runs of the same time that failed, were cancelled or timed out."""
    since: datetime | None
    """The end of the earliest of these runs."""
    until: datetime | None
    cost: UsdSpread | None
    """Of a run that completes, its own waste and the runs that it starts included."""
    cost_per_completed: Usd | None
    """The mean cost of a run that completes, and what is spent on runs that don't, for each that does."""
    waste_share: Usd | None
    """The part of all spend that bought nothing, runs that didn't complete included; from 0 to 1."""
    tokens: CountSpread | None
    """Prompt and output tokens."""
    prompt: CountSpread | None
    """Cached ones included."""
    cached: CountSpread | None
    output: CountSpread | None
    """Reasoning included."""
    time: TimeSpread | None
    """From start to end; waiting in queues, for tools and for top-ups included, as it was then."""
    input: InputEffect | None
    """What the size of the input does; `None` where none was given, or Temporal couldn't be asked."""
    paths: Sequence[PathShare]
    """The usual paths, the most frequent first."""
    waiting: Waiting | None
    """The queues now; `None` where Temporal couldn't be asked."""
    at_most: Budget | None
    """What the workflow's definition lets a run spend; `None` where it says nothing or isn't known."""


@dataclass(frozen=True)
class Input:
    """An input that a quote is for; a value of its own, since `null` may be one."""

    value: JsonValue


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a quote is asked for."""

    workflow: str
    tenant: str
    definition: type[ReasoningWorkflow[Any, Any]] | None = None
    """Where it is known: it says the version, the pool and the budget, and what input fits."""
    input: Input | None = None

    @classmethod
    def among(
        cls, workflows: Sequence[type[ReasoningWorkflow[Any, Any]]], name: str, tenant: str, given: Input | None
    ) -> "Subject":
        """With the definition of that name.

        Raises:
            UnknownName: there is none.
        """
        for definition in workflows:
            if definition.signature.name == name:
                return cls(workflow=name, tenant=tenant, definition=definition, input=given)
        raise UnknownName("workflow", name, [definition.signature.name for definition in workflows])


class Quotes:
    """Answers what a run will cost."""

    def __init__(self, database: Database, client: Client | None) -> None:
        """Without a client, input sizes and queues stay unknown."""
        self._database = database
        self._client = client

    async def quote(self, subject: Subject) -> Quote:
        """A quote; of basis `none` where no run ever completed.

        Raises:
            UnknownName: nothing of this name was ever run, and no definition was given.
            InvalidInput: the input doesn't fit the definition.
        """
        definition, given = subject.definition, subject.input
        if definition is not None and given is not None:
            definition.signature.parse(given.value)
        async with self._database.snapshot() as connection:
            version = await self._version(connection, subject)
            past = await read_past(connection, subject.workflow, tenant=subject.tenant, version=version)
            went = await _Went.read(connection, [run.id for run in past.runs], definition)
        effect, figures = None, _figures(past.completed)
        if self._client is not None and given is not None:
            effect, figures = await _for_input(self._client, subject, given, past.completed, figures)
        return Quote(
            workflow=subject.workflow,
            version=version,
            tenant=subject.tenant,
            basis=past.basis,
            confidence=_confidence(len(past.completed)),
            runs=len(past.completed),
            ended=len(past.runs),
            since=min((run.closed_at for run in past.runs), default=None),
            until=max((run.closed_at for run in past.runs), default=None),
            **_spreads(past, figures),
            input=effect,
            paths=_paths(past.completed),
            waiting=await self._waiting(went),
            at_most=None if definition is None else definition.orchestrator_budget,
        )

    async def _version(self, connection: AsyncConnection, subject: Subject) -> str | None:
        if subject.definition is not None:
            return subject.definition.orchestrator_version
        version = await latest_version(connection, subject.workflow, tenant=subject.tenant)
        if version is None:
            raise UnknownName("workflow", subject.workflow, await known_workflows(connection, tenant=subject.tenant))
        return version

    async def _waiting(self, went: "_Went") -> Waiting | None:
        if self._client is None:
            return None
        return await waiting(
            self._client, went.pools, rounds=went.rounds, workflows=went.workflows, activities=went.activities
        )


def require_history(quote: Quote) -> Quote:
    """The quote, if it has figures.

    Raises:
        NoHistory: it has none.
    """
    if quote.basis is Basis.NONE:
        raise NoHistory(quote.workflow, ended=quote.ended)
    return quote


@dataclass(frozen=True, kw_only=True)
class _Went:
    """Where past runs went: the pools that thought for them, and the task queues that they passed."""

    pools: Sequence[PoolHistory]
    rounds: int
    workflows: Sequence[str]
    activities: Sequence[str]

    @classmethod
    async def read(
        cls, connection: AsyncConnection, roots: Sequence[str], definition: type[ReasoningWorkflow[Any, Any]] | None
    ) -> "_Went":
        """By the charges of runs, and by the definition where it is known."""
        c = charges.c
        steps = (await connection.execute(select(c.kind, c.name, c.pool).where(c.root.in_(roots)).distinct())).all()
        pools = {step.pool for step in steps if step.kind == GENERATE and step.pool}
        if not pools and definition is not None:
            pools = {definition.orchestrator_pool}
        activities = [LEDGER_QUEUE, *(RETRIEVAL_QUEUE for step in steps if step.kind == RETRIEVE)]
        owner = None if definition is None else definition.orchestrator_app
        called = {step.name for step in steps if step.kind == "tool"}
        return cls(
            pools=await read_pools(connection, sorted(pools)),
            rounds=await read_rounds(connection, roots),
            workflows=[] if owner is None else [workflows_queue(owner.name)],
            activities=[*activities, *_queues_of_tools(owner, called)],
        )


def _queues_of_tools(owner: ToolOwner | None, called: set[str]) -> Sequence[str]:
    if owner is None:
        return []
    return sorted({tool.task_queue or tools_queue(owner.name) for tool in owner.tools if tool.name in called})


_Figures = dict[str, Sequence[int]]


def _figures(past: Sequence[PastRun]) -> _Figures:
    return {
        "cost": [run.nano for run in past],
        "tokens": [run.prompt + run.output for run in past],
        "prompt": [run.prompt for run in past],
        "cached": [run.cached for run in past],
        "output": [run.output for run in past],
        "time": [run.took_us for run in past],
    }


async def _for_input(
    client: Client, subject: Subject, given: Input, past: Sequence[PastRun], figures: _Figures
) -> tuple[InputEffect, _Figures]:
    """Figures for an input of this size, each as far as past runs show that the size matters."""
    definition = subject.definition
    size = await input_size(client, given.value if definition is None else definition.signature.parse(given.value))
    sizes = await input_sizes(client, past)
    known = [place for place, run in enumerate(past) if run.id in sizes]
    seen = [sizes[past[place].id] for place in known]
    made = dict(figures)
    for name, values in figures.items():
        some = [values[place] for place in known]
        line = fitted(seen, some)
        moved = None if line is None else scaled(some, seen, line, size)
        if moved is not None:
            made[name] = moved
    effect = InputEffect(
        bytes=size,
        runs=len(seen),
        smallest=min(seen, default=None),
        largest=max(seen, default=None),
        scaled=[name for name in figures if made[name] is not figures[name]],
        beyond=bool(seen) and not min(seen) <= size <= max(seen),
    )
    return effect, made


def _spreads(past: Past, figures: _Figures) -> dict[str, Any]:
    """The quote's figures."""
    names = ("cost", "cost_per_completed", "waste_share", "tokens", "prompt", "cached", "output", "time")
    if not past.completed:
        return dict.fromkeys(names)
    made: dict[str, Any] = {name: CountSpread.of(figures[name]) for name in ("tokens", "prompt", "cached", "output")}
    spent, useful = sum(run.nano for run in past.runs), sum(run.nano for run in past.completed)
    wasted = spent - useful + sum(run.waste_nano for run in past.completed)
    mean = Fraction(sum(figures["cost"]), len(figures["cost"]))
    # Where completed runs cost nothing, there is nothing that the input could scale.
    each = half_up(mean * spent / useful if useful else Fraction(spent, len(past.completed)))
    return {
        **made,
        "cost": UsdSpread.of(figures["cost"]),
        "cost_per_completed": usd_from_nano(each),
        "waste_share": round(usd_from_nano(wasted) / usd_from_nano(spent), 6) if spent else None,
        "time": TimeSpread.of(figures["time"]),
    }


def _confidence(runs: int) -> Confidence:
    if not runs:
        return Confidence.NONE
    return Confidence.LOW if runs < FAIR else Confidence.FAIR if runs < GOOD else Confidence.GOOD


def _paths(past: Sequence[PastRun]) -> Sequence[PathShare]:
    usual = Counter(run.path for run in past if run.path).most_common(PATHS)
    return [
        PathShare(
            path=path,
            runs=count,
            cost_p50=usd_from_nano(percentile([run.nano for run in past if run.path == path], 50)),
        )
        for path, count in usual
    ]
