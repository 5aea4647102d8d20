import pytest

from tests.caches import program


@pytest.fixture(autouse=True)
def nothing_called() -> None:
    program.calls.clear()
    program.gate.clear()
