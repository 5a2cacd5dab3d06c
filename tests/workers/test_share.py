"""What one worker may do is its part of what all of them may."""

from pathlib import Path

import attrs
import pytest

from mailproxy.config import AdminConfig, Config, LedgerConfig, LimitsConfig, TimeoutsConfig
from mailproxy.workers.share import DIVIDED, share_of
from tests.support.pages import page, spans
from tests.support.proxies import Site


@pytest.mark.parametrize(("whole", "workers", "part"), [(100, 4, 25), (101, 4, 26), (3, 4, 1), (1, 64, 1), (0, 4, 0)])
def test_limits_are_divided_and_rounded_up(whole, workers, part):
    limits = LimitsConfig(**dict.fromkeys(DIVIDED, whole), max_sessions_per_client=7)
    shared = share_of(Config(Path("x"), workers=workers, limits=limits), 0).limits
    assert {getattr(shared, key) for key in DIVIDED} == {part}
    assert shared.max_sessions_per_client == 7


@pytest.mark.parametrize(("whole", "workers", "part"), [(8, 4, 2), (7, 4, 1), (3, 4, 1), (1, 64, 1), (0, 4, 0)])
def test_connections_to_mail_servers_are_divided_and_rounded_down(tmp_path, whole, workers, part):
    top = f"workers = {workers}\npool.max_connections = {whole}"
    config = Site(tmp_path).write(top, one=f'"tcp:1"\nmax_connections = {whole}', two='"tcp:2"')
    shared = share_of(config, 0)
    assert shared.pool.max_connections == part
    assert [each.max_connections for each in shared.destinations] == [part, 0]


def test_every_limit_of_a_number_at_a_time_is_divided_or_known_not_to_be():
    others = {"max_sessions_per_client", "max_pending_headers", "min_content_octets_per_second"}
    assert {field.name for field in attrs.fields(LimitsConfig)} == {*DIVIDED, *others}


def test_the_page_says_of_each_what_becomes_of_it():
    rows = {
        name: row["With workers"]
        for row in page("how-to/workers.md").table("Key", "With workers")
        for name in spans(row["Key"])
    }
    assert {name for name, words in rows.items() if words.endswith("rounded up.") or words == "The same."} == {*DIVIDED}
    assert {name for name, words in rows.items() if "rounded down" in words} == {"max_connections"}
    assert {name for name, words in rows.items() if words.startswith("For each worker")} == {
        "min_idle",
        "max_sessions_per_client",
        "max_pending_headers",
    }


def test_the_wait_before_the_end_is_the_supervisors():
    config = Config(Path("x"), workers=2, timeouts=TimeoutsConfig(drain_delay_seconds=5, drain_seconds=7))
    shared = share_of(config, 0)
    assert (shared.timeouts.drain_delay_seconds, shared.timeouts.drain_seconds) == (0, 7)


def test_each_seat_has_a_ledger_of_its_own():
    config = Config(Path("x"), workers=2, ledger=LedgerConfig(Path("/var/mail.jsonl"), fsync="never"))
    shared = [share_of(config, seat).ledger for seat in range(2)]
    assert [each.path for each in shared] == [Path("/var/mail-1.jsonl"), Path("/var/mail-2.jsonl")]
    assert {each.fsync for each in shared} == {"never"}


def test_the_admin_endpoint_is_the_supervisors():
    assert share_of(Config(Path("x"), workers=2, admin=AdminConfig()), 0).admin is None


@pytest.mark.parametrize("wanted", [True, False])
def test_sessions_are_recorded_for_the_endpoint_of_the_supervisor(wanted):
    config = Config(Path("x"), workers=2, admin=AdminConfig(record_sessions=wanted))
    assert share_of(config, 0).record_sessions is wanted
    assert not share_of(Config(Path("x"), workers=2), 0).record_sessions
