"""What tests do in people's place."""

from collections.abc import Sequence

from pydantic import JsonValue

from orchestrator.history import RunEvent
from orchestrator.inbox import OpenQuestion
from orchestrator.questions import Answer
from tests.bench import Bench
from tests.eventually import eventually

__all__ = ["answer", "asked", "events_of"]


async def asked(here: Bench, run_id: str, count: int = 1) -> Sequence[OpenQuestion]:
    """The open questions of a run and those below it, once there are so many."""
    questions: Sequence[OpenQuestion] = ()

    async def are_there() -> bool:
        nonlocal questions
        questions = await here.runs.inbox.of_run(run_id)
        return len(questions) == count

    await eventually(are_there)
    return questions


async def answer(here: Bench, run_id: str, question: str, value: JsonValue, by: str | None = None) -> bool:
    """Whether the answer was taken, and not only left."""
    return await here.runs.inbox.answer(run_id, Answer(question=question, answer=value, by=by))


async def events_of(here: Bench, run_id: str) -> Sequence[RunEvent]:
    """What happened to the questions of a run that has ended."""
    return [event async for event in here.runs.events(run_id) if event.question is not None]
