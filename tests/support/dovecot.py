"""
A real Dovecot: POP3 with STLS, POP3S, and the SASL server that Postfix asks.

Passwords come from a file; access tokens are JSON Web Tokens that Dovecot checks by itself.
"""

from __future__ import annotations

import base64
import os
import pwd
import secrets
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from tests.support.accounts import Account
from tests.support.ports import free_port
from tests.support.programs import Daemon

MAILBOX_OWNER = "dovecot"

_CONFIGURATION = """\
base_dir = {home}/run
state_dir = {home}/run
log_path = {home}/log
protocols = pop3
listen = 127.0.0.1
disable_plaintext_auth = yes
auth_mechanisms = plain login xoauth2 oauthbearer
auth_failure_delay = 0
mail_location = maildir:{mail}/%u
maildir_very_dirty_syncs = no
haproxy_trusted_networks = 127.0.0.1/32
ssl = yes
ssl_cert = <{certificate}
ssl_key = <{key}
first_valid_uid = 1
mail_uid = {owner}
mail_gid = {owner}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {home}/passwd
}}
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {home}/oauth2.conf.ext
}}
userdb {{
  driver = static
  args = uid={owner} gid={owner} home={mail}/%u
}}
service auth {{
  inet_listener sasl {{
    address = 127.0.0.1
    port = {sasl}
  }}
}}
service pop3-login {{
  chroot =
  process_min_avail = 2
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = {pop3s}
    ssl = yes
  }}
  inet_listener pop3_haproxy {{
    port = {proxied}
    haproxy = yes
  }}
  inet_listener pop3s_haproxy {{
    port = {proxied_tls}
    ssl = yes
    haproxy = yes
  }}
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  chroot =
}}
"""

_TOKENS = """\
introspection_mode = local
local_validation_key_dict = fs:posix:prefix={home}/jwt/
username_attribute = sub
username_format = %u
scope = mail
"""


@frozen
class Dovecot:
    """The running server; `token_key` signs the tokens that it takes.  What is `proxied` wants a PROXY header first."""

    home: Path
    mail: Path
    pop3: int
    pop3s: int
    sasl: int
    proxied: int
    proxied_tls: int
    token_key: bytes
    daemon: Daemon

    @classmethod
    def start(cls, home: Path, mail: Path, certificate: Path, key: Path, accounts: Sequence[Account]) -> Dovecot:
        """It listens on all of its ports, and every account has an empty mailbox under `mail`."""
        pop3, pop3s, sasl, proxied, proxied_tls = (free_port() for _ in range(5))
        token_key = secrets.token_bytes(32)
        home.mkdir()
        _write_tokens(home, token_key)
        (home / "passwd").write_text("".join(f"{each.user}:{{PLAIN}}{each.password}\n" for each in accounts))
        for each in accounts:
            _make_maildir(mail / each.user)
        configuration = home / "dovecot.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                home=home,
                mail=mail,
                certificate=certificate,
                key=key,
                owner=MAILBOX_OWNER,
                pop3=pop3,
                pop3s=pop3s,
                sasl=sasl,
                proxied=proxied,
                proxied_tls=proxied_tls,
            )
        )
        daemon = Daemon.start(["dovecot", "-F", "-c", configuration], log=home / "output")
        server = cls(home, mail, pop3, pop3s, sasl, proxied, proxied_tls, token_key, daemon)
        try:
            daemon.wait_for(pop3, pop3s, sasl, proxied, proxied_tls)
        except AssertionError as failure:
            daemon.stop()
            raise AssertionError(f"{failure}\n{server.log}") from None
        return server

    @property
    def log(self) -> str:
        """All that it has logged so far."""
        path = self.home / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def stop(self) -> None:
        """It has ended.  Postfix has to be gone before, or children of it stay."""
        self.daemon.stop()


def _write_tokens(home: Path, token_key: bytes) -> None:
    (home / "oauth2.conf.ext").write_text(_TOKENS.format(home=home))
    key_file = home / "jwt" / "default" / "HS256" / "default"
    key_file.parent.mkdir(parents=True)
    key_file.write_bytes(base64.b64encode(token_key))


def _make_maildir(folder: Path) -> None:
    owner = pwd.getpwnam(MAILBOX_OWNER)
    for name in (".", "new", "cur", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        os.chown(folder / name, owner.pw_uid, owner.pw_gid)
