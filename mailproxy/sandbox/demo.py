"""
The demonstration: for each tenant a mail sent and collected the way one does it with telnet, and the proof of who did.
"""

from __future__ import annotations

import json
import re
import secrets
import time
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path

from attrs import frozen

from mailproxy.sandbox.layout import LOGINS_FILE, mailbox_of
from mailproxy.sandbox.mailboxes import Login
from mailproxy.sandbox.telnet import NobodyThere, Telnet, Unexpected

SENDER = "sender@transparentproxy.com"

_POLL_SECONDS = 0.05
_TOKEN_MECHANISMS = frozenset({"XOAUTH2", "OAUTHBEARER"})

Say = Callable[[str], None]


@frozen
class Listener:
    """A port of the proxy, and what is behind it."""

    destination: str
    protocol: str
    tenant: str
    port: int


def read_listeners(config: Path) -> list[Listener]:
    """The listeners of a configuration that the sandbox wrote."""
    with config.open("rb") as file:
        tables = tomllib.load(file)["destinations"]
    return [
        Listener(table["name"], table["protocol"], tenant, int(re.findall(r"tcp:(\d+)", endpoint)[0]))
        for table in tables
        for tenant, endpoint in table["listen"].items()
    ]


def wait_for_listeners(listeners: Iterable[Listener], seconds: float, alive: Callable[[], bool]) -> None:
    """
    Every listener greets.

    Raises:
        Unexpected: one does not in time, or greets with a refusal, or `alive` no longer holds.
    """
    deadline = time.monotonic() + seconds
    for listener in listeners:
        while not _answers(listener):
            if not alive():
                raise Unexpected("the proxy has ended before it listened")
            if time.monotonic() > deadline:
                raise Unexpected(f"nobody listens on port {listener.port} for {listener.destination}")
            time.sleep(_POLL_SECONDS)


def run_demo(config: Path, say: Say) -> None:
    """
    Both tenants have sent and collected their own mail, under their own names; `say` got the transcript.

    Raises:
        Unexpected: something went another way.
    """
    listeners = read_listeners(config)
    journal = config.with_name(LOGINS_FILE)
    before = len(_logins(journal))
    sent = {listener: secrets.token_hex(4) for listener in listeners if listener.protocol == "smtp"}
    for listener, number in sent.items():
        _send(listener, number, say)
    collecting = [listener for listener in listeners if listener.protocol == "pop3"]
    last = {listener.tenant: listener for listener in collecting}
    for listener in collecting:
        mail = _collect(listener, say, delete=listener is last[listener.tenant])
        _check_mail(listener.tenant, mail, sent)
    logins = _logins(journal)[before:]
    _say_logins(logins, say)
    _check_logins(listeners, logins)


def _send(listener: Listener, number: str, say: Say) -> None:
    say(f"\n--- {listener.tenant} sends: telnet 127.0.0.1 {listener.port} ({listener.destination})\n")
    with Telnet(listener.port, say) as telnet:
        _greeted(telnet, listener)
        for line, code in (
            (f"MAIL FROM:{SENDER}", "250"),
            (f"RCPT TO:{mailbox_of(listener.tenant)}", "250"),
            ("DATA", "354"),
        ):
            telnet.type(line)
            telnet.expect_reply(code)
        telnet.type(f"Some test data of {listener.tenant}, number {number}.")
        telnet.type(".")
        telnet.expect_reply("250")
        telnet.type("QUIT")
        telnet.expect_reply("221")
        telnet.expect_end()


def _collect(listener: Listener, say: Say, *, delete: bool) -> list[str]:
    say(f"\n--- {listener.tenant} collects: telnet 127.0.0.1 {listener.port} ({listener.destination})\n")
    mail = []
    with Telnet(listener.port, say) as telnet:
        _greeted(telnet, listener)
        telnet.type("list")
        telnet.expect_ok()
        numbers = [line.partition(" ")[0] for line in telnet.read_rest()]
        for number in numbers:
            telnet.type(f"retr {number}")
            telnet.expect_ok()
            mail.append("\n".join(telnet.read_rest()))
        for number in numbers if delete else ():
            telnet.type(f"dele {number}")
            telnet.expect_ok()
        telnet.type("quit")
        telnet.expect_ok()
        telnet.expect_end()
    return mail


def _greeted(telnet: Telnet, listener: Listener) -> None:
    if listener.protocol == "smtp":
        telnet.expect_reply("220")
    else:
        telnet.expect_ok()


def _check_mail(tenant: str, mail: list[str], sent: dict[Listener, str]) -> None:
    """The tenant has every mail of its own and none of anybody else's."""
    text = "\n".join(mail)
    for listener, number in sent.items():
        if (number in text) != (listener.tenant == tenant):
            wrong = "is missing" if listener.tenant == tenant else f"went to {tenant}"
            raise Unexpected(f"the mail that {listener.tenant} sent through {listener.destination} {wrong}")


def _logins(journal: Path) -> list[Login]:
    lines = journal.read_text().splitlines() if journal.exists() else []
    return [Login(**json.loads(line)) for line in lines]


def _say_logins(logins: list[Login], say: Say) -> None:
    say("\n--- who logged in at the sandbox's mail servers\n")
    for login in logins:
        say(f"{login.protocol} session {login.session}: {login.user} by {login.mechanism} over {login.tls}")


def _check_logins(listeners: list[Listener], logins: list[Login]) -> None:
    """Each tenant has logged in as itself for each protocol, once with a password and once with a token."""
    seen = {(login.user, login.protocol, login.mechanism in _TOKEN_MECHANISMS) for login in logins}
    for listener in listeners:
        user = mailbox_of(listener.tenant)
        for by_token, how in ((False, "a password"), (True, "a token")):
            if (user, listener.protocol, by_token) not in seen:
                raise Unexpected(f"{user} did not log in with {how} for {listener.protocol}")
    if any(login.tls == "none" for login in logins):
        raise Unexpected("a login went over the wire without TLS")


def _answers(listener: Listener) -> bool:
    """
    Whether somebody is there, and greets.

    A whole session, with its end, rather than a mere connection: that would hold a maildrop for who knows how long.
    """
    try:
        telnet = Telnet(listener.port, _silent)
    except NobodyThere:
        return False
    with telnet:
        _greeted(telnet, listener)
        telnet.type("quit")
        telnet.read()
    return True


def _silent(line: str) -> None:
    del line
