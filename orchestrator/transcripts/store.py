"""The transcript store in SQL.

A node is a message and the hash of the chain that ends with it. Nodes are never changed, so writing one twice is
harmless. A rendering holds the token ids that a node adds to its chain under one tokenizer: output ids of an
assistant message, prompt ids up to the next reply of what was said before it. Concatenated, they are the prompt.
"""

import hashlib
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter
from sqlalchemy import CTE, select
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.database import Database, now
from orchestrator.database.tables import blobs, messages, renderings
from orchestrator.errors import UnknownName
from orchestrator.images import Image
from orchestrator.messages import (
    AssistantMessage,
    BlobRef,
    Excerpt,
    Message,
    SummaryMessage,
    SystemMessage,
    chain_hash,
)

__all__ = ["Node", "TranscriptStore"]

_MESSAGE: TypeAdapter[Message] = TypeAdapter(Message)


@dataclass(frozen=True, kw_only=True)
class Node:
    """One message of a chain."""

    hash: str
    parent: str | None
    depth: int
    message: Message


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """Token ids that a node adds, or the whole prompt that ends with it."""

    ids: Sequence[int]
    whole: bool


class TranscriptStore:
    """Chains of messages by hash."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @staticmethod
    def extend(parent: Node | None, added: Sequence[Message], tenant: str) -> list[Node]:
        """The nodes of a chain once `added` follows `parent`; nothing is written."""
        nodes: list[Node] = []
        for message in added:
            previous = nodes[-1] if nodes else parent
            name = chain_hash(previous.hash if previous else None, message, tenant)
            depth = previous.depth + 1 if previous else 0
            nodes.append(Node(hash=name, parent=previous.hash if previous else None, depth=depth, message=message))
        return nodes

    async def write(self, connection: AsyncConnection, nodes: Sequence[Node], tenant: str) -> None:
        """Adds nodes, parents first; those already there are left as they are."""
        if not nodes:
            return
        rows = [
            {
                "hash": node.hash,
                "parent": node.parent,
                "tenant": tenant,
                "depth": node.depth,
                "role": node.message.role,
                "body": zlib.compress(_MESSAGE.dump_json(node.message)),
                "created_at": now(),
            }
            for node in nodes
        ]
        await connection.execute(self._database.insert(messages).on_conflict_do_nothing(), rows)

    async def write_rendering(
        self, connection: AsyncConnection, name: str, tokenizer: str, rendering: Rendering
    ) -> None:
        """Keeps token ids of a node; the first writer wins."""
        packed = zlib.compress(array("I", rendering.ids).tobytes(), 1)
        row = {"hash": name, "tokenizer": tokenizer, "whole": rendering.whole, "ids": packed}
        await connection.execute(self._database.insert(renderings).on_conflict_do_nothing(), row)

    async def node(self, name: str, tenant: str) -> Node:
        """One node.

        Raises:
            UnknownName: the tenant has no such transcript.
        """
        async with self._database.read() as connection:
            found = select(messages).where(messages.c.hash == name, messages.c.tenant == tenant)
            row = (await connection.execute(found)).one_or_none()
        if row is None:
            raise UnknownName("transcript", name, ())
        return Node(hash=row.hash, parent=row.parent, depth=row.depth, message=_message(row.body))

    async def chain(self, head: str) -> list[Node]:
        """All nodes from the root to `head`."""
        line = _ancestry(head)
        columns = (messages.c.hash, messages.c.parent, messages.c.depth, messages.c.body)
        query = select(*columns).join(line, line.c.hash == messages.c.hash).order_by(messages.c.depth)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        return [Node(hash=r.hash, parent=r.parent, depth=r.depth, message=_message(r.body)) for r in rows]

    async def earlier(self, head: str) -> list[Node]:
        """What was said before all that the chain up to `head` shows: the parts that summaries stand for in it."""
        parts: list[list[Node]] = []
        chain = await self.chain(head)
        while (summary := _summary_in(chain)) is not None:
            chain = await self.chain(summary.of)
            parts.append([node for node in chain if not isinstance(node.message, SystemMessage | SummaryMessage)])
        return [node for part in reversed(parts) for node in part]

    async def tokens(self, head: str) -> tuple[int, int] | None:
        """How many tokens the chain up to `head` has, and how many it had with the first reply since it was rendered.

        By the tokenizer that counts most; `None` where none ever did.
        """
        query = select(renderings.c.tokenizer).where(renderings.c.hash == head)
        async with self._database.read() as connection:
            tokenizers = (await connection.execute(query)).scalars().all()
        counted = [await self._token_parts(head, tokenizer) for tokenizer in tokenizers]
        return max(((sum(map(len, parts)), sum(map(len, parts[:2]))) for parts in counted if parts), default=None)

    async def token_ids(self, head: str, tokenizer: str) -> "array[int] | None":
        """The exact tokens of the chain up to `head`, or `None` where some were never seen by this tokenizer."""
        parts = await self._token_parts(head, tokenizer)
        if not parts:
            return None
        whole = array("I")
        for part in parts:
            whole.extend(part)
        return whole

    async def _token_parts(self, head: str, tokenizer: str) -> "list[array[int]]":
        """What each prompt and each reply added, oldest first; nothing where some tokens aren't known."""
        line = _ancestry(head)
        query = (
            select(messages.c.role, renderings.c.whole, renderings.c.ids)
            .join(line, line.c.hash == messages.c.hash)
            .outerjoin(renderings, (renderings.c.hash == messages.c.hash) & (renderings.c.tokenizer == tokenizer))
            .order_by(messages.c.depth.desc())
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        parts: list[array[int]] = []
        for row in rows:
            if row.ids is None:
                if row.role == AssistantMessage.model_fields["role"].default:
                    return []
                continue
            parts.append(array("I", zlib.decompress(row.ids)))
            if row.whole:
                return parts[::-1]
        return []

    async def put_text(self, connection: AsyncConnection, text: str, tenant: str) -> BlobRef:
        """Keeps a long text."""
        data = text.encode()
        ref = BlobRef(blob=hashlib.sha256(data).hexdigest(), size=len(data))
        await self._put(connection, ref.blob, data, tenant)
        return ref

    async def text(self, ref: BlobRef | Excerpt, tenant: str) -> str:
        """A text that was kept."""
        query = select(blobs.c.body).where(blobs.c.tenant == tenant, blobs.c.hash == ref.blob)
        async with self._database.read() as connection:
            body = (await connection.execute(query)).scalar_one()
        return zlib.decompress(body).decode()

    async def put_image(
        self, connection: AsyncConnection, data: bytes, tenant: str, *, media_type: str | None = None
    ) -> Image:
        """Keeps a picture.

        Args:
            media_type: what it is said to be.

        Raises:
            InvalidInput: it is none, or too large.
        """
        image = Image.of(data, media_type)
        assert image.blob is not None
        await self._put(connection, image.blob, data, tenant, level=0)  # its own format has compressed it
        return image

    async def image(self, image: Image, tenant: str) -> bytes:
        """The bytes of a picture that was kept.

        Raises:
            UnknownName: the tenant has no such picture.
        """
        query = select(blobs.c.body).where(blobs.c.tenant == tenant, blobs.c.hash == image.blob)
        async with self._database.read() as connection:
            body = (await connection.execute(query)).scalar_one_or_none()
        if body is None:
            raise UnknownName("image", image.blob or "", ())
        return zlib.decompress(body)

    async def _put(self, connection: AsyncConnection, name: str, data: bytes, tenant: str, *, level: int = -1) -> None:
        row = {
            "tenant": tenant,
            "hash": name,
            "size": len(data),
            "body": zlib.compress(data, level),
            "created_at": now(),
        }
        await connection.execute(self._database.insert(blobs).on_conflict_do_nothing(), row)


def _message(body: bytes) -> Message:
    return _MESSAGE.validate_json(zlib.decompress(body))


def _summary_in(chain: Sequence[Node]) -> SummaryMessage | None:
    return next((node.message for node in chain if isinstance(node.message, SummaryMessage)), None)


def _ancestry(head: str) -> CTE:
    start = select(messages.c.hash, messages.c.parent).where(messages.c.hash == head).cte("line", recursive=True)
    return start.union_all(select(messages.c.hash, messages.c.parent).join(start, start.c.parent == messages.c.hash))
