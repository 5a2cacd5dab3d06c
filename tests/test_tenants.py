"""Tenants, and which listeners they get."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from mailproxy.config import (
    CertificateConfig,
    Config,
    DestinationConfig,
    ListenerTLSConfig,
    TenantConfig,
    with_loopback_default,
)
from mailproxy.destination.model import MailProtocol
from mailproxy.tenants import ListenerPlan, Tenant, listeners


def destination(name, listen, service="local", protocol=MailProtocol.SMTP):
    return DestinationConfig(name=name, protocol=protocol, listen=listen, service=service)


def configuration(*destinations, **tenants):
    return Config(Path("/mailproxy.toml"), tenants=tenants, destinations=destinations)


def test_each_tenant_of_a_destination_gets_a_listener():
    entry = destination("mail", {"acme": "tcp:1", "globex": "tcp:2"})
    config = configuration(entry, acme=TenantConfig(subdomain="acme-eu"), globex=TenantConfig(id="1-2"))
    assert listeners(config) == (
        ListenerPlan(
            entry, Tenant("acme", subdomain="acme-eu"), "tcp:1:backlog=1024", "acme/mail", stat_prefix="mail-acme"
        ),
        ListenerPlan(entry, Tenant("globex", id="1-2"), "tcp:2:backlog=1024", "globex/mail", stat_prefix="mail-globex"),
    )


def test_the_providers_own_listener_has_no_tenant():
    entry = destination("mail", {None: "tcp:1"})
    assert listeners(configuration(entry)) == (
        ListenerPlan(entry, None, "tcp:1:backlog=1024", "mail", stat_prefix="mail"),
    )


def test_listeners_of_the_same_name_are_told_apart():
    config = configuration(
        destination("mail", {"acme": "tcp:1", None: "tcp:5"}),
        destination("mail", {"acme": "tcp:2"}, service="other"),
        destination("mail", {"acme": "tcp:3"}, protocol=MailProtocol.POP3),
        destination("news", {"acme": "tcp:4"}),
        acme=TenantConfig(subdomain="acme"),
    )
    assert [each.label for each in listeners(config)] == [
        "acme/mail@local:smtp",
        "mail",
        "acme/mail@other:smtp",
        "acme/mail@local:pop3",
        "acme/news",
    ]


def test_every_listener_of_a_destination_has_its_tls():
    inside = ListenerTLSConfig("required", (CertificateConfig(Path("/c.pem"), Path("/k.pem")),))
    entry = evolve(destination("mail", {"acme": "tcp:1", "globex": "systemd:INET:name=x"}), tls="inside")
    config = configuration(entry, acme=TenantConfig(subdomain="a"), globex=TenantConfig(subdomain="g"))
    plans = listeners(evolve(config, listener_tls={"inside": inside}))
    assert [(plan.endpoint, plan.tls, plan.tls_where) for plan in plans] == [
        ("tcp:1:backlog=1024", inside, "/mailproxy.toml: listener_tls.inside."),
        ("systemd:INET:name=x", inside, "/mailproxy.toml: listener_tls.inside."),
    ]


@pytest.mark.parametrize(
    ("more", "endpoint", "files"),
    [
        ("privateKey=/both.pem", "tcp:port=995:interface=127.0.0.1:backlog=1024", ("/both.pem", "/both.pem", None)),
        (
            "privateKey=/k\\:1:certKey=/c=1:extraCertChain=/x:backlog=7:interface=\\:\\:1",
            "tcp6:port=995:interface=\\:\\:1:backlog=7",
            ("/c=1", "/k:1", "/x"),
        ),
    ],
)
def test_an_ssl_endpoint_is_a_port_and_tls_of_our_own(more, endpoint, files):
    (plan,) = listeners(configuration(destination("mail", {None: with_loopback_default(f"ssl:995:{more}")})))
    certificate, key, chain = (path and Path(path) for path in files)
    assert plan.endpoint == endpoint
    assert plan.tls == ListenerTLSConfig("implicit", (CertificateConfig(certificate, key, chain),))
    assert plan.tls_where == "/mailproxy.toml: mail: "


def test_a_tenants_own_files_lie_under_its_subdomain():
    assert Tenant("acme", subdomain="acme-eu").folder == "acme-eu"
    assert Tenant("acme", id="1-2").folder == "acme"
