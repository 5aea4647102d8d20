"""Lets a model compute by writing programs."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from orchestrator import ToolContext
from orchestrator_tools.sandbox import PythonResult, run_python
from orchestrator_tools.shipped import shipped

__all__ = ["python"]


@shipped(effect="read", timeout=timedelta(seconds=60), max_result=1024 * 1024)
async def python(ctx: ToolContext, code: Annotated[str, Field(max_length=50_000)]) -> PythonResult:
    """Run a Python program and get what it prints and the value of its last expression.

    There are no files, no network and no packages: of the standard library asyncio, base64, binascii, bisect,
    collections, copy, csv, dataclasses, datetime, decimal, functools, hashlib, itertools, json, math, random, re,
    time and typing. There is no yield, del, class inheritance, property or classmethod. It is stopped after 5 seconds.

    Args:
        code: the whole program; nothing is kept from earlier ones
    """
    return await run_python(code)
