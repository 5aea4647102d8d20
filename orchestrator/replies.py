"""What is asked of a model, and what it replies.

Pure; imports nothing that does I/O.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.messages import ToolCall
from orchestrator.steps import FinishReason, GenerateResult, ToolChoice
from orchestrator.usage import Receipt

__all__ = ["Asked", "Reply"]


class Reply:
    """What the model said, and what that step cost."""

    def __init__(self, result: GenerateResult) -> None:
        self.result = result
        self.text: str = result.text
        self.tool_calls: Sequence[ToolCall] = result.tool_calls
        self.finish_reason: FinishReason = result.finish_reason
        """`length` where `max_tokens` cut the reply off."""
        self.exact_prefix: bool = result.exact_prefix
        """Whether the prompt continued the engine's own tokens, so that its cache could serve them."""
        self.server: str = result.server
        self.receipt: Receipt = result.receipt

    def __repr__(self) -> str:
        return f"Reply({self.text!r}, tool_calls={self.tool_calls!r}, finish_reason={self.finish_reason!r})"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question, and what its answer must be."""

    question: str
    output: Any
    free: bool = False
    """Whether the answer is text out of which `output` is read, and not JSON."""
    tool_choice: ToolChoice = "auto"
    max_steps: int = 10
    repairs: int = 2
    closes: bool = True
    """Whether it may draw on what the budget keeps for the run's answer."""
