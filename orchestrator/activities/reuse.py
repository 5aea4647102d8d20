"""Kept results in place of calls: the keys that they are found by, and waiting for whoever makes the same one."""

import hashlib
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

from temporalio import activity

from orchestrator.activities.metering import heartbeats
from orchestrator.engine import Prompt, ServerInfo
from orchestrator.errors import InvalidInput
from orchestrator.keeping import Kept, KeptResults, key_of
from orchestrator.steps import GENERATE, CallToolRequest, GenerateRequest
from orchestrator.tool import Tool

__all__ = ["call_key", "looked_up", "reply_key"]


@asynccontextmanager
async def looked_up(results: KeptResults, tenant: str, key: str, within: timedelta) -> AsyncGenerator[Kept | None]:
    """A kept result, if there is one; else nobody else in this process makes it while the body does."""
    async with AsyncExitStack() as stack:
        async with heartbeats():
            await stack.enter_async_context(results.alone(key))
            found = await results.find(tenant, key, within=within)
        yield found


def call_key(tool: Tool[..., Any], request: CallToolRequest) -> str | None:
    """Names the result of the running activity's call of a tool; `None` where none is kept.

    Of the same name, different apps may have different tools, so the queue is part of it: a queue has one of a name.
    """
    if tool.cache is None or request.fresh:
        return None
    try:
        arguments = tool.canonical(request.arguments)
    except InvalidInput:
        return None
    queue = activity.info().task_queue
    return key_of(request.scope.tenant, "tool", queue, tool.name, tool.fingerprint, arguments)


def reply_key(request: GenerateRequest, prompt: Prompt, info: ServerInfo, pool: str) -> str | None:
    """Names the reply to a prompt; `None` where none is kept, as of a prompt with pictures: one at a URL may change.

    A prompt is named by its chain, which knows what tokens don't show, and by its tokens, which depend on the template.
    """
    watched = request.watch is not None
    if request.cache is None or watched or prompt.chat is not None or not request.sampling.is_repeatable:
        return None
    return key_of(
        request.scope.tenant,
        GENERATE,
        [info.model, pool, info.tool_call_parser, info.reasoning_parser],
        [prompt.head.hash, hashlib.sha256(prompt.ids.tobytes()).hexdigest()],
        request.sampling.model_dump(mode="json"),
        request.output_schema,
        [request.tool_choice, request.measure],
    )
