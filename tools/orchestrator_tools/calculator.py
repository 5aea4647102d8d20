"""Exact arithmetic, which language models are bad at."""

import ast
import math
import operator
from datetime import timedelta
from typing import Annotated, Any

from pydantic import Field
from simpleeval import (  # pyright: ignore[reportMissingTypeStubs]
    FeatureNotAvailable,
    InvalidExpression,
    NumberTooHigh,
    SimpleEval,
)

from orchestrator import ToolContext
from orchestrator.errors import InvalidInput
from orchestrator_tools.shipped import shipped

__all__ = ["calculator"]

MAX_BITS = 4096
"""Of an integer, some 1,200 digits. An expression is computed in the worker's own thread, so it must be quick."""

_NODES = (ast.Name, ast.UnaryOp, ast.BinOp, ast.Call, ast.Constant)


def _power(base: float, exponent: float) -> Any:
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * exponent > MAX_BITS:
        raise NumberTooHigh("a power is too large")
    return base**exponent


def _round(number: float, digits: int | None = None) -> float:
    if digits is not None and abs(digits) > MAX_BITS:
        raise NumberTooHigh("round() takes fewer digits")
    return round(number, digits)


_NAMES = {"pi": math.pi, "e": math.e}
_FUNCTIONS: dict[str, Any] = {
    **{name: getattr(math, name) for name in ("sqrt", "log", "log10", "exp", "sin", "cos", "tan", "floor", "ceil")},
    **{function.__name__: function for function in (abs, min, max, int, float)},
    "round": _round,
}
_OPERATORS: dict[type[ast.AST], Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,  # pyright: ignore[reportUnknownMemberType]
    ast.FloorDiv: operator.floordiv,  # pyright: ignore[reportUnknownMemberType]
    ast.Mod: operator.mod,
    ast.Pow: _power,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}


@shipped(effect="read", timeout=timedelta(seconds=10))
async def calculator(ctx: ToolContext, expression: Annotated[str, Field(max_length=100)]) -> int | float:
    """Compute the value of an arithmetic expression.

    Args:
        expression: numbers with + - * / // % ** and parentheses; functions such as sqrt(2) and round(2.5, 1); pi and e
    """
    try:
        value = _value(expression)
    except (InvalidExpression, SyntaxError, ArithmeticError, TypeError, ValueError, RecursionError) as error:
        raise InvalidInput("tool 'calculator'", f"{expression!r} can't be computed: {error}") from error
    if isinstance(value, int) and value.bit_length() <= MAX_BITS:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise InvalidInput("tool 'calculator'", f"{expression!r} is no finite number, or too large a one")


def _value(expression: str) -> object:
    tree = ast.parse(expression.strip(), mode="eval").body
    for node in ast.walk(tree):
        # Text can be made arbitrarily long by its methods and formats.
        if isinstance(node, ast.Constant) and type(node.value) not in (int, float):
            raise FeatureNotAvailable(f"{node.value!r} is no number")
    evaluator: Any = SimpleEval(operators=_OPERATORS, functions=_FUNCTIONS, names=_NAMES)
    evaluator.nodes = {kind: evaluator.nodes[kind] for kind in _NODES}
    return evaluator.eval(expression, previously_parsed=tree)
