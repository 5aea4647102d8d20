"""The activity that thinks: builds the prompt, asks the engine, keeps the reply and settles the bill."""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

from temporalio import activity

from orchestrator.activities.metering import Meter, PaidStep, heartbeats, request_id, step_name, this_attempt
from orchestrator.attribution import Provisional
from orchestrator.engine import EngineRequest, Prompt, Prompts, ServerInfo, SGLang
from orchestrator.engine.call import EngineCall
from orchestrator.engine.sglang import Generation
from orchestrator.errors import BudgetExceeded, EngineRejected
from orchestrator.failures import as_failures
from orchestrator.ledger import Bound, Kind, Price, PriceBook, Replayed
from orchestrator.messages import AssistantMessage, ToolCall, ToolSpec
from orchestrator.steps import GENERATE, FinishReason, GenerateRequest, GenerateResult, Sampling
from orchestrator.transcripts import TranscriptStore
from orchestrator.usage import Outcome, Usage

__all__ = ["EngineActivities"]

LEAST_ANSWER = 8
"""Tokens; below them a closing answer isn't worth its prompt."""


class EngineActivities:
    """The activities of one engine server."""

    def __init__(
        self,
        *,
        engine: SGLang,
        info: ServerInfo,
        pool: str,
        transcripts: TranscriptStore,
        prices: PriceBook,
        meter: Meter,
        gpu: Provisional | None = None,
    ) -> None:
        self._engine = engine
        self._pool = pool
        self._gpu = Provisional(engine.url) if gpu is None else gpu
        self._info = info
        self._transcripts = transcripts
        self._prices = prices
        self._meter = meter
        self._prompts = Prompts(engine, transcripts)

    @activity.defn(name=GENERATE)
    async def generate(self, request: GenerateRequest) -> GenerateResult:
        """One reply of the model."""
        with as_failures():
            return await self._generate(request)

    async def _generate(self, request: GenerateRequest) -> GenerateResult:
        scope = request.scope
        prompt = await self._prompts.prepare(scope.tenant, request.transcript, request.append)
        price = await self._prices.price(self._info.model, self._pool)
        rid = request_id(this_attempt())
        schema = request.output_schema
        if request.tool_choice == "required":
            schema = tool_call_schema(prompt.tools)
        what = Kind(
            kind=GENERATE,
            name=self._info.model,
            pool=self._pool,
            server=self._engine.url,
            rid=rid,
            sent_tokens=len(prompt.ids),
        )
        async with self._reserved(request, what, price) as (step, sampling):
            call = EngineCall(
                self._engine,
                EngineRequest(
                    rid=rid,
                    ids=prompt.ids,
                    sampling=sampling,
                    output_schema=schema,
                    cache_salt=scope.tenant,
                    headers=step.seen.headers,
                ),
            )
            if step.replayed is not None:
                return await self._again(step.replayed, scope.tenant)
            try:
                async with heartbeats(lambda: call.generation.usage.model_dump(mode="json")):
                    generation = await call.run()
            finally:
                made = call.generation
                step.usage, step.timings, step.moments = made.usage, made.timings, made.moments
                step.gpu_us = self._gpu.provisional(made.usage, made.moments)
                step.estimated = not call.confirmed
                if step.estimated and step.usage.prompt is None:
                    step.usage = step.usage.model_copy(update={"prompt": len(prompt.ids)})
                step.seen.first_token = call.first_token
                step.seen.attributes["gen_ai.request.max_tokens"] = sampling.max_tokens
            reply = await self._reply(request, prompt, generation)
            finish: FinishReason = "tool_calls" if reply.tool_calls else _finish(generation)
            async with self._meter.database.begin(writes_first=True) as connection:
                transcript = await self._prompts.write(connection, scope.tenant, prompt, reply, generation.ids)
                kept = {
                    "transcript": transcript,
                    "finish_reason": finish,
                    "exact_prefix": prompt.exact,
                    "server": self._engine.url,
                    "step": step_name(this_attempt()),
                }
                receipt = await step.settle(connection, Outcome.USED, kept)
        return GenerateResult.model_validate(
            {**kept, "text": reply.content, "tool_calls": reply.tool_calls, "receipt": receipt}
        )

    @asynccontextmanager
    async def _reserved(
        self, request: GenerateRequest, what: Kind, price: Price
    ) -> AsyncGenerator[tuple[PaidStep, Sampling]]:
        """The step with its row; a closing one with `max_tokens` cut to what the budget still holds.

        Raises:
            BudgetExceeded: the run can't afford it.
        """
        sampling = request.sampling
        prompt = what.sent_tokens or 0
        async with AsyncExitStack() as stack:
            while True:
                most = Usage(prompt=prompt, output=sampling.max_tokens)
                gpu_us = self._gpu.bound(most)
                bound = Bound(tokens=most.total, nano=price.cost(most, gpu_us), gpu_us=gpu_us, calls=1)
                reserved = self._meter.step(
                    request.scope, what, bound=bound, price=price, died=_last_heartbeat(prompt), closing=request.closing
                )
                try:
                    step = await stack.enter_async_context(reserved)
                    break
                except BudgetExceeded as refusal:
                    affordable = _affordable(refusal, prompt, price) if request.closing else None
                    if affordable is None or not LEAST_ANSWER <= affordable < sampling.max_tokens:
                        raise
                    sampling = sampling.model_copy(update={"max_tokens": affordable})
            yield step, sampling

    async def _again(self, replayed: Replayed, tenant: str) -> GenerateResult:
        node = await self._transcripts.node(replayed.result["transcript"], tenant)
        reply = cast("AssistantMessage", node.message)
        return GenerateResult.model_validate(
            {
                **replayed.result,
                "text": reply.content,
                "tool_calls": reply.tool_calls,
                "receipt": replayed.receipt,
            }
        )

    async def _reply(self, request: GenerateRequest, prompt: Prompt, generation: Generation) -> AssistantMessage:
        text, reasoning = generation.text, None
        depth = prompt.head.depth + 1
        if request.tool_choice == "required":
            return AssistantMessage(content="", tool_calls=_required_call(text, depth))
        if request.output_schema is not None:
            return AssistantMessage(content=text)
        if self._info.reasoning_parser:
            reasoning, text = await self._engine.reasoning(text, parser=self._info.reasoning_parser)
        if request.tool_choice == "none" or not prompt.tools:
            return AssistantMessage(content=text, reasoning=reasoning)
        if self._info.tool_call_parser is None:
            raise EngineRejected(
                self._engine.url,
                400,
                "it has no tool-call parser, so a tool call would look like text. Start it with --tool-call-parser, "
                "or set ORCHESTRATOR_ENGINE__TOOL_CALL_PARSER",
            )
        said, calls = await self._engine.tool_calls(text, prompt.tools, parser=self._info.tool_call_parser)
        if not calls and not said.strip() and text.strip():
            calls = (ToolCall(id="", name="", arguments=text),)  # the parser drops a call that it can't read
        named = tuple(call.model_copy(update={"id": f"{depth}.{number}"}) for number, call in enumerate(calls))
        return AssistantMessage(content=said, reasoning=reasoning, tool_calls=named)


def _affordable(refusal: BudgetExceeded, prompt: int, price: Price) -> int | None:
    """How many output tokens what is left would pay for; `None` where that isn't what is missing."""
    rooms: list[int] = []
    if refusal.left_tokens is not None:
        rooms.append(refusal.left_tokens - prompt)
    if refusal.left_nano is not None and price.output:
        left = refusal.left_nano - price.cost(Usage(prompt=prompt)) - 1
        rooms.append(left * 1_000_000 // price.output)
    return min(rooms, default=None)


def tool_call_schema(tools: Sequence[ToolSpec]) -> dict[str, Any]:
    """JSON Schema of a call of one of the tools: `{"name": ..., "arguments": {...}}`."""
    calls: list[dict[str, Any]] = []
    definitions: dict[str, Any] = {}
    for tool in tools:
        arguments = dict(tool.parameters)
        definitions.update(cast("dict[str, Any]", arguments.pop("$defs", {})))
        properties = {"name": {"const": tool.name}, "arguments": arguments}
        calls.append({
            "type": "object", "properties": properties, "required": ["name", "arguments"], "additionalProperties": False
        })  # fmt: skip
    schema: dict[str, Any] = calls[0] if len(calls) == 1 else {"anyOf": calls}
    return {**schema, "$defs": definitions} if definitions else schema


def _required_call(text: str, depth: int) -> tuple[ToolCall, ...]:
    """The call in a reply that was held to `tool_call_schema`; one that `max_tokens` cut off has no name."""
    try:
        call: Mapping[str, Any] = json.loads(text)
    except ValueError:
        return (ToolCall(id=f"{depth}.0", name="", arguments=text),)
    return (ToolCall(id=f"{depth}.0", name=call["name"], arguments=json.dumps(call["arguments"])),)


def _finish(generation: Generation) -> FinishReason:
    return "length" if generation.finish == "length" else "stop"


def _last_heartbeat(prompt: int) -> Usage:
    """What the attempt before this one last said that it had used; its prompt where it died before the first token."""
    details = activity.info().heartbeat_details
    said = Usage.model_validate(details[0]) if details and details[0] else Usage()
    return said if said.prompt is not None else Usage(prompt=prompt)
