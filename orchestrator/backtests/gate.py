"""Conditions under which a backtest fails: `cost>+10%`, `accuracy<-2`, `off_record>0`.

Pure; imports nothing that does I/O.
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from orchestrator.backtests.compare import Difference, Metric
from orchestrator.errors import InvalidInput, UnknownName

__all__ = ["COUNTS", "Condition", "condition"]

COUNTS = ("pairs", "skipped", "failed", "off_record", "unjudged")
"""Of runs; compared as they stand, as there is nothing before."""

_FORM = re.compile(r"\s*([a-z_]+)(?:\.(low|high))?\s*(<=|>=|<|>)\s*([+-]?\d+(?:\.\d+)?)\s*(%?)\s*")
_COMPARE: Mapping[str, Callable[[Decimal, Decimal], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One condition, as it was written."""

    text: str
    what: str
    bound: str | None
    """`low` or `high` for a bound of the interval; `None` for the difference itself."""
    sign: str
    limit: Decimal
    relative: bool

    def holds(self, differences: Mapping[Metric, Difference], counts: Mapping[str, int]) -> bool:
        """Whether the backtest fails by it; also where it can't be told, since a gate that can't see must not open."""
        found = self._found(differences, counts)
        return found is None or _COMPARE[self.sign](found, self.limit)

    def _found(self, differences: Mapping[Metric, Difference], counts: Mapping[str, int]) -> Decimal | None:
        if self.what in counts:
            return Decimal(counts[self.what])
        made = differences.get(Metric(self.what))
        if made is None:
            return None
        name = "relative" if self.relative else "difference"
        if self.bound is not None:
            name = f"relative_{self.bound}" if self.relative else self.bound
        figure: Decimal | None = getattr(made, name)
        return figure * 100 if self.relative and figure is not None else figure


def condition(text: str) -> Condition:
    """A condition out of a text.

    Raises:
        InvalidInput: it isn't one.
        UnknownName: there is nothing of that name to compare.
    """
    read = _FORM.fullmatch(text)
    if read is None:
        raise InvalidInput("--fail-if", f"{text!r} is no condition; write 'cost>+10%', 'accuracy<-2' or 'off_record>0'")
    what, bound, sign, limit, percent = read.groups()
    known = (*(metric.value for metric in Metric), *COUNTS)
    if what not in known:
        raise UnknownName("figure of a backtest", what, known)
    if what in COUNTS and (bound or percent):
        raise InvalidInput("--fail-if", f"{text!r}: {what} is a number of runs; write '{what}{sign}{limit}'")
    if what == Metric.ACCURACY and percent:
        raise InvalidInput("--fail-if", f"{text!r}: accuracy differs by points; write '{what}{sign}{limit}'")
    return Condition(text=text, what=what, bound=bound, sign=sign, limit=Decimal(limit), relative=bool(percent))
