"""A GPU-hour of pool `default` costs 3.6 dollars, so a microsecond costs a nano-dollar."""

from datetime import timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.database import Database
from orchestrator.ledger import By, Price, Timeframe, cost_report
from orchestrator.ledger.apportion import apportion
from orchestrator.usage import Usage, usd_from_nano
from tests.reports.rows import MARCH, Rows

HOUR = Price(gpu=3_600_000_000, source="test")
DAY = timedelta(days=1)


def nano(amount: Decimal) -> int:
    return int(amount.scaleb(9))


async def test_in_proportion_to_gpu_time_beside_the_cost(database: Database) -> None:
    rows = Rows()
    rows.charge(rows.run("answer"), price=HOUR, gpu_us=300)
    rows.charge(rows.run("plan"), price=HOUR, gpu_us=100)
    rows.charge(rows.run("hosted"), pool="hosted", cost_nano=1)
    rows.window(idle_us=900, overhead_us=100)
    await rows.write(database)
    report = await cost_report(database)
    by_name = {line.group["workflow"]: line for line in report.lines}
    assert {name: (nano(line.cost), nano(line.idle)) for name, line in by_name.items()} == {
        "answer": (300, 750), "plan": (100, 250), "hosted": (1, 0),
    }  # fmt: skip
    assert nano(by_name["answer"].cost_per_completed or Decimal()) == 1050
    assert (nano(report.total.cost), nano(report.total.idle), report.idle_unshared) == (401, 1000, 0)


async def test_a_pools_idling_is_its_own_users(database: Database) -> None:
    rows = Rows()
    rows.charge(rows.run("answer"), price=HOUR, gpu_us=1, pool="default")
    rows.charge(rows.run("plan"), price=HOUR, gpu_us=1000, pool="big")
    rows.window(idle_us=70, pool="default")
    rows.window(idle_us=10, pool="big", gpu_price=36_000_000_000)
    await rows.write(database)
    report = await cost_report(database)
    assert {line.group["workflow"]: nano(line.idle) for line in report.lines} == {"answer": 70, "plan": 100}


async def test_a_pool_that_nobody_used_is_in_the_total_alone(database: Database) -> None:
    rows = Rows()
    rows.charge(rows.run(), price=HOUR, gpu_us=1)
    rows.window(idle_us=70)
    rows.window(idle_us=500, pool="big")
    await rows.write(database)
    for by in By:
        report = await cost_report(database, by=by)
        assert sum(nano(line.idle) for line in report.lines) == 70
        assert (nano(report.total.idle), nano(report.idle_unshared)) == (570, 500)
        assert nano(report.total.cost_per_completed or Decimal()) == 571
    mine = await cost_report(database, tenant="acme")
    assert (nano(mine.total.idle), mine.idle_unshared) == (70, 0)


async def test_a_tenant_pays_for_its_part_alone(database: Database) -> None:
    rows = Rows()
    rows.charge(rows.run("answer", tenant="acme"), price=HOUR, gpu_us=100)
    rows.charge(rows.run("plan", tenant="acme"), price=HOUR, gpu_us=200)
    rows.charge(rows.run("answer", tenant="zeta"), price=HOUR, gpu_us=700)
    rows.window(idle_us=10_000)
    await rows.write(database)
    mine = await cost_report(database, tenant="acme")
    assert {line.group["workflow"]: nano(line.idle) for line in mine.lines} == {"answer": 1000, "plan": 2000}
    answers = await cost_report(database, workflow="answer", by=By.TENANT)
    assert {line.group["tenant"]: nano(line.idle) for line in answers.lines} == {"acme": 1000, "zeta": 7000}


async def test_a_day_has_the_idling_of_that_day(database: Database) -> None:
    rows = Rows()
    rows.charge(rows.run(), price=HOUR, gpu_us=100, at=MARCH)
    rows.window(idle_us=10, at=MARCH)
    rows.window(idle_us=20, at=MARCH + DAY - timedelta(seconds=1))
    rows.window(idle_us=40, at=MARCH + DAY)
    await rows.write(database)
    report = await cost_report(database, by=By.DAY)
    assert {line.group["day"]: nano(line.idle) for line in report.lines} == {"2026-03-01": 30, "2026-03-02": 40}
    first = await cost_report(database, timeframe=Timeframe(until=MARCH + DAY))
    second = await cost_report(database, timeframe=Timeframe(since=MARCH + DAY))
    assert (nano(first.total.idle), nano(second.total.idle)) == (30, 40)
    assert nano(second.idle_unshared) == 40


async def test_a_pass_pays_for_the_idling_of_its_runs_only(database: Database) -> None:
    rows = Rows()
    rows.charge(rows.run("answer", passed=True), price=HOUR, gpu_us=100)
    rows.charge(rows.run("plan"), price=HOUR, gpu_us=300)
    rows.window(idle_us=1000)
    await rows.write(database)
    for by in (By.WORKFLOW, By.DAY, By.TENANT):
        report = await cost_report(database, by=by)
        assert nano(report.total.cost_of_pass or Decimal()) == 350
        assert nano(report.lines[-1 if by is By.WORKFLOW else 0].cost_of_pass or Decimal()) == 350


async def test_another_book_prices_idling_too(database: Database) -> None:
    rows = Rows()
    run = rows.run()
    rows.charge(run, price=HOUR, gpu_us=100)
    rows.window(idle_us=1000)
    rows.price(Price(gpu=7_200_000_000, source="test"), model="qwen", pool="default")
    rows.price(Price(input=1, cached=1, output=1, source="test"), book="tokens")
    await rows.write(database)
    twice = await cost_report(database, book="other")
    assert (nano(twice.total.cost), nano(twice.total.idle)) == (200, 2000)
    hosted = await cost_report(database, book="tokens")
    assert hosted.total.idle == 0  # nobody pays a hosted model for idling


@given(
    nano=st.integers(0, 10**15),
    weights=st.dictionaries(st.integers(0, 20), st.integers(0, 10**12), min_size=1),
)
def test_shares_are_the_whole_and_differ_from_exact_ones_by_less_than_a_nano_dollar(
    nano: int, weights: dict[int, int]
) -> None:
    shares = apportion(nano, weights)
    whole = sum(weights.values())
    assert sum(shares.values()) == (nano if whole else 0)
    for key, share in shares.items():
        assert whole == 0 or abs(share * whole - nano * weights[key]) < whole


async def test_a_long_window_is_exact(database: Database) -> None:
    """A hundred GPUs, idle for a day at 98.76543210 dollars an hour: past 64 bits, were it multiplied out."""
    us = 10**13
    rows = Rows()
    rows.window(idle_us=us, gpu_price=98_765_432_101)
    await rows.write(database)
    exact = Price(gpu=98_765_432_101, source="test")
    assert (await cost_report(database)).total.idle == usd_from_nano(exact.cost(Usage(), us))
