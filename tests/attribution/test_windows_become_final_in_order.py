"""A window is final once all that was reserved before its end is settled: not before, in order, and only once."""

from datetime import timedelta
from itertools import pairwise

import anyio
import pytest

from orchestrator.attribution import Attribution
from orchestrator.database import Database
from tests.attribution.world import MINUTE, SERVER, T0, World, at


@pytest.fixture
def world(database: Database) -> World:
    return World(database=database)


async def test_a_window_waits_for_its_end(world: World) -> None:
    run = await world.run("r")
    await world.call(10, 20, run=run)
    assert await world.advance(59) == (0, 0)
    assert await world.advance(64.9) == (0, 0)
    assert await world.advance(65) == (1, 1)
    (window,) = await world.windows()
    assert (window.server, window.started_us, window.wall_us) == (SERVER, T0, MINUTE)
    assert (window.attributed_us, window.idle_us, window.overhead_us) == (10_000_000, 50_000_000, 0)
    assert (window.method, window.gpus, window.pool) == ("assumed", 1, "default")
    await world.check()


async def test_a_window_waits_for_every_call_that_was_reserved_before_its_end(world: World) -> None:
    run = await world.run("r")
    await world.call(10, 20, run=run)
    await world.call(50, 0, run=run, settled=False)
    await world.call(70, 80, run=run)
    assert await world.advance(1_000) == (0, 0)
    assert not await world.shares()


async def test_a_call_reserved_later_is_not_waited_for(world: World) -> None:
    run = await world.run("r")
    await world.call(10, 20, run=run)
    await world.call(66, 0, run=run, settled=False)
    assert await world.advance(1_000) == (1, 1)


async def test_clocks_may_differ_by_some_seconds(world: World) -> None:
    run = await world.run("r")
    await world.call(10, 20, run=run)
    await world.call(64, 0, run=run, settled=False)
    assert await world.advance(1_000) == (0, 0)


async def test_an_open_call_elsewhere_holds_up_nobody(world: World) -> None:
    run = await world.run("r")
    await world.call(10, 20, run=run)
    await world.call(10, 0, run=run, settled=False, server="http://other:30000")
    assert await world.advance(65) == (1, 1)


async def test_a_call_over_three_windows_is_corrected_when_the_last_is_final(world: World) -> None:
    run = await world.run("r")
    key = await world.call(30, 150, run=run, gpu_us=1)
    assert await world.advance(130) == (2, 0)
    assert await world.gpu_us(key) == 1
    assert await world.advance(200) == (1, 1)
    assert [window.started_us for window in await world.windows()] == [T0, at(60), at(120)]
    assert [share.gpu_us for share in await world.shares()] == [30_000_000, 60_000_000, 30_000_000]
    assert await world.gpu_us(key) == 120_000_000
    await world.check()


async def test_going_on_later_or_in_one_go_is_the_same(world: World, database: Database) -> None:
    run = await world.run("r")
    for start in range(0, 300, 7):
        await world.call(start, start + 11, run=run, output=30 + start)
    for seconds in range(60, 400, 9):
        await world.advance(seconds)
    one_by_one = await world.windows(), await world.shares()
    assert len(one_by_one[0]) == 6
    await world.check()
    assert await world.advance(10_000) == (0, 0)
    assert (await world.windows(), await world.shares()) == one_by_one


async def test_two_processes_at_once_make_every_window_and_correction_once(world: World, database: Database) -> None:
    run = await world.run("r")
    keys = [await world.call(start, start + 9, run=run, gpu_us=5_000) for start in range(0, 200, 5)]
    made: list[tuple[int, int]] = []

    async def advance() -> None:
        advanced = await Attribution(database).advance(at(1_000))
        made.append((advanced.windows, advanced.corrections))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(advance)
    assert sum(windows for windows, _ in made) == 4
    assert sum(corrections for _, corrections in made) == len(keys)
    for key in keys:
        assert [row.reason for row in await world.entries(key)] == [None, "attribution"]
    await world.check()
    attributed = sum(window.attributed_us for window in await world.windows())
    assert sum([await world.gpu_us(key) for key in keys]) == attributed
    assert (await world.account(run)).spent_gpu_us == attributed - len(keys) * 5_000


async def test_a_preview_is_there_at_once_and_replaced_later(world: World) -> None:
    run = await world.run("r")
    await world.call(10, 20, run=run)
    await world.call(65, 75, run=run)
    assert await world.attribution.preview(at(80)) == 2
    previews = await world.windows(final=False)
    assert [(row.started_us, row.wall_us, row.attributed_us) for row in previews] == [
        (T0, MINUTE, 10_000_000),
        (at(60), 20_000_000, 10_000_000),
    ]
    assert not await world.shares()
    await world.call(25, 35, run=run)
    assert await world.attribution.preview(at(81)) == 2
    assert [row.attributed_us for row in await world.windows(final=False)] == [20_000_000, 10_000_000]
    assert await world.advance(130) == (2, 3)
    assert not await world.windows(final=False)
    assert await world.attribution.preview(at(131)) == 0
    assert len(await world.windows()) == 2
    await world.check()


async def test_a_call_known_too_late_has_no_share_and_costs_no_time(world: World) -> None:
    run = await world.run("r")
    await world.call(10, 20, run=run)
    await world.advance(65)
    before = await world.windows()
    late = await world.call(30, 40, run=run, gpu_us=7_000_000)
    assert await world.advance(130) == (0, 1)
    assert await world.windows() == before
    assert await world.gpu_us(late) == 0
    await world.check()


async def test_a_call_from_before_the_first_window_keeps_what_it_has(world: World) -> None:
    run = await world.run("r")
    old = await world.call(-3 * 86_400, -3 * 86_400 + 10, run=run, gpu_us=7)
    await world.call(10, 20, run=run)
    assert await world.advance(100) == (1, 1)
    assert await world.gpu_us(old) == 7


async def test_silence_between_calls_is_idle_but_long_silence_is_absence(world: World) -> None:
    run = await world.run("r")
    await world.call(10, 20, run=run)
    await world.call(310, 320, run=run)
    await world.call(7_210, 7_220, run=run)
    assert (await world.advance(10_000))[0] == 7
    starts = [(window.started_us - T0) // MINUTE for window in await world.windows()]
    assert starts == [0, 1, 2, 3, 4, 5, 120]


async def test_a_server_that_counts_and_has_no_call_idles(world: World) -> None:
    for when in range(0, 240, 30):
        await world.counted(when, idle_us=when * 1_000_000)
    assert (await world.advance(1_000))[0] == 4
    assert [(row.idle_us, row.overhead_us) for row in await world.windows()] == [(MINUTE, 0)] * 4


async def test_a_window_waits_for_the_next_look_at_the_counters_but_not_forever(world: World) -> None:
    run = await world.run("r")
    await world.call(10, 20, run=run)
    await world.counted(0, idle_us=0)
    await world.counted(30, idle_us=0)
    assert await world.advance(100) == (0, 0)
    assert (await world.advance(180))[0] == 1


async def test_time_that_the_engine_was_busy_for_others_is_overhead(world: World) -> None:
    run = await world.run("r")
    await world.call(10, 20, run=run)
    await world.counted(0, idle_us=5_000_000)
    await world.counted(60, idle_us=5_000_000 + 29_000_000)
    assert (await world.advance(65))[0] == 1
    (window,) = await world.windows()
    # A second of what it counts may be missing from its counter at any time.
    assert (window.attributed_us, window.idle_us, window.overhead_us) == (10_000_000, 30_000_000, 20_000_000)


async def test_a_restart_between_two_looks_says_nothing(world: World) -> None:
    run = await world.run("r")
    await world.call(10, 20, run=run)
    await world.counted(0, idle_us=5_000_000, boot="one")
    await world.counted(60, idle_us=5_000_000, boot="two")
    await world.advance(65)
    (window,) = await world.windows()
    assert (window.idle_us, window.overhead_us) == (50_000_000, 0)


async def test_what_was_retracted_is_overhead(world: World) -> None:
    run = await world.run("r")
    await world.call(0, 60, run=run, prefill=60, output=0, prompt=3_000)
    await world.counted(0, idle_us=0, retracted_tokens=0)
    await world.counted(60, idle_us=0, retracted_tokens=1_000)
    await world.advance(65)
    (window,) = await world.windows()
    assert (window.attributed_us, window.overhead_us) == (45_000_000, 15_000_000)
    await world.check()


async def test_a_call_without_engine_times_is_shared_flat_and_marked(world: World) -> None:
    run = await world.run("r")
    known = await world.call(0, 10, run=run, output=50)
    unknown = await world.call(0, 10, run=run, told=False, output=50)
    await world.advance(65)
    (window,) = await world.windows()
    assert (window.method, window.attributed_us) == ("flat", 10_000_000)
    assert await world.gpu_us(known) + await world.gpu_us(unknown) == 10_000_000
    assert await world.gpu_us(unknown) == pytest.approx(5_000_000, rel=0.25)


async def test_weights_are_learned_and_kept(world: World) -> None:
    run = await world.run("r")
    for start in range(0, 110, 2):
        await world.call(start, start + 3, run=run, output=40 + start)
    await world.advance(70)
    await world.advance(200)
    methods = [(row.method, row.weights["fit"]["rows"]) for row in await world.windows()]
    assert [method for method, _ in methods] == ["fitted", "fitted"]
    assert methods[1][1] > methods[0][1] > 20


async def test_windows_go_on_from_where_an_other_length_left_off(world: World, database: Database) -> None:
    run = await world.run("r")
    await world.call(10, 20, run=run)
    await world.call(100, 110, run=run)
    await world.advance(65)
    longer = Attribution(database, window=timedelta(seconds=90))
    await longer.advance(at(1_000))
    windows = await world.windows()
    assert [(row.started_us - T0, row.wall_us) for row in windows][:2] == [(0, MINUTE), (MINUTE, windows[1].wall_us)]
    assert all(a.started_us + a.wall_us == b.started_us for a, b in pairwise(windows))
    await world.check()
