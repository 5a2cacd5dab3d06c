"""The page on the configuration, the example and the code say the same."""

from __future__ import annotations

import json
import re
import tomllib
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin

import attrs
import pytest

from mailproxy.config import (
    AdminConfig,
    CertificateConfig,
    Config,
    DestinationConfig,
    HoldOffConfig,
    LedgerConfig,
    LimitsConfig,
    ListenerTLSConfig,
    LogConfig,
    MetricsConfig,
    PoolConfig,
    POP3Config,
    ServiceConfig,
    SMTPConfig,
    TenantConfig,
    TimeoutsConfig,
    TrustConfig,
    load,
)
from mailproxy.config.endpoints import parse_endpoint
from mailproxy.config.rules import Balancer, Between, Domain
from mailproxy.config.values import Listen, LogLevels, Place
from mailproxy.recipes import pop3_policy, smtp_policy
from mailproxy.session.actions import Waiting
from mailproxy.session.encryption import Encryption
from mailproxy.session.pop3_policy import POP3Policy
from mailproxy.session.smtp_policy import SMTPPolicy
from mailproxy.tenants import listeners

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "etc/mailproxy.example.toml"
PAGE = (ROOT / "docs/reference/configuration.md").read_text()
TABLES = {
    "Top level": Config,
    "`[trust]`": TrustConfig,
    "`[timeouts]`": TimeoutsConfig,
    "`[limits]`": LimitsConfig,
    "`[hold_off]`": HoldOffConfig,
    "`[pool]`": PoolConfig,
    "`[smtp]`": SMTPConfig,
    "`[pop3]`": POP3Config,
    "`[log]`": LogConfig,
    "`[metrics]`": MetricsConfig,
    "`[admin]`": AdminConfig,
    "`[ledger]`": LedgerConfig,
    "`[tenants.NAME]`": TenantConfig,
    "`[listener_tls.NAME]`": ListenerTLSConfig,
    "`[[listener_tls.NAME.certificates]]`": CertificateConfig,
    "`[destination_services.NAME]`": ServiceConfig,
    "`[[destinations]]`": DestinationConfig,
}
PLAIN = {
    str: "text",
    bool: "true or false",
    int: "whole number",
    float: "number",
    Path: "path",
    tuple[Path, ...]: "list of paths",
    tuple[CertificateConfig, ...]: "list of tables",
    tuple[Balancer, ...]: "list of networks",
    Listen: "endpoint, or table of endpoints by tenant",
    LogLevels: "table of levels by namespace",
    tuple[Domain, ...]: "list of host names",
    Place: "endpoint",
}
TOGETHER = ("trust", "timeouts", "limits", "hold_off", "pool", "smtp", "pop3", "log", "metrics", "admin", "ledger")
"""Tables of which there is one."""
NOT_KEYS = {
    "path",
    "source",
    "recorded",
    "trust",
    "timeouts",
    "limits",
    "hold_off",
    "pool",
    "smtp",
    "pop3",
    "log",
    "metrics",
    "admin",
    "ledger",
    "tenants",
    "listener_tls",
    "destination_services",
    "destinations",
}


def sections():
    """Heading of each table on the page, and its rows without the meaning."""
    found = {}
    for section in PAGE.split("\n## ")[1:]:
        heading, _, body = section.partition("\n")
        rows = re.findall(r"^\| `(\w+)` \|([^|]*)\|([^|]*)\|([^|]*)\| (\S.*) \|$", body, re.MULTILINE)
        found[heading] = [tuple(cell.strip() for cell in row[:4]) for row in rows]
    return found


def keys(cls):
    return [
        field for field in attrs.fields(attrs.resolve_types(cls)) if cls is not Config or field.name not in NOT_KEYS
    ]


def words(kind):
    """The type as the page has it."""
    if kind in PLAIN:
        return PLAIN[kind]
    if get_origin(kind) is Annotated:
        plain, rule = get_args(kind)
        return f"{words(plain)}, {bounds(rule)}" if isinstance(rule, Between) else words_of(rule.wanted)
    if get_origin(kind) is Literal:
        return choice(get_args(kind))
    if isinstance(kind, type):
        return choice([member.value for member in kind])
    return words(get_args(kind)[0])  # what stands before "or None"


def words_of(wanted):
    return next((word for word in ("host name", "DNS label") if word in wanted), "text")


def bounds(rule):
    text = f"{rule.least} to {rule.most}"
    return f"{text}, or 0 for {rule.zero}" if rule.zero else text


def choice(values):
    *first, last = [f"`{value}`" for value in values]
    return f"{', '.join(first)} or {last}"


def default(field):
    if field.default is attrs.NOTHING:
        return "required"
    if field.default is None:
        return ""
    if field.default == "":
        return "the only one"
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    text = str(list(field.default) if isinstance(field.default, tuple) else field.default)
    return f"`{text.removesuffix('.0')}`"


def unit(name):
    return next((unit for unit in ("seconds", "octets") if name.endswith(f"_{unit}")), "")


def test_the_page_has_a_section_for_each_table():
    assert list(sections()) == list(TABLES)


@pytest.mark.parametrize("heading", TABLES)
def test_the_page_and_the_code_have_the_same_keys(heading):
    expected = [(field.name, words(field.type), unit(field.name), default(field)) for field in keys(TABLES[heading])]
    assert sections()[heading] == expected


@pytest.mark.parametrize(
    ("table", "policy", "renamed"),
    [
        (SMTPConfig, SMTPPolicy, {"bare_newline_commands": "lone_lf_ends_command"}),
        (POP3Config, POP3Policy, {}),
    ],
)
def test_every_decision_about_a_session_is_a_key_with_the_same_default(table, policy, renamed):
    offered = {renamed.get(field.name, field.name): field.default for field in attrs.fields(table)}
    made = {field.name: field.default for field in attrs.fields(policy) if field.default is not attrs.NOTHING}
    assert made.pop("encryption") is Encryption.PLAINTEXT, "a listener's own, by its table in listener_tls"
    assert offered.keys() == made.keys()
    for name, value in made.items():
        if name not in renamed.values():
            assert offered[name] == (value.value if isinstance(value, Enum) else value), name


def test_every_wait_has_a_timeout():
    offered = {field.name for field in attrs.fields(TimeoutsConfig)}
    named_otherwise = {Waiting.NOBODY, Waiting.DOWNSTREAM_FIRST_COMMAND}
    assert {f"{wait.value}_seconds" for wait in Waiting if wait not in named_otherwise} <= offered
    assert "overload_command_seconds" in offered


def example_with_all_switched_on():
    """What needs files that do not come along is a comment in the example, with nothing between `#` and the line."""
    return re.sub(r"^#(?=[\[\]a-z]|    \{)", "", EXAMPLE.read_text(), flags=re.MULTILINE)


def test_the_example_is_sound_with_all_switched_on(tmp_path):
    path = tmp_path / "mailproxy.toml"
    path.write_text(example_with_all_switched_on())
    assert load(path).destinations[0].tls == "inside"


def test_the_example_has_every_key():
    raw = tomllib.loads(example_with_all_switched_on())
    listener_tls = raw["listener_tls"].values()
    written = {
        "Top level": [raw],
        "`[tenants.NAME]`": raw["tenants"].values(),
        "`[listener_tls.NAME]`": listener_tls,
        "`[[listener_tls.NAME.certificates]]`": [each for table in listener_tls for each in table["certificates"]],
        "`[destination_services.NAME]`": raw["destination_services"].values(),
        "`[[destinations]]`": raw["destinations"],
    } | {f"`[{name}]`": [raw[name]] for name in TOGETHER}
    for heading, cls in TABLES.items():
        assert {field.name for field in keys(cls)} <= {key for table in written[heading] for key in table}, heading


def test_the_example_shows_the_defaults_and_listens_on_loopback_alone():
    config = load(EXAMPLE)
    defaults = Config(config.path)
    for name in TOGETHER:
        assert getattr(config, name) == getattr(defaults, name), name
    for plan in listeners(config):
        assert parse_endpoint(plan.endpoint).settings["interface"] == "127.0.0.1"


def test_the_example_has_the_eight_kinds_of_destinations():
    kinds = set()
    for path in (EXAMPLE.parent / "destinations").glob("*.json"):
        properties = json.loads(path.read_text())
        assert properties["Name"] == path.stem
        kinds.add((properties["mail.transport.protocol"], properties["Authentication"]))
    protocols, logins = ("smtp", "smtps", "pop3", "pop3s"), ("BasicAuthentication", "OAuth2ClientCredentials")
    assert kinds == {(protocol, login) for protocol in protocols for login in logins}


def test_every_key_about_a_session_reaches_the_session():
    """Each value differs from its default and from the others."""
    config = Config(EXAMPLE, smtp=other_values(SMTPConfig), pop3=other_values(POP3Config))
    assert_all_reached(config.pop3, pop3_policy(config), {})
    assert_all_reached(config.smtp, smtp_policy(config, "x"), {"bare_newline_commands": "lone_lf_ends_command"})


def other_values(cls):
    """A table in which nothing has its default."""
    others = {}
    for number, field in enumerate(attrs.fields(attrs.resolve_types(cls))):
        if isinstance(field.default, bool):
            others[field.name] = not field.default
        elif isinstance(field.default, int):
            others[field.name] = 70_000 + number
        else:
            others[field.name] = next(value for value in get_args(field.type) if value != field.default)
    return cls(**others)


def assert_all_reached(table, policy, renamed):
    for name, value in attrs.asdict(table).items():
        reached = getattr(policy, renamed.get(name, name))
        assert (reached.value if isinstance(reached, Enum) else reached) == (value if name not in renamed else True), (
            name
        )
