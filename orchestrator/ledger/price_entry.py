"""Price rows as people write them: typed on a command line, or in a TOML, JSON or CSV file."""

import csv
import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from orchestrator.errors import InvalidPeriod, PricesRefused, did_you_mean
from orchestrator.ledger.pricebooks import NewPrice
from orchestrator.ledger.timeframes import moment

__all__ = ["FIELDS", "entered", "read_prices"]

FIELDS = (
    "book", "model", "pool", "input", "cached", "output", "gpu_hour", "from", "until", "currency", "source",
)  # fmt: skip
CURRENCY = "USD"
_RENAMED = {"from": "valid_from", "until": "valid_until"}


def entered(entry: Mapping[str, Any], *, default: Mapping[str, Any]) -> NewPrice:
    """The row that fields by their names in `FIELDS` describe. Text that is empty is a field that isn't there.

    Args:
        default: fields that count where the entry has none of its own.

    Raises:
        ValueError: a field is unknown or wrong.
    """
    named = {str(name).strip().lower().replace("-", "_"): value for name, value in entry.items()}
    given = {**default, **{name: value for name, value in named.items() if not _is_empty(value)}}
    for name in given:
        if name not in FIELDS:
            raise ValueError(f"there is no field {name!r}: {did_you_mean(name, FIELDS)}")
    currency = given.pop("currency", CURRENCY)
    if currency != CURRENCY:
        raise ValueError(f"the currency is {currency!r}: the ledger is kept in {CURRENCY} alone, so convert it first")
    values = {_RENAMED.get(name, name): _value(name, value) for name, value in given.items()}
    try:
        return NewPrice.model_validate(values)
    except ValidationError as error:
        raise ValueError(_problems(error)) from error


def read_prices(path: Path, *, default: Mapping[str, Any]) -> Sequence[NewPrice]:
    """The rows of a file: `[[prices]]` tables in TOML, `{"prices": [...]}` or a list in JSON, or CSV with a header.

    Raises:
        PricesRefused: the file can't be read, or a row is wrong.
    """
    parse = _PARSERS.get(path.suffix.lower())
    if parse is None:
        raise PricesRefused(path.name, [f"its name ends in none of {', '.join(_PARSERS)}"])
    try:
        found = parse(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise PricesRefused(str(path), [f"it can't be read ({error.strerror})"]) from error
    except (ValueError, csv.Error, RecursionError) as error:
        raise PricesRefused(path.name, [f"it can't be read: {error}"]) from error
    problems: list[str] = []
    rows: list[NewPrice] = []
    for number, entry in enumerate(found, start=1):
        try:
            if not isinstance(entry, dict):
                raise ValueError("it is no table of fields")
            fields = cast("dict[str, Any]", entry)
            rows.append(entered(fields, default={"source": path.name, **default}))
        except ValueError as error:
            problems.append(f"row {number}: {error}")
    if problems:
        raise PricesRefused(path.name, problems)
    return rows


def _value(name: str, value: Any) -> Any:
    if name not in _RENAMED or isinstance(value, datetime):
        return value
    try:  # a date of TOML's own is written as any other
        return moment(str(value), what=name)
    except InvalidPeriod as error:
        raise ValueError(str(error)) from error


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _problems(error: ValidationError) -> str:
    """What is wrong with a row, in one line and in the words of `FIELDS`."""
    written = {column: name for name, column in _RENAMED.items()}
    said: list[str] = []
    for item in error.errors(include_url=False):
        field = ".".join(written.get(str(part), str(part)) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        said.append(f"{field}: {message}" if field else message)
    return "; ".join(said)


def _toml(text: str) -> Sequence[Any]:
    return _listed(tomllib.loads(text, parse_float=Decimal))


def _json(text: str) -> Sequence[Any]:
    return _listed(json.loads(text, parse_float=Decimal))


def _listed(read: Any) -> Sequence[Any]:
    if isinstance(read, dict):
        table = cast("dict[str, Any]", read)
        if set(table) != {"prices"}:
            raise ValueError(f"it has {', '.join(map(repr, table)) or 'nothing'} where it should have 'prices' alone")
        read = table["prices"]
    if not isinstance(read, list):
        raise ValueError("'prices' is no list of rows")
    return cast("list[Any]", read)


def _csv(text: str) -> Sequence[Any]:
    lines = csv.reader(text.splitlines(), strict=True)
    header: list[str] = [name.strip() for name in next(lines, list[str]())]
    if len(set(header)) < len(header):
        raise ValueError("a column comes twice")
    rows: list[dict[str, str]] = []
    for line in lines:
        if not any(cell.strip() for cell in line):
            continue
        if len(line) != len(header):
            raise ValueError(f"line {lines.line_num} has {len(line)} fields, the header {len(header)}")
        rows.append({name: cell.strip() for name, cell in zip(header, line, strict=True)})
    return rows


_PARSERS: dict[str, Callable[[str], Sequence[Any]]] = {".toml": _toml, ".json": _json, ".csv": _csv}
