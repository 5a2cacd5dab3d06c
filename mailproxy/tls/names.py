"""
Names in certificates: which hosts one is for, and whether the host that is wanted is among them.

Names follow RFC 9525: dNSName for names, iPAddress for addresses, `*` only as the whole left-most label, never the
common name.
"""

from __future__ import annotations

import ipaddress

from cryptography import x509
from OpenSSL import crypto
from service_identity import VerificationError
from service_identity.hazmat import (
    DNS_ID,
    CertificatePattern,
    DNSPattern,
    IPAddress_ID,
    IPAddressPattern,
    verify_service_identity,
)

from mailproxy.observe.text import printable


def service_identity(host: str) -> DNS_ID | IPAddress_ID:
    """
    What a certificate has to prove, from a host as people write it (`mail.example.com.`, `[::1]`).

    Raises:
        ValueError: it can be no host.
    """
    host = host.removesuffix(".").removeprefix("[").removesuffix("]")
    try:
        return IPAddress_ID(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return DNS_ID(host)
    except Exception as error:  # idna raises kinds of its own
        raise ValueError(f"{printable(host)!r} is no host name") from error


def name_problem(certificate: crypto.X509, wanted: DNS_ID | IPAddress_ID) -> str | None:
    """Why the certificate does not prove to be `wanted`'s; None when it does."""
    try:
        patterns = host_patterns(certificate.to_cryptography())
        if not patterns:
            return "certificate has no usable name: its subjectAltName names no host"
        try:
            verify_service_identity(patterns, [wanted], [])
        except VerificationError:
            return f"certificate is for another host: {_words(patterns)}, not {_host(wanted)}"
    except Exception as error:  # noqa: BLE001 - whatever goes wrong here, nothing was proved
        return f"certificate has no usable name: {printable(str(error))}"
    return None


def host_patterns(certificate: x509.Certificate) -> list[CertificatePattern]:
    """
    Every name of a host that the certificate holds; other kinds (URI, e-mail) say nothing about a host.

    Raises:
        Exception: of several kinds, when one entry is malformed, whether or not it is the one that matters.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    patterns: list[CertificatePattern] = [
        DNSPattern.from_bytes(name.encode()) for name in names.get_values_for_type(x509.DNSName)
    ]
    for address in names.get_values_for_type(x509.IPAddress):
        if not isinstance(address, (ipaddress.IPv4Address, ipaddress.IPv6Address)):
            raise ValueError(f"{address} is no address")  # noqa: TRY004 - the certificate's fault, not a caller's
        patterns.append(IPAddressPattern(address))
    return patterns


def _host(wanted: DNS_ID | IPAddress_ID) -> str:
    return wanted.hostname.decode("ascii") if isinstance(wanted, DNS_ID) else str(wanted.ip)


def _words(patterns: list[CertificatePattern]) -> str:
    """The names in a certificate, for the operator."""
    names = (p.pattern.decode() if isinstance(p, DNSPattern) else str(getattr(p, "pattern", "?")) for p in patterns)
    return printable(", ".join(names))
