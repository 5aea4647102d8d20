"""Exact arithmetic, which language models are bad at."""

import math
from datetime import timedelta
from typing import Annotated, Any

from pydantic import Field
from simpleeval import InvalidExpression, SimpleEval  # pyright: ignore[reportMissingTypeStubs]

from orchestrator import ToolContext
from orchestrator.errors import InvalidInput
from orchestrator_tools.shipped import shipped

__all__ = ["calculator"]

_NAMES = {"pi": math.pi, "e": math.e}
_FUNCTIONS: dict[str, Any] = {
    **{name: getattr(math, name) for name in ("sqrt", "log", "log10", "exp", "sin", "cos", "tan", "floor", "ceil")},
    **{function.__name__: function for function in (abs, min, max, round, int, float)},
}


@shipped.tool(effect="read", timeout=timedelta(seconds=10))
async def calculator(ctx: ToolContext, expression: Annotated[str, Field(max_length=200)]) -> int | float:
    """Compute the value of an arithmetic expression.

    Args:
        expression: numbers with + - * / // % ** and parentheses; functions such as sqrt(2) and round(2.5, 1); pi and e
    """
    evaluator: Any = SimpleEval(names=_NAMES, functions=_FUNCTIONS)
    try:
        value = evaluator.eval(expression)
    except (InvalidExpression, SyntaxError, ArithmeticError, TypeError, ValueError, KeyError, RecursionError) as error:
        raise InvalidInput("tool 'calculator'", f"{expression!r} can't be computed: {error}") from error
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidInput("tool 'calculator'", f"{expression!r} is no finite number")
    return value
