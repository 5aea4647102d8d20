"""The ledger as a FOCUS 1.2 dataset (FinOps Open Cost and Usage Specification), for tools that read every provider's.

https://focus.finops.org/focus-specification/v1-2/. All columns that 1.2 makes mandatory, those of its conditional ones
that apply, and custom ones (`x_`) for what it has no word for. A line is a UTC day's charges of one tenant, workflow,
model and outcome; unused GPU time is a line of its own for each day and pool, in exports that are about everybody.
There are no unit prices: a line holds cached, uncached and generated tokens, and the prices of a whole day.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.database import Database
from orchestrator.database.tables import charges
from orchestrator.ledger.cells import Scope, charged, day_of, roots_of, still_estimated
from orchestrator.ledger.exact import known
from orchestrator.ledger.idle import IdlePool, read_idle
from orchestrator.ledger.prices import HOUR_US
from orchestrator.ledger.rows import same_call
from orchestrator.ledger.timeframes import EVER, Timeframe
from orchestrator.steps import GENERATE, RETRIEVE
from orchestrator.usage import usd_from_nano

__all__ = ["COLUMNS", "focus_rows"]

PROVIDER = "Reasoning orchestrator"
CURRENCY = "USD"

MANDATORY = (
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart",
    "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodEnd", "ChargePeriodStart", "ContractedCost",
    "EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingQuantity", "PricingUnit", "ProviderName",
    "PublisherName", "ServiceCategory", "ServiceName",
)  # fmt: skip
CONDITIONAL = (
    "ChargeFrequency", "ConsumedQuantity", "ConsumedUnit", "PricingCategory", "ServiceSubcategory", "SkuId",
    "SkuPriceId", "SubAccountId", "SubAccountName", "Tags",
)  # fmt: skip
CUSTOM = (
    "x_Workflow", "x_WorkflowVersion", "x_Outcome", "x_StepKind", "x_Model", "x_Pool", "x_Runs", "x_Calls",
    "x_PromptTokens", "x_CachedTokens", "x_OutputTokens", "x_ReasoningTokens", "x_GpuSeconds", "x_EstimatedCost",
)  # fmt: skip
COLUMNS = (*sorted(MANDATORY + CONDITIONAL), *CUSTOM)

_SERVICES = {GENERATE: "Model inference", RETRIEVE: "Retrieval"}
TOOLS = "Tools"
IDLE = "Idle GPU time"


async def focus_rows(
    database: Database, *, timeframe: Timeframe = EVER, tenant: str | None = None, workflow: str | None = None
) -> Sequence[Mapping[str, str | None]]:
    """The rows of the dataset, by the names in `COLUMNS`; `None` is FOCUS's null.

    Their costs add up to what `cost_report` says of the same charges: its total's `cost`, and where neither tenant nor
    workflow is named, its `idle` too.
    """
    scope = Scope(timeframe=timeframe, tenant=tenant, workflow=workflow)
    async with database.snapshot() as connection:
        lines = await _read(connection, scope)
        idle = await read_idle(connection, timeframe) if scope.is_everybody else list[IdlePool]()
    return [*(_row(line) for line in lines), *(_idle_row(pool) for pool in idle)]


async def _read(connection: AsyncConnection, scope: Scope) -> Sequence[Any]:
    c, roots, dialect = charges.c, roots_of(), connection.dialect.name
    keys = {
        "day": day_of(c.settled_at, dialect),
        "tenant": c.tenant,
        "workflow": roots.c.workflow,
        "version": roots.c.version,
        "kind": c.kind,
        "name": c.name,
        "pool": c.pool,
        "outcome": c.outcome,
        "by_gpu": c.gpu_price > 0,
        "corrects": _corrects_an_earlier_month(c, dialect),
    }
    figures = {
        "calls": case((c.entry == 0, 1), else_=0),
        "prompt": known(c.prompt_tokens),
        "cached": known(c.cached_tokens),
        "output": known(c.output_tokens),
        "reasoning": known(c.reasoning_tokens),
        "gpu_us": known(c.gpu_us),
        "nano": c.cost_nano,
        "estimated": case((still_estimated(c), c.cost_nano), else_=0),
    }
    rows = select(*(what.label(name) for name, what in (keys | figures).items()), c.root)
    rows = rows.select_from(charges.outerjoin(roots, roots.c.id == c.root)).where(*charged(scope, c, roots))
    inner = rows.subquery()
    grouped = [inner.c[name] for name in keys]
    sums = [func.sum(inner.c[name]).label(name) for name in figures]
    query = select(*grouped, *sums, func.count(inner.c.root.distinct()).label("runs"))
    return (await connection.execute(query.group_by(*grouped).order_by(*grouped))).all()


def _corrects_an_earlier_month(c: Any, dialect: str) -> ColumnElement[bool]:
    first = charges.alias("first")
    settled = select(first.c.settled_at).where(first.c.entry == 0, same_call(first.c, c))
    later = _month(c.settled_at, dialect) > _month(settled.scalar_subquery(), dialect)
    # Most corrections are settled in the month of the call: then the call's first row needn't be looked for.
    may = and_(c.entry > 0, _month(c.settled_at, dialect) > _month(c.reserved_at, dialect))
    return case((may, later), else_=False)


def _month(at: Any, dialect: str) -> ColumnElement[str]:
    if dialect == "sqlite":
        return func.strftime("%Y-%m", at)
    return func.to_char(func.timezone("UTC", at), "YYYY-MM")


def _row(line: Any) -> Mapping[str, str | None]:
    day = line.day if isinstance(line.day, date) else date.fromisoformat(line.day)
    where = f" in pool {line.pool}" if line.pool else ""
    sku = f"{line.kind}/{line.name}{f'@{line.pool}' if line.pool else ''}"
    if line.by_gpu:
        quantity = _decimal(Decimal(int(line.gpu_us)) / HOUR_US)
        pricing, consumed = ("GPU-Hours", quantity), ("GPU-Seconds", _seconds(line.gpu_us))
    elif line.kind == GENERATE:
        pricing = consumed = ("Tokens", str(int(line.prompt + line.output)))
    else:
        pricing = consumed = ("Requests", str(int(line.calls)))
    return _completed(
        day, int(line.nano), pricing, consumed,
        {
            "ChargeClass": "Correction" if line.corrects else None,
            "ChargeDescription": f"{line.kind} {line.name}{where}, {line.outcome}",
            "ServiceName": _SERVICES.get(line.kind, TOOLS),
            "ServiceSubcategory": "Generative AI" if line.kind == GENERATE else "Other (AI and Machine Learning)",
            "SkuId": sku,
            "SubAccountId": line.tenant,
            "SubAccountName": line.tenant,
            "Tags": _tags(workflow=line.workflow, version=line.version, outcome=line.outcome),
            "x_Workflow": line.workflow,
            "x_WorkflowVersion": line.version,
            "x_Outcome": line.outcome,
            "x_StepKind": line.kind,
            "x_Model": line.name,
            "x_Pool": line.pool,
            "x_Runs": str(line.runs),
            "x_Calls": str(int(line.calls)),
            "x_PromptTokens": str(int(line.prompt)),
            "x_CachedTokens": str(int(line.cached)),
            "x_OutputTokens": str(int(line.output)),
            "x_ReasoningTokens": str(int(line.reasoning)),
            "x_GpuSeconds": _seconds(line.gpu_us),
            "x_EstimatedCost": _decimal(usd_from_nano(int(line.estimated))),
        },
    )  # fmt: skip


def _idle_row(pool: IdlePool) -> Mapping[str, str | None]:
    return _completed(
        date.fromisoformat(pool.day), pool.nano,
        ("GPU-Hours", _decimal(Decimal(pool.idle_us) / HOUR_US)), ("GPU-Seconds", _seconds(pool.idle_us)),
        {
            "ChargeDescription": f"GPUs of pool {pool.pool}, used by no call",
            "ServiceName": IDLE,
            "ServiceSubcategory": "Other (AI and Machine Learning)",
            "SkuId": f"idle/{pool.pool}",
            "Tags": _tags(outcome="idle"),
            "x_Outcome": "idle",
            "x_Pool": pool.pool,
            "x_GpuSeconds": _seconds(pool.idle_us),
        },
    )  # fmt: skip


def _completed(
    day: date, nano: int, pricing: tuple[str, str], consumed: tuple[str, str], fields: Mapping[str, str | None]
) -> Mapping[str, str | None]:
    cost = f"{usd_from_nano(nano):.9f}"
    month = day.replace(day=1)
    unit, quantity = pricing
    shared = {
        "BilledCost": cost,
        "BillingAccountId": PROVIDER,
        "BillingCurrency": CURRENCY,
        "BillingPeriodStart": _midnight(month),
        "BillingPeriodEnd": _midnight((month + timedelta(days=31)).replace(day=1)),
        "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodStart": _midnight(day),
        "ChargePeriodEnd": _midnight(day + timedelta(days=1)),
        "ConsumedUnit": consumed[0],
        "ConsumedQuantity": consumed[1],
        "ContractedCost": cost,
        "EffectiveCost": cost,
        "InvoiceIssuerName": PROVIDER,
        "ListCost": cost,
        "PricingCategory": "Standard",
        "PricingQuantity": quantity,
        "PricingUnit": unit,
        "ProviderName": PROVIDER,
        "PublisherName": PROVIDER,
        "ServiceCategory": "AI and Machine Learning",
        "SkuPriceId": f"{fields['SkuId']}/{unit.lower()}",
    }
    return {**dict.fromkeys(COLUMNS), **shared, **fields}


def _tags(**tags: str | None) -> str:
    return json.dumps({f"orchestrator/{name}": tag for name, tag in tags.items() if tag is not None})


def _midnight(day: date) -> str:
    return f"{day.isoformat()}T00:00:00Z"


def _seconds(us: int) -> str:
    return _decimal(Decimal(int(us)).scaleb(-6))


def _decimal(number: Decimal) -> str:
    return f"{number:.12f}".rstrip("0").rstrip(".")
