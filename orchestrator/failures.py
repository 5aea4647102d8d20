"""Errors across the border between activities and workflows, as a type name, a message and details.

Imported on both sides; imports nothing that does I/O.
"""

import asyncio
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from temporalio.exceptions import ActivityError, ApplicationError, ChildWorkflowError, TimeoutType
from temporalio.exceptions import TimeoutError as TemporalTimeoutError

from orchestrator.errors import OrchestratorError

__all__ = ["as_failures", "as_raised", "cause_of", "fell_silent", "timed_out"]


@contextmanager
def as_failures() -> Generator[None]:
    """Around an activity or an update: our errors become failures that say whether to try again, and when."""
    try:
        yield
    except OrchestratorError as error:
        details = {name: value for name, value in vars(error).items() if not name.startswith("_")}
        after = details.get("retry_after")
        raise ApplicationError(
            str(error),
            details,
            type=type(error).__name__,
            non_retryable=not error.retryable,
            next_retry_delay=None if after is None else timedelta(seconds=after),
        ) from error


def cause_of(error: ActivityError | ChildWorkflowError) -> BaseException:
    """In a workflow: our own error again, as it was raised in the activity or child; else what Temporal knows."""
    cause = error.cause
    if (own := as_raised(cause)) is not None:
        return own
    if isinstance(cause, asyncio.CancelledError):
        return cause
    return error if cause is None else cause


def as_raised(failure: BaseException | None) -> OrchestratorError | None:
    """Our own error again, out of a failure that `as_failures` made; `None` where that is of another kind."""
    if not isinstance(failure, ApplicationError) or (kind := _kinds().get(failure.type or "")) is None:
        return None
    rebuilt = kind.__new__(kind)
    rebuilt.args = (failure.message,)
    details: Any = failure.details[0] if failure.details else {}
    rebuilt.__dict__.update(details)
    return rebuilt


def timed_out(cause: BaseException) -> bool:
    """Whether an activity ran past its time, as against never having been started."""
    return isinstance(cause, TemporalTimeoutError) and cause.type in (TimeoutType.START_TO_CLOSE, TimeoutType.HEARTBEAT)


def fell_silent(cause: BaseException) -> bool:
    """Whether nothing more was heard of the worker that ran an activity."""
    return isinstance(cause, TemporalTimeoutError) and cause.type is TimeoutType.HEARTBEAT


def _kinds() -> dict[str, type[OrchestratorError]]:
    def below(kind: type[OrchestratorError]) -> Iterable[type[OrchestratorError]]:
        yield kind
        for child in kind.__subclasses__():
            yield from below(child)

    return {kind.__name__: kind for kind in below(OrchestratorError)}
