"""
The page on destinations says what each property does, and the code does it.
"""

from __future__ import annotations

import re
from itertools import product

import pytest

from mailproxy.destination import access, properties, reader, tokenrequest
from mailproxy.destination.model import TLSMode
from mailproxy.destination.properties import parse_destination
from mailproxy.destination.source import Tenant
from mailproxy.errors import DestinationUnusable
from tests.support.pages import PROTOCOLS, page, span, spans, unique

DESTINATIONS = page("reference/destinations.md")


def destination(name="smtp", **more):
    """Properties of a destination; `__` in a name stands for a dot, `p` for the protocol."""
    given = {key.replace("__", ".").replace("mail.p.", f"mail.{name}."): value for key, value in more.items()}
    return {
        "Name": "any",
        "Type": "MAIL",
        "ProxyType": "Internet",
        "Authentication": "BasicAuthentication",
        "mail.user": "user",
        "mail.password": "password",
        "mail.transport.protocol": name,
        f"mail.{name}.host": "mail.example.com",
        **given,
    }


def parsed(name="smtp", **more):
    return parse_destination(destination(name, **more), listener_protocol=PROTOCOLS[name])


def _general(keys):
    """`mail.smtp.host` and `mail.pop3s.host` are `mail.<p>.host`; what only one protocol has keeps its name."""
    found = {}
    for key in keys:
        match = re.fullmatch(r"mail\.(smtp|pop3)s?\.(.*)", key)
        found.setdefault(match[2] if match else key, set()).add(match[1] if match else None)
    for key, protocols in found.items():
        if protocols == {None}:
            yield key
        else:
            yield f"mail.<p>.{key}" if len(protocols) == 2 else f"mail.{protocols.pop()}.{key}"


@pytest.fixture
def keys_read(monkeypatch):
    """Every key that the code looks for, with all protocols and all kinds of logins."""
    seen = set()

    class Seeing(reader.PropertyReader):
        def touch(self, *keys):
            seen.update(keys)
            super().touch(*keys)

        def _value(self, key):
            seen.add(key)
            return super()._value(key)

    monkeypatch.setattr(properties, "PropertyReader", Seeing)
    monkeypatch.setattr(tokenrequest, "PropertyReader", Seeing)
    for name, kind in product(PROTOCOLS, access.Authentication):
        parsed(name, Authentication=kind.value)
    prefixes = (tokenrequest._BODY, tokenrequest._QUERIES, tokenrequest._HEADERS)
    token = {"tokenServiceURL": "https://a.example", "clientId": "a", "clientSecret": "a"}
    token |= {f"{prefix}any": "a" for prefix in prefixes}
    tokenrequest.parse_token_request(token, tenant=Tenant("a"), store=None, default_timeout=1)
    for prefix in prefixes:
        seen.remove(f"{prefix}any")
        seen.add(f"{prefix}<name>")
    return seen


def test_the_page_has_every_property_that_is_read_and_no_other_one(keys_read):
    read = set(_general(keys_read))
    silent = {key for key in properties._SILENT if key not in read}
    prefixes = {f"{prefix}<name>" for prefix in properties._SILENT_PREFIXES if prefix != "tokenService"}
    honoured = unique(span(row["Property"]) for row in DESTINATIONS.table("Property", "Default"))
    without = {span(row["Property"]): row for row in DESTINATIONS.table("Property", "What the log says")}
    others = {key for key, row in without.items() if row["What the log says"] == "named once"}
    assert honoured | (without.keys() - others) == read | silent | prefixes
    assert not honoured & without.keys()


@pytest.mark.parametrize(
    ("key", "said"),
    [(span(row["Property"]), row["What the log says"]) for row in DESTINATIONS.table("Property", "What the log says")],
)
def test_what_has_no_effect_is_told_as_the_page_says(key, said):
    for name in PROTOCOLS:
        if key.startswith("mail.") and "<p>" not in key and not name.startswith(key.split(".")[1]):
            continue
        key_here = key.replace("<p>", name).replace("<name>", "any")
        key_here = re.sub(r"^mail\.(smtp|pop3)\.", f"mail.{name}.", key_here)
        told, plain = parsed(name, **{key_here: "true"}), parsed(name)
        if said.startswith("a warning"):
            assert [warning for warning in told.warnings if warning.startswith(key_here)]
        else:
            assert told.warnings == plain.warnings
            assert told.ignored == ((key_here,) if said == "named once" else ())


def test_a_key_that_would_weaken_nothing_is_not_warned_about():
    assert parsed(TrustAll="false") == parsed()


@pytest.mark.parametrize("row", DESTINATIONS.table("Protocol", "Default port"), ids=lambda row: span(row["Protocol"]))
def test_the_page_has_the_default_ports(row):
    found = parsed(span(row["Protocol"]))
    assert found.port == int(span(row["Default port"]))
    assert (found.tls.mode is TLSMode.IMPLICIT) == (row["TLS"] == "from the first octet")


MODES = {
    "TLS, or no session": TLSMode.REQUIRED,
    "TLS where the mail server offers it": TLSMode.OPPORTUNISTIC,
    "no TLS": TLSMode.NONE,
}


def _choices(cell):
    words = {"not set": None, "`true`": "true", "`false`": "false"}
    return [value for word, value in words.items() if word in cell or cell == "any"]


@pytest.mark.parametrize("name", ["smtp", "pop3"])
def test_the_page_says_when_the_connection_is_encrypted(name):
    documented = {}
    for row in DESTINATIONS.table("`starttls.required`", "`starttls.enable`"):
        for required, enabled in product(_choices(row["`starttls.required`"]), _choices(row["`starttls.enable`"])):
            assert documented.setdefault((required, enabled), row["Result"]) == row["Result"]
    assert documented.keys() == set(product((None, "true", "false"), repeat=2))
    for (required, enabled), result in documented.items():
        found = parsed(name, mail__p__starttls__required=required, mail__p__starttls__enable=enabled)
        assert found.tls.mode is MODES[result]
        assert bool(found.warnings) == (found.tls.mode is not TLSMode.REQUIRED)


@pytest.mark.parametrize("kind", ["OAuth2RefreshToken", "OAuth2AuthorizationCode", "OAuth2SAMLBearerAssertion"])
def test_what_the_page_calls_refused_is_refused(kind):
    with pytest.raises(DestinationUnusable):
        parsed(Authentication=kind)
    with pytest.raises(DestinationUnusable):
        parsed(ProxyType="OnPremise")


def test_the_page_names_every_kind_of_authentication():
    (row,) = [row for row in DESTINATIONS.table("Property", "Default") if row["Property"] == "`Authentication`"]
    assert set(spans(row["Meaning"])) == {*(kind.value for kind in access.Authentication), *access._NOT_YET}
