"""Numbers and expressions as models write them, and their exact values.

Pure. The tool `calculator` computes with floats, as models expect; what is checked here must be exact.
"""

import ast
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from orchestrator.extracting import boxed

__all__ = ["Arithmetic", "arithmetic", "last_expression", "last_number", "shown"]

LONGEST = 200
"""Characters of an expression."""

_SIGNS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-"})
_TIMES = re.compile(r"(?<=[\d)])\s*x\s*(?=[\d(])")
_NUMBER = re.compile(
    r"(?<![\w.,/])-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/(?!0+(?!\d))\d+)?(?![\w/]|[.,]\d)", re.ASCII
)
_EXPRESSION = re.compile(r"[-(\d][-+*/()\d ]*[)\d]", re.ASCII)
_OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,  # pyright: ignore[reportUnknownMemberType]
}


@dataclass(frozen=True)
class Arithmetic:
    """An expression of whole numbers with + - * / and parentheses."""

    value: Fraction
    numbers: tuple[int, ...]
    """That it is made of, in the order in which they are written."""


def arithmetic(expression: str) -> Arithmetic:
    """The exact value of an expression, and what it is made of.

    Raises:
        ValueError: it is anything else than whole numbers with + - * / and parentheses, or divides by zero.
    """
    if len(expression) > LONGEST:
        raise ValueError(f"it is longer than {LONGEST} characters")
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
        value = _value(tree)
    except SyntaxError as error:
        raise ValueError(f"it is no expression ({error.msg})") from error
    except ZeroDivisionError as error:
        raise ValueError("it divides by zero") from error
    numbers = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return Arithmetic(value, tuple(number for number in numbers if isinstance(number, int)))


def _value(node: ast.expr) -> Fraction:
    match node:
        case ast.Constant(value=int() as value) if not isinstance(value, bool):
            return Fraction(value)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left), _value(right))
        case _:
            raise ValueError(f"{ast.unparse(node)} isn't made of whole numbers with + - * /")


def last_number(text: str) -> str | None:
    """The number in the last `\\boxed{}`, else the last in the text, as `shown`: `"it is $1,204.50"` is `1204.5`."""
    found = _NUMBER.findall((boxed(text) or "").translate(_SIGNS)) or _NUMBER.findall(text.translate(_SIGNS))
    return shown(Fraction(found[-1].replace(",", ""))) if found else None


def last_expression(text: str) -> str | None:
    """The last expression with an operator in it: of `"so (8 - 4) x 6 = 24."` it is `(8 - 4) * 6`."""
    text = _TIMES.sub(" * ", text.translate(_SIGNS))
    for found in reversed(_EXPRESSION.findall(text)):
        try:
            if len(arithmetic(found).numbers) > 1:
                return " ".join(found.split())
        except ValueError:
            continue
    return None


def shown(number: Fraction) -> str:
    """One way to write each number: `42`, `0.75`, and `1/3` where no decimal is exact."""
    denominator = number.denominator
    places = 0
    while (10**places) % denominator and places < 12:
        places += 1
    if (10**places) % denominator:
        return str(number)
    digits = f"{abs(number.numerator) * 10**places // denominator:0{places + 1}d}"
    whole, part = (digits[:-places], digits[-places:]) if places else (digits, "")
    return ("-" if number < 0 else "") + whole + (f".{part}" if part else "")
