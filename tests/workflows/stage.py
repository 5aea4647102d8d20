"""A run of a shipped workflow, from its input to its replay."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pydantic import JsonValue
from sqlalchemy import Row
from temporalio.worker import Replayer

from orchestrator.budget import Allowance
from orchestrator.ledger import set_limit
from orchestrator.runs import Run
from orchestrator.steps import RunStatus
from orchestrator.testing import Fail, Reply, Script, ScriptedEngine, ScriptedRequest
from orchestrator.testing.requests import RequestRecord
from orchestrator_workflows import app
from tests.bench import Bench

__all__ = ["Prompter", "Stage"]


class Prompter:
    """A script that can be changed."""

    def __init__(self) -> None:
        self._script: Script = []
        self._replies: Iterator[Reply] = iter(())

    def plays(self, script: Script) -> None:
        """From now on."""
        self._script = script
        if not callable(script):
            self._replies = iter(script)

    def __call__(self, request: ScriptedRequest) -> Reply:
        if callable(self._script):
            return cast("Reply", self._script(request))
        return next(self._replies, Fail(status=400, message="the script has no more replies"))


@dataclass(frozen=True)
class Stage:
    here: Bench
    engine: ScriptedEngine
    tenant: str
    before: int
    """Requests of earlier tests."""

    @property
    def requests(self) -> Sequence[RequestRecord]:
        """What the engine was asked since the test began."""
        return self.engine.requests[self.before :]

    @property
    def tokens(self) -> tuple[int, int]:
        """Of prompts and of outputs that the engine computed for it."""
        return sum(each.prompt_tokens for each in self.requests), sum(each.output_tokens for each in self.requests)

    async def run(self, workflow: str, **given: JsonValue) -> Run:
        """Runs a workflow to its end, whatever that is."""
        run_id = await self.here.runs.start(workflow, given, tenant=self.tenant)
        self.here.started.append(run_id)
        return await self.here.runs.wait(run_id)

    async def result(self, workflow: str, **given: JsonValue) -> Any:
        """The result of a run that completes, of which nothing is left behind and whose history can be replayed."""
        run = await self.run(workflow, **given)
        assert run.status is RunStatus.COMPLETED, run.error
        await self.engine.wait_until_idle()
        assert all(row.outcome is not None for row in await self.here.charges())
        history = await self.here.client.get_workflow_handle(run.run_id).fetch_history()
        await Replayer(workflows=[], plugins=[app.plugin()]).replay_workflow(history)
        return run.result

    async def problem(self, workflow: str, **given: JsonValue) -> str:
        """Why a run failed."""
        run = await self.run(workflow, **given)
        assert run.status is RunStatus.FAILED, run.result
        assert run.error is not None
        return f"{run.error.type}: {run.error.message}"

    async def leaves(self, tokens: int) -> None:
        """Lets the tenant spend so many tokens more."""
        spent = sum(self.tokens)
        await set_limit(self.here.database, self.tenant, "day", Allowance(tokens=spent + tokens))

    async def account(self) -> Row[Any]:
        """The books of the test's only run."""
        (account,) = [account for account in await self.here.totals() if account.tenant == self.tenant]
        return account
