"""The activity that thinks: builds the prompt, asks the engine, keeps the reply and settles the bill."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from temporalio import activity

from orchestrator.activities.metering import Meter, heartbeats, request_id, this_attempt
from orchestrator.engine import EngineRequest, Prompt, Prompts, ServerInfo, SGLang
from orchestrator.engine.call import EngineCall
from orchestrator.engine.sglang import Generation
from orchestrator.errors import EngineRejected
from orchestrator.failures import as_failures
from orchestrator.ledger import Bound, PriceBook, Replayed
from orchestrator.messages import AssistantMessage, ToolCall, ToolSpec
from orchestrator.steps import GENERATE, FinishReason, GenerateRequest, GenerateResult
from orchestrator.transcripts import TranscriptStore
from orchestrator.usage import Outcome, Usage

__all__ = ["EngineActivities"]


class EngineActivities:
    """The activities of one engine server."""

    def __init__(
        self, *, engine: SGLang, info: ServerInfo, transcripts: TranscriptStore, prices: PriceBook, meter: Meter
    ) -> None:
        self._engine = engine
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
        scope, sampling = request.scope, request.sampling
        prompt = await self._prompts.prepare(scope.tenant, request.transcript, request.append)
        price = await self._prices.price(self._info.model)
        most = Usage(prompt=len(prompt.ids), output=sampling.max_tokens)
        rid = request_id(this_attempt())
        schema = request.output_schema
        if request.tool_choice == "required":
            schema = tool_call_schema(prompt.tools)
        call = EngineCall(
            self._engine,
            EngineRequest(rid=rid, ids=prompt.ids, sampling=sampling, output_schema=schema, cache_salt=scope.tenant),
        )
        async with self._meter.step(
            scope,
            kind=GENERATE,
            name=self._info.model,
            bound=Bound(tokens=most.total, nano=price.cost(most)),
            price=price,
            rid=rid,
            server=self._engine.url,
            died=_last_heartbeat(len(prompt.ids)),
        ) as step:
            if step.replayed is not None:
                return await self._again(step.replayed, scope.tenant)
            try:
                async with heartbeats(lambda: call.generation.usage.model_dump(mode="json")):
                    generation = await call.run()
            finally:
                step.usage, step.timings = call.generation.usage, call.generation.timings
                step.estimated = not call.confirmed
            reply = await self._reply(request, prompt, generation)
            finish: FinishReason = "tool_calls" if reply.tool_calls else _finish(generation)
            async with self._meter.database.begin(writes_first=True) as connection:
                transcript = await self._prompts.write(connection, scope.tenant, prompt, reply, generation.ids)
                kept = {
                    "transcript": transcript,
                    "finish_reason": finish,
                    "exact_prefix": prompt.exact,
                    "server": self._engine.url,
                }
                receipt = await step.settle(connection, Outcome.USED, kept)
        return GenerateResult.model_validate(
            {**kept, "text": reply.content, "tool_calls": reply.tool_calls, "receipt": receipt}
        )

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
