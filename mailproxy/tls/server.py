"""
TLS as a server, for mail clients.

Theory of operation
-------------------

There is one OpenSSL context for each certificate, and all of them are the same but for what they show.  A connection
begins with the first one; the name that the client asks for (SNI) moves it to another: to one that holds the very name,
else to one with `*` in the place of the left-most label.  A name that nobody has, or none at all, stays with the first:
the client may know better than we whether it takes that certificate, and nothing is logged for a name that anybody may
make up.

What clients show is judged against the authorities of `client_ca_files` and nobody else's, for the purpose of clients.
A refused certificate ends the handshake with OpenSSL's own alert, so that the client can tell why, too.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from attrs import define, frozen
from cryptography import x509
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from mailproxy.config.values import ListenerTLSConfig
from mailproxy.errors import ConfigError
from mailproxy.tls.contexts import new_context
from mailproxy.tls.files import MadeOfFiles
from mailproxy.tls.identity import ServerIdentity, read_identity
from mailproxy.tls.pem import load_certificates
from mailproxy.tls.stepped import return_after_each_record
from mailproxy.tls.trust import read_bundles
from mailproxy.tls.words import ClientRefused, chain_problem

_VERIFY = {
    "none": SSL.VERIFY_NONE,
    "optional": SSL.VERIFY_PEER,
    "required": SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT,
}


@implementer(IOpenSSLServerConnectionCreator)
class ListenerTLS:
    """
    Makes connections to mail clients, from the certificates as they are now.

    Args:
        settings: names the files.
        where: what a problem begins with, `FILE: listener_tls.NAME.`.
        seconds: the time.

    Raises:
        ConfigError: files cannot be used; all problems, each as `WHEREkey: PATH: REASON`.
    """

    def __init__(self, settings: ListenerTLSConfig, where: str, seconds: Callable[[], float]) -> None:
        self._verify = _VERIFY[settings.client_certificates]
        self._contexts = MadeOfFiles(_paths(settings), partial(_read, settings, where), seconds)

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: ARG002 - Twisted's
        """A connection that shows what the client asks for, and judges what it shows."""
        return _Connection(self._contexts.current(), self._verify)

    @property
    def expires_at(self) -> float:
        """When the first of the certificates ends, in seconds since 1970."""
        return self._contexts.current().expires_at

    def on_socket(self, connection: socket.socket, judge: object) -> SSL.Connection:  # noqa: ARG002 - its error says why
        """The same for OpenSSL on the socket itself."""
        made = _Connection(self._contexts.current(), self._verify, connection)
        made.set_accept_state()
        return_after_each_record(made)
        return made


@frozen(eq=False)
class _Contexts:
    """A context for each certificate, the first one's, and the one for each name; and when the first of them ends."""

    default: SSL.Context
    by_name: Mapping[bytes, SSL.Context]
    expires_at: float

    def switch(self, connection: SSL.Connection) -> None:
        """The connection shows the certificate for the name that its client asks for."""
        name = (connection.get_servername() or b"").lower().removesuffix(b".")
        _, dot, parent = name.partition(b".")
        chosen = self.by_name.get(name) or self.by_name.get(b"*" + dot + parent) or self.default
        connection.set_context(chosen)


class _Connection(SSL.Connection):
    """
    A connection to one client; when the client's certificate was refused, its error says so.

    It holds on to all contexts: OpenSSL may ask the first one's callback again after another was chosen.
    """

    def __init__(self, contexts: _Contexts, verify: int, connection: socket.socket | None = None) -> None:
        super().__init__(contexts.default, connection)
        self._held = contexts
        self._check = _ClientCheck()
        if verify != SSL.VERIFY_NONE:
            self.set_verify(verify, self._check.verify)

    def do_handshake(self) -> None:
        """
        The handshake is done.

        Raises:
            SSL.WantReadError: the client has to say more.
            ClientRefused: its certificate proves nothing.
            SSL.Error: anything else.
        """
        try:
            super().do_handshake()
        except SSL.Error:
            if self._check.problem is None:
                raise
            raise ClientRefused(self._check.problem) from None


@define(eq=False)
class _ClientCheck:
    """Remembers the first problem with a client's certificate; it does not know the connection, which owns it."""

    problem: str | None = None

    def verify(self, _connection: SSL.Connection, _shown: crypto.X509, number: int, depth: int, good: int) -> bool:
        """OpenSSL's question: whether the handshake may go on."""
        if not good and self.problem is None:
            self.problem = chain_problem(number, depth, "clients")
        return bool(good)


def _read(settings: ListenerTLSConfig, where: str) -> _Contexts:
    problems: list[str] = []
    identities: list[ServerIdentity] = []
    for number, files in enumerate(settings.certificates):
        try:
            identity = read_identity(files, f"{where}certificates[{number}]", is_default=not number)
        except ConfigError as error:
            problems += error.problems
        else:
            identities.append(identity)
    authorities: tuple[x509.Certificate, ...] = ()
    try:
        authorities = tuple(_authorities(settings, where))
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems)
    return _make_contexts(settings, identities, authorities)


def _authorities(settings: ListenerTLSConfig, where: str) -> Iterator[x509.Certificate]:
    for bundle in read_bundles(settings.client_ca_files, f"{where}client_ca_files"):
        yield from load_certificates(bundle)


def _make_contexts(
    settings: ListenerTLSConfig, identities: Sequence[ServerIdentity], authorities: Sequence[x509.Certificate]
) -> _Contexts:
    by_name: dict[bytes, SSL.Context] = {}
    made = [_make_context(settings, identity, authorities) for identity in identities]
    for identity, context in zip(identities, made, strict=True):
        by_name = dict.fromkeys(identity.names, context) | by_name  # the first that has a name keeps it
    contexts = _Contexts(made[0], by_name, min(identity.expires_at for identity in identities))
    contexts.default.set_tlsext_servername_callback(contexts.switch)
    return contexts


def _make_context(
    settings: ListenerTLSConfig, identity: ServerIdentity, authorities: Sequence[x509.Certificate]
) -> SSL.Context:
    context = new_context(SSL.TLS_SERVER_METHOD, settings.minimum)
    context.set_options(SSL.OP_NO_TICKET)  # a resumed session would show us no certificate to judge
    context.set_verify(_VERIFY[settings.client_certificates], _refuse)
    store = context.get_cert_store()
    assert store is not None
    for authority in authorities:
        store.add_cert(crypto.X509.from_cryptography(authority))
        context.add_client_ca(authority)
    identity.load_into(context)
    return context


def _refuse(*_: object) -> bool:
    """The context's own answer: whom no connection of ours judges, nobody believes."""
    return False


def _paths(settings: ListenerTLSConfig) -> Iterator[Path]:
    for files in settings.certificates:
        yield from (path for path in (files.certificate, files.key, files.chain) if path is not None)
    yield from settings.client_ca_files
