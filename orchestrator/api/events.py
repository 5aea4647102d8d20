"""A run's events as Server-Sent Events: https://html.spec.whatwg.org/multipage/server-sent-events.html"""

import logging
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta

from sse_starlette import EventSourceResponse, ServerSentEvent
from temporalio.service import RPCError

from orchestrator.api.problems import MalformedEventId
from orchestrator.api.shutdown import Shutdown
from orchestrator.history import RunEvent

__all__ = ["EventStream", "event_id"]

logger = logging.getLogger(__name__)


class EventStream(EventSourceResponse):
    """Events while they happen, to their end, or until the server stops or can't read on."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[RunEvent], *, ping: timedelta, shutdown: Shutdown) -> None:
        super().__init__(_written(events, shutdown), ping=ping.total_seconds())  # pyright: ignore[reportUnknownMemberType]


def event_id(text: str) -> int:
    """The id in a `Last-Event-ID`.

    Raises:
        MalformedEventId: there is none.
    """
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise MalformedEventId(text)
    return int(text)


async def _written(events: AsyncGenerator[RunEvent], shutdown: Shutdown) -> AsyncGenerator[ServerSentEvent]:
    async with aclosing(events):
        while True:
            event = None
            with shutdown.ends_wait():
                try:
                    event = await anext(events, None)
                except RPCError as error:
                    # The status is sent already; a stream without the run's last event tells the client to resume.
                    logger.warning("a stream of events breaks off, since Temporal says: %s", error.message)
            if event is None:
                return
            yield ServerSentEvent(event.model_dump_json(exclude_none=True), event=event.type, id=str(event.id))
