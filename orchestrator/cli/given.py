"""Inputs as they are given on a command line."""

import json
import sys
from pathlib import Path

from pydantic import JsonValue

from orchestrator.errors import InvalidInput

__all__ = ["read_input"]


def read_input(given: str, *, what: str) -> JsonValue:
    """The value of `--input`: JSON, `@FILE`, or `-` for stdin.

    Args:
        what: names what it is for, in the error.

    Raises:
        InvalidInput: the file can't be read, or it is no JSON.
    """
    text = given
    if given == "-":
        text = sys.stdin.read()
    elif given.startswith("@"):
        try:
            text = Path(given[1:]).read_text()
        except OSError as error:
            raise InvalidInput(what, f"{given[1:]} can't be read ({error.strerror})") from error
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidInput(what, f"--input is no JSON ({error}); quote text twice: --input '\"text\"'") from error
