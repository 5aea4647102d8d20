"""The main job on the real engine: exact prefixes, a receipt that is the engine's own count, a cancel that arrives."""

import re
import time

import anyio
import httpx
from pydantic import JsonValue

from orchestrator.steps import RunStatus
from orchestrator_retrieval import Collections, installed_embedder, python_reference
from orchestrator_workflows import app as shipped
from tests.bench import bench, result_of
from tests.programs import programs

COUNTERS = ("prompt_tokens_total", "cached_tokens_total", "generation_tokens_total")
TOPICS = ("try", "pass", "with", "while")


async def _counted(url: str) -> dict[str, int]:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
        text = (await http.get("/metrics")).text
    return {
        name: sum(int(float(value)) for value in re.findall(rf"^sglang:{name}{{.*}} (.*)$", text, re.MULTILINE))
        for name in COUNTERS
    }


async def _running(url: str) -> int:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
        return (await http.get("/v1/loads?include=core")).json()["loads"][0]["num_running_reqs"]


async def _until_running(url: str, requests: int, *, within: float) -> None:
    with anyio.fail_after(within):
        while await _running(url) != requests:  # noqa: ASYNC110 - the engine has no event to wait for
            await anyio.sleep(0.02)


async def test_each_prompt_begins_with_all_tokens_before_it(
    temporal_address: str, sqlite_url: str, sglang_url: str
) -> None:
    async with bench([programs.app], temporal=temporal_address, database_url=sqlite_url, engine=sglang_url) as here:
        run = await here.run("required_calls", {"steps": 10, "max_tokens": 40})
        assert run.status is RunStatus.COMPLETED
        figures = result_of(run)
        pairs = list(zip(figures[::2], figures[1::2], strict=True))
        assert len(pairs) == 10
        for before, cached in pairs[1:]:
            assert cached >= before - 1


async def test_an_answer_has_real_sources_and_the_engines_own_bill(
    temporal_address: str, sqlite_url: str, sglang_url: str
) -> None:
    async with bench([shipped], temporal=temporal_address, database_url=sqlite_url, engine=sglang_url) as here:
        collections = Collections(here.database, installed_embedder())
        await collections.create("default", "python")
        topics = [document for document in python_reference() if document.name in TOPICS]
        await collections.add("default", "python", topics)
        question: dict[str, JsonValue] = {
            "question": "What does the pass statement do?",
            "collection": "python",
        }
        before = await _counted(sglang_url)
        run = await here.run("answer", question)
        after = await _counted(sglang_url)
        assert run.status is RunStatus.COMPLETED, run.error
        usage = run.receipt.usage
        made = [after[name] - before[name] for name in COUNTERS]
        assert made == [usage.prompt, usage.cached, usage.output]
        result = result_of(run)
        texts = {document.name: document.text for document in topics}
        assert result["sources"]
        for source in result["sources"]:
            assert source["text"] in texts[source["document"]]
        assert [line.outcome for line in run.bill if line.kind == "tool"]
        second = await here.run("answer", {**question, "question": "When is the pass statement useful?"})
        first_prompt = min(
            row.cached_tokens for row in await here.charges() if row.workflow_id == second.run_id and row.rid
        )
        assert first_prompt > 0


async def test_a_cancel_ends_the_request_within_a_second(
    temporal_address: str, sqlite_url: str, sglang_url: str
) -> None:
    async with bench([programs.app], temporal=temporal_address, database_url=sqlite_url, engine=sglang_url) as here:
        run_id = await here.start("think", "Write a very long story about a whale and a lighthouse.")
        await _until_running(sglang_url, 1, within=60)
        began = time.monotonic()
        await here.runs.cancel(run_id)
        await _until_running(sglang_url, 0, within=30)
        took = time.monotonic() - began
        run = await here.runs.wait(run_id)
        assert run.status is RunStatus.CANCELLED
        (line,) = run.bill
        assert line.outcome == "cancelled"
        assert not line.receipt.estimated
        assert took < 1
