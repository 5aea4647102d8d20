from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from orchestrator.errors import PricesRefused
from orchestrator.ledger.price_entry import read_prices

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DEFAULT = {"book": "default", "pool": "*", "from": NOW}

TOML = """
[[prices]]
model = "qwen"
input = 0.1
cached = 0.012345678
output = "2"
from = 2026-01-01

[[prices]]
model = "*"
pool = "h100"
gpu-hour = 2.5
from = 2026-01-01T06:00:00+02:00
until = "2027-01-01"
book = "other"
source = "the contract"
currency = "USD"
"""
JSON = """{"prices": [
    {"model": "qwen", "input": 0.1, "cached": 0.012345678, "output": 2, "from": "2026-01-01"},
    {"model": "*", "pool": "h100", "gpu_hour": "2.5", "from": "2026-01-01T04:00:00Z", "until": "2027-01-01",
     "book": "other", "source": "the contract", "currency": "USD", "input": null}
]}"""
CSV = """\ufeffmodel,pool,input,cached,output,gpu_hour,from,until,book,source,currency

qwen,,0.1,0.012345678,2,,2026-01-01,,,,
*,h100,,,,2.5,2026-01-01T04:00,2027-01-01,other,the contract,USD
"""


@pytest.mark.parametrize(("name", "text"), [("a.toml", TOML), ("a.json", JSON), ("A.CSV", CSV)])
def test_each_format_says_the_same(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    tokens, gpu = read_prices(path, default=DEFAULT)
    assert (tokens.input, tokens.cached, tokens.output) == (Decimal("0.1"), Decimal("0.012345678"), 2)
    assert (tokens.book, tokens.model, tokens.pool, tokens.source) == ("default", "qwen", "*", name)
    assert (tokens.valid_from, tokens.valid_until) == (datetime(2026, 1, 1, tzinfo=UTC), None)
    assert (gpu.book, gpu.model, gpu.pool, gpu.source) == ("other", "*", "h100", "the contract")
    assert (gpu.gpu_hour, gpu.input) == (Decimal("2.5"), None)
    assert gpu.valid_from == datetime(2026, 1, 1, 4, tzinfo=UTC)
    assert gpu.valid_until == datetime(2027, 1, 1, tzinfo=UTC)


def test_a_json_file_may_be_the_list_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"model": "h", "gpu_hour": 1}]')
    (row,) = read_prices(path, default=DEFAULT)
    assert (row.gpu_hour, row.valid_from) == (1, NOW)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.yaml", "", "its name ends in none of .toml, .json, .csv"),
        ("a.toml", "[[prices]\n", "it can't be read: "),
        ("a.toml", "price = 1", "it has 'price' where it should have 'prices' alone"),
        ("a.toml", "", "it has nothing where it should have 'prices' alone"),
        ("a.json", "{", "it can't be read: "),
        ("a.json", '{"prices": {}}', "'prices' is no list of rows"),
        ("a.json", "7", "'prices' is no list of rows"),
        ("a.json", "[" * 100_000, "it can't be read: "),
        ("a.json", '[{"model": "h", "gpu_hour": NaN}]', "row 1: gpu_hour: Input should be a finite number"),
        ("a.json", '[{"model": "h", "gpu_hour": 0.10000000000000001}]', "no more than 9 decimal places"),
        ("a.toml", '[[prices]]\nmodel = "h"\ngpu_hour = 0.10000000000000001', "no more than 9 decimal places"),
        ("a.json", '[{"model": "h", "gpu_hour": 1}, 7]', "row 2: it is no table of fields"),
        ("a.json", '[{"model": "h"}, {"gpu_hour": 1}]', "row 1: input and cached and output missing"),
        ("a.json", '[{"model": "h"}, {"gpu_hour": 1}]', "row 2: model: Field required"),
        ("a.csv", "model,model\na,b\n", "a column comes twice"),
        ("a.csv", "model,gpu_hour\na\n", "line 2 has 1 fields, the header 2"),
        ("a.csv", 'model,gpu_hour\n"a,1\n', "it can't be read: "),
        ("a.csv", "model,gpu_hour\na,1 000\n", "row 1: gpu_hour: Input should be a valid decimal"),
        ("a.csv", "model,input,output\na,1,2\n", "row 1: cached missing"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, name: str, text: str, says: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(PricesRefused) as caught:
        read_prices(path, default=DEFAULT)
    assert says in str(caught.value)
    assert str(caught.value).startswith("a.")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(PricesRefused, match=r"none.csv: it can't be read \(No such file or directory\)"):
        read_prices(tmp_path / "none.csv", default=DEFAULT)
    (tmp_path / "latin.csv").write_bytes(b"model,gpu_hour\n\xff,1\n")
    with pytest.raises(PricesRefused, match="it can't be read"):
        read_prices(tmp_path / "latin.csv", default=DEFAULT)


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("")
    assert read_prices(tmp_path / "a.csv", default=DEFAULT) == []
