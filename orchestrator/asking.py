"""How a run asks people: it waits, without a worker or an activity, for the update or signal that answers.

Deterministic.
"""

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, cast

from pydantic import JsonValue, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError
from temporalio import workflow

from orchestrator.errors import DefinitionError, HumanTimedOut, InvalidAnswer, OffRecord, QuestionClosed, UnknownName
from orchestrator.failures import as_failures
from orchestrator.questions import (
    ANSWER_HUMAN,
    ANSWER_QUESTION,
    ASK_HUMAN,
    MEMO_CLOSED,
    MEMO_QUESTION,
    QUESTIONS,
    Answer,
    Closed,
    Ending,
    Question,
)
from orchestrator.reruns import Record, question_key
from orchestrator.standing import PERSON, Standing
from orchestrator.tool import problem_of

__all__ = ["Asking", "Expected"]

MOST_OPEN = 100
"""Questions of one run that stand open at a time; others wait until there is room."""
MOST_BYTES = 1_000_000
"""What they may take up together before others wait: all stand in the run's memo, for which Temporal has 2 MiB."""
LARGEST = 256_000
"""Bytes of one question, as it stands in the memo."""
LONGEST_PROBLEM = 1_000
LONGEST_LABEL = 100


class Expected:
    """What an answer must be."""

    def __init__(self, output: Any = str, choices: Sequence[Any] | None = None) -> None:
        """Of a type of which a JSON Schema can be made; one of the choices, where there are some.

        Raises:
            DefinitionError: no schema can be made of it, or the choices are no values of it.
        """
        try:
            self._adapter: TypeAdapter[Any] = TypeAdapter(output)
            self.schema: dict[str, JsonValue] = self._adapter.json_schema()
        except (PydanticSchemaGenerationError, PydanticUserError) as error:
            raise DefinitionError(
                ASK_HUMAN,
                problem=f"no JSON schema can be made of its output ({str(error).splitlines()[0]})",
                remedy="Use JSON types or pydantic models.",
            ) from error
        self.choices: tuple[JsonValue, ...] | None = None
        if choices is not None:
            self.choices = tuple(self._as_json(choice) for choice in choices)
            self.schema = {**self.schema, "enum": list(self.choices)}
            if not self.choices:
                raise DefinitionError(ASK_HUMAN, problem="its choices are none", remedy="Give some, or leave them out.")

    def read(self, question: str, answer: JsonValue) -> Any:
        """The answer as a value of the type.

        Raises:
            InvalidAnswer: it is none, or none of the choices.
        """
        try:
            value = self._adapter.validate_json(json.dumps(answer))
            if self.choices is None or self._adapter.dump_python(value, mode="json") in self.choices:
                return value
        except ValidationError as error:
            raise InvalidAnswer(question, problem_of(error)) from error
        except Exception as error:  # whatever a model's own validators raise, the answer doesn't fit
            raise InvalidAnswer(question, f"{type(error).__name__}: {error}") from error
        raise InvalidAnswer(question, f"it is none of {', '.join(json.dumps(choice) for choice in self.choices)}")

    def _as_json(self, choice: Any) -> JsonValue:
        try:
            return cast("JsonValue", self._adapter.dump_python(self._adapter.validate_python(choice), mode="json"))
        except ValidationError as error:
            raise DefinitionError(
                ASK_HUMAN,
                problem=f"its choice {choice!r} doesn't fit its output ({problem_of(error)})",
                remedy="Give choices of that type.",
            ) from error


class _Asked:
    """A question that stands open, and its answer once it has one."""

    def __init__(self, question: Question, expected: Expected) -> None:
        self.question = question
        self.size = len(question.cut().model_dump_json().encode())
        self.answer: Answer | None = None
        self.value: Any = None
        self._expected = expected

    def read(self, answer: Answer) -> Any:
        if self.answer is not None:
            raise QuestionClosed(answer.question, "answered")
        return self._expected.read(answer.question, answer.answer)

    def settle(self, answer: Answer) -> None:
        self.value = self.read(answer)
        self.answer = answer


class Asking:
    """The questions of a run."""

    def __init__(self, standing: Standing, path: list[str], record: Record | None = None) -> None:
        """Listens for answers.

        Args:
            path: where each question is noted as a step.
            record: in a rerun, what people said to the original, who aren't asked again.
        """
        self._standing = standing
        self._path = path
        self._record = record
        self._open: dict[str, _Asked] = {}
        self._closed: dict[str, Ending] = {}
        workflow.set_query_handler(QUESTIONS, self._questions)  # pyright: ignore[reportUnknownMemberType]
        workflow.set_update_handler(ANSWER_QUESTION, self._on_update, validator=self._check)  # pyright: ignore[reportUnknownMemberType]
        workflow.set_signal_handler(ANSWER_HUMAN, self._on_signal)  # pyright: ignore[reportUnknownMemberType]

    async def room(self) -> None:
        """Returns once another question may be asked."""
        while not self._has_room():
            await workflow.wait_condition(self._has_room)

    async def ask(
        self,
        text: str,
        expected: Expected,
        *,
        to: str | None = None,
        timeout: timedelta | None = None,
        tool: str | None = None,
        arguments: str | None = None,
    ) -> Any:
        """The answer of a person.

        Raises:
            DefinitionError: the question is empty or too large, its addressee's name is too long, or its timeout isn't
                positive.
            HumanTimedOut: nobody answered in time.
            OffRecord: in a rerun, the original didn't ask this.
        """
        _refuse_nonsense(text, to, timeout)
        now = workflow.now()
        question = Question(
            id=workflow.uuid4().hex[:8],
            number=len(self._open) + len(self._closed) + 1,
            text=text,
            to=to,
            answer_schema=expected.schema,
            choices=expected.choices,
            asked_at=now,
            until=None if timeout is None else now + timeout,
            tool=tool,
            arguments=arguments,
        )
        if self._record is not None:
            return _on_record(self._record, question, expected, timeout)
        asked = _Asked(question, expected)
        if asked.size > LARGEST:
            raise DefinitionError(
                ASK_HUMAN,
                problem=f"its schema and choices make it {asked.size:,} bytes long",
                remedy=f"Offer fewer or shorter choices, or a smaller output: {LARGEST:,} bytes at most.",
            )
        self._open[question.id] = asked
        self._path.append(ASK_HUMAN)
        label = PERSON if to is None else f"{PERSON}: {to}"
        self._standing.waits(question.id, label, f"**Asks {to or 'a person'}** (`{question.id}`): {question.summary}")
        _remember(question)
        # No `finally`: that would run outside the workflow too, when a worker drops a run that still waits.
        try:
            await workflow.wait_condition(
                lambda: asked.answer is not None, timeout=timeout, timeout_summary=f"question {question.id}"
            )
        except TimeoutError:
            self._close(asked, "timed_out")
        except asyncio.CancelledError:
            self._close(asked, "withdrawn")
            raise
        else:
            self._close(asked, "answered")
        if asked.answer is None:
            assert timeout is not None
            raise HumanTimedOut(text, timeout.total_seconds())
        return asked.value

    def answer_all(self, tool: str, answer: JsonValue) -> None:
        """Answers whatever else is asked about calls of a tool."""
        for asked in self._open.values():
            if asked.question.tool == tool and asked.answer is None:
                asked.settle(Answer(question=asked.question.id, answer=answer))

    def withdraw(self) -> None:
        """Takes all open questions back: the run ends, or goes on as a new one."""
        for asked in list(self._open.values()):
            self._close(asked, "withdrawn")

    def _close(self, asked: _Asked, how: Ending) -> None:
        """Ends a question. An answer that was taken counts, whatever came at the same moment."""
        question, answer = asked.question, asked.answer
        if self._open.pop(question.id, None) is None:
            return
        if answer is not None:
            how = "answered"
        self._closed[question.id] = how
        closed = Closed(
            question=question.id,
            how=how,
            answer=None if answer is None else answer.summary,
            by=None if answer is None else answer.by,
        )
        workflow.upsert_memo({f"{MEMO_QUESTION}{question.id}": None, MEMO_CLOSED: closed})
        self._standing.goes_on(question.id)

    def _has_room(self) -> bool:
        return len(self._open) < MOST_OPEN and sum(asked.size for asked in self._open.values()) < MOST_BYTES

    def _questions(self) -> list[Question]:
        return [asked.question for asked in self._open.values()]

    def _check(self, answer: Answer) -> None:
        with as_failures():
            self._asked(answer).read(answer)

    def _on_update(self, answer: Answer) -> None:
        with as_failures():
            self._asked(answer).settle(answer)

    def _on_signal(self, answer: Answer) -> None:
        try:
            self._asked(answer).settle(answer)
        except InvalidAnswer as error:
            asked = self._open[answer.question]
            asked.question = asked.question.model_copy(update={"refused": error.problem[:LONGEST_PROBLEM]})
            _remember(asked.question)
        except (QuestionClosed, UnknownName) as error:
            workflow.logger.warning("an answer doesn't count: %s", error)

    def _asked(self, answer: Answer) -> _Asked:
        if (asked := self._open.get(answer.question)) is not None:
            return asked
        if (how := self._closed.get(answer.question)) is not None:
            raise QuestionClosed(answer.question, how)
        raise UnknownName("question", answer.question, self._open)


def _on_record(record: Record, question: Question, expected: Expected, timeout: timedelta | None) -> Any:
    asked, name = question.cut(), question.tool or ASK_HUMAN
    found = record.said(question_key(asked.text, asked.tool, asked.arguments), name)
    if found is None:
        raise OffRecord(name, record.rerun.of)
    if found.silent:
        raise HumanTimedOut(question.text, 0.0 if timeout is None else timeout.total_seconds())
    try:
        return expected.read(question.id, found.said)
    except InvalidAnswer as error:
        raise OffRecord(name, record.rerun.of) from error


def _remember(question: Question) -> None:
    """Shows a question to those who read the run's memo."""
    workflow.upsert_memo({f"{MEMO_QUESTION}{question.id}": question.cut()})


def _refuse_nonsense(text: str, to: str | None, timeout: timedelta | None) -> None:
    if not text.strip():
        raise DefinitionError(ASK_HUMAN, problem="the question is empty", remedy="Say what the person should answer.")
    if to is not None and not 0 < len(to) <= LONGEST_LABEL:
        raise DefinitionError(
            ASK_HUMAN,
            problem=f"'to' has {len(to)} characters",
            remedy=f"Name who should answer in 1 to {LONGEST_LABEL} characters.",
        )
    if timeout is not None and timeout <= timedelta(0):
        raise DefinitionError(ASK_HUMAN, problem="its timeout isn't positive", remedy="Give timeout=timedelta(...).")
