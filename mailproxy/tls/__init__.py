"""
TLS on both legs: the only place that builds it.

As a client it is for mail servers, token services and the destination service alike (`client`, `https`), as a server
for mail clients (`server`).  What is made of files is made again when they change (`files`).
"""

from mailproxy.tls.client import ClientTLS, StrictClientTLS
from mailproxy.tls.https import HTTPSPolicy
from mailproxy.tls.resumption import Resumption, keep_session
from mailproxy.tls.server import ListenerTLS
from mailproxy.tls.trust import Trust, TrustSource, read_trust
from mailproxy.tls.words import (
    CertificateRejected,
    describe_client_tls_failure,
    describe_tls_failure,
)

__all__ = [
    "CertificateRejected",
    "ClientTLS",
    "HTTPSPolicy",
    "ListenerTLS",
    "Resumption",
    "StrictClientTLS",
    "Trust",
    "TrustSource",
    "describe_client_tls_failure",
    "describe_tls_failure",
    "keep_session",
    "read_trust",
]
