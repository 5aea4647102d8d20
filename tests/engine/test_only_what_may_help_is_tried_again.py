"""What an engine's refusal means: whether another attempt may do better, when, and what it said."""

import pytest
from httpx import ConnectError, ReadTimeout, Request, Response

from orchestrator.engine import SGLang
from orchestrator.engine.sglang import refusal
from orchestrator.errors import (
    EngineError,
    EngineOverloaded,
    EngineRejected,
    EngineUnavailable,
    ModelMismatch,
)
from orchestrator.testing import Break, Fail, Reply, scripted_engine
from tests.engine.fake_wire import REQUEST, Chunks, chunk, speaking_to

RETRYABLE = [408, 409, 429, 500, 502, 503, 504, 529]
FINAL = [400, 401, 403, 404, 405, 413, 422, 451]


@pytest.mark.parametrize("code", RETRYABLE)
def test_patience_is_asked_for(code: int) -> None:
    error = refusal("http://e", code, "full", 2.5)
    assert isinstance(error, EngineOverloaded)
    assert (error.retryable, error.code, error.problem, error.retry_after) == (True, code, "full", 2.5)
    after = refusal("http://e", code, "full")
    assert isinstance(after, EngineOverloaded)
    assert after.retry_after is None


@pytest.mark.parametrize("code", FINAL)
def test_other_refusals_are_for_good(code: int) -> None:
    error = refusal("http://e", code, "no", 2.5)
    assert isinstance(error, EngineRejected)
    assert (error.retryable, error.code, error.problem) == (False, code, "no")


async def _refused(answer: Response) -> EngineError:
    """What a generation and any other request raise; the same."""
    async with speaking_to(lambda _: answer) as engine:
        with pytest.raises(EngineError) as generating:
            await _generate(engine)
        with pytest.raises(EngineError) as rendering:
            await engine.render([{"role": "user", "content": "x"}], open_reply=True)
    assert vars(generating.value) == vars(rendering.value)
    return generating.value


async def _generate(engine: SGLang) -> None:
    async for _ in engine.generate(REQUEST):
        pass


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (Response(429, json={"error": {"message": "the queue is full"}}), "the queue is full"),
        (Response(429, json={"message": "slow down"}), "slow down"),
        (Response(429, json={"error": "slow down"}), "slow down"),
        (Response(429, json=["odd"]), '["odd"]'),
        (Response(429, text="<html>busy</html>"), "<html>busy</html>"),
        (Response(429, text="x" * 300), "x" * 200),
        (Response(429), "Too Many Requests"),
    ],
)
async def test_the_engines_words_are_kept(answer: Response, problem: str) -> None:
    error = await _refused(answer)
    assert isinstance(error, EngineOverloaded)
    assert (error.code, error.problem) == (429, problem)
    assert str(error) == f"the engine at http://engine:1 answered 429: {problem}"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0", 0.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("soon", None), ("-1", None), (None, None)],
)
async def test_retry_after_is_passed_on(header: str | None, seconds: float | None) -> None:
    error = await _refused(Response(503, headers={} if header is None else {"retry-after": header}))
    assert isinstance(error, EngineOverloaded)
    assert error.retry_after == seconds


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (Fail(status=429, retry_after=3), EngineOverloaded, "429: the script says so"),
        (Fail(status=400, message="no such field"), EngineRejected, r"\(400\): no such field"),
        (Fail(status=503, in_stream=True), EngineOverloaded, "503: the script says so"),
        (Fail(status=400, message="too long", in_stream=True), EngineRejected, r"\(400\): too long"),
        (Break(after_tokens=0), EngineUnavailable, "can't be reached or broke off"),
        (Break(after_tokens=3), EngineUnavailable, "can't be reached or broke off"),
    ],
)
async def test_over_a_real_connection(reply: Reply, kind: type[EngineError], words: str) -> None:
    async with scripted_engine([reply]) as scripted, SGLang.open(scripted.url) as engine:
        with pytest.raises(kind, match=words) as caught:
            await _generate(engine)
    assert scripted.url in str(caught.value)


async def test_a_stream_that_ends_in_mid_answer_is_no_answer() -> None:
    stream = Chunks(chunk("on", [1]))
    stream.end()
    async with speaking_to(lambda _: Response(200, stream=stream)) as engine:
        with pytest.raises(EngineUnavailable, match="the stream ended in mid-answer"):
            await _generate(engine)
    assert stream.closed.is_set()


@pytest.mark.parametrize("failure", [ConnectError("refused"), ReadTimeout("")])
async def test_a_connection_that_fails_says_what_to_do(failure: Exception) -> None:
    def fail(_: Request) -> Response:
        raise failure

    async with speaking_to(fail) as engine:
        for attempt in (engine.describe(), _generate(engine), engine.abort("0")):
            with pytest.raises(EngineUnavailable, match="'orchestrator doctor' checks it") as caught:
                await attempt
            assert caught.value.problem == (str(failure) or "ReadTimeout")
            assert caught.value.retryable


async def test_an_engine_that_is_down_says_what_to_do() -> None:
    async with scripted_engine([]) as scripted:
        url = scripted.url
    async with SGLang.open(url) as engine:
        with pytest.raises(EngineUnavailable, match="is it up\\? 'orchestrator doctor' checks it") as caught:
            await engine.describe()
    assert caught.value.url == url


async def test_another_model_than_wanted_says_what_to_set() -> None:
    async with scripted_engine([], model="small") as scripted, SGLang.open(scripted.url) as engine:
        assert (await engine.describe()).model == "small"
        assert (await engine.describe(wanted="small")).model == "small"
        with pytest.raises(ModelMismatch, match="set ORCHESTRATOR_ENGINE__MODEL=small") as caught:
            await engine.describe(wanted="large")
    assert (caught.value.served, caught.value.wanted, caught.value.url) == ("small", "large", scripted.url)
    assert not caught.value.retryable
