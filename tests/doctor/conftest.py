import pytest
import pytest_twisted
from twisted.internet import reactor

from mailproxy.doctor.table import known_answers
from tests.doctor.ward import opened


@pytest_twisted.async_yield_fixture
async def ward(tmp_path):
    """A sandbox, and a destination that can be made ill."""
    ward = opened(reactor, tmp_path)
    yield ward
    await ward.close()


@pytest.fixture(scope="session")
def table():
    """The table that belongs to the program."""
    return known_answers()
