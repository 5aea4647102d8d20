import pytest

from tests.timeouts import program


@pytest.fixture(autouse=True)
def nothing_ended() -> None:
    program.ended.clear()
