"""The engine behind the wire: takes requests, plays the script, keeps the cache and the accounts."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from inspect import isawaitable
from time import time
from uuid import uuid4

import anyio
from pydantic import JsonValue
from starlette.responses import Response
from starlette.types import Scope

from orchestrator.testing import wire
from orchestrator.testing.generation import Generation, NoReply
from orchestrator.testing.measures import Measures
from orchestrator.testing.prefix_cache import PrefixCache, pack_ids
from orchestrator.testing.recording import Recorder
from orchestrator.testing.replies import Reply, Script
from orchestrator.testing.requests import ScriptedRequest, Served
from orchestrator.testing.tokenizer import encode

__all__ = ["Refusal", "Scheduler"]


class Refusal(Exception):
    """A request that gets this response, and no reply of the script."""

    def __init__(self, response: Response) -> None:
        super().__init__("refused")
        self.response = response


class Scheduler:
    """All requests of one engine, in the order in which they came."""

    def __init__(
        self, script: Script, *, context_length: int, reasoning_parser: str | None, cut: Callable[[Scope], None]
    ) -> None:
        self.generations: list[Generation] = []
        self.context_length = context_length
        self.reasoning_parser = reasoning_parser
        self.aborts = 0
        """Abort requests that found their request."""
        self.began = time()
        self.recorder: Recorder | None = None
        """What writes down the requests that are over, if anything does."""
        self._script: Callable[[ScriptedRequest], object] | None = script if callable(script) else None
        self._replies: Iterator[Reply] = iter(()) if callable(script) else iter(tuple(script))
        self._cut = cut
        self._cache = PrefixCache()
        self._attempts: Counter[tuple[str, bytes]] = Counter()
        self._live: dict[str, Generation] = {}
        self._held: list[anyio.Event] = []
        self._changed = anyio.Event()

    @property
    def running(self) -> int:
        return sum(generation.began is not None for generation in self._live.values())

    @property
    def waiting(self) -> int:
        return len(self._live) - self.running

    @property
    def held(self) -> int:
        return len(self._held)

    @property
    def served(self) -> Served:
        begun = [generation for generation in self.generations if generation.began is not None]
        return Served(
            requests=len(begun),
            prompt_tokens=sum(generation.prompt_tokens for generation in begun),
            cached_tokens=sum(generation.cached for generation in begun),
            output_tokens=sum(generation.made for generation in begun),
        )

    def admit(self, body: wire.GenerateBody, *, images: Sequence[str] = ()) -> Generation:
        """Take a request.

        Raises:
            Refusal: it can't be served; it is among `generations` all the same, unless it can't even be read.
        """
        try:
            params = wire.parse_sampling_params(body.sampling_params or {})
            problem = None
        except ValueError as error:
            raise Refusal(wire.JsonResponse({"error": str(error)}, status_code=400)) from error
        except wire.Refused as error:
            params, problem = wire.SamplingParams(), str(error)
        ids = (encode(body.text) if body.text is not None else []) if body.input_ids is None else body.input_ids
        try:
            packed = pack_ids(ids)
        except OverflowError:
            packed, problem = b"", "input_ids holds a number that is no token id."
        request = self._request(body, packed, images)
        generation = Generation(self, request, params, Measures.wanted(body))
        self.generations.append(generation)
        if problem := problem or self._problem(body, ids, params, request.rid):
            raise Refusal(generation.refuse(problem))
        if problem := wire.schema_problem(params.json_schema):
            raise Refusal(generation.refuse_grammar(problem))
        self._live[request.rid] = generation
        self._notify()
        return generation

    def _request(self, body: wire.GenerateBody, packed: bytes, images: Sequence[str]) -> ScriptedRequest:
        salt = body.cache_salt or ""
        self._attempts[salt, packed] += 1
        return ScriptedRequest(
            number=len(self.generations) + 1,
            rid=body.rid or uuid4().hex,
            packed_prompt=packed,
            sampling_params=body.sampling_params or {},
            stream=body.stream,
            attempt=self._attempts[salt, packed],
            priority=body.priority or 0,
            cache_salt=salt,
            session_id=body.session_id,
            labels=body.custom_labels or {},
            images=tuple(images),
        )

    def _problem(
        self, body: wire.GenerateBody, ids: Sequence[int], params: wire.SamplingParams, rid: str
    ) -> str | None:
        """Why SGLang would refuse it; in its words."""
        if body.input_ids is None and body.text is None:
            return "Either text, input_ids or input_embeds should be provided."
        if not ids:
            return "input_ids cannot be empty."
        if rid in self._live:
            return f"Duplicate request ID detected: {rid}"
        size, limit = len(ids), self.context_length
        if size >= limit:
            return f"The input ({size} tokens) is longer than the model's context length ({limit} tokens)."
        # The default of 128 doesn't count here: only what was asked for.
        new = params.max_new_tokens if "max_new_tokens" in params.model_fields_set else None
        if new is not None and size + new > limit:
            return (
                f"Requested token count exceeds the model's maximum context length of {limit} tokens. You requested a "
                f"total of {size + new} tokens: {size} tokens from the input messages and {new} tokens for the "
                "completion. Please reduce the number of tokens in the input messages or the completion to fit within "
                "the limit."
            )
        return None

    def abort(self, rid: str, *, abort_all: bool) -> None:
        """SGLang's rule: `rid` must be that of a live request; then every request whose rid begins with it ends."""
        if not abort_all:
            named = self._live.get(rid)
            if named is None or named.abort_sent:
                return
            named.abort_sent = True
        self.aborts += 1
        for generation in list(self._live.values()):
            if abort_all or generation.request.rid.startswith(rid):
                generation.stop("abort")

    def flush(self) -> bool:
        """Forget the cache. Returns whether it could: not while requests run or wait."""
        if self._live:
            return False
        self._cache.clear()
        return True

    def release(self) -> int:
        """Let the held requests go on. Returns how many there were."""
        held, self._held = self._held, []
        for event in held:
            event.set()
        return len(held)

    async def wait_until(self, condition: Callable[[], bool], what: str, timeout: timedelta) -> None:
        """Wait for something that changes when a request comes, holds or ends.

        Raises:
            TimeoutError: it didn't come about; says what there was instead.
        """
        with anyio.move_on_after(timeout.total_seconds()):
            while not condition():
                await self._changed.wait()
            return
        raise TimeoutError(
            f"the scripted engine waited {timeout.total_seconds():g} s for {what}: it was asked "
            f"{len(self.generations)} times, runs {self.running}, has {self.waiting} waiting, and holds {self.held}"
        )

    async def reply_for(self, request: ScriptedRequest) -> Reply:
        if self._script is None:
            reply = next(self._replies, None)
            if reply is None:
                raise NoReply(f"the script has no reply left for request {request.number}")
            return reply
        try:
            reply = self._script(request)
            if isawaitable(reply):
                reply = await reply
        except Exception as error:
            raise NoReply(f"the script raised {type(error).__name__} for request {request.number}: {error}") from error
        if not isinstance(reply, Reply):
            raise NoReply(f"the script gave a {type(reply).__name__} for request {request.number}, which is no reply")
        return reply

    def prefill(self, request: ScriptedRequest) -> int:
        found = self._cache.match(request.cache_salt, request.packed_prompt)
        self._cache.insert(request.cache_salt, request.packed_prompt)
        self._notify()
        # The last token of a prompt is always computed: its logits give the first token of the reply.
        return min(found, request.prompt_tokens - 1)

    def settle(self, generation: Generation) -> None:
        request = generation.request
        if self._live.get(request.rid) is generation:
            del self._live[request.rid]
        if generation.finish == "disconnected":
            self.aborts += 1
        if self.recorder is not None and generation.began is not None:
            self.recorder.computed(
                request.rid,
                prompt=generation.prompt_tokens,
                cached=generation.cached,
                # To SGLang's scheduler a request for no tokens is over after one.
                output=generation.made or int(generation.finish == "length"),
                queued=generation.began - generation.arrived,
                began=generation.began,
                ended=generation.ended or time(),
            )
        if generation.began is not None and generation.finish != "error":
            # The last token was sampled but not computed, unless one more step was under way, as at the end of a turn.
            kept = generation.output_ids if generation.finish == "stop" else generation.output_ids[:-1]
            self._cache.insert(request.cache_salt, request.packed_prompt + pack_ids(list(kept)))
        self._notify()

    def answered(self, request: ScriptedRequest, meta: Mapping[str, JsonValue]) -> None:
        if self.recorder is not None:
            self.recorder.export(request, meta)

    def check_health(self) -> None:
        """What a health check makes the engine do: nothing, where requests show that it is well."""
        if self.recorder is not None and not self._live:
            self.recorder.health_check()

    async def hold(self) -> None:
        event = anyio.Event()
        self._held.append(event)
        self._notify()
        try:
            await event.wait()
        finally:
            if event in self._held:
                self._held.remove(event)

    def cut(self, scope: Scope) -> None:
        self._cut(scope)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
