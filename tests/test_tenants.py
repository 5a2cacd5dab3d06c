"""Tenants, and which listeners they get."""

from __future__ import annotations

from pathlib import Path

from mailproxy.config import Config, DestinationConfig, TenantConfig
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
        ListenerPlan(entry, Tenant("acme", subdomain="acme-eu"), "tcp:1", "acme/mail"),
        ListenerPlan(entry, Tenant("globex", id="1-2"), "tcp:2", "globex/mail"),
    )


def test_the_providers_own_listener_has_no_tenant():
    entry = destination("mail", {None: "tcp:1"})
    assert listeners(configuration(entry)) == (ListenerPlan(entry, None, "tcp:1", "mail"),)


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


def test_a_tenants_own_files_lie_under_its_subdomain():
    assert Tenant("acme", subdomain="acme-eu").folder == "acme-eu"
    assert Tenant("acme", id="1-2").folder == "acme"
