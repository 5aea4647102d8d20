"""What a tool does to the world, and who decides whether the model may call it.

Pure; imports nothing that does I/O.
"""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.questions import Label

__all__ = ["Approval", "Approvals", "Effect"]

Effect = Literal["read", "idempotent", "write"]
"""What calling a tool does to the world: nothing, the same however often, or something more each time."""

Approval = Literal["ask", "grant", "refuse"]
"""What becomes of a call that the model wants: a person is asked first, it is made, or the model is told no.

- `ask`: unless the tool was granted: by the workflow's definition, at the start of the run, or by an earlier answer.
- `refuse`: whatever was granted.
"""


class Approvals(BaseModel):
    """What becomes of the tool calls that the model wants, by the tools' effects; a tool's own `approval` stands above.

    Calls that workflow code makes itself, with `ctx.call`, need nobody's approval: its programmer wrote them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    read: Approval = "grant"
    idempotent: Approval = "grant"
    write: Approval = "ask"
    to: Label | None = None
    """Who is asked."""
    timeout: Annotated[timedelta, Field(gt=timedelta(0))] | None = None
    """How long a person has to answer; then the call is refused. `None`: for as long as it takes."""

    def of(self, effect: Effect) -> Approval:
        """What becomes of calls of tools with this effect."""
        match effect:
            case "read":
                return self.read
            case "idempotent":
                return self.idempotent
            case "write":
                return self.write
