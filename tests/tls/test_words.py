"""Why TLS came to nothing: one sentence for each reason."""

import pytest
import pytest_twisted
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from twisted.web.client import ResponseNeverReceived

from mailproxy.tls import CertificateRejected, describe_tls_failure, words
from tests.support.pages import page, span
from tests.tls.loopback import HOST, SETTINGS, TLS, Client, Server


@pytest_twisted.ensureDeferred
async def test_a_server_that_speaks_no_tls_is_described():
    server = Server(None)
    factory = Factory.forProtocol(lambda: server)
    factory.noisy = False
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
    try:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        client = await connectProtocol(wrapClientTLS(TLS.options(HOST, SETTINGS), endpoint), Client())
        [reason] = await client.lost.addTimeout(10, reactor)
        await server.lost.addTimeout(10, reactor)
    finally:
        await port.stopListening()
    assert not client.verified
    assert describe_tls_failure(reason) == "peer does not speak TLS (wrong version number)"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (SSL.Error([("SSL routines", "", "some new reason")]), "TLS handshake failed (some new reason)"),
        (SSL.Error([]), "TLS handshake failed (Error)"),
        (SSL.Error(), "TLS handshake failed (Error)"),
        (SSL.SysCallError(-1, "Unexpected EOF"), "TLS handshake failed (SysCallError)"),
        (VerificationError([]), "TLS failed (VerificationError)"),
        (
            SSL.Error([("SSL routines", "", "sslv3 alert handshake failure")]),
            "peer refused our TLS parameters, or wants a client certificate (sslv3 alert handshake failure)",
        ),
        (ResponseNeverReceived([Failure(CertificateRejected("certificate has expired"))]), "certificate has expired"),
    ],
)
def test_each_kind_of_failure_has_one_sentence(error, sentence):
    assert describe_tls_failure(Failure(error)) == sentence


def test_the_page_for_operators_has_the_sentences_of_the_code():
    of_certificates = (f"client's {text.format(peers='clients')}" for text in words._VERIFY_WORDS.values())
    said = {*of_certificates, *(text for _, text in words._CLIENT_HANDSHAKE_WORDS)}
    rows = page("how-to/tls-for-clients.md").table("The log says", "What to do")
    assert {span(row["The log says"]) for row in rows} <= said
