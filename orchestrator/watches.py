"""Watches: what an engine worker does about a reply while it streams.

Pure; imports nothing that does I/O. A watch is the part of a strategy that must see single tokens. It travels with the
request and is kept where the stream is, since a token must not become an event in a workflow's history.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["AnswerProbes", "ConfidenceFloor", "ThinkingBounds", "Watch", "group_confidence", "same_answers"]


class _Watch(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ConfidenceFloor(_Watch):
    """Ends a reply once the model has been unsure for a while (DeepConf, arXiv 2508.15260)."""

    kind: Literal["confidence_floor"] = "confidence_floor"
    least: float
    """Mean confidence that the last `window` tokens must have; a token's is the mean of `-log p` over its 20 likeliest
    candidates, so that a peaked distribution is confident."""
    window: Annotated[int, Field(gt=0)] = 64
    """Tokens. The paper's 2,048 suit traces of tens of thousands."""


class AnswerProbes(_Watch):
    """Asks for the answer every so many tokens, on the hot prefix, and ends once the answers agree.

    Dynasor's certaindex (arXiv 2412.20993).
    """

    kind: Literal["answer_probes"] = "answer_probes"
    every: Annotated[int, Field(gt=0)] = 64
    """Tokens from one probe to the next."""
    agree: Annotated[int, Field(ge=2)] = 3
    """So many answers in a row that are the same, end the reply."""
    probe: str = "\n\nFinal answer:"
    """What is put into the model's mouth."""
    max_tokens: Annotated[int, Field(gt=0)] = 16
    """Of a probe's answer."""


class ThinkingBounds(_Watch):
    """Ends the thinking after so many tokens, or makes it go on (budget forcing, s1, arXiv 2501.19393)."""

    kind: Literal["thinking"] = "thinking"
    at_most: Annotated[int, Field(gt=0)] | None = None
    """Tokens of thinking; then `end` is put into the model's mouth, and it answers."""
    at_least: Annotated[int, Field(ge=0)] = 0
    """Tokens of thinking; where it stops before, `wait` is put into its mouth, and it thinks on."""
    extensions: Annotated[int, Field(ge=0)] = 2
    """How often it is made to go on, at most."""
    end: str = "\n</think>\n\n"
    wait: str = "\nWait"
    marker: str = "</think>"
    """What the model itself writes when it has thought enough."""


Watch = Annotated[ConfidenceFloor | AnswerProbes | ThinkingBounds, Field(discriminator="kind")]


def group_confidence(confidences: Sequence[float], window: int) -> float | None:
    """Mean confidence of the last `window` tokens; `None` before there are so many."""
    if len(confidences) < window:
        return None
    return sum(confidences[-window:]) / window


def same_answers(answers: Sequence[str], agree: int) -> bool:
    """Whether the last `agree` answers are one, and not empty."""
    last = [" ".join(answer.split()).casefold() for answer in answers[-agree:]]
    return len(last) == agree and bool(last[0]) and len(set(last)) == 1
