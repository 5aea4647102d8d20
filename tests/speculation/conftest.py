import pytest

from tests.speculation import program


@pytest.fixture(autouse=True)
def nothing_called() -> None:
    program.calls.clear()
    program.ended.clear()
    program.gate.clear()
