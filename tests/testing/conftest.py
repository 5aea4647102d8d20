"""A client for the native wire, small enough to see through."""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import pytest


class Wire:
    """Sends requests; knows nothing of what they mean."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def post(self, path: str, body: object) -> Any:
        response = await self.http.post(path, json=body)
        response.raise_for_status()
        return response.json()

    async def post_empty(self, path: str, body: object) -> None:
        (await self.http.post(path, json=body)).raise_for_status()

    async def prompt(self, text: str = "hi", **fields: object) -> list[int]:
        """Ids of a prompt with one user message."""
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]
        return (await self.post("/v1/tokenize", {"messages": messages, "add_generation_prompt": True, **fields}))[
            "tokens"
        ]

    async def generate(self, ids: list[int], *, max_new_tokens: int = 100, **fields: object) -> Any:
        params = {"max_new_tokens": max_new_tokens, "temperature": 0}
        return await self.post("/generate", {"input_ids": ids, "sampling_params": params, **fields})

    @asynccontextmanager
    async def stream(
        self, ids: list[int], *, max_new_tokens: int = 100, **fields: object
    ) -> AsyncGenerator[AsyncGenerator[Any]]:
        """The chunks of a streamed reply; the last is the text `[DONE]`."""
        params = {"max_new_tokens": max_new_tokens, "temperature": 0}
        body = {"input_ids": ids, "stream": True, "sampling_params": params, **fields}
        async with self.http.stream("POST", "/generate", json=body) as response:
            response.raise_for_status()
            yield _chunks(response)

    async def chunks(self, ids: list[int], *, max_new_tokens: int = 100, **fields: object) -> list[Any]:
        async with self.stream(ids, max_new_tokens=max_new_tokens, **fields) as chunks:
            return [chunk async for chunk in chunks]


async def _chunks(response: httpx.Response) -> AsyncGenerator[Any]:
    async for line in response.aiter_lines():
        if line:
            data = line.removeprefix("data: ")
            yield data if data == "[DONE]" else json.loads(data)


@asynccontextmanager
async def _connect(url: str) -> AsyncGenerator[Wire]:
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        yield Wire(http)


@pytest.fixture
def connect() -> Callable[[str], AbstractAsyncContextManager[Wire]]:
    return _connect
