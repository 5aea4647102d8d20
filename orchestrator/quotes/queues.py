"""How long a call waits now: what is queued in Temporal and inside the engines, over what the engines get done.

By Little's law: engines that run `r` calls of `t` seconds each finish `r / t` a second, so who comes behind `q` others
waits `q · t / r`.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

import anyio
import httpx
from pydantic import BaseModel, ConfigDict
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError

from orchestrator.database.tables import charges
from orchestrator.ledger.rows import engine_call, microseconds
from orchestrator.quotes.figures import percentile
from orchestrator.steps import engine_queue

__all__ = ["PoolHistory", "PoolLoad", "QueueLoad", "Waiting", "read_pools", "read_queue", "read_rounds", "waiting"]

WORKFLOWS = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
ACTIVITIES = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
PATIENCE = timedelta(seconds=2)
RECENT_CALLS = 100
ROUNDS_OF = 20
"""Runs that are looked into, call by call."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)


class QueueLoad(_Value):
    """A task queue that runs of the workflow go through."""

    queue: str
    backlog: int
    """Tasks that no worker has taken yet, about."""
    workers: int
    """Who polled it in the last minutes. At 0 nothing goes on."""


class PoolLoad(_Value):
    """Engines that think for the workflow."""

    pool: str
    queued: int
    """Calls in Temporal's queue."""
    waiting: int | None
    """Calls inside the engines that don't run yet; `None` where an engine doesn't say."""
    running: int
    """Calls that run; where an engine doesn't say, those that the ledger holds open."""
    call_time: timedelta | None
    """Of a call that runs, in the mean of the latest ones; `None` before the first."""
    wait: timedelta | None
    """Of a call that is asked for now; `None` where calls are queued and nothing says how fast they go."""


class Waiting(_Value):
    """The present state of what a run would wait for."""

    queues: Sequence[QueueLoad]
    pools: Sequence[PoolLoad]
    rounds: int
    """Engine calls that a run makes one after the other, at the median; parallel ones wait together."""
    expected: timedelta | None
    """What a run waits in all if the queues stay as they are. The times of past runs have the waiting of then."""
    unattended: Sequence[str]
    """Queues without a worker: a run would stop there."""


@dataclass(frozen=True, kw_only=True)
class PoolHistory:
    """What the ledger knows of a pool."""

    pool: str
    servers: Sequence[str]
    """Those of the latest calls."""
    open: int
    call_us: int | None


async def read_pools(connection: AsyncConnection, pools: Sequence[str]) -> Sequence[PoolHistory]:
    """The latest calls of pools, and those that are under way."""
    return [await _read_pool(connection, pool) for pool in pools]


async def _read_pool(connection: AsyncConnection, pool: str) -> PoolHistory:
    c = charges.c
    own = (engine_call(c), c.pool == pool)
    columns = (c.server, c.prefill_us, c.decode_us, c.reserved_at, c.settled_at)
    latest = select(*columns).where(*own, c.outcome == "used").order_by(c.reserved_at.desc()).limit(RECENT_CALLS)
    rows = (await connection.execute(latest)).all()
    spans = [_call_us(row) for row in rows]
    under_way = await connection.execute(select(func.count()).select_from(charges).where(*own, c.outcome.is_(None)))
    return PoolHistory(
        pool=pool,
        servers=sorted({row.server for row in rows if row.server}),
        open=under_way.scalar_one(),
        call_us=sum(spans) // len(spans) if spans else None,
    )


def _call_us(row: Any) -> int:
    """In the engine where it says so, else as its worker saw it."""
    if row.prefill_us is not None and row.decode_us is not None:
        return int(row.prefill_us + row.decode_us)
    return microseconds(row.settled_at - row.reserved_at) or 0


async def read_rounds(connection: AsyncConnection, roots: Sequence[str]) -> int:
    """How many engine calls of a run come one after the other, at the median of the first runs given."""
    c = charges.c
    some = roots[:ROUNDS_OF]
    query = select(c.root, c.reserved_at, c.settled_at).where(
        c.root.in_(some), engine_call(c), c.settled_at.is_not(None)
    )
    calls: dict[str, list[tuple[datetime, datetime]]] = {root: [] for root in some}
    for root, begun, ended in await connection.execute(query):
        calls[root].append((begun, ended))
    rounds = [_in_a_row(each) for each in calls.values()]
    return percentile(rounds, 50) if rounds else 1


def _in_a_row(calls: Iterable[tuple[datetime, datetime]]) -> int:
    """The most intervals of which none overlaps another: always the one that ends next."""
    count, free = 0, None
    for begun, ended in sorted(calls, key=lambda call: call[1]):
        if free is None or begun >= free:
            count, free = count + 1, ended
    return count


async def waiting(
    client: Client, pools: Sequence[PoolHistory], *, rounds: int, workflows: Sequence[str], activities: Sequence[str]
) -> Waiting | None:
    """Asks Temporal and the engines; `None` where Temporal doesn't answer.

    Args:
        workflows: task queues of workflows.
        activities: task queues of activities, besides the pools' own.
    """
    every = {*activities, *(engine_queue(each.pool) for each in pools)}
    wanted = [*((name, WORKFLOWS) for name in workflows), *((name, ACTIVITIES) for name in sorted(every))]
    loads: dict[str, QueueLoad] = {}
    said: dict[str, Mapping[str, int] | None] = {}
    async with (
        httpx.AsyncClient(timeout=PATIENCE.total_seconds(), trust_env=False) as http,
        anyio.create_task_group() as asking,
    ):
        for queue, kind in wanted:
            asking.start_soon(_ask_queue, client, queue, kind, loads)
        for server in {server for each in pools for server in each.servers}:
            asking.start_soon(_ask_engine, http, server, said)
    if len(loads) < len(wanted):
        return None
    made = [_pool_load(each, loads[engine_queue(each.pool)].backlog, said) for each in pools]
    waits = [load.wait for load in made]
    return Waiting(
        queues=[loads[queue] for queue in sorted(loads)],
        pools=made,
        rounds=rounds,
        expected=None if None in waits else max(filter(None, waits), default=timedelta(0)) * rounds,
        unattended=[queue for queue in sorted(loads) if not loads[queue].workers],
    )


def _pool_load(history: PoolHistory, queued: int, said: Mapping[str, Mapping[str, int] | None]) -> PoolLoad:
    told = [said.get(server) for server in history.servers]
    if not told or None in told:
        inside, running = None, history.open
    else:
        known = [each for each in told if each is not None]
        inside = sum(each["waiting"] for each in known)
        running = sum(each["running"] for each in known)
    before = queued + (inside or 0)
    wait = None
    if not before:
        wait = timedelta(0)
    elif running and history.call_us is not None:
        wait = timedelta(microseconds=before * history.call_us // running)
    return PoolLoad(
        pool=history.pool,
        queued=queued,
        waiting=inside,
        running=running,
        call_time=None if history.call_us is None else timedelta(microseconds=history.call_us),
        wait=wait,
    )


async def read_queue(client: Client, queue: str, kind: "TaskQueueType.ValueType" = ACTIVITIES) -> QueueLoad:
    """How full a task queue is, and who polls it.

    Raises:
        RPCError: Temporal doesn't answer.
    """
    request = DescribeTaskQueueRequest(
        namespace=client.namespace, task_queue=TaskQueue(name=queue), task_queue_type=kind, report_stats=True
    )
    answer = await client.workflow_service.describe_task_queue(request, timeout=PATIENCE)
    return QueueLoad(queue=queue, backlog=answer.stats.approximate_backlog_count, workers=len(answer.pollers))


async def _ask_queue(client: Client, queue: str, kind: "TaskQueueType.ValueType", loads: dict[str, QueueLoad]) -> None:
    with suppress(RPCError):
        loads[queue] = await read_queue(client, queue, kind)


async def _ask_engine(http: httpx.AsyncClient, server: str, said: dict[str, Mapping[str, int] | None]) -> None:
    try:
        answer = await http.get(f"{server.rstrip('/')}/v1/loads", params={"include": "core"})
        ranks = cast("Sequence[Mapping[str, Any]]", answer.raise_for_status().json()["loads"])
        said[server] = {
            "running": sum(int(rank["num_running_reqs"]) for rank in ranks),
            "waiting": sum(int(rank["num_waiting_reqs"]) for rank in ranks),
        }
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        said[server] = None
