"""
From the properties of SAP and JavaMail to a `Destination`: the only place that knows what their keys mean.

Where a default of JavaMail is not safe, ours stands instead: STARTTLS or STLS is required unless the destination
says otherwise in so many words, the host name in a certificate is always compared, and no time limit is infinite.
What would weaken the verification of certificates has no effect and is warned about; what concerns other clients
than us is ignored and named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import evolve, frozen

from mailproxy.destination.access import Access, TokenLogin, read_access
from mailproxy.destination.jsontext import peer_words
from mailproxy.destination.model import Destination, MailProtocol, Timeouts, TLSMode, TLSSettings
from mailproxy.destination.names import is_address, is_destination_name, parse_host
from mailproxy.destination.reader import PropertyReader
from mailproxy.errors import DestinationUnusable

_PROTOCOL = "mail.transport.protocol"
# Protocol of the destination -> what the listener speaks, implicit TLS
_PROTOCOLS = {
    "smtp": (MailProtocol.SMTP, False),
    "smtps": (MailProtocol.SMTP, True),
    "pop3": (MailProtocol.POP3, False),
    "pop3s": (MailProtocol.POP3, True),
}
_PORTS = {
    (MailProtocol.SMTP, False): 587,
    (MailProtocol.SMTP, True): 465,
    (MailProtocol.POP3, False): 110,
    (MailProtocol.POP3, True): 995,
}
_PASSWORD_MECHANISMS = ("PLAIN", "LOGIN", "CRAM-MD5")
_TOKEN_MECHANISMS = ("XOAUTH2", "OAUTHBEARER")
_TLS_VERSIONS = ("TLSv1.2", "TLSv1.3")

# Without effect on us, and no surprise to anybody.
_SILENT = frozenset(
    {"Name", "Description", "CloudConnectorLocationId", "FragmentName", "clientId", "clientSecret", "scope"}
)
_SILENT_PREFIXES = ("tokenService", "clientAssertion.", "$")


def parse_destination(properties: Mapping[str, object], *, listener_protocol: MailProtocol) -> Destination:
    """
    What the properties mean for a listener that speaks this protocol.

    Raises:
        DestinationUnusable: they cannot be used; the first problem is named.
    """
    destination, _ = parse_login(properties, listener_protocol=listener_protocol)
    return destination


def parse_login(properties: Mapping[str, object], *, listener_protocol: MailProtocol) -> tuple[Destination, Access]:
    """
    The destination, and as whom to log in there.

    Raises:
        DestinationUnusable: they cannot be used; the first problem is named.
    """
    reader = PropertyReader(properties)
    name = _read_name(reader)
    reader.one_of("Type", "MAIL")
    proxy_type = reader.one_of("ProxyType", "Internet", "OnPremise")
    keys = _read_protocol(reader, listener_protocol)
    access = read_access(reader, keys.prefix)
    tls, tls_warnings = _read_tls(reader, keys)
    mechanisms, mechanism_warnings = _read_mechanisms(reader, keys, access)
    destination = Destination(
        name=name,
        protocol=keys.protocol,
        host=_read_host(reader, keys("host")),
        port=reader.integer(keys("port"), 1, 65535) or _PORTS[keys.protocol, tls.mode is TLSMode.IMPLICIT],
        tls=tls,
        login=access is not None,
        mechanisms=mechanisms,
        disabled=_read_disabled(reader, keys),
        ehlo_name=_read_ehlo_name(reader, keys),
        ask_capabilities=not (keys.protocol is MailProtocol.POP3 and reader.flag(keys("disablecapa"))),
        timeouts=_read_timeouts(reader, keys),
        warnings=(*tls_warnings, *mechanism_warnings, *_trust_warnings(reader, keys)),
    )
    if proxy_type == "OnPremise":
        raise DestinationUnusable("ProxyType", "OnPremise is not supported yet, only Internet")
    return evolve(destination, ignored=_ignored(reader)), access


@frozen
class _Keys:
    """The keys of one protocol: `keys("host")` is `mail.smtps.host`."""

    name: str
    protocol: MailProtocol
    implicit_tls: bool

    @property
    def prefix(self) -> str:
        return f"mail.{self.name}"

    def __call__(self, key: str) -> str:
        return f"{self.prefix}.{key}"


def _read_name(reader: PropertyReader) -> str:
    name = reader.text("Name") or ""
    if name and not is_destination_name(name):
        raise DestinationUnusable("Name", "is not 1 to 200 letters, digits, '_' or '-'")
    return name


def _read_protocol(reader: PropertyReader, listener_protocol: MailProtocol) -> _Keys:
    value = reader.required(_PROTOCOL)
    if value in ("imap4", "imap4s", "imap", "imaps"):
        raise DestinationUnusable(_PROTOCOL, f"is {value}: IMAP is not supported")
    name = reader.one_of(_PROTOCOL, *_PROTOCOLS)
    protocol, implicit_tls = _PROTOCOLS[name]
    if protocol is not listener_protocol:
        raise DestinationUnusable(_PROTOCOL, f"is {name}, but the listener speaks {listener_protocol.value}")
    return _Keys(name, protocol, implicit_tls)


def _read_host(reader: PropertyReader, key: str) -> str:
    value = reader.required(key)
    try:
        return parse_host(value)
    except ValueError as error:
        raise DestinationUnusable(key, f"'{peer_words(value, limit=60)}' {error}") from None


def _read_tls(reader: PropertyReader, keys: _Keys) -> tuple[TLSSettings, list[str]]:
    warnings: list[str] = []
    mode = _read_tls_mode(reader, keys)
    if mode is TLSMode.NONE:
        warnings.append(f"{keys('starttls.enable')}=false: the session with the mail server is not encrypted")
    if mode is TLSMode.OPPORTUNISTIC:
        warnings.append(f"{keys('starttls.required')}=false: the session with the mail server may stay unencrypted")
    check_name = reader.flag(keys("ssl.checkserveridentity")) is not False
    if not check_name:
        warnings.append(
            f"{keys('ssl.checkserveridentity')}=false: whoever has any trusted certificate can pose as the mail server"
        )
    minimum, maximum = _read_tls_versions(reader, keys, warnings)
    return TLSSettings(mode, minimum, maximum, check_name), warnings


def _read_tls_mode(reader: PropertyReader, keys: _Keys) -> TLSMode:
    """
    Encrypted, unless the destination's own words say otherwise.

    Source: RFC 8314 §3 (implicit TLS), §4.1 (no credentials in the clear).
    """
    implicit = reader.flag(keys("ssl.enable"))
    enabled, required = reader.flag(keys("starttls.enable")), reader.flag(keys("starttls.required"))
    if keys.implicit_tls and implicit is False:
        raise DestinationUnusable(keys("ssl.enable"), f"is false, but {keys.name} always is TLS")
    if keys.implicit_tls or implicit:
        return TLSMode.IMPLICIT
    if required or (required is None and enabled is not False):
        return TLSMode.REQUIRED
    return TLSMode.NONE if enabled is False else TLSMode.OPPORTUNISTIC


def _read_tls_versions(reader: PropertyReader, keys: _Keys, warnings: list[str]) -> tuple[str, str | None]:
    """The lowest and the highest version; None for the newest."""
    key = keys("ssl.protocols")
    words = reader.words(key)
    if words is None:
        return _TLS_VERSIONS[0], None
    kept = [version for version in _TLS_VERSIONS if version in words]
    if not kept:
        raise DestinationUnusable(key, f"holds neither {' nor '.join(_TLS_VERSIONS)}")
    if set(words) - set(kept):
        warnings.append(f"{key}: only {' and '.join(kept)} are used")
    return kept[0], None if kept[-1] == _TLS_VERSIONS[-1] else kept[-1]


def _read_mechanisms(reader: PropertyReader, keys: _Keys, access: Access) -> tuple[tuple[str, ...] | None, list[str]]:
    """The mechanisms that are allowed and can be used with this login, in order; None for any."""
    key = keys("auth.mechanisms")
    words = reader.words(key)
    if words is None or access is None:
        return None, []
    wanted = tuple(dict.fromkeys(word.upper() for word in words))
    usable = _TOKEN_MECHANISMS if isinstance(access, TokenLogin) else _PASSWORD_MECHANISMS
    kept = tuple(mechanism for mechanism in wanted if mechanism in usable)
    if not kept:
        kind = reader.text("Authentication")
        raise DestinationUnusable(key, f"names none of {', '.join(usable)}, which {kind} needs")
    others = [peer_words(mechanism, limit=40) for mechanism in wanted if mechanism not in kept]
    return kept, [f"{key}: {', '.join(others)} cannot be used here"] if others else []


def _read_disabled(reader: PropertyReader, keys: _Keys) -> frozenset[str]:
    """Mechanisms that were switched off, out of those we know."""
    # Never used anyway; and a token always goes on a line of its own.
    for key in ("auth.digest-md5.disable", "auth.ntlm.disable", "auth.xoauth2.two.line.authentication.format"):
        reader.touch(keys(key))
    known = ("LOGIN", "PLAIN", "XOAUTH2")
    return frozenset(mechanism for mechanism in known if reader.flag(keys(f"auth.{mechanism.lower()}.disable")))


def _read_ehlo_name(reader: PropertyReader, keys: _Keys) -> str | None:
    """
    The name, or the address in brackets, that EHLO will say.

    Source: RFC 5321 §4.1.3 (address literals).
    """
    key = keys("localhost")
    if keys.protocol is not MailProtocol.SMTP or reader.text(key) is None:
        return None
    host = _read_host(reader, key)
    if not is_address(host):
        return host
    return f"[IPv6:{host}]" if ":" in host else f"[{host}]"


def _read_timeouts(reader: PropertyReader, keys: _Keys) -> Timeouts:
    return Timeouts(
        connect=reader.seconds(keys("connectiontimeout")),
        read=reader.seconds(keys("timeout")),
        write=reader.seconds(keys("writetimeout")),
    )


def _trust_warnings(reader: PropertyReader, keys: _Keys) -> Iterator[str]:
    """What asks for less verification is neither followed nor passed over in silence."""
    trust = keys("ssl.trust")
    if reader.text(trust) is not None:
        yield f"{trust} has no effect: certificates are always verified"
    if (reader.text("TrustAll") or "false").lower() != "false":
        yield "TrustAll has no effect: certificates are always verified"


def _ignored(reader: PropertyReader) -> tuple[str, ...]:
    keys = [key for key in reader.unread if key not in _SILENT and not key.startswith(_SILENT_PREFIXES)]
    return tuple(peer_words(key, limit=100) for key in keys[:50])
