"""
Imports point towards `wire`: which of our parts may know which, and who may know Twisted.

A part is a module or package directly below `mailproxy`.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "mailproxy"

LOG = {"observe", "errors"}
OURS = {
    "errors": set(),
    "wire": {"errors"},
    "session": {"wire", "errors"},
    "config": {"errors", "destination.model"},
    "tenants": {"errors", "config"},
    "deadline": set(),
    "names": LOG,
    "tls": {"config.values", "destination.files", "destination.model", *LOG},
    "sockets": set(),
    "relay": {"deadline", *LOG},
    "backoff": set(),
    "observe": {"__version__", "errors", "deadline"},
    "destination": {"tls", "names", "backoff", *LOG},
    "upstream": {"wire", "destination.model", "sockets", "tls", "names", "deadline", "backoff", *LOG},
    "flight": {"session", "wire", *LOG},
    "downstream": {"flight", "session", "wire", "relay", "deadline", "tls", "ledger", *LOG},
    "ledger": {"deadline", *LOG},
    "shared": set(),
    "recipes": {"config", "destination", "session", "tenants", "wire", "errors"},
    "admin": {"flight", "config", "deadline", "destination.files", "tls.files", *LOG},
    "overview": {
        "__version__",
        "admin",
        "config",
        "doctor.explain",
        "doctor.table",
        "flight",
        "listeners",
        "recipes",
        *LOG,
    },
    "places": {"config", "destination", "recipes", "shared", "tenants", "tls", *LOG},
    "inherited": set(),
    "audit": {"config", "downstream", "ledger", "recipes", *LOG},
    "checks": {"admin", "audit", "config", "inherited", "places", "shared", "tenants", "tls", *LOG},
    "listeners": {"config", "downstream", "inherited", "recipes", "sockets", *LOG},
    "assembly": {
        "audit",
        "checks",
        "config",
        "destination",
        "downstream",
        "flight",
        "listeners",
        "places",
        "recipes",
        "shared",
        "sockets",
        "tls",
        "upstream",
        *LOG,
    },
    "drain": {"deadline", "downstream", *LOG},
    "reload": {"config", "listeners", "recipes", *LOG},
    "service": {
        "admin",
        "assembly",
        "audit",
        "checks",
        "config",
        "downstream",
        "drain",
        "inherited",
        "listeners",
        "names",
        "overview",
        "recipes",
        "reload",
        "sockets",
        "tls",
        *LOG,
    },
    "signals": set(),
    "notify": set(),
    "watch": {"config", "deadline"},
    "process": {"config", "notify", "observe", "signals", "watch"},
    "workers": {
        "__version__",
        "admin",
        "backoff",
        "checks",
        "config",
        "deadline",
        "destination.model",
        "drain",
        "flight",
        "inherited",
        "listeners",
        "overview",
        "process",
        "recipes",
        "reload",
        "service",
        "session.recording",
        "tls",
        *LOG,
    },
    "options": {"config", "errors", "observe", "process", "service", "watch", "workers"},
    "doctor": {
        "assembly",
        "checks",
        "config",
        "destination",
        "names",
        "places",
        "process",
        "recipes",
        "service",
        "shared",
        "tenants",
        "tls",
        "upstream",
        "wire",
        *LOG,
    },
    "cli": {"doctor", "flight", "ledger"},
    "__main__": {"cli"},
    "sandbox": {"wire", *LOG},
}
"""What each part may import of ours, besides itself; `destination.model` is that module alone."""

VALUES = {"attrs", "attr"}
MAIL = {"twisted", "zope", *VALUES}
OTHERS = {
    "errors": set(),
    "wire": VALUES,
    "session": VALUES,
    "config": {"cattrs", *VALUES},
    "tenants": VALUES,
    "observe": {"prometheus_client", *MAIL},
    "deadline": MAIL,
    "sockets": {"OpenSSL", *MAIL},
    "relay": MAIL,
    "backoff": set(),
    "names": MAIL,
    "tls": {"OpenSSL", "cryptography", "service_identity", *MAIL},
    "destination": {"treq", "OpenSSL", "cryptography", "idna", "hyperlink", *MAIL},
    "upstream": {"OpenSSL", *MAIL},
    "flight": {"cattrs", *VALUES},
    "downstream": MAIL,
    "ledger": MAIL,
    "shared": VALUES,
    "recipes": VALUES,
    "admin": MAIL,
    "overview": MAIL,
    "places": MAIL,
    "inherited": MAIL,
    "audit": MAIL,
    "checks": MAIL,
    "listeners": MAIL,
    "assembly": MAIL,
    "drain": MAIL,
    "reload": MAIL,
    "service": MAIL,
    "signals": {"twisted"},
    "notify": {"twisted"},
    "watch": {"twisted"},
    "process": {"twisted"},
    "workers": MAIL,
    "options": {"twisted"},
    "doctor": {"OpenSSL", "cryptography", "service_identity", *MAIL},
    "cli": VALUES,
    "__main__": set(),
    "sandbox": {"cryptography", "OpenSSL", *MAIL},
}
"""What each part may import of others' packages, besides the standard library."""


def modules():
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def part_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path):
    """The full name of everything that a module imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (f"{node.module}.{each.name}" for each in node.names)


def forbidden(name, part):
    """Whether a module of this part must not import that."""
    package, _, rest = name.partition(".")
    if package != "mailproxy":
        return package not in {*sys.stdlib_module_names, *OTHERS[part]}
    return not any(rest == other or rest.startswith(f"{other}.") for other in {part, *OURS[part]})


def ids(paths):
    return [str(path.relative_to(PACKAGE)) for path in paths]


@pytest.mark.parametrize("path", modules(), ids=ids(modules()))
def test_imports_point_towards_wire(path):
    part = part_of(path)
    assert not [name for name in imports(path) if forbidden(name, part)]


def test_every_part_has_its_row():
    assert {part_of(path) for path in modules()} == OURS.keys() == OTHERS.keys()


def test_nothing_imports_the_reactor_but_what_runs_it():
    users = {part_of(path) for path in modules() if "twisted.internet.reactor" in set(imports(path))}
    assert users <= {"service", "options", "doctor", "sandbox", "workers"}


def test_the_plugin_imports_nothing_but_the_service_maker():
    plugin = PACKAGE.parent / "twisted/plugins/mailproxy_plugin.py"
    assert list(imports(plugin)) == ["twisted.application.service.ServiceMaker"]
    assert not (PACKAGE.parent / "twisted/__init__.py").exists()
    assert not (PACKAGE.parent / "twisted/plugins/__init__.py").exists()
