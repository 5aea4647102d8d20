"""List prices of hosted models, from the package genai-prices. It works offline, and is imported only when asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from importlib.metadata import version
from typing import Any

from pydantic import ValidationError

from orchestrator.errors import ConfigurationError, PricesRefused, UnknownName
from orchestrator.ledger.pricebooks import NewPrice

__all__ = ["LIST_PRICES", "ListPrices", "list_prices"]

LIST_PRICES = "genai-prices"
"""The package's name, and what is written for it in place of a file's."""
SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class ListPrices:
    """Rows made of list prices, and what they don't say."""

    rows: Sequence[NewPrice]
    notices: Sequence[str]


def list_prices(provider: str, models: Sequence[str], *, book: str, pool: str, valid_from: datetime) -> ListPrices:
    """What a provider asks for models at a moment; for each that it prices by the token, where none is named.

    A row's model is called as it was asked for, since that is the name that its calls are charged under.

    Raises:
        ConfigurationError: the package isn't installed.
        UnknownName: the package knows no such provider or model.
        PricesRefused: a named model has no price that a row can hold.
    """
    providers, source = _known()
    found = next((each for each in providers if each.id == provider), None)
    if found is None:
        raise UnknownName("provider", provider, [each.id for each in providers])
    rows: list[NewPrice] = []
    notices: list[str] = []
    refused: list[str] = []
    asked = {name: found.find_model(name, all_providers=providers) for name in models}
    for name, model in (asked or {model.id: model for model in found.models}).items():
        if model is None:
            raise UnknownName(f"model of {provider}", name, [each.id for each in found.models])
        price = model.get_prices(valid_from)
        if (problem := _problem(price)) is not None:
            refused.append(f"{name}: {problem}")
            continue
        try:
            rows.append(
                NewPrice(
                    book=book, model=name, pool=pool, input=price.input_mtok,
                    cached=price.input_mtok if price.cache_read_mtok is None else price.cache_read_mtok,
                    output=price.output_mtok, valid_from=valid_from, source=source,
                )
            )  # fmt: skip
        except ValidationError as error:
            refused.append(f"{name}: {error.errors(include_url=False)[0]['msg']}")
            continue
        if models and model.id != name:
            notices.append(f"{name} is taken for {model.id}")
        if models and price.cache_write_mtok is not None:
            notices.append(f"{name}: writing its cache costs extra, which no row holds and no call is charged for")
    if refused and (models or not rows):
        raise PricesRefused(f"{LIST_PRICES}, {provider}", refused)
    if refused:
        more = f"; and {len(refused) - SHOWN} more" if len(refused) > SHOWN else ""
        notices.append(f"{len(refused)} models were left out: {'; '.join(refused[:SHOWN])}{more}")
    return ListPrices(rows=rows, notices=notices)


def _known() -> tuple[Sequence[Any], str]:
    try:
        from genai_prices.data_snapshot import get_snapshot
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"the package {LIST_PRICES} isn't installed",
            remedy="Install it with: pip install 'reasoning-orchestrator[prices]'. "
            "Or write the prices into a file, and import that.",
        ) from error
    return get_snapshot().providers, f"{LIST_PRICES} {version(LIST_PRICES)}"


def _problem(price: Any) -> str | None:
    """Why a row can't hold a model's price, if it can't."""
    if price.input_mtok is None or price.output_mtok is None:
        return "it isn't priced by input and output tokens"
    flat = (price.input_mtok, price.cache_read_mtok, price.output_mtok)
    if not all(isinstance(each, Decimal | None) for each in flat):
        return "its price depends on the prompt's length"
    if price.output_reasoning_mtok not in (None, price.output_mtok):
        return "its reasoning has a price of its own"
    if price.requests_kcount is not None:
        return "each request costs extra"
    return None
