"""What a look-up comes to.

Pure; imports nothing that does I/O.
"""

from orchestrator.passages import Passage
from orchestrator.usage import Receipt

__all__ = ["Passages"]


class Passages(tuple[Passage, ...]):
    """Passages, best first, with how they were found and what that cost."""

    mode: str
    receipt: Receipt
