"""Prompts that begin with exactly the tokens that the engine already has.

Rendering a conversation anew, or tokenising an answer, can give other tokens than those in the engine's prefix cache:
an answer's text has many tokenisations. So a prompt here is the tokens of the last prompt, the ids that the engine
itself put out, and what the chat template adds for the messages said since. What it adds is learned from the template
by difference: a short made-up conversation is rendered with and without the new messages. Where a template rewrites
what came before (so that the difference isn't at the end), the chain is rendered whole, and the result says so.
"""

import hashlib
import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from cachetools import LRUCache
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.engine.chat import ChatPrompt
from orchestrator.engine.sglang import SGLang
from orchestrator.engine.wiring import Wiring
from orchestrator.errors import ConfigurationError, EngineRejected
from orchestrator.messages import AssistantMessage, Message, SystemMessage, ToolSpec, UserMessage
from orchestrator.transcripts import Node, TranscriptStore
from orchestrator.transcripts.store import Rendering

__all__ = ["Prompt", "Prompts"]

CACHED_TOKENS = 8_000_000
"""Token ids kept in memory per server, 4 bytes each; the rest is read from the store."""

IMAGE_TOKENS = 4_096
"""What a picture is reckoned with until the engine has said how many tokens it came to."""

_STUB = ({"role": "user", "content": "x"},)
_REPLIES = ({"role": "assistant", "content": "y"}, {"role": "assistant", "content": "no."})
_PROBE_TOOL = ToolSpec(name="probe", description="p", parameters={"type": "object", "properties": {}})


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """Token ids to send, and the nodes that they stand for."""

    ids: "array[int]"
    chat: ChatPrompt | None = None
    """What is sent in their place, where there are pictures."""
    nodes: Sequence[Node]
    """What the request appends; the last one is the head that the reply will follow."""
    added: Rendering
    tools: Sequence[ToolSpec]
    exact: bool
    """Whether it continues the engine's own tokens."""

    @property
    def head(self) -> Node:
        return self.nodes[-1]


@dataclass(frozen=True, kw_only=True)
class _Template:
    fingerprint: str
    stub: list[int]
    """The stub conversation with its first reply, closed."""
    closing: list[int]
    """The tokens that close a reply, end-of-sequence first."""


@dataclass(frozen=True, kw_only=True)
class _Head:
    """Where a transcript ends, and what is to be known of what comes before."""

    node: Node
    tools: Sequence[ToolSpec]
    pictures: bool


class Prompts:
    """Prompts for one server."""

    def __init__(self, engine: SGLang, transcripts: TranscriptStore, *, image_urls: bool = False) -> None:
        """Asks nothing yet.

        Args:
            image_urls: whether the server may fetch pictures from URLs.
        """
        self._engine = engine
        self._transcripts = transcripts
        self._wiring = Wiring(transcripts)
        self._image_urls = image_urls
        self._template: _Template | None = None
        self._ids: LRUCache[str, array[int]] = LRUCache(CACHED_TOKENS, getsizeof=len)
        self._heads: LRUCache[tuple[str, str], _Head] = LRUCache(10_000)
        """By tenant and name: a name alone opens nobody else's transcript."""

    async def prepare(self, tenant: str, transcript: str | None, append: Sequence[Message]) -> Prompt:
        """The prompt for the reply that follows `append`, which isn't empty."""
        template = await self._learn()
        if transcript is None:
            nodes = self._transcripts.extend(None, append, tenant)
            if _show_pictures(append):
                return await self._chat(tenant, nodes, nodes)
            return await self._whole(tenant, nodes, nodes, exact=True)
        head = await self._head(tenant, transcript)
        nodes = self._transcripts.extend(head.node, append, tenant)
        if head.pictures or _show_pictures(append):
            return await self._chat(tenant, [*await self._transcripts.chain(transcript), *nodes], nodes)
        before = self._ids.get(transcript)
        if before is None:
            before = await self._transcripts.token_ids(transcript, template.fingerprint)
        added = None if before is None else await self._added(tenant, template, before, append)
        if before is None or added is None:
            chain = await self._transcripts.chain(transcript)
            return await self._whole(tenant, [*chain, *nodes], nodes, exact=False)
        ids = array("I", before)
        ids.extend(added)
        return Prompt(ids=ids, nodes=nodes, added=Rendering(ids=added, whole=False), tools=head.tools, exact=True)

    async def closing(self) -> Sequence[int]:
        """The tokens that close a reply, end-of-sequence first."""
        return (await self._learn()).closing

    async def write(
        self, connection: AsyncConnection, tenant: str, prompt: Prompt, reply: AssistantMessage, output: Sequence[int]
    ) -> str:
        """Keeps the prompt's messages, the reply and their tokens; the name of the chain with the reply."""
        (node,) = self._transcripts.extend(prompt.head, [reply], tenant)
        await self._transcripts.write(connection, [*prompt.nodes, node], tenant)
        pictures = prompt.chat is not None
        self._heads[tenant, node.hash] = _Head(node=node, tools=prompt.tools, pictures=pictures)
        if pictures:
            return node.hash
        template = await self._learn()
        await self._transcripts.write_rendering(connection, prompt.head.hash, template.fingerprint, prompt.added)
        rendering = Rendering(ids=output, whole=False)
        await self._transcripts.write_rendering(connection, node.hash, template.fingerprint, rendering)
        ids = array("I", prompt.ids)
        ids.extend(output)
        if len(ids) <= CACHED_TOKENS:
            self._ids.setdefault(node.hash, ids)
        return node.hash

    async def _head(self, tenant: str, transcript: str) -> "_Head":
        if known := self._heads.get((tenant, transcript)):
            return known
        node = await self._transcripts.node(transcript, tenant)
        said = [each.message for each in await self._transcripts.chain(transcript)]
        return _Head(node=node, tools=_tools_of(said[0]), pictures=_show_pictures(said))

    async def _chat(self, tenant: str, chain: Sequence[Node], nodes: Sequence[Node]) -> Prompt:
        """A prompt with pictures, which can't be sent as tokens.

        Raises:
            EngineRejected: the model sees none.
            ConfigurationError: one is at a URL, and the server may not fetch it.
            UnknownName: the tenant has no such picture.
        """
        said = [node.message for node in chain]
        images = [image for message in said if isinstance(message, UserMessage) for image in message.images]
        if not self._image_urls and any(image.url is not None for image in images):
            raise ConfigurationError(
                "the conversation has an image at a URL, and engines here may not fetch any",
                remedy="Put it into the store (ToolContext.put_image, POST /v1/images), or set "
                "ORCHESTRATOR_ENGINE__IMAGE_URLS=true: engines then fetch what users name, from inside their network.",
            )
        if not await self._engine.sees_images():
            raise EngineRejected(
                self._engine.url, 400, "its model sees no images: ask a pool whose model does, or leave the images out"
            )
        tools = _tools_of(said[0])
        texts = await self._engine.render(await self._wiring.texts(tenant, said), tools=tools, open_reply=True)
        chat = ChatPrompt(
            messages=await self._wiring.pictures(tenant, said),
            tools=tools,
            tokens=len(texts) + IMAGE_TOKENS * len(images),
        )
        none = Rendering(ids=(), whole=False)
        return Prompt(ids=array("I"), chat=chat, nodes=nodes, added=none, tools=tools, exact=False)

    async def _whole(self, tenant: str, chain: Sequence[Node], nodes: Sequence[Node], *, exact: bool) -> Prompt:
        tools = _tools_of(chain[0].message)
        said = await self._wiring.texts(tenant, [node.message for node in chain])
        ids = await self._engine.render(said, tools=tools, open_reply=True)
        return Prompt(ids=array("I", ids), nodes=nodes, added=Rendering(ids=ids, whole=True), tools=tools, exact=exact)

    async def _added(
        self, tenant: str, template: _Template, before: "array[int]", append: Sequence[Message]
    ) -> list[int] | None:
        said = await self._wiring.texts(tenant, append)
        longer = await self._engine.render([*_STUB, _REPLIES[0], *said], open_reply=True)
        if longer[: len(template.stub)] != template.stub:
            return None
        closing = template.closing
        written = next(n for n in range(len(closing), -1, -1) if n == 0 or list(before[-n:]) == closing[:n])
        return [*closing[written:], *longer[len(template.stub) :]]

    async def _learn(self) -> _Template:
        """How the server's template closes a reply, and which tokenizer and template it has."""
        if self._template is None:
            first, second = [await self._engine.render([*_STUB, reply], open_reply=False) for reply in _REPLIES]
            tools = await self._engine.render(_STUB, tools=[_PROBE_TOOL], open_reply=True)
            shared = takewhile(lambda pair: pair[0] == pair[1], zip(reversed(first), reversed(second), strict=False))
            closing = [token for token, _ in shared][::-1]
            digest = hashlib.sha256(json.dumps([first, second, tools]).encode()).hexdigest()
            self._template = _Template(fingerprint=digest, stub=first, closing=closing)
        return self._template


def _tools_of(root: Message) -> Sequence[ToolSpec]:
    return root.tools if isinstance(root, SystemMessage) else ()


def _show_pictures(said: Sequence[Message]) -> bool:
    return any(isinstance(message, UserMessage) and message.images for message in said)
