"""What a run may spend.

Pure; imports nothing that does I/O. The ledger enforces it, in the transaction that reserves a step; `wall` is kept by
the run itself.
"""

from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["Allowance", "Budget", "OnExhausted"]

OnExhausted = Literal["fail", "finish", "pause"]
"""What happens when a step doesn't fit any more:

- `fail`: the step raises `BudgetExceeded`, which names the limit and the spend.
- `finish`: the run closes with what it has. Steps from then on draw on the reserve, their `max_tokens` cut to what it
  still holds; `Transcript.ask` stops calling tools and answers.
- `pause`: the step waits, durably and without a worker, for a top-up.
"""

Limit = Annotated[Decimal, Field(gt=0, decimal_places=9, max_digits=18)]


class Allowance(BaseModel):
    """An amount of each limited thing: what a top-up adds, or what a tenant may spend in a day or a month."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    usd: Limit | None = None
    """US dollars, to the nano-dollar."""
    tokens: Annotated[int, Field(gt=0)] | None = None
    """Prompt and output tokens together, cached ones included."""
    gpu_seconds: Annotated[Decimal, Field(gt=0, decimal_places=6, max_digits=15)] | None = None
    """GPU time, to the microsecond. Reserved by an estimate, so running steps may pass it by their estimate's error."""
    calls: Annotated[int, Field(gt=0)] | None = None
    """Attempts of engine calls, failed and retried ones included."""

    @property
    def nano_usd(self) -> int | None:
        """`usd` in the ledger's unit."""
        return None if self.usd is None else int(self.usd.scaleb(9))

    @property
    def gpu_us(self) -> int | None:
        """`gpu_seconds` in the ledger's unit."""
        return None if self.gpu_seconds is None else int(self.gpu_seconds.scaleb(6))


class Budget(Allowance):
    """Limits of a run and of the runs that it starts; a limit that is `None` doesn't bound them.

    A step reserves its upper bound before it starts, in the accounts of its run, of the runs above it and of its
    tenant, so parallel steps can't pass the same limit together.
    """

    wall: Annotated[timedelta, Field(gt=timedelta(0))] | None = None
    """From the run's start. A step that is running then is cut off; waiting for a top-up doesn't count."""
    reserve_for_answer: Annotated[Decimal, Field(ge=0, lt=1, decimal_places=6)] = Decimal("0.1")
    """The share of each limit that only a run's closing steps may spend; kept where `on_exhausted` is `finish`."""
    on_exhausted: OnExhausted = "fail"

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        limits = (self.usd, self.tokens, self.gpu_seconds, self.calls, self.wall)
        if self.on_exhausted != "fail" and all(limit is None for limit in limits):
            raise ValueError(
                f"on_exhausted={self.on_exhausted!r} needs a limit: usd, tokens, gpu_seconds, calls or wall"
            )
        return self

    @property
    def kept_ppm(self) -> int:
        """Millionths of each limit that are kept for the closing answer."""
        return int(self.reserve_for_answer.scaleb(6)) if self.on_exhausted == "finish" else 0
