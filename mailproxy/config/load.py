"""
A configuration file, judged: syntax, then each table for itself, then all of them together.

A mistake in one table keeps nothing else from being judged, so that one look at the complaints is enough.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import attrs
from attrs import evolve, frozen

from mailproxy.config.crosscheck import (
    Tables,
    check_admin,
    check_tables,
    check_trust,
    tenant_or_default,
    usable,
    usable_tls,
    used_tenants,
    with_service,
)
from mailproxy.config.rules import LABEL, NAME, Matches
from mailproxy.config.source import parse_toml, read_source
from mailproxy.config.structure import Judge, format_path, unknown_key
from mailproxy.config.values import (
    Config,
    DestinationConfig,
    ListenerTLSConfig,
    ServiceConfig,
    TenantConfig,
    TrustConfig,
)
from mailproxy.errors import ConfigError

T = TypeVar("T")

_TOGETHER = ("tenants", "listener_tls", "destination_services", "destinations")
"""The tables that refer to each other."""

_NO_KEYS = ("path", "source", "recorded")
"""What the file does not say."""


@frozen
class Examined:
    """
    A file after its examination.

    `config` holds what is sound in it: tables with a mistake have their defaults, faulty entries are left out.  It
    serves to look at files and certificates in the same go, never for a start.  `problems` has one line for each
    mistake, `FILE: key.path: reason`.
    """

    config: Config
    problems: tuple[str, ...]


def load(path: Path) -> Config:
    """
    The configuration in a file.

    Raises:
        ConfigError: with all that is wrong in it.
    """
    examined = examine(path)
    if examined.problems:
        raise ConfigError(examined.problems)
    return examined.config


def examine(path: Path) -> Examined:
    """Everything that is wrong in a file, and the sound rest."""
    path = path.absolute()
    try:
        octets = read_source(path)
    except ConfigError as error:
        return Examined(Config(path), error.problems)
    return examine_source(path, octets)


def examine_source(path: Path, octets: bytes) -> Examined:
    """The same for a file that has been read."""
    try:
        raw = parse_toml(path, octets)
    except ConfigError as error:
        return Examined(Config(path), error.problems)
    judge = Judge(path.parent)
    config = _judge(path, raw, judge)
    if config.workers > 1:
        config = evolve(config, source=octets)
    return Examined(config, tuple(f"{path}: {format_path(where)}: {reason}" for where, reason in judge.mistakes))


def _judge(path: Path, raw: dict[str, Any], judge: Judge) -> Config:
    known = [field.name for field in attrs.fields(Config) if field.name not in _NO_KEYS]
    judge.mistakes += [((key,), unknown_key(key, known)) for key in raw if key not in known]
    config = _with_sound_trust(_alone(path, raw, judge), judge)
    tables = with_service(_tables(raw, judge))
    judge.mistakes += check_tables(tables)
    return _with_sound_admin(_joined(config, tables), tables, judge)


def _alone(path: Path, raw: dict[str, Any], judge: Judge) -> Config:
    """The keys and tables that stand for themselves."""
    sound: dict[str, Any] = {}
    for field in attrs.fields(attrs.resolve_types(Config)):
        if field.name in raw and field.name not in {*_NO_KEYS, *_TOGETHER}:
            value = judge.structure(raw[field.name], field.type or object, (field.name,))
            sound |= {} if value is None else {field.name: value}
    return Config(path, **sound)


def _with_sound_trust(config: Config, judge: Judge) -> Config:
    """The configuration, with the default in place of a trust that trusts nobody."""
    mistakes = [*check_trust(config.trust)]
    judge.mistakes += mistakes
    return evolve(config, trust=TrustConfig()) if mistakes else config


def _with_sound_admin(config: Config, tables: Tables, judge: Judge) -> Config:
    """The configuration, without an admin endpoint that would tell the wrong people."""
    mistakes = [] if config.admin is None else [*check_admin(config.admin, tables)]
    judge.mistakes += mistakes
    return evolve(config, admin=None) if mistakes else config


def _tables(raw: dict[str, Any], judge: Judge) -> Tables:
    """The tables that refer to each other, each entry judged for itself."""
    tenants = _named(raw, "tenants", TenantConfig, LABEL, judge)
    listener_tls = _named(raw, "listener_tls", ListenerTLSConfig, NAME, judge)
    services = _named(raw, "destination_services", ServiceConfig, NAME, judge)
    entries = raw.get("destinations", [])
    if not isinstance(entries, list):
        judge.mistakes.append((("destinations",), "must be written as [[destinations]]"))
        return Tables(tenants, listener_tls, services, {}, complete=False)
    judged = [judge.structure(each, DestinationConfig, ("destinations", at)) for at, each in enumerate(entries)]
    sound = {at: each for at, each in enumerate(judged) if each is not None}
    return Tables(tenants, listener_tls, services, sound, complete=len(sound) == len(entries))


def _named(raw: dict[str, Any], key: str, wanted: type[T], rule: Matches, judge: Judge) -> dict[str, T | None]:
    """A table of tables with names of the operator's choice; None for one that has a mistake."""
    tables = raw.get(key, {})
    if not isinstance(tables, dict):
        judge.mistakes.append(((key,), f"must be written as [{key}.NAME]"))
        return {}
    judge.mistakes += [((key, name), f"a name {wrong}") for name in tables if (wrong := rule(name))]
    return {name: judge.structure(table, wanted, (key, name)) for name, table in tables.items()}


def _joined(config: Config, tables: Tables) -> Config:
    """The configuration with what is sound in the tables; a destination goes with its service and its TLS."""
    services = {name: each for name, each in tables.services.items() if each is not None and usable(each)}
    listener_tls = {name: each for name, each in tables.listener_tls.items() if each is not None and usable_tls(each)}
    return evolve(
        config,
        tenants={name: tenant_or_default(name, tables.tenants) for name in used_tenants(tables)},
        listener_tls=listener_tls,
        destination_services=services,
        destinations=tuple(
            each
            for each in tables.destinations.values()
            if each.service in services and (each.tls is None or each.tls in listener_tls)
        ),
    )
