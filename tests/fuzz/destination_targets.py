"""
Targets: what destination services, token services, operators and key files hand us.
"""

from __future__ import annotations

import atexit
import json
import math
import re
import tempfile
from pathlib import Path

from attrs import evolve, frozen
from twisted.internet import endpoints
from twisted.web.client import URI
from twisted.web.http_headers import Headers

from mailproxy import config
from mailproxy.backoff import LONGEST_PAUSE_SECONDS
from mailproxy.config.endpoints import KINDS, parse_endpoint, with_loopback_default
from mailproxy.destination import names
from mailproxy.destination.answer import parse_destination_answer
from mailproxy.destination.binding import read_binding
from mailproxy.destination.http import Answer, _retry_after
from mailproxy.destination.jsontext import load_object
from mailproxy.destination.keystore import load_identity
from mailproxy.destination.model import MailProtocol
from mailproxy.destination.properties import parse_login
from mailproxy.destination.source import Reference, Tenant
from mailproxy.destination.tokenrequest import parse_token_request
from mailproxy.destination.tokens import is_token, parse_token_answer
from mailproxy.destination.url import parse_url
from mailproxy.errors import ConfigError, DestinationError, DestinationUnusable
from tests.fuzz.target import options, target

SECRET = "Sentinel/s3cret+word=="
TENANT = Tenant("acme", "acme", "4711")
REFERENCE = Reference("mail")
SCRATCH = tempfile.TemporaryDirectory(prefix="mailproxy-fuzz-")
atexit.register(SCRATCH.cleanup)


def check_words(text, *, limit=2000):
    """A sentence for an operator is one line of bounded length, without control characters and without the secret."""
    assert text.isprintable(), text
    assert len(text) <= limit
    assert SECRET not in text


@frozen
class Scratch:
    """A folder that has these files and no others."""

    folder: Path = Path(SCRATCH.name)

    def file(self, name, octets):
        path = self.folder / name
        path.write_bytes(octets)
        return path

    def fill(self, name, files):
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        for each, octets in files.items():
            (folder / each).write_bytes(octets)
        return folder


SCRATCH_FOLDER = Scratch()


# JSON


@target(
    "json", b'{"a": ', b"NaN", b"Infinity", b"-1e999", b"[" * 90, b'{"a":' * 40, b"\\ud800", b"9" * 101, b"\xef\xbb\xbf"
)
def check_json(octets):
    for unique_keys in (False, True):
        try:
            found = load_object(octets, unique_keys=unique_keys)
        except ValueError as error:
            check_words(str(error), limit=600)
            continue
        if "inf" not in repr(found):
            assert load_object(json.dumps(found).encode(), unique_keys=unique_keys) == found


# Destinations

PROPERTY_WORDS = (
    *(b'"Name": "mail"', b'"Type": "MAIL"', b'"ProxyType": "Internet"', b'"Authentication": "BasicAuthentication"'),
    *(b'"Authentication": "OAuth2ClientCredentials"', b'"mail.transport.protocol": "smtps"', b'"mail.user": "u"'),
    *(b'"mail.password": "p"', b'"mail.smtps.host": "h.test"', b'"mail.pop3.port": "110"', b'"true"', b'"false"'),
    *(b'"tokenServiceURL": "https://t.test/"', b'"tokenServiceURLType": "Common"', b'"clientId": "c"', b'"{tenant}"'),
    *(b'"tokenService.body.x": "y"', b'"tokenServiceURL.queries.a": "b"', b'"tokenServiceURL.headers.h": "v"'),
    *(
        b'"mail.smtp.auth.mechanisms": "PLAIN LOGIN"',
        b'"mail.smtp.ssl.protocols": "TLSv1.3"',
        b'"mail.smtp.localhost": "x"',
    ),
    *(b'"clientSecret": "s"', b'"tokenService.addClientCredentialsInBody": "false"', b'"TrustAll": "true"', b","),
)
SECRETS = ("mail.password", "clientSecret", "tokenServicePassword", "tokenService.KeyStorePassword")


def with_our_secret(properties):
    """The properties with one secret in place of all that they hold, and nowhere else: it must not be seen anywhere."""
    others = {key: value for key, value in properties.items() if SECRET not in f"{key}{value}"}
    return others | {key: SECRET for key in SECRETS if isinstance(properties.get(key), str) and properties[key]}


@target("destination", *PROPERTY_WORDS, longest=4096, share=2)
def check_destination(octets):
    try:
        properties = with_our_secret(load_object(octets))
    except ValueError:
        return
    for protocol in MailProtocol:
        check_login(properties, protocol)
    try:
        request = parse_token_request(properties, tenant=TENANT, store=None, default_timeout=10)
    except DestinationUnusable as error:
        check_words(str(error))
        return
    question = request.question
    check_question(question)
    assert SECRET not in repr(request)
    assert SECRET not in repr(question)
    assert request == parse_token_request(properties, tenant=TENANT, store=None, default_timeout=10)


def check_question(question):
    assert URI.fromBytes(question.url.full.encode("ascii")).host.decode() == question.url.host
    assert 0 < question.timeout <= 660
    for name, value in question.headers:
        assert re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name)
        assert not re.search(r"[\r\n\0]", value)


def check_login(properties, protocol):
    try:
        found, access = parse_login(properties, listener_protocol=protocol)
    except DestinationUnusable as error:
        check_words(str(error))
        return
    assert found.protocol is protocol
    assert 1 <= found.port <= 65535
    assert names.parse_host(found.host) == found.host
    assert (access is not None) == found.login
    assert SECRET not in repr((found, access))
    assert found.mechanisms is None or found.mechanisms
    for text in (*found.ignored, *found.warnings, found.ehlo_name or ""):
        check_words(text)
    for seconds in (found.timeouts.connect, found.timeouts.read, found.timeouts.write):
        assert seconds is None or 0 < seconds <= 10**7


# Answers

ANSWER_WORDS = (
    *(b'"destinationConfiguration": {', b'"authTokens": [{', b'"owner": {"SubaccountId": "4711"}', b'"type": "Bearer"'),
    *(
        b'"value": "tok"',
        b'"http_header": {"value": "Bearer tok"}',
        b'"expires_in": "3600"',
        b'"error": "invalid_client"',
    ),
    *(b'"access_token": "tok"', b'"token_type": "bearer"', b'"error_description": "x"', b"}]", b"}", SECRET.encode()),
)


@target("answer", *ANSWER_WORDS, *PROPERTY_WORDS[:5], longest=4096, share=2)
def check_answer(data):
    (choice,), body = options(data, 1)
    status = (200, 400, 401, 404, 429, 503)[choice % 6]
    answer = Answer("the service at x.test", status, body, None)
    assert repr(answer) == repr(evolve(answer, body=b"another"))
    try:
        token = parse_token_answer(answer, 1000.0, (SECRET,))
    except DestinationError as error:
        check_words(str(error))
    else:
        assert status == 200
        check_token(token)
    try:
        found = parse_destination_answer(answer, 1000.0, REFERENCE, TENANT)
    except DestinationError as error:
        check_words(str(error).replace(SECRET, ""))  # the service said it where no secret is
        return
    if found.token_error is not None and SECRET in [found.properties.get(key) for key in SECRETS]:
        check_words(str(found.token_error))
    if found.token is not None:
        check_token(found.token)
    assert found.token is None or found.token_error is None
    assert found.wants_token == (found.token is not None or found.token_error is not None)


def check_token(token):
    assert is_token(token.value)
    assert re.fullmatch(r"[A-Za-z0-9._~+/=-]{1,16384}", token.value)
    assert 1000 <= token.expires_at <= 1000 + 86400
    assert repr(token) == repr(evolve(token, value="another"))


@target(
    "http_headers", b"Wed, 21 Oct 2015 07:28:00 GMT", b"120", b"-1", b"\n", b"GMT", b"+9999", b"99999999999999999999"
)
def check_http_headers(octets):
    retry, _, date = octets.partition(b"\n")
    pause = _retry_after(Headers({b"retry-after": [retry], b"date": [date]} if date else {b"retry-after": [retry]}))
    assert pause is None or 0 <= pause <= LONGEST_PAUSE_SECONDS
    assert pause is None or not math.isnan(pause)


# Addresses


@target(
    "url", b"https://", b"http://localhost", b"[::1]", b":443", b"@", b"%40", b"?a=b", b"#", b"..", b"xn--", longest=512
)
def check_url(octets):
    text = octets.decode("utf-8", "replace")
    check_host(text)
    try:
        url = parse_url("URL", text)
    except DestinationUnusable as error:
        check_words(str(error))
        return
    assert url.scheme == "https" or re.fullmatch(r"127\.[0-9.]+|::1|(?:.*\.)?localhost", url.host)
    assert parse_url("URL", url.full) == url
    asked = URI.fromBytes(url.full.encode("ascii"))
    assert (asked.scheme.decode(), asked.host.decode()) == (url.scheme, url.host)
    assert asked.port == (url.port or {"https": 443, "http": 80}[url.scheme])
    assert b"@" not in asked.netloc
    try:
        below = url.below("/oauth/token").with_first_label("acme")
    except ValueError:
        assert names.is_address(url.host)
    else:
        assert below.host.startswith("acme.")
        assert (
            parse_url("URL", below.with_query([("a", "b&c=\u2028")]).full).host == below.host or len(below.host) > 253
        )


def check_host(text):
    try:
        host = names.parse_host(text)
    except ValueError as error:
        check_words(str(error), limit=20)
        return
    assert re.fullmatch(r"[a-z0-9_.-]+|[0-9a-f:.]+", host)
    assert len(host) <= 253
    assert names.parse_host(host) == host


# Key files


@target(
    "binding",
    b'{"clientid": "c", ',
    b'"clientsecret": "s", ',
    b'"url": "https://u.test", ',
    b'"uri": "https://v.test"}',
    longest=4096,
)
def check_binding(octets):
    check_binding_at(SCRATCH_FOLDER.file("binding", octets))


@target(
    "binding_folder", b"\n@clientid\n", b"\n@clientsecret\n", b"\n@url\n", b"\n@uri\n", b"\n@.metadata\n", longest=4096
)
def check_binding_folder(octets):
    """Each line that begins with an @ begins a file of that name."""
    files = {}
    for part in octets.split(b"\n@")[:40]:
        name, _, content = part.partition(b"\n")
        files[re.sub(r"[^A-Za-z0-9._-]", "_", name.decode("latin-1")[:60]).lstrip("/") or "x"] = content
    files = {name: content for name, content in files.items() if name.strip(".")}
    check_binding_at(SCRATCH_FOLDER.fill("bindings", files))


def check_binding_at(path):
    try:
        binding = read_binding(path)
    except ConfigError as error:
        for problem in error.problems:
            check_words(problem.removeprefix(f"{path}: "))
        return
    assert binding.clientid
    assert (binding.clientsecret is None) == (binding.identity is not None)
    for url in (binding.uri, binding.token_base):
        assert parse_url("URL", url.full) == url
    assert (
        binding.clientsecret is None or len(binding.clientsecret) < 8 or repr(binding.clientsecret) not in repr(binding)
    )


@target(
    "key_store",
    b"-----BEGIN PRIVATE KEY-----\n",
    b"-----BEGIN CERTIFICATE-----\n",
    b"\n-----END PRIVATE KEY-----\n",
    longest=4096,
)
def check_key_store(data):
    (choice,), content = options(data, 1)
    name = ("store.pem", "store.p12", "store.crt", "store.jks", "store")[choice % 5]
    try:
        identity = load_identity(name, content, SECRET if choice & 0x80 else None)
    except ValueError as error:
        check_words(str(error), limit=200)
        return
    assert identity.certificate.startswith(b"-----BEGIN CERTIFICATE-----\n")
    assert b"PRIVATE KEY" not in identity.certificate
    assert b"PRIVATE" not in repr(identity).encode()
    assert load_identity("again.pem", identity.certificate + identity.key, None) == identity


# The configuration

CONFIG_WORDS = (
    *(
        b"[trust]\n",
        b"[timeouts]\n",
        b"[limits]\n",
        b"[smtp]\n",
        b"[pop3]\n",
        b"[tenants.acme]\n",
        b"[[destinations]]\n",
    ),
    *(
        b'name = "mail"\n',
        b'protocol = "smtp"\n',
        b'listen = "tcp:1587"\n',
        b'listen = {acme = "tcp:1"}\n',
        b'service = "f"\n',
    ),
    *(
        b'[destination_services.f]\ndirectory = "d"\n',
        b"login_seconds = 2\n",
        b"max_sessions = 1\n",
        b"ca_files = []\n",
    ),
    *(
        b"[hold_off]\n",
        b"[listener_tls.n]\n",
        b'tls = "n"\n',
        b"1e400",
        b"inf",
        b"nan",
        b"9" * 5000,
        b"[" * 200,
        b"{a=" * 90,
    ),
)


@target("config", *CONFIG_WORDS, by_line=True, longest=4096, share=2)
def check_config(octets):
    path = SCRATCH_FOLDER.file("mailproxy.toml", octets)
    examined = config.examine(path)
    for problem in examined.problems:
        assert problem.startswith(f"{path}: ")
        check_words(problem)
    for destination in examined.config.destinations:
        for endpoint in destination.listen.values():
            assert with_loopback_default(endpoint) == endpoint
            check_endpoint_text(endpoint)
    if examined.problems:
        return
    assert config.load(path) == examined.config
    assert examined.config.destinations
    assert all(each.service in examined.config.destination_services for each in examined.config.destinations)


@target(
    "endpoint",
    b"tcp:",
    b"tcp6:",
    b"ssl:",
    b"unix:",
    b"systemd:domain=INET:index=0",
    b":interface=",
    b"\\",
    b"\\:",
    b"port=",
    longest=256,
)
def check_endpoint(octets):
    check_endpoint_text(octets.decode("utf-8", "replace"))


def check_endpoint_text(text):
    try:
        found = parse_endpoint(text)
    except ValueError as error:
        check_words(str(error), limit=300)
        return
    # Twisted, which will open it, understands the same.
    words, settings = endpoints._parse(with_loopback_default(text))
    assert words[0] == found.kind
    first = dict(zip(KINDS[found.kind], words[1:], strict=False))
    assert first | settings == dict(found.settings)
    assert found.collides(found) or found.settings.get("port", "x").strip("0") == ""
