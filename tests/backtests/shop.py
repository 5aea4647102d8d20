"""The shop as tests see it: its runs, its handbook, and backtests of it."""

from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from pydantic import JsonValue

from orchestrator.backtests import Backtest, BacktestReport, Difference, Metric, Plan, Selection, condition, variant_of
from orchestrator.ledger import Timeframe
from orchestrator.settings import EngineSettings
from orchestrator.testing import ScriptedEngine
from orchestrator.worker import Role, running_workers
from orchestrator_retrieval import Collections, Document, installed_embedder
from tests.backtests import program
from tests.bench import Bench, bench

__all__ = ["Shop", "differences", "shop", "the_world"]


class Shop:
    """A bench with the shop's app."""

    def __init__(self, here: Bench, temporal: str) -> None:
        self.here = here
        self._temporal = temporal

    async def handbook(self, text: str) -> None:
        """Puts this text in place of the handbook's."""
        collections = Collections(self.here.database, installed_embedder())
        await collections.create("default", "handbook")
        await collections.add("default", "handbook", [Document(name="guide", text=text)])

    async def ran(self, workflow: str, *inputs: JsonValue) -> Sequence[Any]:
        """The results of runs with these inputs, one after the other."""
        ended = [await self.here.run(workflow, value) for value in inputs]
        assert [run.error for run in ended if run.error is not None] == []
        return [run.result for run in ended]

    async def backtest(self, workflow: str, *changes: str, fail_if: Sequence[str] = (), **more: Any) -> BacktestReport:
        definition = program.app.find_workflow(workflow)
        selection = Selection(
            workflow=workflow, tenant="default", timeframe=Timeframe(), limit=more.pop("limit", 100),
            version=more.pop("of_version", None),
        )  # fmt: skip
        plan = Plan(
            definition=definition,
            selection=selection,
            variant=variant_of(definition, changes),
            conditions=[condition(text) for text in fail_if],
            **more,
        )
        work = Backtest(self.here.client, self.here.database, plan)
        return await work.run(await work.originals())

    @asynccontextmanager
    async def pool(self, name: str, engine: ScriptedEngine) -> AsyncGenerator[None]:
        """Engines that nobody's workflow names."""
        settings = self.here.settings.model_copy(update={"engine": EngineSettings(pool=name)})
        roles = (Role.ENGINE,)
        async with running_workers(
            [program.app], settings, address=self._temporal, engine_urls=[engine.url], roles=roles
        ):
            yield


@asynccontextmanager
async def shop(temporal: str, database_url: str, engine: ScriptedEngine) -> AsyncGenerator[Shop]:
    async with bench([program.app], temporal=temporal, database_url=database_url, engine=engine.url) as here:
        yield Shop(here, temporal)


@contextmanager
def the_world(**prices: int) -> Generator[None]:
    """What tools find, as long as the body runs."""
    before = dict(program.PRICES)
    program.PRICES.update(prices)
    program.ASKED.clear()
    program.ORDERS.clear()
    try:
        yield
    finally:
        program.PRICES.clear()
        program.PRICES.update(before)


def differences(report: BacktestReport) -> dict[Metric, Difference]:
    return {made.metric: made for made in report.differences}
