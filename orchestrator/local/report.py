"""How the parts of the local stack say what they are at."""

from typing import Literal, Protocol

__all__ = ["PartState", "Report", "silently"]

PartState = Literal["starting", "ready", "failed", "stopped"]


class Report(Protocol):
    def __call__(self, part: str, state: PartState, detail: str, /) -> None:
        """`part` is in `state`, `detail` says with what: the step, the address, the problem."""


def silently(part: str, state: PartState, detail: str) -> None:
    """Tells nobody."""
