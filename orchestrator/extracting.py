"""Extractors: the answer out of a model's free text.

Pure. For `ctx.think(extract=...)`; each gives `None` where there is no answer.
"""

import re

__all__ = ["after", "boxed", "code_block", "last_integer"]

_INTEGER = re.compile(r"(?<![\w.,])-?\d{1,3}(?:,\d{3})+(?![\w,])(?!\.\d)|(?<![\w.])-?\d+(?![\w])(?!\.\d)")
_BOXED = "\\boxed{"
_FENCE = re.compile(r"```(?:\w+)?\n(.*?)```", re.DOTALL)


def last_integer(text: str) -> int | None:
    """The last whole number that is written in digits: `"so it is 1,204."` is 1204."""
    found = _INTEGER.findall(text)
    return int(found[-1].replace(",", "")) if found else None


def boxed(text: str) -> str | None:
    """What stands in the last `\\boxed{...}`, as in the MATH data set's answers."""
    begin = text.rfind(_BOXED)
    if begin < 0:
        return None
    depth = 1
    start = begin + len(_BOXED)
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[start:place].strip() or None
    return None


def after(marker: str, text: str) -> str | None:
    """The rest of the line after a marker's last place: `after("Answer:", text)`."""
    begin = text.rfind(marker)
    if begin < 0:
        return None
    rest = text[begin + len(marker) :].strip()
    return rest.splitlines()[0].strip() if rest else None


def code_block(text: str) -> str | None:
    """The last block between fences of three backticks."""
    found = _FENCE.findall(text)
    return found[-1].strip() or None if found else None
