"""Against the package itself, which works offline: what a row says is what the package computes."""

import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib.metadata import version

import pytest
from genai_prices import Usage as ListUsage
from genai_prices import calc_price

from orchestrator.errors import ConfigurationError, PricesRefused, UnknownName
from orchestrator.ledger.list_prices import ListPrices, list_prices

NOW = datetime.now(UTC) - timedelta(minutes=1)


def listed(provider: str, *models: str) -> ListPrices:
    return list_prices(provider, models, book="hosted", pool="cloud", valid_from=NOW)


@pytest.mark.parametrize(
    ("provider", "model"), [("openai", "gpt-5"), ("anthropic", "claude-3-5-haiku"), ("openai", "gpt-4")]
)
def test_a_call_costs_what_the_package_says(provider: str, model: str) -> None:
    (row,) = listed(provider, model).rows
    assert row.input is not None
    assert row.cached is not None
    assert row.output is not None
    usage = ListUsage(input_tokens=10_000, cache_read_tokens=8_000, output_tokens=500)
    cost = (2_000 * row.input + 8_000 * row.cached + 500 * row.output) / 1_000_000
    assert cost == calc_price(usage, model, provider_id=provider).total_price
    assert (row.book, row.model, row.pool, row.valid_from) == ("hosted", model, "cloud", NOW)
    assert row.source == f"genai-prices {version('genai-prices')}"


def test_without_a_price_for_cached_tokens_they_cost_as_much_as_others() -> None:
    (row,) = listed("openai", "gpt-4").rows
    assert row.cached == row.input == Decimal(30)


def test_a_model_is_called_as_it_was_asked_for() -> None:
    made = listed("openai", "gpt-5-2025-08-07")
    assert made.rows[0].model == "gpt-5-2025-08-07"
    assert made.notices == ["gpt-5-2025-08-07 is taken for gpt-5"]


def test_what_writing_a_cache_costs_is_mentioned() -> None:
    assert any("writing its cache costs extra" in notice for notice in listed("anthropic", "claude-3-5-haiku").notices)


def test_a_provider_is_taken_as_a_whole_but_for_what_no_row_can_hold() -> None:
    made = listed("google")
    assert len(made.rows) > 20
    assert len({row.model for row in made.rows}) == len(made.rows)
    (notice,) = made.notices
    assert "models were left out" in notice
    assert "its price depends on the prompt's length" in notice


@pytest.mark.parametrize(
    ("provider", "model", "says"),
    [
        ("google", "gemini-2.5-pro", "gemini-2.5-pro: its price depends on the prompt's length. Nothing was written"),
        ("voyageai", "voyage-3", "voyage-3: it isn't priced by input and output tokens"),
    ],
)
def test_a_price_that_no_row_can_hold(provider: str, model: str, says: str) -> None:
    with pytest.raises(PricesRefused) as caught:
        listed(provider, model)
    assert says in str(caught.value)


def test_unknown_names() -> None:
    with pytest.raises(UnknownName, match="no provider is called 'opena': did you mean 'openai'"):
        listed("opena")
    with pytest.raises(UnknownName, match="no model of openai is called 'qpt-5'"):
        listed("openai", "qpt-5")


def test_without_the_package_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices.data_snapshot", None)
    with pytest.raises(ConfigurationError, match=r"isn't installed. Install it with: pip install .*\[prices\]"):
        listed("openai")
