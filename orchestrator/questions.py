"""What a run asks people, and what they answer.

Pure; imports nothing that does I/O.
"""

import json
from datetime import datetime
from typing import Annotated, Any, Literal, cast

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

__all__ = [
    "ANSWER_HUMAN",
    "ANSWER_QUESTION",
    "ASK_HUMAN",
    "MEMO_CLOSED",
    "MEMO_QUESTION",
    "QUESTIONS",
    "Answer",
    "Closed",
    "Ending",
    "Label",
    "Question",
    "Verdict",
    "value_of",
]

ASK_HUMAN = "ask_human"
"""The step's name in the inference path of a receipt."""
ANSWER_QUESTION = "answer_question"
"""The update that answers a question: an answer that doesn't fit is refused to whoever gave it."""
ANSWER_HUMAN = "answer_human"
"""The signal that does, for when no worker is there to say whether the answer fits."""
QUESTIONS = "questions"
"""The query for all that a run asks now, in full."""

MEMO_QUESTION = "orchestrator.question."
"""Begins the names of a run's memos that hold its open questions, so that they can be read without a worker."""
MEMO_CLOSED = "orchestrator.question-closed"
"""The memo that says how the latest question ended."""

CUT = 2_000
"""Characters of a question, and of a tool call's arguments, that are shown where many questions are."""
SUMMARY_LENGTH = 200

Label = Annotated[str, Field(min_length=1, max_length=100)]
"""Names people: those who should answer, or the one who did."""

Ending = Literal["answered", "timed_out", "withdrawn"]
"""How a question ended; `withdrawn` where the run, or the branch of it that asked, ended first."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)


class Question(_Value):
    """What a run asks a person, and waits for."""

    id: str
    """Names the question within the run, and the runs that it starts."""
    number: int
    """1 for the run's first question."""
    text: str
    to: str | None = None
    """Who should answer; a label that means something to those who read it."""
    answer_schema: dict[str, JsonValue]
    """JSON Schema of the answer."""
    choices: tuple[JsonValue, ...] | None = None
    """The answers there are; `None` where any that fits the schema will do."""
    asked_at: datetime
    until: datetime | None = None
    """When the run goes on without an answer; `None` where it waits for as long as it takes."""
    tool: str | None = None
    """The tool that the model wants to call, where the question is whether it may."""
    arguments: str | None = None
    """Those of the call: JSON text, as the model wrote it."""
    is_cut: bool = False
    """Whether the text or the arguments were longer."""
    refused: str | None = None
    """Why the latest answer didn't count, where nobody could be told when it was given."""

    def cut(self) -> "Question":
        """The same, at the length at which many are shown."""
        arguments = self.arguments or ""
        if len(self.text) <= CUT and len(arguments) <= CUT:
            return self
        shown = None if self.arguments is None else _cut(arguments, CUT)
        return self.model_copy(update={"text": _cut(self.text, CUT), "arguments": shown, "is_cut": True})

    @property
    def summary(self) -> str:
        """In one line."""
        return _line(self.text if self.tool is None else f"{self.text} {self.tool}({self.arguments})")


class Answer(_Value):
    """An answer to a question; the payload of the update `answer_question` and of the signal `answer_human`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    question: str
    """The question's id."""
    answer: JsonValue
    by: Label | None = None
    """Who gave it; taken on trust."""

    @property
    def summary(self) -> str:
        """In one line."""
        return _line(self.answer if isinstance(self.answer, str) else json.dumps(self.answer, ensure_ascii=False))


class Closed(_Value):
    """How the latest question of a run ended."""

    question: str
    how: Ending
    answer: str | None = None
    """In one line."""
    by: str | None = None


def _words_too(schema: dict[str, Any]) -> None:
    whole = dict(schema)
    schema.clear()
    schema["anyOf"] = [{"type": "string", "enum": ["yes", "always", "no"]}, {"type": "boolean"}, whole]


class Verdict(_Value):
    """The answer to whether a tool may be called. The decision alone will do, as a word, or as true or false."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=_words_too)

    decision: Literal["yes", "always", "no"]
    """`always`: yes, and so whenever the model wants this tool in the rest of the run and the runs that it starts."""
    reason: Annotated[str, Field(max_length=2_000)] = ""
    """Told to the model where the decision is no."""

    @model_validator(mode="before")
    @classmethod
    def _is_a_word(cls, value: Any) -> Any:
        if isinstance(value, bool):
            return {"decision": "yes" if value else "no"}
        return {"decision": value.strip().lower()} if isinstance(value, str) else value


def value_of(question: Question, text: str) -> JsonValue:
    """What a person wrote, as the JSON that the question wants: text where it takes text, else what it says.

    Text that is no JSON stays text, and is left to the question to refuse.
    """
    if question.answer_schema.get("type") == "string":
        return text
    try:
        return cast("JsonValue", pydantic_core.from_json(text, allow_inf_nan=False))
    except ValueError:
        return text


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}… ({len(text):,} characters in all)"


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SUMMARY_LENGTH else f"{line[: SUMMARY_LENGTH - 1]}…"
