"""
Accounts and their mailboxes, in memory, and the list of who has logged in.
"""

from __future__ import annotations

import hmac
import itertools
import secrets
from collections.abc import Callable, Iterable

from attrs import define, field, frozen

from mailproxy.sandbox.tokens import TokenBook

CAPACITY = 256 * 1024 * 1024
"""Octets of mail that all mailboxes hold together."""


class StorageFull(Exception):
    """There is no room for this message."""


@frozen
class Message:
    """One message as POP3 shows it: CRLF lines, not stuffed, with the headers that the delivery added."""

    unique_id: str
    octets: bytes


@frozen
class Login:
    """Somebody has proved who they are: in which session, how, and under which TLS version."""

    session: int
    protocol: str
    user: str
    mechanism: str
    tls: str


@define
class Mailbox:
    """A maildrop; one session at a time may hold it."""

    messages: list[Message] = field(factory=list)
    held: bool = False

    def remove(self, unique_ids: Iterable[str]) -> None:
        """These messages are gone for good."""
        gone = frozenset(unique_ids)
        self.messages = [message for message in self.messages if message.unique_id not in gone]


@define
class Mailboxes:
    """
    All accounts and all mail of the sandbox.

    `on_login` is called for every login, after it was noted in `logins`.
    """

    tokens: TokenBook
    on_login: Callable[[Login], None] = field(default=lambda _login: None)
    capacity: int = CAPACITY
    logins: list[Login] = field(factory=list)
    _passwords: dict[str, str] = field(factory=dict, repr=False)
    _boxes: dict[str, Mailbox] = field(factory=dict, repr=False)
    _session_numbers: itertools.count[int] = field(factory=lambda: itertools.count(1), repr=False)

    def add_account(self, user: str, password: str | None = None) -> None:
        """The user may log in with this password; without one only with a token."""
        self.mailbox(user)
        if password is not None:
            self._passwords[user.lower()] = password

    def next_session(self) -> int:
        """The number of a new session."""
        return next(self._session_numbers)

    def accepts_password(self, user: str, password: str) -> bool:
        """Whether this password is the user's."""
        right = self._passwords.get(user.lower())
        return right is not None and hmac.compare_digest(right.encode(), password.encode())

    def accepts_token(self, user: str, token: str) -> bool:
        """Whether this token is good now and opens the user's mailbox."""
        subject = self.tokens.subject(token)
        return subject is not None and subject.lower() == user.lower()

    def note(self, login: Login) -> None:
        """The login has happened."""
        self.logins.append(login)
        self.on_login(login)

    def mailbox(self, address: str) -> Mailbox:
        """The mailbox of an account, or of any other address: nobody is unknown here."""
        return self._boxes.setdefault(address.lower(), Mailbox())

    def deliver(self, recipients: Iterable[str], octets: bytes) -> None:
        """
        The message lies in the mailbox of each recipient.

        Raises:
            StorageFull: it lies in none.
        """
        boxes = [self.mailbox(recipient) for recipient in dict.fromkeys(map(str.lower, recipients))]
        if self._octets() + len(octets) * len(boxes) > self.capacity:
            raise StorageFull
        for box in boxes:
            box.messages.append(Message(secrets.token_hex(8), octets))

    def _octets(self) -> int:
        return sum(len(message.octets) for box in self._boxes.values() for message in box.messages)
