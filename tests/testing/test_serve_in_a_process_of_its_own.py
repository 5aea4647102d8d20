import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio

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


def test_a_script_that_cant_be_read_is_explained(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text('[{"type": "Shout"}]')
    ended = subprocess.run([*COMMAND, str(script)], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("scripted engine: the script is invalid at 0")
