"""What a backtest changes: the engines, the strategy, the budget; or nothing but the code.

Pure; imports nothing that does I/O.
"""

import json
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from orchestrator.budget import Budget
from orchestrator.errors import DefinitionError, InvalidInput, UnknownName
from orchestrator.signature import ReasoningWorkflow
from orchestrator.strategies import strategy_from
from orchestrator.tool import problem_of

__all__ = ["Variant", "variant_of"]

_BUDGET = "budget."
_KEYS = ("version", "pool", "strategy", "budget.usd", "budget.tokens", "budget.calls", "budget.gpu_seconds")


class Variant(BaseModel):
    """What is different from how the originals ran. Without any change, that is the code as it is now."""

    model_config = ConfigDict(frozen=True)

    version: str
    """Of the workflow's code, which the workers that run it have."""
    pool: str | None = None
    """The engines that think, in place of the workflow's own; a model is chosen by the pool that serves it."""
    strategy: JsonValue = None
    """How it thinks, in place of what the code says."""
    budget: Budget | None = None
    """What each rerun may spend, in place of what the definition says."""

    @property
    def label(self) -> str:
        """In a few words."""
        parts = [f"version {self.version}"]
        if self.pool is not None:
            parts.append(f"pool {self.pool}")
        if self.strategy is not None:
            parts.append(f"strategy {json.dumps(self.strategy)}")
        if self.budget is not None:
            parts.append(f"budget {self.budget.model_dump_json(exclude_none=True, exclude_defaults=True)}")
        return ", ".join(parts)


def variant_of(definition: type[ReasoningWorkflow[Any, Any]], changes: Sequence[str]) -> Variant:
    """A variant out of `key=value` texts.

    Raises:
        UnknownName: there is no such key.
        InvalidInput: a value doesn't fit its key.
        DefinitionError: the code is of another version than the one asked for.
    """
    given = dict(_split(change) for change in changes)
    limits = {key.removeprefix(_BUDGET): value for key, value in given.items() if key.startswith(_BUDGET)}
    version = definition.orchestrator_version
    if given.get("version", version) != version:
        raise DefinitionError(
            f"workflow {definition.signature.name!r}",
            problem=f"its code here is version {version}, not {given['version']}",
            remedy="A backtest runs the code that it finds: check the other version out.",
        )
    return Variant(
        version=version,
        pool=given.get("pool"),
        strategy=None if "strategy" not in given else _strategy(given["strategy"]),
        budget=None if not limits else _budget(definition.orchestrator_budget, limits),
    )


def _split(change: str) -> tuple[str, str]:
    key, equals, value = change.partition("=")
    if key not in _KEYS:
        raise UnknownName("override", key, _KEYS)
    if not equals or not value:
        raise InvalidInput("the variant", f"{key} has no value; write {key}=VALUE")
    return key, value


def _strategy(text: str) -> JsonValue:
    return strategy_from(text).model_dump(mode="json")


def _budget(own: Budget | None, limits: dict[str, str]) -> Budget:
    base = {} if own is None else own.model_dump()
    try:
        return Budget.model_validate({**base, **limits})
    except ValidationError as error:
        raise InvalidInput("the variant", f"its budget: {problem_of(error)}") from error
