"""One request, from its arrival to its last token.

Plays one reply over one connection. Times are seconds since the epoch, as on SGLang's wire.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from time import time
from typing import Protocol

import anyio
from anyio.lowlevel import checkpoint
from pydantic import JsonValue
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from orchestrator.testing import wire
from orchestrator.testing.measures import Measures
from orchestrator.testing.plan import NOTHING, plan_of
from orchestrator.testing.replies import Break, CallTool, Fail, Hang, Reply, Say
from orchestrator.testing.requests import Finish, RequestRecord, ScriptedRequest

__all__ = ["Floor", "Generation", "NoReply"]

CHUNKS = 64
"""About how many chunks a reply without a rate is cut into: one for each token would be quadratic in its length."""

_CONSTANT: dict[str, JsonValue] = {
    "weight_version": "default",
    "num_retractions": 0,
    "storage_prefetch_wait": 0.0,
    "storage_staging_wait": 0.0,
}


class NoReply(Exception):
    """The script has no reply to this request."""


class Floor(Protocol):
    """What a generation needs of the engine that runs it."""

    reasoning_parser: str | None

    async def reply_for(self, request: ScriptedRequest) -> Reply:
        """What the script says.

        Raises:
            NoReply: nothing.
        """
        ...

    def prefill(self, request: ScriptedRequest) -> int:
        """Compute the prompt. Returns how many of its tokens were cached."""
        ...

    def settle(self, generation: "Generation") -> None:
        """The request is over."""
        ...

    def answered(self, request: ScriptedRequest, meta: Mapping[str, JsonValue]) -> None:
        """The client is given the last answer, with this `meta_info`."""
        ...

    async def hold(self) -> None:
        """Wait until the test releases the request."""
        ...

    def cut(self, scope: Scope) -> None:
        """Close the connection."""
        ...


class Generation:
    """A request that waits, runs, or is over."""

    def __init__(
        self,
        floor: Floor,
        request: ScriptedRequest,
        params: wire.SamplingParams,
        measures: Measures | None = None,
    ) -> None:
        self.request = request
        self.plan = NOTHING
        self.made = 0
        self.cached = 0
        self.finish: Finish | None = None
        self.error: str | None = None
        self.abort_sent = False
        self.began: float | None = None
        """When the prompt was computed; None in the queue."""
        self.first_token: float | None = None
        self.ended: float | None = None
        self.arrived = time()
        self._floor = floor
        self._params = params
        self._measures = measures
        self._said = Say()
        self._first_sent: float | None = None
        self._computed = request.prompt_tokens
        self._playing = anyio.CancelScope()
        self._stopped_by: Finish | None = None

    @property
    def output_ids(self) -> tuple[int, ...]:
        return self.plan.ids[: self.made]

    @property
    def prompt_tokens(self) -> int:
        """Computed, or found in the cache."""
        return 0 if self.began is None else self._computed

    @property
    def record(self) -> RequestRecord:
        return RequestRecord(
            request=self.request,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached,
            output_ids=self.output_ids,
            finish=self.finish,
            error=self.error,
            started=datetime.fromtimestamp(self.arrived, UTC),
            finished=None if self.ended is None else datetime.fromtimestamp(self.ended, UTC),
        )

    def stop(self, by: Finish) -> None:
        """End it where it stands."""
        if self._stopped_by is None:
            self._stopped_by = by
            self._playing.cancel()

    def refuse(self, message: str) -> Response:
        """End it before it begins, for what it asks."""
        self._end("error", message)
        return self._error(message, 400)

    def refuse_grammar(self, message: str) -> Response:
        """End it as SGLang ends a request whose grammar doesn't compile: after one token, from a prompt of one."""
        self.plan = plan_of("!", wire.SamplingParams(max_new_tokens=1))
        self.began = self.first_token = time()
        self._computed = self.made = 1
        self._end("error", message)
        if not self.request.stream:
            return wire.native_error(message)
        finish: dict[str, JsonValue] = {"type": "abort", "message": message}
        return wire.one_chunk(self._answer({**finish, "status_code": 400, "err_type": "BadRequestError"}))

    async def respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Play the reply over this connection, until its end, an abort, or the client's going away."""
        stream = wire.Stream(send) if self.request.stream else None

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            self.stop("disconnected")

        response: Response | None = None
        async with anyio.create_task_group() as watching:
            watching.start_soon(watch)
            with self._playing:
                response = await self._play(scope, stream)
            watching.cancel_scope.cancel()
        if self.finish is None and self._stopped_by == "abort":
            response = await self._deliver(self._abort(), stream)
        elif self.finish is None:
            self._end("disconnected")
        if response is not None:
            await response(scope, receive, send)
        elif stream is not None and self.finish not in ("broken", "disconnected"):
            await stream.close()

    async def _play(self, scope: Scope, stream: wire.Stream | None) -> Response | None:
        """The whole reply. Returns what is still to be sent, if it isn't a stream."""
        try:
            reply = Say() if self._params.max_new_tokens == 0 else await self._floor.reply_for(self.request)
        except NoReply as problem:
            self._end("error", str(problem))
            return self._error(str(problem), 400)  # for good: to try again would only make the test slow
        if isinstance(reply, Fail):
            return self._fail(reply)
        if stream is not None:
            await stream.open()
        if isinstance(reply, Hang):
            return await anyio.sleep_forever()
        if isinstance(reply, CallTool):
            # Held to a schema, a model can't write the tags of its own format.
            call: JsonValue = {"name": reply.name, "arguments": reply.arguments}
            reply = Say(json=call) if self._params.json_schema else Say(calls=(reply,))
        self.plan = plan_of(reply.written, self._params, count_reasoning=self._floor.reasoning_parser is not None)
        if isinstance(reply, Break):
            await self._speak(stream, until=min(reply.after_tokens, len(self.plan.ids)), pauses=())
            self._end("broken")
            self._floor.cut(scope)
            return await anyio.sleep_forever()
        return await self._say(reply, stream)

    async def _say(self, reply: Say, stream: wire.Stream | None) -> Response | None:
        self._said = reply
        last = len(self.plan.ids)
        hold = None if reply.hold_after_tokens is None else min(reply.hold_after_tokens, max(last - 1, 0))
        if reply.delay:
            await anyio.sleep(reply.delay.total_seconds())
        if hold == 0:
            await self._floor.hold()
        pauses = (hold,) if hold else ()
        await self._speak(stream, until=last - 1, pauses=pauses, rate=reply.tokens_per_second)
        if reply.tokens_per_second and self.began is not None:
            await _sleep_until(self.began + last / reply.tokens_per_second)
        self._make(last)
        self._end("length" if self.plan.finish["type"] == "length" else "stop")
        return await self._deliver(self._answer(self.plan.finish), stream)

    async def _speak(
        self, stream: wire.Stream | None, *, until: int, pauses: tuple[int, ...], rate: float | None = None
    ) -> None:
        """Compute the prompt, then make and send the tokens up to `until`, which aren't the reply's last."""
        self.began = time()
        self.cached = self._floor.prefill(self.request)
        for count in self._steps(until, pauses, every=1 if rate else max(1, len(self.plan.ids) // CHUNKS)):
            if rate:
                await _sleep_until(self.began + count / rate)
            self._make(count)
            if stream is not None:
                await stream.send(self._answer(None))
                await checkpoint()
            if count in pauses:
                await self._floor.hold()

    def _steps(self, until: int, pauses: tuple[int, ...], every: int) -> Iterator[int]:
        for count in range(1, until + 1):
            if count % every == 0 or count == until or count in pauses:
                yield count

    def _make(self, count: int) -> None:
        self.made = count
        if self.first_token is None:
            self.first_token = time()

    def _fail(self, reply: Fail) -> Response:
        self._end("error", reply.message)
        if not (self.request.stream and reply.in_stream):
            if reply.retry_after is None and reply.status == 400:
                return wire.native_error(reply.message)
            return wire.error_response(reply.message, reply.status, retry_after=reply.retry_after)
        if reply.status == 400:
            return self._error(reply.message, 400)
        return wire.one_chunk(
            self._queue_answer({"type": "abort", "status_code": reply.status, "message": reply.message})
        )

    def _error(self, message: str, code: int) -> Response:
        if self.request.stream:
            return wire.one_chunk(wire.error_chunk(message, code))
        return wire.native_error(message, code)

    def _abort(self) -> dict[str, JsonValue]:
        self._end("abort")
        if self.began is None:
            return self._queue_answer({"type": "abort", "message": "Abort in waiting queue"})
        return self._answer({"type": "abort", "message": "Aborted", "status_code": None, "err_type": None})

    async def _deliver(self, answer: dict[str, JsonValue], stream: wire.Stream | None) -> Response | None:
        if stream is None:
            return wire.JsonResponse(answer)
        await stream.send(answer)
        return None

    def _answer(self, finish: dict[str, JsonValue] | None) -> dict[str, JsonValue]:
        """All that was made so far: a chunk, or with `finish` the last one or the whole answer."""
        plan, made, now = self.plan, self.made, time()
        aborted = finish is None or finish["type"] == "abort"
        meta: dict[str, JsonValue] = {
            "id": self.request.rid,
            "finish_reason": finish,
            "prompt_tokens": self._computed,
            **_CONSTANT,
            "forward_entry_time": self.began,
            "prefill_finished_time": self.first_token or now,
            "queue_time": (self.began or now) - self.arrived,
            "reasoning_tokens": plan.reasoning_in(made),
            "completion_tokens": made,
            "cached_tokens": self.cached,
            "cached_tokens_details": {"device": self.cached, "host": 0} if self.cached else None,
            "dp_rank": None,
        }
        if self._measures is not None:
            meta |= self._measures.of(self._said, plan.ids[:made])
        if finish is not None:
            meta |= self._last_times(now)
            self._floor.answered(self.request, meta)
        elif self._first_sent is None:
            self._first_sent = meta["response_sent_to_client_ts"] = now
        text = plan.text[: plan.ends[made]] if aborted else plan.final_text
        return {"text": text, "output_ids": list(plan.ids[:made]), "meta_info": meta}

    def _last_times(self, now: float) -> dict[str, JsonValue]:
        first, finished = self.first_token or now, self.ended or now
        times: dict[str, JsonValue] = {
            "weight_versions": [{"version": "default", "start": 0, "end": self.made}],
            "e2e_latency": finished - self.arrived,
            "request_received_ts": self.arrived,
            "first_token_latency": first - self.arrived,
            "api_server_dispatch_finish_ts": self.arrived,
            "request_finished_ts": finished,
            "response_sent_to_client_ts": self._first_sent or now,
        }
        if self.made > 1:
            times["decode_throughput"] = (self.made - 1) / max(finished - first, 1e-9)
        return times

    def _queue_answer(self, finish: dict[str, JsonValue]) -> dict[str, JsonValue]:
        """What SGLang sends for a request that never left the queue: no prompt tokens, no times of the scheduler."""
        now = time()
        meta: dict[str, JsonValue] = {
            "id": self.request.rid,
            "finish_reason": finish,
            "weight_version": "default",
            "e2e_latency": now - self.arrived,
            "completion_tokens": 0,
            "response_sent_to_client_ts": now,
        }
        self._floor.answered(self.request, meta)
        return {"text": "", "output_ids": [], "meta_info": meta}

    def _end(self, finish: Finish, error: str | None = None) -> None:
        self.finish, self.error, self.ended = finish, error, time()
        self._floor.settle(self)


async def _sleep_until(moment: float) -> None:
    await anyio.sleep(max(0.0, moment - time()))
