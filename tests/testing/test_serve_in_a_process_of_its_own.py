import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio

from orchestrator.engine.facts import EngineFacts
from tests.eventually import eventually

COMMAND = [sys.executable, "-m", "orchestrator.testing.serve", "--script"]


async def test_it_prints_where_it_is_and_plays_the_file(
    tmp_path: Path, connect: Callable[[str], AbstractAsyncContextManager[Any]]
) -> None:
    script = tmp_path / "script.json"
    script.write_text(json.dumps([{"type": "Say", "text": "hello"}]))
    async with await anyio.open_process([*COMMAND, str(script)]) as process:
        try:
            assert process.stdout is not None
            said = (await process.stdout.receive()).decode()
            assert said.startswith("scripted engine on http://127.0.0.1:")
            async with connect(said.removeprefix("scripted engine on ").strip()) as wire:
                assert (await wire.generate(await wire.prompt()))["text"] == "hello"
        finally:
            process.terminate()


async def test_it_records_requests_and_tells_what_it_served(
    tmp_path: Path, connect: Callable[[str], AbstractAsyncContextManager[Any]]
) -> None:
    options = ["--seed", "7", "--tokens-per-second", "500", "--facts", str(tmp_path / "facts")]
    async with await anyio.open_process([*COMMAND[:-1], *options]) as process:
        try:
            assert process.stdout is not None
            said = (await process.stdout.receive()).decode()
            async with connect(said.removeprefix("scripted engine on ").strip()) as wire:
                ids = await wire.prompt()
                answer = (await wire.generate(ids, rid="first"))["meta_info"]
                async with wire.stream(ids, rid="left") as chunks:
                    left = (await anext(chunks))["meta_info"]
                facts = EngineFacts(tmp_path / "facts")

                async def recorded() -> bool:
                    return len(await facts.find(["first", "left"])) == 2

                await eventually(recorded)
                truth = (await wire.http.get("/scripted/served")).json()
        finally:
            process.terminate()
    first, second = truth["requests"]
    assert (first["rid"], first["finish"], first["error"]) == ("first", "stop", None)
    assert (first["prompt_tokens"], first["output_tokens"]) == (len(ids), answer["completion_tokens"])
    assert (second["rid"], second["finish"], second["cached_tokens"]) == ("left", "disconnected", len(ids) - 1)
    assert second["output_tokens"] >= left["completion_tokens"]
    assert truth["served"]["output_tokens"] == first["output_tokens"] + second["output_tokens"]
    usage = (await facts.find(["left"]))["left"].usage
    assert (usage.prompt, usage.cached, usage.output) == (len(ids), len(ids) - 1, second["output_tokens"])


def test_it_wants_a_script_or_a_seed() -> None:
    for options in (["--script", __file__, "--seed", "1"], []):
        ended = subprocess.run([*COMMAND[:-1], *options], capture_output=True, text=True, check=False)
        assert ended.returncode == 2
        assert "Give either --script or --seed." in ended.stderr


def test_a_script_that_cant_be_read_is_explained(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text('[{"type": "Shout"}]')
    ended = subprocess.run([*COMMAND, str(script)], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("scripted engine: the script is invalid at 0")
