"""Places that know destinations: opened once for each tenant that needs them, and closed with the last who does."""

import json
from contextlib import ExitStack

import pytest
from twisted.internet.task import Clock

from mailproxy.config import load
from mailproxy.errors import ConfigError
from mailproxy.places import Places, problems_of_destinations, problems_of_services
from mailproxy.recipes import OwnNames, orders
from mailproxy.shared import Shared
from tests.support.cloud import binding
from tests.support.proxies import PROPERTIES

CONFIG = """
[destination_services.files]
directory = "destinations"
[destination_services.cloud]
binding = "binding.json"
[[destinations]]
name = "dest"
service = "files"
protocol = "smtp"
listen = { acme = "tcp:1587", globex = "tcp:1588" }
[[destinations]]
name = "dest"
service = "cloud"
protocol = "smtp"
listen = { acme = "tcp:1589", globex = "tcp:1590" }
[[destinations]]
name = "other"
service = "cloud"
protocol = "smtp"
listen = { acme = "tcp:1591" }
"""


@pytest.fixture
def config(tmp_path):
    (tmp_path / "destinations").mkdir()
    (tmp_path / "destinations/dest.json").write_text(json.dumps({"Name": "dest", **PROPERTIES}))
    (tmp_path / "binding.json").write_text(json.dumps(binding(1)))
    (tmp_path / "mailproxy.toml").write_text(CONFIG)
    return load(tmp_path / "mailproxy.toml")


@pytest.fixture
def places():
    return Places(Clock(), Shared(lambda *_: None), lambda: 0.5)


def sources(places, config, user):
    return [places.source(order.recipe.upstream.source, user) for order in orders(config, OwnNames("x"))]


def test_each_tenant_has_its_own_and_shares_it_between_its_destinations(config, places):
    with ExitStack() as user:
        files_acme, files_globex, cloud_acme, cloud_globex, other_acme = sources(places, config, user)
        assert len({files_acme, files_globex, cloud_acme, cloud_globex}) == 4
        assert other_acme is cloud_acme


def test_tenants_share_the_service_keys_file(config, places):
    with ExitStack() as user:
        _, _, acme, globex, _ = sources(places, config, user)
        assert acme._binding is globex._binding


def test_one_that_nobody_needs_any_more_is_closed(config, places, monkeypatch):
    closed = []
    with ExitStack() as user:
        for source in sources(places, config, user):
            monkeypatch.setattr(source, "close", lambda source=source: closed.append(source))
        assert closed == []
        before = places.source(orders(config, OwnNames("x"))[0].recipe.upstream.source, user)
    assert len(places._sources) == len(places._bindings) == 0
    with ExitStack() as user:
        assert sources(places, config, user)[0] is not before


def test_a_service_key_that_vanished_meanwhile_is_an_error_and_leaves_nothing_open(config, places, tmp_path):
    (tmp_path / "binding.json").unlink()
    with ExitStack() as user, pytest.raises(ConfigError, match="No such file"):
        sources(places, config, user)
    assert len(places._sources) == len(places._bindings) == 0


def test_sound_services_have_no_problems(config, places):
    assert list(problems_of_services(config)) == []
    assert list(problems_of_destinations(config, places)) == []
    assert len(places._sources) == 0


def test_every_problem_of_services_is_told_with_its_key(config, tmp_path):
    (tmp_path / "destinations").rename(tmp_path / "gone")
    (tmp_path / "binding.json").write_text("{}")
    problems = [each.removeprefix(f"{config.path}: destination_services.") for each in problems_of_services(config)]
    assert problems[0] == f"files.directory: {tmp_path}/destinations is no directory that can be read"
    assert {each.partition(":")[0] for each in problems[1:]} == {"cloud.binding"}


def test_destinations_in_files_are_judged_for_each_tenant(config, places, tmp_path):
    (tmp_path / "destinations/globex").mkdir()
    (tmp_path / "destinations/globex/dest.json").write_text("{")
    (problem,) = problems_of_destinations(config, places)
    assert problem.startswith(f"{config.path}: globex/dest@files:smtp: globex/dest.json: ")
