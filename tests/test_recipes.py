"""A recipe holds everything that decides how a listener behaves, and nothing else."""

import attrs
import pytest
from attrs import evolve

from mailproxy.config import Config, load
from mailproxy.recipes import OwnNames, orders
from tests.support.proxies import HEAD

OWN = OwnNames("proxy.example.com")
CONFIG = f"""
{HEAD}
[destination_services.other]
directory = "other"
[listener_tls.tls]
mode = "offered"
certificates = [{{ certificate = "a.pem", key = "a.pem" }}]
[[destinations]]
name = "dest"
service = "local"
protocol = "smtp"
listen = {{ acme = "tcp:1587", globex = "tcp:1588" }}
proxy_protocol = "any"
proxy_protocol_from = ["10.0.0.0/8"]
tls = "tls"
[[destinations]]
name = "dest"
service = "other"
protocol = "pop3"
listen = "tcp:1110"
proxy_protocol = "v2"
proxy_protocol_from = ["10.0.0.0/8"]
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "mailproxy.toml"
    path.write_text(CONFIG)
    return load(path)


def recipes(config):
    return [order.recipe for order in orders(config, OWN)]


def test_equal_configurations_have_equal_recipes(config):
    assert recipes(config) == recipes(load(config.path))


ELSEWHERE = {
    "timeouts": {"drain_delay_seconds", "drain_seconds", "drain_final_reply_seconds"},
    "limits": {"max_sessions", "max_sessions_per_tenant", "max_sessions_per_client", "max_idle_connections"},
}
"""Keys that are about the whole process."""

ONE_PROTOCOL = {"command_seconds", "pop3_command_seconds"}


@pytest.mark.parametrize("table", ["trust", "timeouts", "limits", "hold_off", "pool", "smtp", "pop3"])
def test_every_key_about_a_listener_is_in_it(config, table):
    before = recipes(config)
    for field in attrs.fields(type(getattr(config, table))):
        changed = evolve(config, **{table: evolve(getattr(config, table), **{field.name: another(field.default)})})
        same = {one == other for one, other in zip(recipes(changed), before, strict=True)}
        if field.name in ELSEWHERE.get(table, ()):
            assert same == {True}, field.name
        elif table in ("pool", "smtp", "pop3") or field.name in ONE_PROTOCOL:
            assert same == {True, False}, field.name
        else:
            assert same == {False}, field.name


def another(value):
    """A value that differs."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return {"normalize": "reject", "reject": "normalize"}[value] if isinstance(value, str) else ("ca.pem",)


def test_names_of_ours_matter_to_smtp_alone(config):
    smtp, _, pop3 = recipes(config)
    for changed in (evolve(config, server_name="other.test"), evolve(config, ehlo_name="other.test")):
        other = recipes(changed)
        assert (other[0] == smtp, other[2] == pop3) == (False, True)


def test_every_key_of_the_file_was_thought_of():
    tables = {"trust", "timeouts", "limits", "hold_off", "pool", "smtp", "pop3"}
    listeners = {"tenants", "listener_tls", "destination_services", "destinations", "server_name", "ehlo_name"}
    of_the_process = {"path", "source", "watch_seconds", "workers", "log", "metrics", "admin", "ledger", "recorded"}
    assert {field.name for field in attrs.fields(Config)} == tables | listeners | of_the_process


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ('globex = "tcp:1588"', 'globex = "tcp:1588", initech = "tcp:1589"', [False, False, None, False]),
        ('acme = "tcp:1587", ', "", [None, False, False]),
        ('"tcp:1587"', '"tcp:1600"', [False, False, False]),
        ('mode = "offered"', 'mode = "required"', [True, True, False]),
        ('certificate = "a.pem"', 'certificate = "b.pem"', [True, True, False]),
        ('tls = "tls"', 'tls = "tls"\nallow_plaintext_auth = true', [True, True, False]),
        ('tls = "tls"', 'tls = "tls"\nsend_proxy = "v2"', [True, True, False]),
        ('tls = "tls"', 'tls = "tls"\nxclient = "offered"', [True, True, False]),
        ('proxy_protocol = "any"', 'proxy_protocol = "v1"', [True, True, False]),
        ('["10.0.0.0/8"]\ntls', '["10.0.0.0/9"]\ntls', [True, True, False]),
        ('mode = "offered"', 'mode = "implicit"', [True, True, False]),
        ('directory = "other"', 'directory = "another"', [False, False, True]),
        ("[listener_tls.tls]", '[tenants.acme]\nsubdomain = "acme-eu"\n[listener_tls.tls]', [True, False, False]),
    ],
)
def test_a_listener_changes_when_something_about_it_does(config, before, after, changed):
    def by_name(config):
        return {recipe.identity: recipe for recipe in recipes(config)}

    old = by_name(config)
    assert before in CONFIG
    config.path.write_text(CONFIG.replace(before, after))
    new = by_name(load(config.path))
    everybody = dict.fromkeys((*old, *new))
    expected = [each for each in changed if each is not None]
    assert [new[name] != old[name] for name in everybody if name in new and name in old] == expected


@pytest.mark.parametrize(
    ("host", "server_name", "ehlo_name"),
    [
        ("mail.example.com", "mailproxy.mail.example.com", "mail.example.com"),
        ("laptop", "mailproxy.laptop", None),
        ("localhost.localdomain", "mailproxy.localhost.localdomain", None),
    ],
)
def test_we_call_ourselves_by_the_hosts_name_unless_it_is_none(config, host, server_name, ehlo_name):
    recipe = orders(config, OwnNames(host))[0].recipe
    assert recipe.policy.server_name == recipe.upstream.own_name == server_name
    assert recipe.upstream.ehlo_name == ehlo_name


def test_an_order_stands_in_for_another_at_the_same_endpoint(config):
    def places(old, new):
        config.path.write_text(CONFIG.replace('"tcp:1587"', old))
        before = orders(load(config.path), OWN)[0].place
        config.path.write_text(CONFIG.replace('"tcp:1587"', new))
        return before, orders(load(config.path), OWN)[0].place

    same, other = places('"tcp:1587"', '"tcp:port=1587:interface=127.0.0.1"')
    assert same == other
    same, other = places('"tcp:1587"', '"tcp:1587:interface=0.0.0.0"')
    assert same != other


def test_any_free_port_is_another_one_for_everybody(config):
    config.path.write_text(CONFIG.replace("1587", "0").replace("1588", "0"))
    places = [order.place for order in orders(load(config.path), OWN)]
    assert len(set(places)) == 3
    assert places == [order.place for order in orders(load(config.path), OWN)]


@pytest.mark.parametrize(
    "more", ['send_proxy = "v1"', 'send_proxy = "v2"', 'xclient = "offered"', 'xclient = "required"']
)
def test_where_the_mail_server_is_told_of_the_client_there_is_no_pool(config, more):
    assert recipes(config)[0].upstream.pool
    config.path.write_text(CONFIG.replace('tls = "tls"', f'tls = "tls"\n{more}'))
    upstream = recipes(load(config.path))[0].upstream
    assert upstream.introduces
    assert upstream.pool is None
    assert not recipes(load(config.path))[2].upstream.introduces
