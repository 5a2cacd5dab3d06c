"""
A real Postfix: submission with STARTTLS, submissions with implicit TLS, and upstreams with other abilities.

It asks Dovecot about logins, delivers the accounts' own addresses into the mailboxes that Dovecot serves, and throws
away everything else.  Needs root.
"""

from __future__ import annotations

import os
import pwd
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from tests.support.accounts import Account
from tests.support.dovecot import MAILBOX_OWNER
from tests.support.ports import free_port
from tests.support.programs import run
from tests.support.waiting import listens, until

_MAIN = """\
compatibility_level = 3.6
queue_directory = {home}/spool
data_directory = {home}/data
maillog_file = {home}/maillog
maillog_file_prefixes = {temporary}
mail_owner = postfix
setgid_group = postdrop
myhostname = mail.test
mydestination =
mynetworks =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
alias_database =
local_recipient_maps =
default_transport = discard:
virtual_mailbox_domains = inbox.test
virtual_mailbox_base = {mail}
virtual_mailbox_maps = inline:{{ {mailboxes} }}
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 100
virtual_mailbox_limit = 0
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_tls_security_level = encrypt
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:127.0.0.1:{sasl}
smtpd_sasl_security_options = noanonymous
smtpd_sasl_authenticated_header = yes
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_recipient_restrictions = permit_sasl_authenticated, reject
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_error_sleep_time = 0
in_flow_delay = 0
message_size_limit = 314572800
"""

_SERVICES = """\
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
smtp      unix  - - n - - smtp
showq     unix  n - n - - showq
error     unix  - - n - - error
retry     unix  - - n - - error
discard   unix  - - n - - discard
virtual   unix  - n n - - virtual
anvil     unix  - - n - 1 anvil
postlog   unix-dgram n - n - 1 postlogd
"""

_IMPLICIT = "-o smtpd_tls_wrappermode=yes"
_TOLD = "-o smtpd_peername_lookup=no -o inet_protocols=all"
_PROXIED = f"{_TOLD} -o smtpd_upstream_proxy_protocol=haproxy"
_LISTENERS = {
    "submission": "",
    "submissions": _IMPLICIT,
    "only-plain": "-o smtpd_sasl_mechanism_filter=plain",
    "only-login": "-o smtpd_sasl_mechanism_filter=login",
    "only-xoauth2": "-o smtpd_sasl_mechanism_filter=xoauth2",
    "only-oauthbearer": "-o smtpd_sasl_mechanism_filter=oauthbearer",
    "no-pipelining": "-o smtpd_discard_ehlo_keywords=pipelining,chunking",
    "no-8bitmime": "-o smtpd_discard_ehlo_keywords=8bitmime,smtputf8,chunking",
    "proxied": _PROXIED,
    "proxied-tls": f"{_PROXIED} {_IMPLICIT}",
    "xclient": f"{_TOLD} -o smtpd_authorized_xclient_hosts=127.0.0.1",
    "no-tls": "-o smtpd_tls_security_level=none",
    "open": "-o smtpd_tls_security_level=none -o smtpd_sasl_auth_enable=no -o mynetworks=127.0.0.0/8"
    " -o smtpd_relay_restrictions=permit_mynetworks,reject -o smtpd_recipient_restrictions=permit_mynetworks,reject",
}
"""Name (also in the log, behind `postfix/`) and options of each; `open` is for trying clients without a proxy."""


@frozen
class Postfix:
    """The running server; `ports` has a number for each of the listeners' names."""

    home: Path
    ports: dict[str, int]

    @classmethod
    def start(
        cls, home: Path, mail: Path, certificate: Path, key: Path, accounts: Sequence[Account], *, sasl: int
    ) -> Postfix:
        """It listens on all of its ports; `sasl` is where Dovecot checks logins."""
        assert os.geteuid() == 0, "Postfix can be started by root only; run the integration tests as root"
        ports = {name: free_port() for name in _LISTENERS}
        etc = _make_folders(home)
        owner = pwd.getpwnam(MAILBOX_OWNER)
        (etc / "main.cf").write_text(
            _MAIN.format(
                home=home,
                mail=mail,
                certificate=certificate,
                key=key,
                sasl=sasl,
                temporary=tempfile.gettempdir(),
                mailboxes=", ".join(f"{{{each.address} = {each.user}/}}" for each in accounts),
                uid=owner.pw_uid,
                gid=owner.pw_gid,
            )
        )
        (etc / "master.cf").write_text("".join(map(_listener, ports.items())) + _SERVICES)
        run(["postfix", "-c", etc, "check"])
        run(["postfix", "-c", etc, "start"])
        server = cls(home, ports)
        try:
            until(lambda: all(map(listens, ports.values())), "Postfix to listen")
        except AssertionError as failure:
            server.stop()
            raise AssertionError(f"{failure}\n{server.log}") from None
        return server

    @property
    def log(self) -> str:
        """All that it has logged so far."""
        path = self.home / "maillog"
        return path.read_text(errors="replace") if path.exists() else ""

    def client_of(self, message_id: str) -> str:
        """Name and address of the client that brought the message with this Message-ID, as the log has it."""
        queued = until(
            lambda: re.search(rf": ([0-9A-F]+): message-id=<{re.escape(message_id)}>", self.log),
            f"{message_id} in the log of Postfix",
        )
        found = re.search(rf": {queued[1]}: client=([^,\s]+)", self.log)
        assert found, f"{message_id} came from nowhere"
        return found[1]

    def login_of(self, message_id: str) -> tuple[str, str, str]:
        """Listener, mechanism and user of the session that brought the message with this Message-ID."""
        return until(lambda: self._login_of(message_id), f"{message_id} in the log of Postfix")

    def stop(self) -> None:
        """It has ended."""
        run(["postfix", "-c", self.home / "etc", "stop"])

    def _login_of(self, message_id: str) -> tuple[str, str, str] | None:
        queued = re.search(rf": ([0-9A-F]+): message-id=<{re.escape(message_id)}>", self.log)
        if not queued:
            return None
        session = re.search(
            rf"postfix/([\w-]+)/smtpd\[\d+\]: {queued[1]}: client=\S+, sasl_method=(\w+), sasl_username=(\S+)", self.log
        )
        assert session, f"{message_id} came without a login"
        return session[1], session[2], session[3]


def _make_folders(home: Path) -> Path:
    for name in ("etc", "spool", "data"):
        (home / name).mkdir(parents=True)
    owner = pwd.getpwnam("postfix")
    os.chown(home / "data", owner.pw_uid, owner.pw_gid)
    return home / "etc"


def _listener(named: tuple[str, int]) -> str:
    name, port = named
    return f"127.0.0.1:{port} inet n - n - - smtpd -o syslog_name=postfix/{name} {_LISTENERS[name]}\n"
