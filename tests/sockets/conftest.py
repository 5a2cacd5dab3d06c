"""A hall for each way to speak TLS."""

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from tests.sockets.hall import ISSUED, VERSIONS, WAYS, Hall
from tests.tls.handshake import write_certificate


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    return write_certificate(tmp_path_factory.mktemp("certificate"), ISSUED)


@pytest.fixture(params=WAYS, ids=str)
def hall(request, certificate):
    """For a test of what both layers do, in both roles."""
    yield from _open(request.param, certificate)


@pytest.fixture(params=[way for way in WAYS if way.ours], ids=str)
def our_hall(request, certificate):
    """For a test of what only ours does."""
    yield from _open(request.param, certificate)


@pytest.fixture(params=[way for way in WAYS if way.client], ids=str)
def client_hall(request, certificate):
    """For a test of what a client does, on both layers."""
    yield from _open(request.param, certificate)


@pytest.fixture(params=[way for way in WAYS if not way.client], ids=str)
def server_hall(request, certificate):
    """The same for a server."""
    yield from _open(request.param, certificate)


def _open(way, certificate):
    hall = Hall(way, certificate)
    yield hall
    pytest_twisted.blockon(Deferred.fromCoroutine(hall.close()))


@pytest.fixture(params=VERSIONS)
def version(request):
    return request.param
