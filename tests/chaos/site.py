"""
A site: real Postfix and Dovecot in a network namespace of their own, made to be killed and started again.

Their configurations are those of `tests.support`, with what chaos needs laid over them.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import stat
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from attrs import define, field

from mailproxy.sandbox.pki import Authority
from tests.chaos.network import Wire
from tests.chaos.plan import DOMAIN, Place, Tenant
from tests.chaos.waiting import comes_true
from tests.support import dovecot, postfix
from tests.support.programs import program

_POSTFIX = """\
recipient_delimiter = +
smtpd_timeout = 20s
minimal_backoff_time = 2s
maximal_backoff_time = 4s
queue_run_delay = 2s
transport_retry_time = 2s
smtpd_client_connection_count_limit = 0
default_process_limit = 200
"""
_SUBMISSION = "{address}:{port} inet n - n - - smtpd -o syslog_name=postfix/{port} {options}\n"
_DOVECOT = """\
listen = {address}
default_client_limit = 2000
service pop3-login {{
  process_limit = 200
}}
"""
_LISTENING = "0A"
_UP_SECONDS = 30.0
_STEP_SECONDS = 0.05
_QUEUES = ("maildrop", "incoming", "active", "deferred")


@define
class Server:
    """
    Postfix or Dovecot: `name` is part of the path of its programs.  `command` starts it.
    """

    name: str
    wire: Wire
    ports: tuple[int, ...]
    command: tuple[str, ...]
    log: Path
    busy: asyncio.Lock = field(factory=asyncio.Lock)
    """Held by who does something to it."""

    async def start(self) -> None:
        """It listens."""
        with self.log.open("ab") as output:
            await asyncio.create_subprocess_exec(
                *self.wire.inside, *self.command, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output
            )
        assert await comes_true(self._listens, _UP_SECONDS), f"{self.name} does not listen; {self.log} may say why"

    async def kill(self) -> None:
        """
        None of its processes is left.

        The parent of all goes first, so that none is started anew; then those that answer clients: a survivor of them
        would tell of failures that were none.
        """
        while found := self.processes():
            for pid in sorted(found, key=lambda pid: _order(found[pid])):
                _signal(pid, signal.SIGKILL)
            await asyncio.sleep(_STEP_SECONDS)

    def kill_one(self, names: Sequence[str], choose: Callable[[Sequence[int]], int]) -> bool:
        """One of the processes with these names is gone; False when there was none."""
        found = [pid for pid, name in self.processes().items() if name in names]
        if found:
            _signal(choose(sorted(found)), signal.SIGKILL)
        return bool(found)

    def stop(self) -> None:
        """Every process of it stands still."""
        for pid in self.processes():
            _signal(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """They go on."""
        for pid in self.processes():
            _signal(pid, signal.SIGCONT)

    def processes(self) -> dict[int, str]:
        """Number and name of every process of it."""
        found = {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                here = (folder / "ns" / "net").stat().st_ino == self.wire.namespace
                path = (folder / "exe").readlink()
            except OSError:  # gone meanwhile, or dead already
                continue
            if here and self.name in str(path):
                found[int(folder.name)] = path.name
        return found

    def _listens(self) -> bool:
        rows = [line.split() for line in Path(f"/proc/{self.wire.holder.pid}/net/tcp").read_text().splitlines()[1:]]
        open_ports = {int(row[1].partition(":")[2], 16) for row in rows if row[3] == _LISTENING}
        return open_ports.issuperset(self.ports)


@define
class Site:
    """Both servers of a place, and the mailboxes of its tenants below `mail`."""

    place: Place
    wire: Wire
    home: Path
    postfix: Server
    dovecot: Server

    @classmethod
    def prepare(
        cls, place: Place, wire: Wire, home: Path, authority: Authority, tenants: Sequence[Tenant], token_key: bytes
    ) -> Site:
        """Everything is written; nothing runs yet."""
        home.mkdir()
        (home / "mail").mkdir()
        sasl = place.pop3s + 1
        certificate = authority.issue(place.host).write(home, "mail")
        return cls(
            place,
            wire,
            home,
            _prepare_postfix(place, wire, home, certificate, tenants, sasl),
            _prepare_dovecot(place, wire, home, certificate, tenants, sasl, token_key),
        )

    @property
    def servers(self) -> tuple[Server, Server]:
        """Both of them."""
        return self.dovecot, self.postfix

    async def start(self) -> None:
        """Both listen; Postfix asks Dovecot about logins."""
        for server in self.servers:
            await server.start()

    def queued(self) -> int:
        """Messages that Postfix has taken and not delivered yet: it makes a queue file executable when it is whole."""
        spool = self.home / "postfix" / "spool"
        files = [
            Path(folder, name) for queue in _QUEUES for folder, _, names in os.walk(spool / queue) for name in names
        ]
        return sum(map(_is_whole, files))

    def folder(self, user: str) -> Path:
        """The mailbox of a user."""
        return self.home / "mail" / user


def _prepare_postfix(
    place: Place, wire: Wire, home: Path, certificate: tuple[Path, Path], tenants: Sequence[Tenant], sasl: int
) -> Server:
    own = home / "postfix"
    etc = postfix._make_folders(own)
    owner = pwd.getpwnam(dovecot.MAILBOX_OWNER)
    boxes = [
        f"{{{tenant.name}-{box}@{DOMAIN} = {user}/}}" for tenant in tenants for box, user in tenant.folders.items()
    ]
    main = postfix._MAIN.format(
        home=own,
        mail=home / "mail",
        certificate=certificate[0],
        key=certificate[1],
        sasl=sasl,
        temporary=tempfile.gettempdir(),
        mailboxes=", ".join(boxes),
        uid=owner.pw_uid,
        gid=owner.pw_gid,
    )
    (etc / "main.cf").write_text(main + _POSTFIX)
    options = {place.smtp: "", place.smtps: postfix._IMPLICIT}
    listeners = [_SUBMISSION.format(address=place.address, port=port, options=words) for port, words in options.items()]
    (etc / "master.cf").write_text("".join(listeners) + postfix._SERVICES)
    command = (program("postfix"), "-c", str(etc), "start")
    return Server("/postfix/", wire, (place.smtp, place.smtps), command, home / "postfix.output")


def _prepare_dovecot(
    place: Place,
    wire: Wire,
    home: Path,
    certificate: tuple[Path, Path],
    tenants: Sequence[Tenant],
    sasl: int,
    token_key: bytes,
) -> Server:
    own = home / "dovecot"
    own.mkdir()
    dovecot._write_tokens(own, token_key)
    accounts = [tenant.account for tenant in tenants]
    (own / "passwd").write_text("".join(f"{each.user}:{{PLAIN}}{each.password}\n" for each in accounts))
    for tenant in tenants:
        for user in tenant.folders.values():
            dovecot._make_maildir(home / "mail" / user)
    configuration = own / "dovecot.conf"
    text = dovecot._CONFIGURATION.format(
        home=own,
        mail=home / "mail",
        certificate=certificate[0],
        key=certificate[1],
        owner=dovecot.MAILBOX_OWNER,
        pop3=place.pop3,
        pop3s=place.pop3s,
        sasl=sasl,
        proxied=sasl + 1,
        proxied_tls=sasl + 2,
    )
    configuration.write_text(text + _DOVECOT.format(address=place.address))
    command = (program("dovecot"), "-F", "-c", str(configuration))
    return Server("dovecot", wire, (place.pop3, place.pop3s, sasl), command, home / "dovecot.output")


def _is_whole(queue_file: Path) -> bool:
    try:
        return bool(queue_file.stat().st_mode & stat.S_IXUSR)
    except FileNotFoundError:  # delivered meanwhile
        return False


def _order(name: str) -> int:
    return {"master": 0, "dovecot": 0, "smtpd": 1, "pop3": 1, "pop3-login": 1}.get(name, 2)


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it has just ended
        os.kill(pid, number)
