"""Addresses of services, and the names in them."""

import pytest

from mailproxy.destination.names import is_destination_name, is_dns_label
from mailproxy.destination.source import PROVIDER, Reference, Tenant
from mailproxy.destination.url import parse_url
from mailproxy.errors import ConfigError, DestinationUnusable


@pytest.mark.parametrize(
    "text",
    [
        "https://idp.example.com/oauth2/token",
        "https://idp.example.com:8443/",
        "https://[2001:db8::1]:443/t?x=1&y=a%20b",
        "http://localhost:8080/token",
        "http://acme.localhost/token",
        "http://127.0.0.1:5000/token",
        "http://[::1]:5000/token",
    ],
)
def test_https_goes_anywhere_and_http_to_this_machine(text):
    assert parse_url("uri", text).full == text


@pytest.mark.parametrize(
    "text",
    [
        "http://idp.example.com/token",
        "http://10.0.0.1/token",
        "http://localhost.example.com/token",
        "ftp://localhost/",
        "https://user:sentinel@idp.example.com/",
        "https://idp.example.com/#sentinel",
        "https://idp.example.com:0/",
        "https://idp.example.com:x/",
        "https:///token",
        "https://idp.example.com\\@evil.example/",
        "https://idp.example.com/\r\nX: sentinel",
        "https://{tenant}.example.com/",
        "idp.example.com/token",
        "",
    ],
)
def test_other_addresses_are_refused_without_quoting_what_may_be_secret(text):
    with pytest.raises(DestinationUnusable, match=r"^uri: ") as caught:
        parse_url("uri", text)
    assert "sentinel" not in str(caught.value)


def test_the_query_may_hold_secrets_and_is_shown_only_when_asked_for():
    url = parse_url("uri", "https://idp.example.com/t?a=1").with_query([("key", "senti nel&=")])
    assert url.full == "https://idp.example.com/t?a=1&key=senti+nel%26%3D"
    assert "senti" not in f"{url} {url!r}"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("https://provider.authentication.eu10.example", "https://acme.authentication.eu10.example/"),
        ("http://localhost:8080/x", "http://acme.localhost:8080/x"),
        ("http://provider.localhost:8080", "http://acme.localhost:8080/"),
    ],
)
def test_a_tenants_subdomain_takes_the_place_of_the_first_label(text, wanted):
    assert parse_url("url", text).with_first_label("ACME").full == wanted


def test_an_address_has_no_place_for_a_subdomain():
    with pytest.raises(ValueError, match="IP address"):
        parse_url("url", "http://127.0.0.1:8080").with_first_label("acme")


@pytest.mark.parametrize("text", ["acme", "a", "A-1", "x" * 63])
def test_a_subdomain_is_one_dns_label(text):
    assert is_dns_label(text)
    assert Tenant("t", text).is_subscriber


@pytest.mark.parametrize("text", ["", "a.b", "-a", "a-", "a_b", "x" * 64, "a\n", "../x", "a/b", "ä"])
def test_nothing_else_is_a_subdomain(text):
    assert not is_dns_label(text)
    with pytest.raises(ConfigError, match="no DNS label"):
        Tenant("t", text)


def test_an_id_goes_into_a_header_and_so_holds_no_line_end():
    with pytest.raises(ConfigError):
        Tenant("t", id="a\r\nX-Other: b")


def test_the_provider_is_no_subscriber():
    assert not PROVIDER.is_subscriber


@pytest.mark.parametrize("name", ["example-dest_1", "x" * 200])
def test_names_of_destinations(name):
    assert is_destination_name(name)


@pytest.mark.parametrize("name", ["", "x" * 201, "a/b", "..", "a.b", "a\n", "a b", "a@b"])
def test_names_that_no_destination_has(name):
    assert not is_destination_name(name)
    with pytest.raises(ConfigError):
        Reference(name)


def test_references_hold_nothing_that_would_change_a_request():
    assert str(Reference("a", "instance", "f@subaccount, g")) == "a@instance with fragment f@subaccount, g"
    with pytest.raises(ConfigError, match="level"):
        Reference("a", level="galaxy")
    with pytest.raises(ConfigError, match="fragment"):
        Reference("a", fragment="f\r\nX: y")
