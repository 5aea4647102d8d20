"""A prompt is the last one's tokens, the ids that the engine put out, and what the template adds; or it says not."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx
import pytest

from orchestrator.database import Database
from orchestrator.engine import EngineRequest, Generation, Prompt, Prompts, SGLang
from orchestrator.errors import UnknownName
from orchestrator.messages import (
    AssistantMessage,
    BlobRef,
    Message,
    SystemMessage,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
)
from orchestrator.steps import Sampling
from orchestrator.testing import Say, scripted_engine
from orchestrator.testing.tokenizer import IM_END, decode, encode
from orchestrator.transcripts import TranscriptStore

SPEC = ToolSpec(name="search", description="Searches.", parameters={"type": "object", "properties": {}})
ROOT = SystemMessage(content="Be brief.", tools=(SPEC,))
HELLO, GO_ON = UserMessage(content="hello"), UserMessage(content="go on")

_rids = count()


@dataclass(kw_only=True)
class Desk:
    """Prompts, and what they need to be asked and kept."""

    database: Database
    engine: SGLang
    prompts: Prompts

    @classmethod
    def of(cls, database: Database, engine: SGLang) -> "Desk":
        return cls(database=database, engine=engine, prompts=Prompts(engine, TranscriptStore(database)))

    def restarted(self) -> "Desk":
        return Desk.of(self.database, self.engine)

    async def prepare(self, transcript: str | None, *append: Message, tenant: str = "t") -> Prompt:
        return await self.prompts.prepare(tenant, transcript, append)

    async def keep(self, prompt: Prompt, reply: AssistantMessage, ids: Sequence[int], *, tenant: str = "t") -> str:
        async with self.database.begin() as connection:
            return await self.prompts.write(connection, tenant, prompt, reply, ids)

    async def generate(self, prompt: Prompt, *, max_tokens: int = 64) -> Generation:
        generation = Generation()
        request = EngineRequest(rid=f"{next(_rids):032x}", ids=prompt.ids, sampling=Sampling(max_tokens=max_tokens))
        async for grown in self.engine.generate(request):
            generation = grown
        return generation

    async def reply(self, prompt: Prompt, *, max_tokens: int = 64) -> tuple[str, Generation]:
        """The name of the chain with the engine's reply."""
        generation = await self.generate(prompt, max_tokens=max_tokens)
        return await self.keep(prompt, AssistantMessage(content=generation.text), generation.ids), generation

    async def rendered(self, *said: Mapping[str, Any]) -> list[int]:
        """The whole conversation, as the template writes it."""
        return await self.engine.render(said, tools=[SPEC], open_reply=True)


@asynccontextmanager
async def _desk(database: Database, *replies: Say) -> AsyncGenerator[Desk]:
    async with scripted_engine(replies) as scripted, SGLang.open(scripted.url) as engine:
        yield Desk.of(database, engine)


def _wire(*said: Message) -> list[dict[str, Any]]:
    return [{"role": message.role, "content": message.content} for message in said]


async def test_after_a_finished_turn(database: Database) -> None:
    async with _desk(database, Say("hi"), Say("bye")) as desk:
        first = await desk.prepare(None, ROOT, HELLO)
        assert first.exact
        assert list(first.ids) == await desk.rendered(*_wire(ROOT, HELLO))
        name, generation = await desk.reply(first)
        assert generation.ids[-1] == IM_END
        second = await desk.prepare(name, GO_ON)
        assert second.exact
        assert second.tools == (SPEC,)
        assert list(second.ids[: len(first.ids) + len(generation.ids)]) == [*first.ids, *generation.ids]
        assert list(second.ids) == await desk.rendered(*_wire(ROOT, HELLO, AssistantMessage(content="hi"), GO_ON))


async def test_after_a_turn_that_was_cut_off(database: Database) -> None:
    async with _desk(database, Say("this goes on and on")) as desk:
        name, generation = await desk.reply(await desk.prepare(None, ROOT, HELLO), max_tokens=2)
        assert generation.finish == "length"
        assert IM_END not in generation.ids
        second = await desk.prepare(name, GO_ON)
        assert second.exact
        reply = AssistantMessage(content=generation.text)
        assert list(second.ids) == await desk.rendered(*_wire(ROOT, HELLO, reply, GO_ON))


async def test_however_the_engine_spelt_its_reply(database: Database) -> None:
    """The reply's text tokenised anew would be other tokens, and the cache would miss."""
    async with _desk(database) as desk:
        first = await desk.prepare(None, ROOT, HELLO)
        spelt = [token for letter in "hi there" for token in encode(letter)]
        name = await desk.keep(first, AssistantMessage(content="hi there"), spelt)
        second = await desk.prepare(name, GO_ON)
        assert second.exact
        before = [*first.ids, *spelt]
        assert list(second.ids[: len(before)]) == before
        anew = await desk.rendered(*_wire(ROOT, HELLO, AssistantMessage(content="hi there"), GO_ON))
        assert list(second.ids) != anew
        assert decode(second.ids) == decode(anew)


async def test_after_a_restart(database: Database) -> None:
    async with _desk(database, Say("one"), Say("two, but longer than allowed"), Say("three")) as desk:
        name, _ = await desk.reply(await desk.prepare(None, ROOT, HELLO))
        name, _ = await desk.reply(await desk.prepare(name, GO_ON), max_tokens=3)
        name, _ = await desk.reply(await desk.restarted().prepare(name, GO_ON))
        warm, cold = await desk.prepare(name, GO_ON, HELLO), await desk.restarted().prepare(name, GO_ON, HELLO)
        assert cold == warm
        assert cold.exact
        assert cold.tools == (SPEC,)


async def test_for_branches_of_one_conversation(database: Database) -> None:
    async with _desk(database, Say("trunk"), Say("left"), Say("right")) as desk:
        trunk, _ = await desk.reply(await desk.prepare(None, ROOT, HELLO))
        left, _ = await desk.reply(await desk.prepare(trunk, UserMessage(content="left?")))
        right, _ = await desk.reply(await desk.prepare(trunk, UserMessage(content="right?")))
        for name, question, answer in ((left, "left?", "left"), (right, "right?", "right")):
            said = _wire(
                ROOT,
                HELLO,
                AssistantMessage(content="trunk"),
                UserMessage(content=question),
                AssistantMessage(content=answer),
                GO_ON,
            )
            for here in (desk, desk.restarted()):
                prompt = await here.prepare(name, GO_ON)
                assert prompt.exact
                assert list(prompt.ids) == await desk.rendered(*said)


async def test_with_what_a_tool_returned_written_out(database: Database) -> None:
    result = "the whole page. " * 500
    async with database.begin() as connection:
        ref = await TranscriptStore(database).put_text(connection, result, "t")
    async with _desk(database) as desk:
        first = await desk.prepare(None, ROOT, HELLO)
        call = ToolCall(id="2.0", name="search", arguments='{"q": "x"}')
        name = await desk.keep(first, AssistantMessage(content="", tool_calls=(call,)), encode("search!"))
        returned = ToolMessage(call_id="2.0", name="search", content=ref)
        for here in (desk, desk.restarted()):
            second = await here.prepare(name, returned, ToolMessage(call_id="2.1", name="search", content="short"))
            assert second.exact
            text = decode(second.ids)
            assert f"<tool_response>\n{result}\n</tool_response>" in text
            assert "<tool_response>\nshort\n</tool_response>" in text
            assert second.nodes[0].message == returned, "the transcript keeps the reference"
            assert isinstance(returned.content, BlobRef)


async def test_not_for_another_tenant(database: Database) -> None:
    async with _desk(database, Say("secret")) as desk:
        name, _ = await desk.reply(await desk.prepare(None, ROOT, HELLO))
        for here in (desk, desk.restarted()):
            with pytest.raises(UnknownName, match="no transcript is called"):
                await here.prepare(name, GO_ON, tenant="somebody else")


class Template:
    """A server that only tokenises, a token for each character; its templates can be worse than ours."""

    def __init__(self, *, forgets: bool = False, mark: str = "") -> None:
        self._forgets = forgets
        self._mark = mark

    def text(self, said: Sequence[Mapping[str, Any]], *, open_reply: bool) -> str:
        asked = max((place for place, message in enumerate(said) if message["role"] == "user"), default=0)
        written = ""
        for place, message in enumerate(said):
            # As templates of reasoning models do: what was said before the last question is shortened.
            forgotten = self._forgets and message["role"] == "assistant" and place < asked
            written += f"<{message['role']}{self._mark}>{'...' if forgotten else message['content']}</>"
        return written + (f"<assistant{self._mark}>" if open_reply else "")

    async def answer(self, request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v1/tokenize"
        body = httpx.Response(200, content=request.content).json()
        text = self.text(body["messages"], open_reply=body["add_generation_prompt"])
        return httpx.Response(200, json={"tokens": [ord(letter) for letter in text]})

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[SGLang]:
        transport = httpx.MockTransport(self.answer)
        async with httpx.AsyncClient(base_url="http://template", transport=transport) as http:
            yield SGLang(http)


ONE, TWO = AssistantMessage(content="one"), AssistantMessage(content="two")


def _text(ids: Sequence[int]) -> str:
    return "".join(map(chr, ids))


async def test_a_template_that_rewrites_the_past_is_rendered_whole(database: Database) -> None:
    template = Template(forgets=True)
    async with template.serving() as engine:
        desk = Desk.of(database, engine)
        first = await desk.prepare(None, ROOT, HELLO)
        assert first.exact
        name = await desk.keep(first, ONE, [ord(letter) for letter in "one</>"])
        for here in (desk, desk.restarted()):
            second = await here.prepare(name, GO_ON)
            assert not second.exact
            assert _text(second.ids) == template.text(_wire(ROOT, HELLO, ONE, GO_ON), open_reply=True)
            assert "one" not in _text(second.ids)
        name = await desk.keep(second, TWO, [ord(letter) for letter in "two</>"])
        third = await desk.restarted().prepare(name, GO_ON)
        assert not third.exact
        assert _text(third.ids) == template.text(_wire(ROOT, HELLO, ONE, GO_ON, TWO, GO_ON), open_reply=True)


async def test_a_template_that_only_adds_is_continued(database: Database) -> None:
    template = Template()
    async with template.serving() as engine:
        desk = Desk.of(database, engine)
        name = await desk.keep(await desk.prepare(None, ROOT, HELLO), ONE, [ord(letter) for letter in "one</>"])
        second = await desk.prepare(name, GO_ON)
        assert second.exact
        assert _text(second.ids) == template.text(_wire(ROOT, HELLO, ONE, GO_ON), open_reply=True)


@pytest.mark.parametrize("kept", ["", "o", "one", "one<", "one</"])
async def test_a_turn_is_closed_with_what_is_missing_of_its_end(database: Database, kept: str) -> None:
    """A turn can be cut off inside its own closing, where that has more than one token."""
    async with Template().serving() as engine:
        desk = Desk.of(database, engine)
        reply = AssistantMessage(content=kept)
        name = await desk.keep(await desk.prepare(None, ROOT, HELLO), reply, [ord(letter) for letter in kept])
        second = await desk.prepare(name, GO_ON)
        text = kept.removesuffix("/").removesuffix("<")
        assert _text(second.ids).endswith(f"<user>hello</><assistant>{text}</><user>go on</><assistant>")


async def test_another_templates_tokens_are_not_continued(database: Database) -> None:
    async with Template().serving() as engine:
        desk = Desk.of(database, engine)
        name = await desk.keep(await desk.prepare(None, ROOT, HELLO), ONE, [ord(letter) for letter in "one</>"])
    other = Template(mark="!")
    async with other.serving() as engine:
        desk = Desk.of(database, engine)
        second = await desk.prepare(name, GO_ON)
        assert not second.exact
        assert _text(second.ids) == other.text(_wire(ROOT, HELLO, ONE, GO_ON), open_reply=True)
        name = await desk.keep(second, TWO, [ord(letter) for letter in "two</>"])
        assert (await desk.restarted().prepare(name, GO_ON)).exact, "from here on the tokens are this engine's own"
