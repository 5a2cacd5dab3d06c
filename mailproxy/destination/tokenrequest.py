"""
From a destination's properties to the question that brings its access token: OAuth2 client credentials.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Collection, Mapping

from attrs import field, frozen

from mailproxy.destination.http import Question
from mailproxy.destination.jsontext import peer_words
from mailproxy.destination.keystore import load_identity
from mailproxy.destination.model import ClientIdentity
from mailproxy.destination.reader import PropertyReader
from mailproxy.destination.source import Tenant
from mailproxy.destination.url import ServiceURL, parse_url
from mailproxy.errors import DestinationUnusable

KEY_STORE = "tokenService.KeyStoreLocation"

_URL = "tokenServiceURL"
_TYPE = "tokenServiceURLType"
_BODY = "tokenService.body."
_QUERIES = "tokenServiceURL.queries."
_HEADERS = "tokenServiceURL.headers."
_PLACEHOLDER = "{tenant}"

# RFC 9110 §5.6.2 token
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# What the transport of the request says about itself, and we alone.
_RESERVED_HEADERS = frozenset(
    {
        "host",
        "connection",
        "content-length",
        "content-type",
        "transfer-encoding",
        "accept-encoding",
        "te",
        "upgrade",
        "expect",
        "cookie",
    }
)

_Pairs = list[tuple[str, str]]


@frozen
class TokenRequest:
    """
    The question, and what must not be quoted out of its answer.

    Two requests that are equal are answered alike: the question holds all that the answer depends on.
    """

    question: Question
    secrets: tuple[str, ...] = field(repr=False)


def parse_token_request(
    properties: Mapping[str, object], *, tenant: Tenant, store: bytes | None, default_timeout: float
) -> TokenRequest:
    """
    The question that these properties ask for.

    Args:
        properties: of the destination.
        tenant: whose token it is to be, for a `Common` token service.
        store: the key store that the properties name, if they name one.
        default_timeout: in seconds, where the properties say nothing.

    Raises:
        DestinationUnusable: something is missing, or cannot be used.

    Source: RFC 6749 §4.4.2 (the request), §2.3.1 (client credentials in header or body).
    """
    reader = PropertyReader(properties)
    _refuse_unsupported(reader, properties)
    identity = _read_identity(reader, store)
    credentials, headers = _read_credentials(reader, identity)
    scope = reader.text("scope")
    form = [("grant_type", "client_credentials"), *credentials, *([("scope", scope)] if scope else [])]
    more_form = _read_more(reader, properties, _BODY, taken=[name for name, _ in form])
    more_headers = _read_headers(reader, properties, taken=[name.lower() for name, _ in headers])
    queries = _read_more(reader, properties, _QUERIES)
    question = Question(
        service="the token service",
        url=_read_url(reader, tenant).with_query(queries),
        form=(*form, *more_form),
        headers=(*headers, *more_headers),
        identity=identity,
        timeout=_read_timeout(reader, default_timeout),
    )
    extras = [value for _, value in (*more_form, *more_headers, *queries)]
    return TokenRequest(question, _secrets(reader, headers, extras))


def _refuse_unsupported(reader: PropertyReader, properties: Mapping[str, object]) -> None:
    proxy_type = reader.text("tokenServiceURL.ProxyType")
    if proxy_type not in (None, "Internet"):
        raise DestinationUnusable("tokenServiceURL.ProxyType", "is not Internet, the only one that is supported yet")
    for key in sorted(properties):
        if key.startswith("clientAssertion."):
            raise DestinationUnusable(peer_words(key, limit=100), "client assertions are not supported yet")


def _read_url(reader: PropertyReader, tenant: Tenant) -> ServiceURL:
    text = reader.required(_URL)
    if reader.text(_TYPE) is None or reader.one_of(_TYPE, "Dedicated", "Common") == "Dedicated":
        if _PLACEHOLDER in text:
            raise DestinationUnusable(_URL, f"holds {_PLACEHOLDER}, which needs {_TYPE} Common")
        return parse_url(_URL, text)
    if tenant.subdomain is None:
        raise DestinationUnusable(_TYPE, "is Common, but whose token it is to be is not known: there is no tenant")
    subdomain = tenant.subdomain.lower()
    url = parse_url(_URL, text.replace(_PLACEHOLDER, subdomain))
    try:
        return url if _PLACEHOLDER in text else url.with_label_in_front(subdomain)
    except ValueError as error:
        raise DestinationUnusable(_URL, str(error)) from None


def _read_credentials(reader: PropertyReader, identity: ClientIdentity | None) -> tuple[_Pairs, _Pairs]:
    """
    What proves who we are, in the form and in the headers.

    A user and password of the token service's own take the header; a certificate needs no secret beside it.

    Source: RFC 6749 §2.3.1, RFC 8705 §2 (the certificate proves it, the id in the form says it).
    """
    client_id, secret = reader.required("clientId"), reader.secret("clientSecret")
    user, password = reader.secret("tokenServiceUser"), reader.secret("tokenServicePassword")
    if secret is None and user is None and identity is None:
        raise DestinationUnusable("clientSecret", "is missing")
    header = [_basic("tokenServiceUser", user, password or "")] if user is not None else []
    if reader.flag("tokenService.addClientCredentialsInBody") is not False:
        return [("client_id", client_id), *([("client_secret", secret)] if secret is not None else [])], header
    if header:
        return [], header
    if secret is None:
        return [("client_id", client_id)], []
    return [], [_basic("clientId", client_id, secret)]


def _basic(key: str, user: str, password: str) -> tuple[str, str]:
    """
    The header of HTTP's Basic scheme.

    Both go in as they are.  RFC 6749 §2.3.1 has them form-encoded first, which XSUAA and others do not undo: a
    client id of SAP, with its "!" and "|", would be unknown to them.

    Source: RFC 7617 §2.
    """
    if ":" in user:
        raise DestinationUnusable(key, "holds a colon, which cannot stand in an Authorization header")
    return "Authorization", "Basic " + b64encode(f"{user}:{password}".encode()).decode("ascii")


def _read_more(
    reader: PropertyReader, properties: Mapping[str, object], prefix: str, taken: Collection[str] = ()
) -> _Pairs:
    """The parameters that begin with the prefix, each under its own name."""
    pairs = []
    for key in sorted(properties):
        name = key.removeprefix(prefix)
        if name == key:
            continue
        if not name or name in taken:
            raise DestinationUnusable(
                peer_words(key, limit=100), "is set by other properties" if name else "has no name"
            )
        pairs.append((name, reader.secret(key) or ""))
    return pairs


def _read_headers(reader: PropertyReader, properties: Mapping[str, object], taken: Collection[str]) -> _Pairs:
    pairs = _read_more(reader, properties, _HEADERS)
    for name, _ in pairs:
        if not _HEADER_NAME.fullmatch(name) or name.lower() in _RESERVED_HEADERS or name.lower() in taken:
            raise DestinationUnusable(peer_words(_HEADERS + name, limit=100), "is no header that can be added")
    return pairs


def _read_identity(reader: PropertyReader, store: bytes | None) -> ClientIdentity | None:
    name = reader.text(KEY_STORE)
    password = reader.secret("tokenService.KeyStorePassword")
    if name is None or store is None:
        return None
    try:
        return load_identity(name, store, password)
    except ValueError as error:
        raise DestinationUnusable(KEY_STORE, f"'{peer_words(name, limit=100)}' {error}") from None


def _read_timeout(reader: PropertyReader, default: float) -> float:
    connecting = reader.integer("tokenServiceURL.ConnectionTimeoutInSeconds", 0, 60)
    reading = reader.integer("tokenServiceURL.SocketReadTimeoutInSeconds", 0, 600)
    if connecting is None and reading is None:
        return default
    # 10 seconds each is what the service takes where nothing is said, and 0 says nothing.
    return float((connecting or 10) + (reading or 10))


def _secrets(reader: PropertyReader, headers: _Pairs, extras: list[str]) -> tuple[str, ...]:
    """What an answer could quote back of the request; short extras say nothing."""
    keys = ("clientSecret", "tokenServicePassword", "tokenService.KeyStorePassword")
    plain = [secret for key in keys if (secret := reader.secret(key)) is not None]
    plain += [value.removeprefix("Basic ") for _, value in headers]
    plain += [value for value in extras if len(value) >= 6]
    return tuple(dict.fromkeys(plain))
