"""What the configuration says of statistics and the log: names that are unique, levels that exist."""

from __future__ import annotations

import pytest

from mailproxy.config import LogConfig, examine, load
from mailproxy.tenants import listeners

HEAD = """
[destination_services.local]
directory = "destinations"
[destination_services.other]
directory = "others"
"""


def entry(name, listen, *, service="local", protocol="smtp", more=""):
    keys = {"name": f'"{name}"', "protocol": f'"{protocol}"', "service": f'"{service}"', "listen": listen}
    return "\n".join(["[[destinations]]", *(f"{key} = {value}" for key, value in keys.items()), more, ""])


@pytest.fixture
def write(tmp_path):
    def write(*entries, head=""):
        path = tmp_path / "mailproxy.toml"
        path.write_text(head + HEAD + "\n".join(entries))
        return path

    return write


def complaints(path):
    return [problem.removeprefix(f"{path}: ") for problem in examine(path).problems]


def prefixes(path):
    return [plan.stat_prefix for plan in listeners(load(path))]


BOTH = '{ acme = "tcp:1", globex = "tcp:2" }'
ONE = '{ acme = "tcp:3" }'


def test_a_prefix_is_destination_and_tenant(write):
    path = write(entry("mail", BOTH), entry("own", '"tcp:4"', service="other"))
    assert prefixes(path) == ["mail-acme", "mail-globex", "own"]


def test_it_can_be_said(write):
    path = write(
        entry("mail", BOTH, more='stat_prefix = "out.{tenant}"'),
        entry("fax", ONE, service="other", more='stat_prefix = "fax"'),
    )
    assert prefixes(path) == ["out.acme", "out.globex", "fax"]


def test_two_services_with_the_same_names_are_told_apart(write):
    path = write(entry("mail", BOTH), entry("mail", ONE, service="other"))
    assert prefixes(path) == ["mail-acme-local", "mail-globex", "mail-acme-other"]


def test_the_protocols_have_names_of_their_own(write):
    path = write(entry("mail", BOTH), entry("mail", ONE, protocol="pop3"))
    assert prefixes(path) == ["mail-acme", "mail-globex", "mail-acme"]


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (
            [entry("mail", BOTH, more='stat_prefix = "x"')],
            "0].stat_prefix: several tenants would have x; put {tenant} into it",
        ),
        (
            [entry("mail", '"tcp:1"', more='stat_prefix = "x-{tenant}"'), entry("fax", ONE, service="other")],
            "0].stat_prefix: has {tenant} in it, and there is no tenant",
        ),
        (
            [
                entry("mail", '"tcp:1"', more='stat_prefix = "x"'),
                entry("fax", ONE, service="other", more='stat_prefix = "x"'),
            ],
            "1].stat_prefix: x is also that of destinations[0]; give one of them another stat_prefix",
        ),
        (
            [entry("mail-acme", '"tcp:1"'), entry("mail", ONE, service="other")],
            "1].stat_prefix: mail-acme is also that of destinations[0]; give one of them another stat_prefix",
        ),
        (
            [entry("mail", BOTH, more='stat_prefix = "a b"'), entry("fax", ONE, service="other")],
            "0].stat_prefix: must be 1 to 200 letters, digits, '_', '.' or '-', with {tenant} for the tenant",
        ),
    ],
)
def test_no_two_listeners_have_the_same_and_each_has_one_that_can_stand_there(write, entries, expected):
    assert complaints(write(*entries)) == [f"destinations[{expected}"]


def test_the_log_has_levels_by_namespace(write):
    head = '[log]\nformat = "json"\nlevel = "warn"\nlevels = { "mailproxy.tls" = "debug", twisted = "error" }\n'
    config = load(write(entry("mail", ONE), head=head))
    assert config.log == LogConfig("json", "warn", {"mailproxy.tls": "debug", "twisted": "error"})


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('format = "xml"', "log.format: must be one of auto, text, json"),
        ('level = "loud"', "log.level: must be one of debug, info, warn, error, critical"),
        ("levels = 1", "log.levels: must be a table of levels"),
        ('levels = { x = "loud" }', "log.levels.x: must be one of debug, info, warn, error, critical"),
        (
            'levels = { "a.b" = 1, x = "warn" }',
            'log.levels."a.b": must be one of debug, info, warn, error, critical',
        ),
        (
            'levels = { "a b" = "info" }',
            "log.levels: a namespace must be 1 to 100 letters, digits, '_' or '.', in quotes where it has a dot",
        ),
        ("fold_seconds = 0.5", "log.fold_seconds: must be between 1 and 3600, or 0 for never"),
    ],
)
def test_what_the_log_cannot_be_told(write, line, expected):
    assert complaints(write(entry("mail", ONE), head=f"[log]\n{line}\n")) == [expected]
