"""The dataset against the specification's own words, FOCUS 1.2."""

import json
import re
from datetime import timedelta
from decimal import Decimal

from orchestrator.database import Database
from orchestrator.ledger import Price, Timeframe, focus_rows
from orchestrator.ledger.focus import COLUMNS
from orchestrator.usage import Usage
from tests.reports.rows import MARCH, Rows

MANDATORY = {
    "BilledCost": False, "BillingAccountId": False, "BillingAccountName": True, "BillingCurrency": False,
    "BillingPeriodEnd": False, "BillingPeriodStart": False, "ChargeCategory": False, "ChargeClass": True,
    "ChargeDescription": True, "ChargePeriodEnd": False, "ChargePeriodStart": False, "ContractedCost": False,
    "EffectiveCost": False, "InvoiceIssuerName": False, "ListCost": False, "PricingQuantity": True,
    "PricingUnit": True, "ProviderName": False, "PublisherName": False, "ServiceCategory": False, "ServiceName": False,
}  # fmt: skip
"""Columns of feature level Mandatory in FOCUS 1.2, with whether they allow nulls."""
DAY = timedelta(days=1)
HOUR = Price(gpu=3_600_000_000, source="test")


async def exported(database: Database) -> list[dict[str, str | None]]:
    rows = Rows()
    run = rows.run(version="2")
    rows.charge(run, Usage(prompt=100, cached=40, output=20, reasoning=5))
    rows.charge(run, Usage(prompt=1, output=1), at=MARCH + timedelta(hours=5))
    rows.charge(run, Usage(prompt=7), outcome="discarded", estimated=True)
    rows.charge(run, Usage(prompt=1), price=HOUR, gpu_us=1_800_000_001, pool="h100")
    rows.charge(run, kind="tool", name="search", pool=None, cost_nano=5)
    old = rows.charge(rows.run(tenant="zeta"), Usage(prompt=10), at=MARCH - DAY)
    rows.reused(old, Usage(prompt=30), at=MARCH)
    near = rows.charge(rows.run("plan"), Usage(prompt=10), at=MARCH - timedelta(seconds=0.5))
    rows.reused(near, Usage(prompt=30), at=MARCH + DAY)
    rows.window(idle_us=1_800_000_000, at=MARCH + DAY)
    await rows.write(database)
    return [dict(row) for row in await focus_rows(database)]


async def test_every_mandatory_column_is_there_and_filled(database: Database) -> None:
    assert set(MANDATORY) <= set(COLUMNS)
    custom = [name for name in COLUMNS if name.startswith("x_")]
    assert list(COLUMNS[-len(custom) :]) == custom
    for row in await exported(database):
        assert list(row) == list(COLUMNS)
        assert "" not in row.values()
        missing = {name for name, nullable in MANDATORY.items() if not nullable and row[name] is None}
        assert missing == set()
        # Of a charge for usage that is no correction, what is consumed has a quantity, a unit and a SKU.
        for name in ("PricingQuantity", "PricingUnit", "ConsumedQuantity", "ConsumedUnit", "SkuId", "SkuPriceId"):
            assert row[name] is not None
        assert row["ChargeCategory"] == "Usage"
        assert row["ChargeClass"] in (None, "Correction")
        assert row["ServiceCategory"] == "AI and Machine Learning"
        assert row["BillingCurrency"] == "USD"
        assert row["PricingUnit"] in ("Tokens", "GPU-Hours", "Requests")


async def test_figures_and_times_are_written_as_the_specification_wants(database: Database) -> None:
    for row in await exported(database):
        for name in row:
            if name.endswith(("Cost", "Quantity", "Tokens", "Seconds", "Calls", "Runs")) and row[name] is not None:
                assert re.fullmatch(r"-?\d+(\.\d+)?", row[name] or ""), name
        for name in ("BillingPeriodStart", "BillingPeriodEnd", "ChargePeriodStart", "ChargePeriodEnd"):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT00:00:00Z", row[name] or "")
        tags = json.loads(row["Tags"] or "")
        assert all(isinstance(value, str) and "/" in key for key, value in tags.items())
        assert row["BilledCost"] == row["EffectiveCost"] == row["ListCost"] == row["ContractedCost"]


async def test_a_line_is_a_days_charges_of_a_tenant_workflow_model_and_outcome(database: Database) -> None:
    rows = await exported(database)
    (used,) = [row for row in rows if row["x_Pool"] == "default" and row["x_Calls"] == "2"]
    assert used["SubAccountId"] == "acme"
    assert (used["ChargePeriodStart"], used["ChargePeriodEnd"]) == ("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z")
    assert (used["BillingPeriodStart"], used["BillingPeriodEnd"]) == ("2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z")
    assert (used["x_Workflow"], used["x_WorkflowVersion"], used["x_Outcome"]) == ("answer", "2", "used")
    assert (used["x_PromptTokens"], used["x_CachedTokens"], used["x_OutputTokens"]) == ("101", "40", "21")
    assert (used["x_ReasoningTokens"], used["x_Runs"], used["x_EstimatedCost"]) == ("5", "1", "0")
    assert (used["PricingQuantity"], used["PricingUnit"]) == ("122", "Tokens")
    assert used["BilledCost"] == "0.000298000"  # 61 * 2,000 + 40 * 200 + 21 * 8,000
    (discarded,) = [row for row in rows if row["x_Outcome"] == "discarded"]
    assert discarded["x_EstimatedCost"] == "0.000014"


async def test_gpu_time_and_idling_are_in_gpu_hours(database: Database) -> None:
    rows = await exported(database)
    (gpu,) = [row for row in rows if row["x_Pool"] == "h100"]
    assert (gpu["PricingQuantity"], gpu["PricingUnit"]) == ("0.500000000278", "GPU-Hours")
    assert (gpu["ConsumedQuantity"], gpu["ConsumedUnit"]) == ("1800.000001", "GPU-Seconds")
    (idle,) = [row for row in rows if row["ServiceName"] == "Idle GPU time"]
    assert (idle["BilledCost"], idle["PricingQuantity"]) == ("1.800000000", "0.5")
    assert (idle["SubAccountId"], idle["ChargePeriodStart"]) == (None, "2026-03-02T00:00:00Z")
    mine = await focus_rows(database, tenant="acme")
    assert all(row["ServiceName"] != "Idle GPU time" for row in mine)


async def test_only_what_corrects_an_earlier_month_is_a_correction(database: Database) -> None:
    """The second call was reserved in February, but settled, and so billed, in March, where it was corrected."""
    rows = [row for row in await exported(database) if row["x_Calls"] == "0"]
    assert {(row["SubAccountId"], row["ChargeClass"], row["BilledCost"]) for row in rows} == {
        ("zeta", "Correction", "0.000040000"), ("acme", None, "0.000040000"),
    }  # fmt: skip


async def test_a_period_is_cut_where_a_report_is_cut(database: Database) -> None:
    await exported(database)
    first = await focus_rows(database, timeframe=Timeframe(until=MARCH))
    assert sum(Decimal(row["BilledCost"] or "") for row in first) == Decimal("0.00002")
