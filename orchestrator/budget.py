"""What a run may spend.

Pure; imports nothing that does I/O. The ledger enforces it, in the transaction that reserves a step.
"""

from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Budget"]


class Budget(BaseModel):
    """Limits of a run; a limit that is `None` doesn't bound it.

    A step reserves its upper bound before it starts, so parallel steps can't pass the same limit together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    usd: Annotated[Decimal, Field(gt=0, decimal_places=9)] | None = None
    """US dollars, to the nano-dollar."""
    tokens: Annotated[int, Field(gt=0)] | None = None
    """Prompt and output tokens together, cached ones included."""

    @property
    def nano_usd(self) -> int | None:
        """`usd` in the ledger's unit."""
        return None if self.usd is None else int(self.usd.scaleb(9))
