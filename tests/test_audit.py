"""The ledger of a process, out of its configuration."""

import json
import os

import pytest
from twisted.internet.task import Clock

from mailproxy import service
from mailproxy.audit import Audit, problems_of_ledger
from mailproxy.config import Config, LedgerConfig, load
from mailproxy.destination.model import MailProtocol
from mailproxy.ledger.verify import verify
from mailproxy.recipes import Identity
from tests.ledger.books import NOON, Disk, Thread, files, small
from tests.support.proxies import HEAD, Site

LEDGER = '[ledger]\npath = "ledger/mail.jsonl"\nfsync = "never"\n'


@pytest.fixture
def site(tmp_path):
    (tmp_path / "ledger").mkdir()
    return Site(tmp_path)


def test_the_table_reaches_the_ledger(tmp_path):
    (tmp_path / "key").write_bytes(b"0123456789abcdef")
    config = LedgerConfig(tmp_path / "mail.jsonl", "interval", 3.0, 70_000, 60.0, "continue", tmp_path / "key")
    audit = Audit(config, Clock(), lambda _: Thread(), lambda: NOON)
    settings = audit.clerk._settings
    assert (settings.fsync, settings.fsync_seconds, settings.block) == ("interval", 3.0, False)
    assert (settings.place.path, settings.place.max_octets) == (tmp_path / "mail.jsonl", 70_000)
    assert settings.place.max_age_seconds == 60.0
    book = audit.book(Identity("mail", "acme", "local", MailProtocol.SMTP))
    assert (book.destination, book.tenant, book.now()) == ("mail", "acme", NOON)
    assert book.key.hide("a@x").startswith("hmac-sha256:")
    assert "0123456789" not in repr(book)
    audit.stop()


def problems(tmp_path, **table):
    config = Config(tmp_path / "mailproxy.toml", ledger=LedgerConfig(**table))
    return [each.removeprefix(f"{config.path}: ledger.") for each in problems_of_ledger(config)]


def test_what_is_wrong_is_told_before_the_start(tmp_path):
    path = tmp_path / "none/mail.jsonl"
    key = tmp_path / "key"
    assert problems(tmp_path, path=path, address_key_file=key) == [
        f"path: {path.parent} is no directory",
        f"address_key_file: {key}: No such file or directory",
    ]
    key.write_bytes(b"short")
    assert problems(tmp_path, path=tmp_path / "mail.jsonl", address_key_file=key) == [
        f"address_key_file: {key}: a key has 16 octets or more"
    ]


def test_a_directory_that_cannot_be_written_to_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert problems(tmp_path, path=tmp_path / "mail.jsonl") == [f"path: {tmp_path} cannot be written to"]


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ("[ledger]\n", "ledger.path: is missing"),
        ('[ledger]\npath = "x"\nfsync = "perhaps"\n', "ledger.fsync: must be one of always, interval, never"),
        ('[ledger]\npath = "x"\nwhere = 1\n', "ledger.where: unknown key"),
        ("ledger = 3\n", "ledger: must be a table"),
    ],
)
def test_mistakes_in_the_table(tmp_path, table, complaint):
    with pytest.raises(service.ConfigError) as caught:
        Site(tmp_path).write(table, dest='"tcp:1587"')
    assert complaint in str(caught.value)


def test_without_the_table_there_is_no_ledger(site):
    proxy = site.start(dest='"tcp:1587"')
    assert proxy.audit is None
    assert proxy.ready
    proxy.stopService()


def test_from_the_start_to_the_end(site, tmp_path):
    proxy = site.start(LEDGER, dest='"tcp:1587"')
    (path,) = files(tmp_path / "ledger")
    proxy.audit.clerk.write(small())
    proxy.stopService()
    site.reactor.network.advance(5.0)
    assert [json.loads(line)["kind"] for line in path.read_bytes().splitlines()] == ["genesis", "test"]
    (finding,) = verify([path])
    assert finding.problem is None


def test_a_session_is_on_record(site, tmp_path):
    proxy = site.start(LEDGER, dest='{ acme = "tcp:1587" }')
    client = site.reactor.visit(1587)
    site.reactor.ask(client, b"MAIL FROM:<a@b.test>\r\n")
    client.close()
    site.reactor.network.advance(1.0)
    proxy.stopService()
    site.reactor.network.advance(5.0)
    records = [json.loads(line) for line in files(tmp_path / "ledger")[0].read_bytes().splitlines()]
    assert [each["kind"] for each in records] == ["genesis", "transaction"]
    assert (records[1]["tenant"], records[1]["reverse_path"]) == ("acme", "a@b.test")


def test_a_ledger_that_cannot_be_written_is_not_ready(site, logged_failures):
    proxy = site.start(LEDGER, dest='"tcp:1587"')
    assert proxy.ready
    disk = Disk(proxy.audit.clerk._writer, 0)
    proxy.audit.clerk.write(small())
    assert not proxy.ready
    assert proxy.audit.problem == "ledger: No space left on device"
    disk.room = 1 << 20
    site.reactor.network.advance(1.0)
    assert proxy.ready
    proxy.stopService()
    site.reactor.network.advance(5.0)
    assert [each["log_format"] for each in logged_failures] == ["the ledger cannot be written: {problem}"]
    logged_failures.clear()


def test_a_disk_that_is_too_slow_is_said(site, monkeypatch):
    monkeypatch.setattr("mailproxy.ledger.clerk.MAX_UNSYNCED_SESSIONS", 0)
    proxy = site.start(LEDGER, dest='"tcp:1587"')
    assert proxy.audit.problem == "ledger: the disk is too slow"
    proxy.stopService()
    site.reactor.network.advance(5.0)


def test_a_change_needs_a_restart(site):
    proxy = site.start(LEDGER, dest='"tcp:1587"')
    config = site.write(LEDGER + "max_octets = 70000\n", dest='"tcp:1587"')
    answers = []
    proxy.reload(config).addCallback(answers.append)
    assert answers == [[f"{config.path}: ledger: a change needs a restart"]]
    proxy.stopService()
    site.reactor.network.advance(5.0)


def test_the_path_starts_from_the_directory_of_the_file(tmp_path):
    path = tmp_path / "mailproxy.toml"
    path.write_text(LEDGER + HEAD + '[[destinations]]\nname = "d"\nprotocol = "smtp"\nlisten = "tcp:1"\n')
    (tmp_path / "destinations").mkdir()
    assert load(path).ledger.path == tmp_path / "ledger/mail.jsonl"
