"""
The test bed: one authority, one Dovecot, one Postfix, and the mailboxes that they share.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from attrs import frozen

from mailproxy.sandbox.pki import Authority
from tests.support.accounts import ACCOUNTS, Account
from tests.support.dovecot import Dovecot
from tests.support.maildir import Mailbox
from tests.support.postfix import Postfix

MAIL_HOST = "mail.localhost"


@frozen
class Bed:
    """Real mail servers on loopback; `home` is theirs, and short enough for Unix sockets below it."""

    home: Path
    authority: Authority
    ca_file: Path
    dovecot: Dovecot
    postfix: Postfix

    def mailbox(self, account: Account) -> Mailbox:
        """Where the account's mail arrives, and is collected from."""
        return Mailbox(self.dovecot.mail / account.user)

    def clear_mailboxes(self) -> None:
        """No account has mail."""
        for account in ACCOUNTS:
            self.mailbox(account).clear()


@contextmanager
def open_folder() -> Iterator[Path]:
    """
    A folder that servers can enter which change to another user; gone afterwards.

    pytest's own folders cannot be entered so: their parents belong to root alone.
    """
    folder = Path(tempfile.mkdtemp(prefix="mp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def running_bed() -> Iterator[Bed]:
    """Both servers run; afterwards both have ended and nothing of them is left."""
    with ExitStack() as stack:
        home = stack.enter_context(open_folder())
        authority = Authority.create()
        ca_file = authority.write(home / "ca.pem")
        certificate, key = authority.issue(MAIL_HOST).write(home, "mail")
        mail = home / "mail"
        dovecot = Dovecot.start(home / "dovecot", mail, certificate, key, ACCOUNTS)
        stack.callback(dovecot.stop)
        postfix = Postfix.start(home / "postfix", mail, certificate, key, ACCOUNTS, sasl=dovecot.sasl)
        stack.callback(postfix.stop)
        yield Bed(home, authority, ca_file, dovecot, postfix)
