"""What a thought may still spend, and how many drafts that is.

Pure. The ledger enforces what the run may spend; a thought's own budget is enforced by the limits handed to its steps:
together they never hold more than is left.
"""

from dataclasses import dataclass

from orchestrator.budget import Allowance
from orchestrator.usage import Receipt, usd_from_nano

__all__ = ["Purse"]


@dataclass(frozen=True)
class _Amount:
    tokens: int = 0
    nano: int = 0

    def __add__(self, other: "_Amount") -> "_Amount":
        return _Amount(self.tokens + other.tokens, self.nano + other.nano)

    @classmethod
    def of(cls, receipt: Receipt) -> "_Amount":
        return cls(receipt.usage.total, int(receipt.cost.scaleb(9)))


class Purse:
    """The money of one thought."""

    def __init__(self, budget: Allowance | None, *, usual_tokens: int) -> None:
        """Full.

        Args:
            budget: what may be spent in all; `None` doesn't bound it.
            usual_tokens: a draft's prompt and output at most, by estimate.
        """
        self._budget = budget
        self._need = _Amount(usual_tokens)
        self._spent = _Amount()
        self._calls = 0
        self._held: dict[int, _Amount] = {}
        self._dearest = 0.0
        """Nano-dollars for a token, at most so far."""

    def drafts(self, *, answered: bool) -> int | None:
        """How many more drafts fit; `None` where nothing bounds them.

        Args:
            answered: whether there is an answer already. The first draft may be cut to what is left.
        """
        if self._budget is None:
            return None
        rooms: list[int] = []
        left = self._left
        if left.tokens is not None:
            rooms.append(max(0, left.tokens) // max(1, self._need.tokens))
        if left.nano is not None:
            # Until a draft has told what a token costs, there is one at a time.
            need = self._need.nano
            rooms.append(max(0, left.nano) // need if need else 0 if self._held or left.nano <= 0 else 1)
        if left.calls is not None:
            rooms.append(max(0, left.calls))
        room = min(rooms, default=None)
        something = all(part is None or part > 0 for part in (left.tokens, left.nano, left.calls))
        if room == 0 and something and not answered and not self._held:
            return 1
        return room

    def hold(self, trial: int) -> None:
        """Sets aside what a draft may use."""
        left = self._left
        tokens = self._need.tokens if left.tokens is None else min(self._need.tokens, left.tokens)
        nano = self._need.nano if left.nano is None else min(self._need.nano or left.nano, left.nano)
        self._held[trial] = _Amount(max(0, tokens), max(0, nano))
        self._calls += 1

    def limit(self, trial: int, used: Receipt) -> Allowance | None:
        """What the next step of a draft may use, after what its steps have used."""
        if self._budget is None or trial not in self._held:
            return None
        held, gone, left = self._held[trial], _Amount.of(used), self._left
        # A draft of several steps may go beyond what was set aside, as far as nobody else holds the rest.
        tokens = None if left.tokens is None else max(1, held.tokens - gone.tokens + max(0, left.tokens))
        nano = None if left.nano is None else max(1, held.nano - gone.nano + max(0, left.nano))
        if tokens is None and nano is None:
            return None
        return Allowance(tokens=tokens, usd=None if nano is None else usd_from_nano(nano))

    def release(self, trial: int, used: Receipt, *, whole: bool) -> None:
        """Gives back what was set aside for a draft.

        Args:
            used: by those of its steps that have ended.
            whole: whether those were all; else what was set aside counts as spent.
        """
        held = self._held.pop(trial, _Amount())
        spent = _Amount.of(used)
        if not whole:
            spent = _Amount(max(held.tokens, spent.tokens), max(held.nano, spent.nano))
        self._spent += spent
        if whole and spent.tokens:
            self._dearest = max(self._dearest, spent.nano / spent.tokens)
            tokens = max(self._need.tokens, spent.tokens)
            self._need = _Amount(tokens, round(tokens * self._dearest))

    def pay(self, receipt: Receipt) -> None:
        """Counts what was spent beside drafts: warming, judging."""
        self._spent += _Amount.of(receipt)

    def line(self) -> str:
        """What is left, for the model to read."""
        left = self._left
        parts = [
            f"{max(0, left.tokens):,} tokens" if left.tokens is not None else "",
            f"${usd_from_nano(max(0, left.nano)):.6f}" if left.nano is not None else "",
            f"{max(0, left.calls)} calls" if left.calls is not None else "",
        ]
        return "Left of the budget: " + (", ".join(part for part in parts if part) or "no limit") + "."

    @property
    def _left(self) -> "_Left":
        budget = self._budget
        if budget is None:
            return _Left()
        held = sum(self._held.values(), _Amount())
        return _Left(
            tokens=None if budget.tokens is None else budget.tokens - self._spent.tokens - held.tokens,
            nano=None if budget.nano_usd is None else budget.nano_usd - self._spent.nano - held.nano,
            calls=None if budget.calls is None else budget.calls - self._calls,
        )


@dataclass(frozen=True)
class _Left:
    """`None` where the budget doesn't bound it."""

    tokens: int | None = None
    nano: int | None = None
    calls: int | None = None
