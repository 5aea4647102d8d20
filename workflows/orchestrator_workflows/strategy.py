"""A strategy as a part of an input: its name alone, or a JSON value."""

import json
from typing import Annotated, Literal

from pydantic import BeforeValidator

from orchestrator.errors import RequestError
from orchestrator.strategies import STRATEGIES, AnyStrategy, strategy_from

__all__ = ["GivenStrategy"]

_Name = Literal[tuple(STRATEGIES)]  # pyright: ignore[reportInvalidTypeForm]


def _parsed(value: object) -> object:
    if not isinstance(value, str | dict):
        return value
    try:
        return strategy_from(value if isinstance(value, str) else json.dumps(value))
    except RequestError as error:
        raise ValueError(str(error)) from error


GivenStrategy = Annotated[AnyStrategy, BeforeValidator(_parsed, json_schema_input_type=_Name | AnyStrategy)]
"""`"vote"`, or `{"kind": "best_of", "at_most": 8}`."""
