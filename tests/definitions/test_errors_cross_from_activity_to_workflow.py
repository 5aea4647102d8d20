"""What an activity raises is in the workflow the same error again, after it went through Temporal's payloads."""

import asyncio
from datetime import timedelta

import pytest
from temporalio.api.failure.v1 import Failure
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError, RetryState, TimeoutType
from temporalio.exceptions import TimeoutError as TemporalTimeoutError

from orchestrator.errors import EngineOverloaded, OrchestratorError
from orchestrator.failures import as_failures, cause_of, fell_silent, timed_out
from tests.definitions.errors_of_every_kind import ERRORS


def _failure_of(error: BaseException) -> ApplicationError:
    with pytest.raises(ApplicationError) as caught, as_failures():
        raise error
    return caught.value


async def _sent(cause: BaseException) -> ActivityError:
    """The activity's failure as the workflow gets it."""
    failure = Failure()
    await pydantic_data_converter.encode_failure(cause, failure)
    arrived = await pydantic_data_converter.decode_failure(Failure.FromString(failure.SerializeToString()))
    return _activity_error(arrived)


def _activity_error(cause: BaseException) -> ActivityError:
    error = ActivityError(
        "activity failed",
        scheduled_event_id=1,
        started_event_id=2,
        identity="worker",
        activity_type="generate",
        activity_id="1",
        retry_state=RetryState.NON_RETRYABLE_FAILURE,
    )
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_type_message_and_attributes_arrive(error: OrchestratorError) -> None:
    rebuilt = cause_of(await _sent(_failure_of(error)))
    assert type(rebuilt) is type(error)
    assert str(rebuilt) == str(error)
    assert vars(rebuilt) == vars(error)
    assert isinstance(rebuilt, OrchestratorError)
    assert (rebuilt.title, rebuilt.status, rebuilt.exit_code) == (error.title, error.status, error.exit_code)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_temporal_is_told_whether_to_try_again(error: OrchestratorError) -> None:
    failure = _failure_of(error)
    assert failure.non_retryable is not error.retryable
    assert failure.__cause__ is error


def test_temporal_is_told_when_to_try_again() -> None:
    assert _failure_of(EngineOverloaded("http://e", 429, "full", 2.5)).next_retry_delay == timedelta(seconds=2.5)
    assert _failure_of(EngineOverloaded("http://e", 429, "full", 0.0)).next_retry_delay == timedelta(0)
    assert _failure_of(EngineOverloaded("http://e", 503, "full")).next_retry_delay is None


def test_other_exceptions_pass_as_they_are() -> None:
    error = KeyError("x")
    with pytest.raises(KeyError) as caught, as_failures():
        raise error
    assert caught.value is error


async def test_what_is_not_ours_stays_what_temporal_knows() -> None:
    stranger = ApplicationError("no", type="SomebodyElses")
    arrived = cause_of(await _sent(stranger))
    assert isinstance(arrived, ApplicationError)
    assert arrived.type == "SomebodyElses"
    for cause in (CancelledError("stop"), asyncio.CancelledError()):
        assert cause_of(_activity_error(cause)) is cause
    bare = ActivityError(
        "lost",
        scheduled_event_id=1,
        started_event_id=2,
        identity="",
        activity_type="generate",
        activity_id="1",
        retry_state=None,
    )
    assert cause_of(bare) is bare


@pytest.mark.parametrize("kind", list(TimeoutType))
def test_only_an_activity_that_was_started_ran_out_of_time(kind: TimeoutType) -> None:
    error = TemporalTimeoutError("late", type=kind, last_heartbeat_details=[])
    assert timed_out(error) is (kind in (TimeoutType.START_TO_CLOSE, TimeoutType.HEARTBEAT))
    assert fell_silent(error) is (kind is TimeoutType.HEARTBEAT)
    assert not timed_out(ValueError())
    assert not fell_silent(ValueError())
