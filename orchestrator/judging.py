"""Judges: whether an answer is right, or how good it is.

Deterministic; whatever a judge has to do in the world is a step of the run.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.errors import DefinitionError, JudgeFailed, OrchestratorError
from orchestrator.execution import Execution
from orchestrator.steps import GradeResult
from orchestrator.tool import Tool
from orchestrator.usage import Receipt

__all__ = ["Case", "Judge", "Verdict", "graded", "judged_by", "likely", "verified"]

T = TypeVar("T")


class Verdict(BaseModel):
    """What a judge says of an answer."""

    model_config = ConfigDict(frozen=True)

    score: Annotated[float, Field(ge=0, le=1)]
    passed: bool | None = None
    """Whether it is right; `None` where the judge can only say how good it is."""
    feedback: str = ""
    """What is wrong with it, for the model to read."""


@dataclass(frozen=True, kw_only=True)
class Case(Generic[T]):
    """An answer before its judge."""

    question: str
    value: T
    text: str
    """All that the model wrote for it."""
    transcript: str
    """The conversation that ends with it."""
    likelihood: float | None
    """Geometric mean of its tokens' probabilities, where measured."""
    pool: str | None
    execution: Execution
    pay: Callable[[Receipt], None]
    """Puts a step's receipt on the thought's bill."""

    async def call(self, tool: Tool[..., Any], *arguments: Any) -> Any:
        """Calls a tool as a durable step; its result."""
        called = await self.execution.call_tool(tool, tool.bind(*arguments), by_reference=False)
        self.pay(called.receipt)
        return tool.result.validate_python(called.value)

    async def grade(self, question: str, labels: Sequence[str]) -> GradeResult:
        """How likely each label is to follow a question about the conversation; one forward pass on its hot prefix."""
        result = await self.execution.grade(self.transcript, question, labels, pool=self.pool)
        self.pay(result.receipt)
        return result


class Judge(Protocol):
    """Judges answers. A reward model is one that calls a tool, or a pool of engines of its own."""

    @property
    def measures(self) -> bool:
        """Whether it needs to know how likely the answers' tokens were."""
        ...

    async def judge(self, case: Case[Any]) -> Verdict:
        """The verdict on one answer."""
        ...


class verified(Generic[T]):  # noqa: N801 - reads as a word where it is used
    """Judges by a function: `verified(lambda n: n % 7 == 0)`.

    The function is pure and quick, since it runs in the workflow; for anything else there is `judged_by`. It returns
    whether the answer is right, or a `Verdict` that also says what is wrong with it.
    """

    measures = False

    def __init__(self, check: Callable[[T], bool | Verdict]) -> None:
        self._check = check

    async def judge(self, case: Case[Any]) -> Verdict:
        if case.value is None:
            return Verdict(score=0.0, passed=False, feedback="There is no answer in it.")
        try:
            said = self._check(case.value)
        except OrchestratorError:
            raise
        except Exception as error:
            raise JudgeFailed(_name(self._check), f"{type(error).__name__}: {error}") from error
        return _verdict(said, _name(self._check))


class judged_by:  # noqa: N801
    """Judges by a tool of the app, as a durable step: it runs tests, asks a reward model, or looks something up.

    The tool takes the answer, and the question as well if it has two parameters. It returns whether the answer is
    right, a score from 0 to 1, or a `Verdict`.
    """

    measures = False

    def __init__(self, tool: Tool[..., Any]) -> None:
        self._tool = tool
        self._parameters = len(tool.arguments.model_fields)
        if self._parameters not in (1, 2):
            raise DefinitionError(
                f"judge {tool.name!r}",
                problem=f"it takes {self._parameters} arguments",
                remedy="Take the answer, or the answer and the question.",
            )

    async def judge(self, case: Case[Any]) -> Verdict:
        arguments = (case.value, case.question)[: self._parameters]
        return _verdict(await case.call(self._tool, *arguments), self._tool.name)


class graded:  # noqa: N801
    """Judges by the model: the probability that it says yes, in one forward pass on the answer's hot prefix.

    Args:
        question: put after the answer.
        accept: probability from which the answer counts as right; `None` leaves that open.
    """

    measures = False

    def __init__(
        self,
        question: str = "Is that answer right? Reply with one word, Yes or No.",
        *,
        yes: str = "Yes",
        no: str = "No",
        accept: float | None = None,
    ) -> None:
        self._question = question
        self._labels = (yes, no)
        self._accept = accept

    async def judge(self, case: Case[Any]) -> Verdict:
        result = await case.grade(self._question, self._labels)
        score = min(1.0, max(0.0, result.probabilities[0]))
        return Verdict(score=score, passed=None if self._accept is None else score >= self._accept)


class likely:  # noqa: N801
    """Judges by how likely the model itself found its tokens: the geometric mean of their probabilities."""

    measures = True

    async def judge(self, case: Case[Any]) -> Verdict:
        if case.likelihood is None:
            raise JudgeFailed("likely", "the engine didn't say how likely the answer's tokens are")
        return Verdict(score=min(1.0, case.likelihood))


def _verdict(said: object, judge: str) -> Verdict:
    match said:
        case Verdict():
            return said
        case bool():
            return Verdict(score=float(said), passed=said)
        case float() | int() if 0 <= said <= 1:
            return Verdict(score=float(said))
        case dict():
            return Verdict.model_validate(said)
        case _:
            raise JudgeFailed(judge, f"it said {said!r}, which is no bool, no Verdict, and no score from 0 to 1")


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)
