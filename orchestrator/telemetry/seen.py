"""What is known of one attempt of a paid step while it runs; metrics and spans are made of it."""

from dataclasses import dataclass, field
from datetime import timedelta

from orchestrator.steps import RunScope
from orchestrator.usage import EngineMoments, Outcome, Savings, Timings, Usage

__all__ = ["SeenStep"]


@dataclass(kw_only=True)
class SeenStep:
    """Fill in what is known as soon as it is."""

    scope: RunScope
    kind: str
    """`generate`, `retrieve` or `tool`."""
    name: str
    """The model, collection or tool."""
    pool: str | None = None
    server: str | None = None
    rid: str | None = None
    attempt: int = 1
    headers: dict[str, str] = field(default_factory=dict[str, str])
    """To send along, so that the engine's own spans belong to the same trace; empty where nothing is traced."""
    attributes: dict[str, str | int | float | bool] = field(default_factory=dict[str, str | int | float | bool])
    """More for the span to say, under names of the GenAI conventions."""
    first_token: timedelta | None = None
    """From the request to the first token."""
    outcome: Outcome | None = None
    """`None` until the attempt is settled."""
    usage: Usage = Usage()  # noqa: RUF009 - frozen
    timings: Timings = Timings()  # noqa: RUF009
    moments: EngineMoments = EngineMoments()  # noqa: RUF009
    estimated: bool = False
    cost_nano: int = 0
    saved: Savings | None = None
    """Of an attempt that a kept result answered."""

    def settled(
        self,
        outcome: Outcome,
        *,
        usage: Usage,
        timings: Timings,
        moments: EngineMoments,
        estimated: bool,
        cost_nano: int,
        saved: Savings | None = None,
    ) -> None:
        """The attempt has an outcome, and is on the books."""
        self.outcome, self.usage, self.timings, self.moments = outcome, usage, timings, moments
        self.estimated, self.cost_nano, self.saved = estimated, cost_nano, saved
