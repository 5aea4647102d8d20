from orchestrator.database import Database, now
from orchestrator.database.tables import prices


async def test_moments_come_back_in_utc(database: Database) -> None:
    moment = now()
    async with database.begin() as connection:
        values = {
            "book": "default", "model": "m", "pool": "*", "input_price": 1, "cached_price": 1, "output_price": 1,
            "valid_from": moment, "source": "test", "created_at": moment,
        }  # fmt: skip
        await connection.execute(database.insert(prices).values(values))
    async with database.read() as connection:
        row = (await connection.execute(prices.select())).one()
    assert row.valid_from == moment
