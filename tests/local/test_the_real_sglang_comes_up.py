from pathlib import Path

import anyio
import httpx
import pytest

from orchestrator.local import prepare_model
from orchestrator.local.sglang import model_folder
from orchestrator.settings import EngineSettings, Settings

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.engine


async def test_it_generates(sglang_url: str) -> None:
    body = {"text": "The capital of France is", "sampling_params": {"temperature": 0, "max_new_tokens": 4}}
    async with httpx.AsyncClient(base_url=sglang_url, timeout=120, trust_env=False) as client:
        reply = (await client.post("/generate", json=body)).raise_for_status().json()
    assert "Paris" in reply["text"]
    assert reply["meta_info"]["completion_tokens"] == 4


async def test_it_serves_the_model_under_its_name_with_tools(sglang_url: str) -> None:
    function = {"name": "look_up", "parameters": {"type": "object", "required": ["word"]}}
    body = {
        "model": "smollm2-135m-instruct",
        "messages": [{"role": "user", "content": "Hello"}],
        "tools": [{"type": "function", "function": function}],
        "add_generation_prompt": True,
    }
    async with httpx.AsyncClient(base_url=sglang_url, timeout=120, trust_env=False) as client:
        models = (await client.get("/v1/models")).raise_for_status().json()
        reply = (await client.post("/v1/tokenize", json=body)).raise_for_status()
    assert models["data"][0]["id"] == "smollm2-135m-instruct"
    assert len(reply.json()["tokens"]) > 80  # the tool is in the prompt


async def test_a_model_is_converted_once_by_whoever_comes_first(tmp_path: Path) -> None:
    settings = Settings(state=tmp_path, engine=EngineSettings(environment=ROOT / ".venv-engine"))
    reports: list[str] = []
    folders: list[Path] = []

    async def prepare() -> None:
        folders.append(await prepare_model(settings, lambda _part, _state, detail: reports.append(detail)))

    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(prepare)
    assert folders == [model_folder(tmp_path)] * 2
    assert len(reports) == 2
    assert (tmp_path / "logs" / "model.log").read_text().count("wrote") == 1
    assert {"config.json", "model.safetensors", "chat_template.jinja"} <= {file.name for file in folders[0].iterdir()}
    await prepare()
    assert len(reports) == 2
