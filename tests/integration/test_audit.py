"""
The audit ledger of the real proxy: what real clients sent to real servers is found in it, and it survives what happens.
"""

from __future__ import annotations

import json
import re
import smtplib
import sys
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Launch, NewSetup
from tests.support import proxy as proxies
from tests.support.accounts import ACCOUNTS, ACME, GLOBEX
from tests.support.bed import Bed
from tests.support.clients import COLLECTORS, SENDERS, Visitor
from tests.support.letters import SENDER, Letter
from tests.support.programs import run
from tests.support.proxy import Proxy, attempt
from tests.support.routes import BASIC, Route, properties_of
from tests.support.scripted import serving
from tests.support.scripts import Household, Submission
from tests.support.setup import FILES
from tests.support.terminal import bare_socket
from tests.support.tools import CHECKOUT, Tools
from tests.support.waiting import until

pytestmark = pytest.mark.integration

SMTP, POP3 = Route("smtp", BASIC, FILES), Route("pop3", BASIC, FILES)
LEDGER = '[ledger]\npath = "ledger/mail.jsonl"\n'


def ledger(*arguments: str | Path, expect: int = 0) -> bytes:
    """What the program says."""
    return run(
        [sys.executable, "-m", "mailproxy", "ledger", *arguments], expect=expect, env={"PYTHONPATH": str(CHECKOUT)}
    )


def found(folder: Path, *question: str) -> list[dict[str, Any]]:
    """The records that fit."""
    said = ledger("search", *question, *sorted((folder / "ledger").glob("mail*.0*.jsonl")))
    return [json.loads(line) for line in said.splitlines() if line.startswith(b"{")]


def is_whole(folder: Path) -> bool:
    """Whether every chain is."""
    said = ledger("verify", *sorted((folder / "ledger").glob("mail*.0*.jsonl")))
    return all(": ok, " in line or "crash" in line for line in said.decode().splitlines())


# Real mail servers


@pytest.fixture(scope="module")
def audited(bed: Bed, new_setup: NewSetup, launch: Launch) -> tuple[Path, Proxy]:
    """A proxy with a ledger, and where that is."""
    setup = new_setup(LEDGER)
    (setup.folder / "ledger").mkdir()
    for account in ACCOUNTS:
        for route in (SMTP, POP3):
            setup.add(account.tenant, properties_of(route, bed, account, setup.token_url), route.service)
    return setup.folder, launch(setup)


@pytest.mark.usefixtures("_empty_mailboxes")
@pytest.mark.parametrize("client", ["smtplib", "swaks", "curl"])
def test_a_message_to_a_real_server_is_found_as_it_was_sent(
    bed: Bed, tools: Tools, audited: tuple[Path, Proxy], client: str
) -> None:
    folder, proxy = audited
    letter = Letter(ACME.address)
    SENDERS[client](tools, proxy.ports[ACME.tenant, SMTP.name], letter)
    bed.mailbox(ACME).wait_for(letter.marker.encode())
    (record,) = found(folder, "--message-id", letter.message_id)
    assert record in found(folder, "--address", ACME.address.upper(), "--tenant", "acme")
    assert record in found(folder, "--address", letter.sender)
    assert found(folder, "--message-id", letter.message_id, "--tenant", "globex") == []
    assert record["sha256"] == sha256(letter.raw).hexdigest()
    assert record["octets"] == len(letter.raw)
    assert (record["outcome"], record["reverse_path"]) == ("accepted", SENDER)
    assert [(each["path"], each["code"]) for each in record["forward_paths"]] == [(ACME.address, 250)]
    assert (record["client_address"], record["client_tls"]) == ("127.0.0.1", None)
    assert (record["upstream_host"], record["upstream_address"]) == ("mail.localhost", "127.0.0.1")
    assert record["upstream_tls"].startswith("TLSv1.")
    assert record["upstream_cipher"]
    assert re.search(rf": {record['queue_id']}: message-id=<{re.escape(letter.message_id)}>", bed.postfix.log)
    assert f"session {record['session']} from 127.0.0.1:{record['client_port']}: message: code 250" in proxy.log
    assert is_whole(folder)


def test_a_recipient_that_a_real_server_refuses(audited: tuple[Path, Proxy]) -> None:
    folder, proxy = audited
    with smtplib.SMTP("127.0.0.1", proxy.ports[GLOBEX.tenant, SMTP.name]) as client:
        client.ehlo("app.test")
        client.mail("robot@globex.test")
        code, text = client.rcpt("nobody@inbox.test")
        assert code == 550
    (record,) = until(lambda: found(folder, "--address", "nobody@inbox.test"), "the record")
    assert (record["outcome"], record["ehlo"], record["tenant"]) == ("rejected", "app.test", "globex")
    assert record["forward_paths"] == [{"path": "nobody@inbox.test", "code": 550, "text": text.decode()}]


@pytest.mark.usefixtures("_empty_mailboxes")
def test_a_session_of_pop3_with_a_real_server(bed: Bed, tools: Tools, audited: tuple[Path, Proxy]) -> None:
    folder, proxy = audited
    letters = [Letter(ACME.address) for _ in range(2)]
    for letter in letters:
        bed.mailbox(ACME).put(letter.octets)
    COLLECTORS["poplib"](tools, proxy.ports[ACME.tenant, POP3.name], Visitor())
    (record,) = until(lambda: found(folder, "--address", ACME.user), "the record")
    assert (record["kind"], record["outcome"]) == ("pop3", "quit")
    assert (record["retrieved"], record["deleted"], record["committed"]) == (2, 0, True)
    assert record["octets"] > sum(len(letter.raw) for letter in letters)


# What happens


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Household]:
    """A proxy in front of a mail server that takes everything, with a ledger."""
    (tmp_path / "ledger").mkdir()
    submission = Submission()
    submission.open.set()
    with serving(submission) as upstream:
        house = Household(tmp_path, "watch_seconds = 0\n", LEDGER)
        house.add("one", "smtp", upstream)
        yield house


def send(port: int, number: int) -> None:
    """A small message, and its sender hears that it was taken."""
    with bare_socket(port) as terminal:
        terminal.read_reply()
        for line, answer in (
            (f"MAIL FROM:<a{number}@b.test>", b"250"),
            ("RCPT TO:<c@d.test>", b"250"),
            ("DATA", b"354"),
        ):
            assert terminal.ask(line).startswith(answer)
        terminal.type("Subject: x")
        assert terminal.ask(".").startswith(b"250")
        terminal.ask("QUIT")


def test_what_clients_heard_is_on_record_though_the_proxy_is_killed(house: Household, tmp_path: Path) -> None:
    """Also where the kill has left a record in the middle."""
    port = house.ports["acme", "one"]
    for life in range(3):
        proxy = proxies.start(house)
        for number in range(5):
            send(port, 5 * life + number)
        proxy.daemon.process.kill()
        proxy.daemon.process.wait()
        newest = max((tmp_path / "ledger").glob("mail.0*.jsonl"))
        with newest.open("ab") as file:
            file.write(b'{"seq":99,"prev":')
    with proxies.running(house):
        send(port, 15)
    assert is_whole(tmp_path)
    assert {each["reverse_path"] for each in found(tmp_path)} == {f"a{number}@b.test" for number in range(16)}
    assert {each["outcome"] for each in found(tmp_path)} == {"accepted"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The ledger has a disk of its own, of 64 KiB."""
    run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path / "ledger"])
    yield tmp_path / "ledger"
    run(["umount", tmp_path / "ledger"])


def fill(path: Path) -> None:
    """There is no room left beside this file."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_a_full_disk_keeps_mail_from_beginning_until_there_is_room(house: Household, small_disk: Path) -> None:
    port = house.ports["acme", "one"]
    with proxies.running(house) as proxy:
        send(port, 0)
        ballast = small_disk / "ballast"
        fill(ballast)
        number = 0
        while "the ledger cannot be written: No space left on device" not in proxy.log:
            number += 1
            assert number < 100
            send(port, number)
        with bare_socket(port) as terminal:
            terminal.read_reply()
            assert terminal.ask("MAIL FROM:<x@b.test>") == b"451 4.3.0 Audit ledger not available, try later"
        ballast.unlink()
        proxy.wait_for_log("the ledger is written again")
        send(port, number + 1)
    assert is_whole(small_disk.parent)
    assert [each["reverse_path"] for each in found(small_disk.parent)] == [
        f"a{each}@b.test" for each in range(number + 2)
    ]


def test_each_worker_has_a_ledger_of_its_own(house: Household, tmp_path: Path) -> None:
    house.top += "workers = 2\n"
    with proxies.running(house):
        for number in range(20):
            send(house.ports["acme", "one"], number)
    chains = {path.name.partition(".")[0] for path in (tmp_path / "ledger").glob("*.jsonl")}
    assert chains == {"mail-1", "mail-2"}
    assert is_whole(tmp_path)
    assert len(found(tmp_path)) == 20


def test_a_second_process_does_not_write_it(house: Household, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    second = Household(tmp_path / "second", house.top, LEDGER.replace("ledger/", f"{tmp_path}/ledger/"))
    port = second.add("one", "smtp", 1)
    with proxies.running(house):
        with proxies.running(second) as proxy:
            assert "the ledger cannot be written: another process writes this ledger" in proxy.log
            with bare_socket(port) as terminal:
                terminal.read_reply()
                assert terminal.ask("MAIL FROM:<x@b.test>").startswith(b"451 4.3.0 Audit ledger not available")
        send(house.ports["acme", "one"], 1)
    assert is_whole(tmp_path)


def test_a_folder_that_is_not_there_is_told_before_the_start(house: Household) -> None:
    house.tables = '[ledger]\npath = "elsewhere/mail.jsonl"\n'
    done = attempt(house.write())
    assert done.returncode == 1
    assert f"ledger.path: {house.folder / 'elsewhere'} is no directory" in done.stdout.decode()
