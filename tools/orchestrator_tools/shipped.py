"""How the shipped tools are declared: on no app, to run on the queue of whatever app uses them."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Concatenate, ParamSpec, TypeVar

from orchestrator import Effect, Tool, ToolContext
from orchestrator.tool import MAX_RESULT

__all__ = ["shipped"]

P = ParamSpec("P")
R = TypeVar("R")


def shipped(
    *, effect: Effect, timeout: timedelta, max_result: int = MAX_RESULT
) -> Callable[[Callable[Concatenate[ToolContext, P], Awaitable[R]]], Tool[P, R]]:
    """Makes an `async def f(ctx: ToolContext, ...) -> R` a tool for `Orchestrator(tools=[...])`."""

    def decorate(function: Callable[Concatenate[ToolContext, P], Awaitable[R]]) -> Tool[P, R]:
        return Tool(function, effect=effect, timeout=timeout, max_result=max_result, task_queue=None)

    return decorate
