"""The activities of an engine: build the prompt, ask, keep the reply, and settle the bill."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from temporalio import activity

from orchestrator.activities.calls import Desk, PaidCalls
from orchestrator.activities.metering import Meter, heartbeats, step_name, this_attempt
from orchestrator.activities.reuse import looked_up, reply_key
from orchestrator.activities.speaking import first_decoding, follow_up
from orchestrator.attribution import Provisional
from orchestrator.engine import Generation, Prompt, Prompts, ServerInfo, SGLang
from orchestrator.errors import EngineMisreported, EngineRejected
from orchestrator.failures import as_failures
from orchestrator.keeping import Kept, KeptResults
from orchestrator.ledger import FROM_CACHE, Kind, PriceBook, Replayed
from orchestrator.messages import AssistantMessage, ToolCall, ToolSpec, UserMessage
from orchestrator.steps import (
    GENERATE,
    GRADE,
    WARM,
    GenerateRequest,
    GenerateResult,
    GradeRequest,
    GradeResult,
    Sampling,
    WarmRequest,
    WarmResult,
)
from orchestrator.transcripts import TranscriptStore
from orchestrator.usage import Outcome, Receipt
from orchestrator.watches import ConfidenceFloor

__all__ = ["EngineActivities"]


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
        image_urls: bool = False,
    ) -> None:
        self._engine = engine
        self._info = info
        self._transcripts = transcripts
        self._meter = meter
        self._prompts = Prompts(engine, transcripts, image_urls=image_urls)
        self._results = KeptResults(meter.database)
        gpu = Provisional(engine.url) if gpu is None else gpu
        self._desk = Desk(engine=engine, info=info, pool=pool, prices=prices, meter=meter, gpu=gpu)
        self.all: Sequence[Callable[..., Any]] = [self.generate, self.warm, self.grade]

    @activity.defn(name=GENERATE)
    async def generate(self, request: GenerateRequest) -> GenerateResult:
        """One reply of the model."""
        with as_failures():
            return await self._generate(request)

    @activity.defn(name=WARM)
    async def warm(self, request: WarmRequest) -> WarmResult:
        """Computes a prompt that several replies will share, so that each finds it in the cache."""
        with as_failures():
            prompt = await self._prompts.prepare(request.scope.tenant, request.transcript, request.append)
            calls = await self._desk.calls(request.scope)
            async with heartbeats(calls.so_far), calls:
                paid = await calls.begin(prompt.ids, Sampling(max_tokens=1), warm=True, chat=prompt.chat)
                if isinstance(paid, Replayed):
                    return WarmResult(receipt=paid.receipt)
                await paid.finished()
                return WarmResult(receipt=await self._settled(calls, {}))

    @activity.defn(name=GRADE)
    async def grade(self, request: GradeRequest) -> GradeResult:
        """How likely each label is to be the answer to a question about a conversation; one forward pass."""
        with as_failures():
            prompt = await self._prompts.prepare(
                request.scope.tenant, request.transcript, [*request.append, UserMessage(content=request.question)]
            )
            self._require_tokens(prompt, "graded")
            labels = [(await self._engine.tokenize(label))[:1] for label in request.labels]
            calls = await self._desk.calls(request.scope)
            async with heartbeats(calls.so_far), calls:
                first = [token for ids in labels for token in ids]
                paid = await calls.begin(prompt.ids, Sampling(max_tokens=1), labels=first)
                if isinstance(paid, Replayed):
                    return GradeResult.model_validate({**paid.result, "receipt": paid.receipt})
                generation = await paid.finished()
                mass = sum(generation.labels)
                if len(generation.labels) != len(labels) or mass <= 0:
                    raise EngineMisreported(self._engine.url, "no probabilities of the labels that were asked for")
                kept = {"probabilities": [each / mass for each in generation.labels], "mass": min(1.0, mass)}
                return GradeResult.model_validate({**kept, "receipt": await self._settled(calls, kept)})

    async def _settled(self, calls: PaidCalls, kept: Mapping[str, Any]) -> Receipt:
        await calls.end()
        async with self._meter.database.begin(writes_first=True) as connection:
            return await calls.settle(connection, kept)

    async def _generate(self, request: GenerateRequest) -> GenerateResult:
        tenant = request.scope.tenant
        prompt = await self._prompts.prepare(tenant, request.transcript, request.append)
        key = reply_key(request, prompt, self._info, self._desk.pool)
        if key is None or request.cache is None:
            return await self._ask(request, prompt)
        async with looked_up(self._results, tenant, key, request.cache) as found:
            if found is not None:
                return await self._hand_out(request, prompt, found)
            return await self._ask(request, prompt, key)

    async def _hand_out(self, request: GenerateRequest, prompt: Prompt, found: Kept) -> GenerateResult:
        """A reply that was had before; its chain is that of the prompt, so it is in the store."""
        what = Kind(kind=GENERATE, name=self._info.model, pool=self._desk.pool)
        tenant = request.scope.tenant
        async with self._meter.step(request.scope, what, price=FROM_CACHE) as step:
            if step.replayed is not None:
                return await self._again(step.replayed, tenant)
            step.saved = found.saved
            kept = {**found.value, "exact_prefix": prompt.exact, "step": step_name(this_attempt())}
            async with self._meter.database.begin(writes_first=True) as connection:
                receipt = await step.settle(connection, Outcome.USED, kept)
        return await self._again(Replayed(result=kept, receipt=receipt), tenant)

    async def _ask(self, request: GenerateRequest, prompt: Prompt, key: str | None = None) -> GenerateResult:
        """A reply of the engine, kept under the key."""
        scope = request.scope
        schema = request.output_schema
        if request.tool_choice == "required":
            schema = tool_call_schema(prompt.tools)
        measure = request.measure or isinstance(request.watch, ConfidenceFloor)
        if measure or request.watch is not None:
            self._require_tokens(prompt, "measured or watched")
        chat = prompt.chat
        if chat is not None and request.tool_choice == "none" and schema is None:
            chat = replace(chat, tool_choice="none")
        sampling, stops = await first_decoding(request.watch, request.sampling, self._engine)
        calls = await self._desk.calls(scope, closing=request.closing, limit=request.limit)
        async with heartbeats(calls.so_far), calls:
            main = await calls.begin(prompt.ids, sampling, schema=schema, measure=measure, stops=stops, chat=chat)
            if isinstance(main, Replayed):
                return await self._again(main, scope.tenant)
            speech = await follow_up(
                calls,
                main,
                request.watch,
                engine=self._engine,
                prompt=prompt.ids,
                closing=await self._prompts.closing(),
                sampling=request.sampling,
            )
            await calls.end()
            reply = await self._reply(request, prompt, speech.text, main.generation)
            async with self._meter.database.begin(writes_first=True) as connection:
                kept = {
                    "transcript": await self._prompts.write(connection, scope.tenant, prompt, reply, speech.ids),
                    "finish_reason": "tool_calls" if reply.tool_calls else speech.finish,
                    "exact_prefix": prompt.exact,
                    "server": self._engine.url,
                    "step": step_name(this_attempt()),
                    "tokens": len(prompt.ids) + len(speech.ids) if chat is None else main.generation.usage.total,
                    **speech.measures,
                }
                receipt = await calls.settle(connection, kept)
                if key is not None and request.cache is not None and main.sampling == request.sampling:
                    step = main.step
                    await self._results.keep(
                        connection, scope.tenant, key, kept,
                        lasts=request.cache, cost_nano=step.cost_nano, tokens=step.usage.total,
                    )  # fmt: skip
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

    def _require_tokens(self, prompt: Prompt, wish: str) -> None:
        """Refuses what is done by tokens.

        Raises:
            EngineRejected: there are pictures in the prompt.
        """
        if prompt.chat is not None:
            raise EngineRejected(
                self._engine.url,
                400,
                f"a conversation with images can't be {wish}, since it can't be sent as tokens: use another strategy "
                "or judge, or leave the images out",
            )

    async def _reply(
        self, request: GenerateRequest, prompt: Prompt, text: str, generation: Generation
    ) -> AssistantMessage:
        reasoning = None
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
        if prompt.chat is None:
            said, calls = await self._engine.tool_calls(text, prompt.tools, parser=self._info.tool_call_parser)
            wrote = bool(text.strip())
        else:  # the server has read them already, and something that it made into nothing was more than its end
            said, calls = text, tuple(generation.calls)
            wrote = not reasoning and (generation.usage.output or 0) > 1
        if not calls and not said.strip() and wrote:
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
