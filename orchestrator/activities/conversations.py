"""The activities on stored conversations: find one, read on in a result, recall what was said, put a summary in place.

They need the transcript store and nothing else, so they run beside the ledger's own. Each is a step with a row, free.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from anyio import to_thread
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio import activity

from orchestrator.activities.metering import Meter, PaidStep, heartbeats
from orchestrator.activities.tools import kept
from orchestrator.compacting import summary_text
from orchestrator.conversations import (
    COMPACT,
    FIND,
    READ_ON,
    RECALL,
    CompactRequest,
    CompactResult,
    FindRequest,
    FindResult,
    ReadOnRequest,
    ReadOnResult,
    RecallRequest,
    RecallResult,
    Told,
)
from orchestrator.errors import InvalidInput, UnknownName
from orchestrator.failures import as_failures
from orchestrator.ledger import Kind
from orchestrator.looking_back import OWN_TOOLS, READ_MORE_TOOL, RECALL_TOOL
from orchestrator.messages import (
    AssistantMessage,
    Excerpt,
    SummaryMessage,
    SystemMessage,
    ToolMessage,
    UserMessage,
    chain_hash,
)
from orchestrator.passages import Passage
from orchestrator.steps import RunScope
from orchestrator.transcripts import Node, TranscriptStore
from orchestrator.transcripts.recalling import Said, best_passages
from orchestrator.turns import turn_starts
from orchestrator.usage import Outcome

__all__ = ["ConversationActivities"]

SEARCHED = 4_000_000
"""Characters of what was said earlier that are searched, the latest first."""
ID_LENGTH = 12

T = TypeVar("T", bound=Told)


class ConversationActivities:
    """The activities on conversations in one store."""

    def __init__(self, meter: Meter, transcripts: TranscriptStore) -> None:
        self._meter = meter
        self._transcripts = transcripts
        self.all: Sequence[Callable[..., Any]] = [self.find, self.read_on, self.recall, self.compact]

    @activity.defn(name=FIND)
    async def find(self, request: FindRequest) -> FindResult:
        """A conversation, by its name."""
        with as_failures():
            async with self._step(request.scope, "resume") as step:
                if step.replayed is not None:
                    return _again(FindResult, step)
                chain = await self._chain(request.transcript, request.scope.tenant)
                root = chain[0].message
                offered = root.tools if isinstance(root, SystemMessage) else ()
                tokens, least = await self._transcripts.tokens(request.transcript) or (None, None)
                found = {
                    "tools": [tool.name for tool in offered if tool not in OWN_TOOLS],
                    "own": [tool.name for tool in offered if tool in OWN_TOOLS],
                    "turns": len(turn_starts([node.message for node in chain])),
                    "tokens": tokens,
                    "least": least,
                }
                return await self._settled(FindResult, step, found)

    @activity.defn(name=READ_ON)
    async def read_on(self, request: ReadOnRequest) -> ReadOnResult:
        """The next page of a result that the conversation showed in part."""
        with as_failures():
            async with self._step(request.scope, READ_MORE_TOOL.name) as step:
                if step.replayed is not None:
                    return _again(ReadOnResult, step)
                tenant = request.scope.tenant
                cut = await self._cut(request, tenant)
                length = len(await self._transcripts.text(cut, tenant))
                if not 0 <= request.offset < length:
                    problem = f"offset {request.offset:,} is outside the result, which has {length:,} characters"
                    raise InvalidInput(f"tool {READ_MORE_TOOL.name!r}", problem)
                page = cut.model_copy(update={"offset": request.offset})
                return await self._settled(ReadOnResult, step, {"page": page.model_dump(mode="json")})

    @activity.defn(name=RECALL)
    async def recall(self, request: RecallRequest) -> RecallResult:
        """Passages of the part of a conversation that it no longer shows."""
        with as_failures():
            async with self._step(request.scope, RECALL_TOOL.name) as step, heartbeats():
                if step.replayed is not None:
                    return _again(RecallResult, step)
                tenant = request.scope.tenant
                await self._transcripts.node(request.transcript, tenant)
                earlier = await self._transcripts.earlier(request.transcript)
                said = await self._said(earlier, tenant)
                passages = await to_thread.run_sync(best_passages, said, request.query, request.k)
                if not request.by_reference:
                    found = {"passages": [passage.model_dump(mode="json") for passage in passages]}
                    return await self._settled(RecallResult, step, found)
                async with self._meter.database.begin(writes_first=True) as connection:
                    text = _for_the_model(passages, anything=bool(earlier))
                    content = await kept(self._transcripts, connection, text.encode(), tenant)
                    return await self._settle(connection, RecallResult, step, {"content": content})

    @activity.defn(name=COMPACT)
    async def compact(self, request: CompactRequest) -> CompactResult:
        """A conversation that begins with a summary and goes on as another one ends."""
        with as_failures():
            async with self._step(request.scope, "compact") as step:
                if step.replayed is not None:
                    return _again(CompactResult, step)
                tenant = request.scope.tenant
                written = await self._transcripts.node(request.summary, tenant)
                assert isinstance(written.message, AssistantMessage)
                chain = await self._chain(request.transcript, tenant)
                nodes, summary, turns = _compacted(chain, written.message.content, request.keep_last, tenant)
                async with self._meter.database.begin(writes_first=True) as connection:
                    await self._transcripts.write(connection, nodes, tenant)
                    made = {"transcript": nodes[-1].hash, "summary": summary.content, "turns": turns}
                    return await self._settle(connection, CompactResult, step, made)

    def _step(self, scope: RunScope, name: str) -> AbstractAsyncContextManager[PaidStep]:
        return self._meter.step(scope, Kind(kind="tool", name=name))

    async def _settled(self, kind: type[T], step: PaidStep, found: Mapping[str, Any]) -> T:
        async with self._meter.database.begin(writes_first=True) as connection:
            return await self._settle(connection, kind, step, found)

    async def _settle(self, connection: AsyncConnection, kind: type[T], step: PaidStep, found: Mapping[str, Any]) -> T:
        receipt = await step.settle(connection, Outcome.USED, found)
        return kind.model_validate({**found, "receipt": receipt})

    async def _chain(self, transcript: str, tenant: str) -> list[Node]:
        await self._transcripts.node(transcript, tenant)
        return await self._transcripts.chain(transcript)

    async def _cut(self, request: ReadOnRequest, tenant: str) -> Excerpt:
        """The result of that name, as it was shown last."""
        chain = await self._chain(request.transcript, tenant)
        known = _excerpts(chain)
        if request.result not in known:
            known |= _excerpts(await self._transcripts.earlier(request.transcript))
        if request.result not in known:
            raise UnknownName("result", request.result, known)
        return known[request.result]

    async def _said(self, nodes: Sequence[Node], tenant: str) -> list[Said]:
        """What can be found in messages; each result of a tool once, whole, however often and far it was shown."""
        said: list[Said] = []
        left, blobs = SEARCHED, set[str]()
        for node in reversed(nodes):
            message = node.message
            if isinstance(message, ToolMessage):
                content, who = message.content, f"result of {message.name}"
                if isinstance(content, str):
                    text = content
                elif content.blob in blobs or (isinstance(content, Excerpt) and content.offset):
                    continue
                else:
                    blobs.add(content.blob)
                    text = await self._transcripts.text(content, tenant)
            else:
                who, text = message.role, _words(message)
            said.append(Said(id=node.hash[:ID_LENGTH], who=who, text=text[:left]))
            left -= len(text)
            if left <= 0:
                break
        return said[::-1]


def _again(kind: type[T], step: PaidStep) -> T:
    assert step.replayed is not None
    return kind.model_validate({**step.replayed.result, "receipt": step.replayed.receipt})


def _excerpts(nodes: Sequence[Node]) -> dict[str, Excerpt]:
    contents = (node.message.content for node in nodes if isinstance(node.message, ToolMessage))
    return {content.name: content for content in contents if isinstance(content, Excerpt)}


def _words(message: SystemMessage | SummaryMessage | UserMessage | AssistantMessage) -> str:
    if isinstance(message, UserMessage):
        return message.text
    if isinstance(message, AssistantMessage):
        calls = [f"{call.name}({call.arguments})" for call in message.tool_calls]
        return "\n".join([message.content, *calls])
    return message.content


def _for_the_model(passages: Sequence[Passage], *, anything: bool) -> str:
    if not passages:
        return "Nothing that was said earlier fits this." if anything else "All that was said is still shown."
    return "\n\n".join(f"[{number}] {each.document}\n{each.text}" for number, each in enumerate(passages, 1))


def _compacted(
    chain: Sequence[Node], summary: str, keep_last: int, tenant: str
) -> tuple[Sequence[Node], SummaryMessage, int]:
    """The nodes of the new chain, what stands for the older part in it, and how many turns stay.

    A message that stays has the depth that it had, so that the names of calls, which are made of it, stay unique.
    """
    said = [node.message for node in chain]
    starts = turn_starts(said)
    kept_turns = min(keep_last, len(starts))
    begin = starts[-kept_turns] if kept_turns else len(said)
    root, last = chain[0], chain[begin - 1]
    offered = root.message.tools if isinstance(root.message, SystemMessage) else ()
    question = _question(said, begin)
    message = SummaryMessage(
        content=summary_text(summary, question, recall=RECALL_TOOL in offered), of=last.hash, question=question
    )
    head = Node(hash=chain_hash(root.hash, message, tenant), parent=root.hash, depth=last.depth, message=message)
    return [root, head, *TranscriptStore.extend(head, said[begin:], tenant)], message, kept_turns


def _question(said: Sequence[Any], begin: int) -> str:
    """What was being asked where the older part ends; empty if what comes next is a question of its own."""
    if begin == len(said) or isinstance(said[begin], UserMessage):
        return ""
    starts = set(turn_starts(said))
    for place in range(begin - 1, 0, -1):
        message = said[place]
        if isinstance(message, SummaryMessage):
            return message.question
        if isinstance(message, UserMessage) and place in starts:
            end = next(n for n in range(place, begin) if not isinstance(said[n], UserMessage))
            return "\n".join(each.text for each in said[place:end])
    return ""
