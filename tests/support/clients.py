"""
Mail clients as people use them: each sends or collects through a plaintext port of loopback, without credentials.

Those that insist on logging in to collect use a user and a password that mean nothing.
"""

from __future__ import annotations

import poplib
import smtplib
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from attrs import frozen

from tests.support.letters import Letter
from tests.support.programs import run
from tests.support.terminal import Terminal, bare_socket, telnet
from tests.support.tools import Tools


@frozen
class Visitor:
    """The login of a client that cannot do without."""

    user: str = "anybody"
    password: str = "anything"


Send = Callable[[Tools, int, Letter], None]
"""Send a letter to a port; raises when the message was not accepted."""

Collect = Callable[[Tools, int, Visitor], list[bytes]]
"""All messages of the mailbox behind a port, with LF line ends."""


def _type_letter(terminal: Terminal, letter: Letter) -> None:
    """As people do who try it out: no EHLO, no brackets round addresses, and no QUIT."""
    _expect(terminal.read_reply(), b"220")
    _expect(terminal.ask(f"MAIL FROM:{letter.sender}"), b"250")
    _expect(terminal.ask(f"RCPT TO:{letter.recipient}"), b"250")
    _expect(terminal.ask("DATA"), b"354")
    for line in letter.octets.split(b"\n")[:-1]:
        terminal.type(b"." + line if line.startswith(b".") else line)
    _expect(terminal.ask("."), b"250")


def _expect(reply: bytes, code: bytes) -> bytes:
    assert reply.startswith(code), f"{reply!r} instead of {code!r}"
    return reply


def _type_commands(terminal: Terminal, visitor: Visitor) -> list[bytes]:
    """`list`, `retr` and `quit`; a login only where the visitor is somebody."""
    _expect(terminal.read_line(), b"+OK")
    if visitor != Visitor():
        _expect(terminal.ask(f"user {visitor.user}"), b"+OK")
        _expect(terminal.ask(f"pass {visitor.password}"), b"+OK")
    _expect(terminal.ask("list"), b"+OK")
    messages = []
    for number, _ in enumerate(terminal.read_body().splitlines(), 1):
        _expect(terminal.ask(f"retr {number}"), b"+OK")
        messages.append(terminal.read_body())
    _expect(terminal.ask("quit"), b"+OK")
    return messages


def _sends_by_hand(connect: Callable[[int], AbstractContextManager[Terminal]]) -> Send:
    def send(_: Tools, port: int, letter: Letter) -> None:
        with connect(port) as terminal:
            _type_letter(terminal, letter)

    return send


def _collects_by_hand(connect: Callable[[int], AbstractContextManager[Terminal]]) -> Collect:
    def collect(_: Tools, port: int, visitor: Visitor) -> list[bytes]:
        with connect(port) as terminal:
            return _type_commands(terminal, visitor)

    return collect


def _smtplib_sends(_: Tools, port: int, letter: Letter) -> None:
    with smtplib.SMTP("127.0.0.1", port) as client:
        assert client.sendmail(letter.sender, [letter.recipient], letter.raw) == {}


def _swaks_sends(_: Tools, port: int, letter: Letter) -> None:
    envelope = ["--from", letter.sender, "--to", letter.recipient]
    # swaks ends the last line by itself.
    run(["swaks", "-s", "127.0.0.1", "-p", str(port), *envelope, "--data", "-"], stdin=letter.octets[:-1])


def _curl_sends(_: Tools, port: int, letter: Letter) -> None:
    envelope = ["--mail-from", letter.sender, "--mail-rcpt", letter.recipient]
    run(["curl", "-sS", f"smtp://127.0.0.1:{port}/client.test", *envelope, "--upload-file", "-"], stdin=letter.raw)


def _msmtp_sends(tools: Tools, port: int, letter: Letter) -> None:
    folder = _new_folder(tools)
    settings = folder / "rc"
    settings.touch(mode=0o600)
    settings.write_text(f"account proxy\nhost 127.0.0.1\nport {port}\nauth off\ntls off\n")
    run(["msmtp", "-C", settings, "-a", "proxy", "-f", letter.sender, "--", letter.recipient], stdin=letter.octets)


def _nodemailer_sends(tools: Tools, port: int, letter: Letter) -> None:
    run(["node", "send.mjs", str(port), letter.sender, letter.recipient], stdin=letter.raw, cwd=tools.node)


def _java_mail(tools: Tools, *words: str | Path, stdin: bytes = b"") -> None:
    # The serial collector and a single compiler level halve the start, which is most of the run.
    run(["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", tools.class_path, "Mail", *words], stdin=stdin)


def _jakarta_mail_sends(tools: Tools, port: int, letter: Letter) -> None:
    _java_mail(tools, "send", str(port), letter.sender, letter.recipient, stdin=letter.raw)


def _poplib_collects(_: Tools, port: int, visitor: Visitor) -> list[bytes]:
    client = poplib.POP3("127.0.0.1", port)
    try:
        client.user(visitor.user)
        client.pass_(visitor.password)
        numbers = range(1, client.stat()[0] + 1)
        return [b"".join(line + b"\n" for line in client.retr(number)[1]) for number in numbers]
    finally:
        client.quit()


def _curl_collects(_: Tools, port: int, visitor: Visitor) -> list[bytes]:
    login = ["-sS", "-u", f"{visitor.user}:{visitor.password}"]
    listing = run(["curl", *login, f"pop3://127.0.0.1:{port}/"])
    numbers = range(1, len(listing.splitlines()) + 1)
    return [_unix(run(["curl", *login, f"pop3://127.0.0.1:{port}/{number}"])) for number in numbers]


def _mpop_collects(tools: Tools, port: int, visitor: Visitor) -> list[bytes]:
    folder = _new_folder(tools)
    settings = folder / "rc"
    settings.touch(mode=0o600)
    for name in ("new", "cur", "tmp"):
        (folder / "mail" / name).mkdir(parents=True)
    settings.write_text(
        f"account proxy\nhost 127.0.0.1\nport {port}\ntls off\nauth user\n"
        f"user {visitor.user}\npassword {visitor.password}\n"
        f"delivery maildir {folder / 'mail'}\nuidls_file {folder / 'uidls'}\nreceived_header off\nkeep off\n"
    )
    run(["mpop", "-C", settings, "proxy"])
    return _messages_in(folder / "mail" / "new")


def _fetchmail_collects(tools: Tools, port: int, visitor: Visitor) -> list[bytes]:
    folder = _new_folder(tools)
    (folder / "mail").mkdir()
    settings = folder / "rc"
    settings.touch(mode=0o600)
    settings.write_text(
        f"set invisible\n"
        f'poll 127.0.0.1 protocol POP3 port {port} username "{visitor.user}" password "{visitor.password}"\n'
        f'sslproto "" fetchall nokeep no rewrite mda "cat > $(mktemp -p {folder / "mail"})"\n'
    )
    home = {"HOME": str(folder), "FETCHMAILHOME": str(folder)}
    # Every fetchmail of root takes the same lock, unless it is told another.
    run(["fetchmail", "-f", settings, "--pidfile", folder / "pid", "--nodetach", "-N"], env=home)
    return _messages_in(folder / "mail")


def _jakarta_mail_collects(tools: Tools, port: int, visitor: Visitor) -> list[bytes]:
    folder = _new_folder(tools)
    _java_mail(tools, "collect", str(port), visitor.user, visitor.password, folder)
    return _messages_in(folder)


def _new_folder(tools: Tools) -> Path:
    return Path(tempfile.mkdtemp(dir=tools.scratch))


def _messages_in(folder: Path) -> list[bytes]:
    return [_unix(path.read_bytes()) for path in sorted(folder.iterdir())]


def _unix(message: bytes) -> bytes:
    return message.replace(b"\r\n", b"\n")


SENDERS: dict[str, Send] = {
    "raw": _sends_by_hand(bare_socket),
    "telnet": _sends_by_hand(telnet),
    "smtplib": _smtplib_sends,
    "swaks": _swaks_sends,
    "curl": _curl_sends,
    "msmtp": _msmtp_sends,
    "nodemailer": _nodemailer_sends,
    "jakarta": _jakarta_mail_sends,
}

COLLECTORS: dict[str, Collect] = {
    "raw": _collects_by_hand(bare_socket),
    "telnet": _collects_by_hand(telnet),
    "poplib": _poplib_collects,
    "curl": _curl_collects,
    "mpop": _mpop_collects,
    "fetchmail": _fetchmail_collects,
    "jakarta": _jakarta_mail_collects,
}

DELETERS = frozenset({"mpop", "fetchmail", "jakarta"})
"""The collectors that delete what they have collected; the others leave it where it is."""
