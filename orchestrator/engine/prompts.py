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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from cachetools import LRUCache
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.engine.sglang import SGLang
from orchestrator.messages import (
    AssistantMessage,
    BlobRef,
    Message,
    SystemMessage,
    ToolMessage,
    ToolSpec,
)
from orchestrator.transcripts import Node, TranscriptStore
from orchestrator.transcripts.store import Rendering

__all__ = ["Prompt", "Prompts"]

CACHED_TOKENS = 8_000_000
"""Token ids kept in memory per server, 4 bytes each; the rest is read from the store."""

_STUB = ({"role": "user", "content": "x"},)
_REPLIES = ({"role": "assistant", "content": "y"}, {"role": "assistant", "content": "no."})
_PROBE_TOOL = ToolSpec(name="probe", description="p", parameters={"type": "object", "properties": {}})


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """Token ids to send, and the nodes that they stand for."""

    ids: "array[int]"
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


class Prompts:
    """Prompts for one server."""

    def __init__(self, engine: SGLang, transcripts: TranscriptStore) -> None:
        self._engine = engine
        self._transcripts = transcripts
        self._template: _Template | None = None
        self._ids: LRUCache[str, array[int]] = LRUCache(CACHED_TOKENS, getsizeof=len)
        self._nodes: LRUCache[tuple[str, str], tuple[Node, Sequence[ToolSpec]]] = LRUCache(10_000)
        """By tenant and name: a name alone opens nobody else's transcript."""

    async def prepare(self, tenant: str, transcript: str | None, append: Sequence[Message]) -> Prompt:
        """The prompt for the reply that follows `append`, which isn't empty."""
        template = await self._learn()
        if transcript is None:
            nodes = self._transcripts.extend(None, append, tenant)
            return await self._whole(tenant, nodes, nodes, exact=True)
        parent, tools = await self._head(tenant, transcript)
        nodes = self._transcripts.extend(parent, append, tenant)
        before = self._ids.get(transcript)
        if before is None:
            before = await self._transcripts.token_ids(transcript, template.fingerprint)
        added = None if before is None else await self._added(tenant, template, before, append)
        if before is None or added is None:
            chain = await self._transcripts.chain(transcript)
            return await self._whole(tenant, [*chain, *nodes], nodes, exact=False)
        ids = array("I", before)
        ids.extend(added)
        return Prompt(ids=ids, nodes=nodes, added=Rendering(ids=added, whole=False), tools=tools, exact=True)

    async def write(
        self, connection: AsyncConnection, tenant: str, prompt: Prompt, reply: AssistantMessage, output: Sequence[int]
    ) -> str:
        """Keeps the prompt's messages, the reply and their tokens; the name of the chain with the reply."""
        template = await self._learn()
        (node,) = self._transcripts.extend(prompt.head, [reply], tenant)
        await self._transcripts.write(connection, [*prompt.nodes, node], tenant)
        await self._transcripts.write_rendering(connection, prompt.head.hash, template.fingerprint, prompt.added)
        rendering = Rendering(ids=output, whole=False)
        await self._transcripts.write_rendering(connection, node.hash, template.fingerprint, rendering)
        ids = array("I", prompt.ids)
        ids.extend(output)
        if len(ids) <= CACHED_TOKENS:
            self._ids.setdefault(node.hash, ids)
        self._nodes[tenant, node.hash] = (node, prompt.tools)
        return node.hash

    async def _head(self, tenant: str, transcript: str) -> tuple[Node, Sequence[ToolSpec]]:
        if known := self._nodes.get((tenant, transcript)):
            return known
        node = await self._transcripts.node(transcript, tenant)
        root = (await self._transcripts.chain(transcript))[0].message
        return node, root.tools if isinstance(root, SystemMessage) else ()

    async def _whole(self, tenant: str, chain: Sequence[Node], nodes: Sequence[Node], *, exact: bool) -> Prompt:
        root = chain[0].message
        tools = root.tools if isinstance(root, SystemMessage) else ()
        said = await self._wire(tenant, [node.message for node in chain])
        ids = await self._engine.render(said, tools=tools, open_reply=True)
        return Prompt(ids=array("I", ids), nodes=nodes, added=Rendering(ids=ids, whole=True), tools=tools, exact=exact)

    async def _added(
        self, tenant: str, template: _Template, before: "array[int]", append: Sequence[Message]
    ) -> list[int] | None:
        said = await self._wire(tenant, append)
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

    async def _wire(self, tenant: str, said: Sequence[Message]) -> list[Mapping[str, Any]]:
        return [await self._wire_message(tenant, message) for message in said]

    async def _wire_message(self, tenant: str, message: Message) -> Mapping[str, Any]:
        if isinstance(message, ToolMessage):
            content = message.content
            text = await self._transcripts.text(content, tenant) if isinstance(content, BlobRef) else content
            return {"role": "tool", "tool_call_id": message.call_id, "name": message.name, "content": text}
        if isinstance(message, AssistantMessage) and message.tool_calls:
            calls = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in message.tool_calls
            ]
            return {"role": "assistant", "content": message.content, "tool_calls": calls}
        return {"role": message.role, "content": message.content}
