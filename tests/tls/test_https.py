"""HTTPS is as strict as TLS to mail servers."""

import pytest
import pytest_twisted
import treq
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseNeverReceived
from twisted.web.resource import Resource
from twisted.web.server import Site

from mailproxy.tls import HTTPSPolicy, describe_tls_failure
from tests.tls.loopback import ANOTHER_HOST, AUTHORITY, NO_USABLE_NAME, TLS, ServerTLS


class OneConnection(TLSMemoryBIOFactory):
    """Tells when its connection is over."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.lost = Deferred()

    def unregisterProtocol(self, protocol):
        super().unregisterProtocol(protocol)
        self.lost.callback(None)


class Hello(Resource):
    isLeaf = True

    def render_GET(self, _request):
        return b"hello"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["127.0.0.1"], None),
        (["127.0.0.2"], ANOTHER_HOST + "127.0.0.2"),
        ([], NO_USABLE_NAME),
    ],
)
@pytest_twisted.ensureDeferred
async def test_https_is_as_strict(names, words):
    issued = AUTHORITY.issue(*names, common_name="127.0.0.1")
    site = Site(Hello())
    site.noisy = False
    served = OneConnection(ServerTLS(issued), False, site)
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(served)
    client = treq.client.HTTPClient(Agent(reactor, contextFactory=HTTPSPolicy(TLS)))
    try:
        response = await client.get(f"https://127.0.0.1:{port.getHost().port}/", headers={"Connection": ["close"]})
        assert await response.content() == b"hello"
        assert words is None
    except ResponseNeverReceived:
        assert words in describe_tls_failure(Failure())
    finally:
        await served.lost.addTimeout(10, reactor)
        await port.stopListening()
