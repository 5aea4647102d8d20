"""All strategies as values: by name, or as JSON."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, cast

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from orchestrator.errors import InvalidInput, UnknownName
from orchestrator.strategies.adaptive_tree import AdaptiveTree
from orchestrator.strategies.agent import Agent
from orchestrator.strategies.auto import Auto
from orchestrator.strategies.beam import Beam
from orchestrator.strategies.best_of import BestOf
from orchestrator.strategies.cascade import Cascade
from orchestrator.strategies.confident_vote import ConfidentVote
from orchestrator.strategies.direct import Direct
from orchestrator.strategies.early_exit import EarlyExit
from orchestrator.strategies.machine import Strategy
from orchestrator.strategies.revise import Revise
from orchestrator.strategies.vote import Vote

__all__ = ["STRATEGIES", "AnyStrategy", "strategy_from"]

AnyStrategy = Annotated[
    Direct | Vote | ConfidentVote | EarlyExit | BestOf | Revise | Cascade | Beam | AdaptiveTree | Agent | Auto,
    Field(discriminator="kind"),
]
"""Any strategy, told by its `kind` in JSON."""

STRATEGIES: Mapping[str, type[Strategy]] = MappingProxyType({
    "adaptive_tree": AdaptiveTree,
    "agent": Agent,
    "auto": Auto,
    "beam": Beam,
    "best_of": BestOf,
    "cascade": Cascade,
    "confident_vote": ConfidentVote,
    "direct": Direct,
    "early_exit": EarlyExit,
    "revise": Revise,
    "vote": Vote,
})  # fmt: skip
"""By their names, which are their `kind` in JSON and their `label` in inference paths."""

_ANY: TypeAdapter[AnyStrategy] = TypeAdapter(AnyStrategy)


def strategy_from(text: str) -> AnyStrategy:
    """A strategy by its name alone, with its defaults, or as JSON: `vote`, or `{"kind": "vote", "at_most": 8}`.

    Raises:
        UnknownName: no strategy has this name.
        InvalidInput: it isn't JSON, or the strategy can't be as it says.
    """
    text = text.strip()
    try:
        value = json.loads(text) if text.startswith("{") else {"kind": text}
    except ValueError as error:
        raise InvalidInput("the strategy", f"it is neither a name nor JSON: {error}") from error
    kind = cast("object", value.get("kind"))
    if not isinstance(kind, str) or kind not in STRATEGIES:
        raise UnknownName("strategy", str(kind or ""), STRATEGIES)
    try:
        return _ANY.validate_python(value)
    except ValidationError as error:
        raise InvalidInput(f"strategy {kind!r}", "; ".join(map(_problem, error.errors()))) from error


def _problem(detail: ErrorDetails) -> str:
    where = ".".join(str(part) for part in detail["loc"][1:])
    what = detail["msg"].removeprefix("Value error, ")
    return f"{where}: {what}" if where else what
