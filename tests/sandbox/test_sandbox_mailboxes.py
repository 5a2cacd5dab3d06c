"""Accounts, tokens and mail in memory."""

import pytest

from mailproxy.sandbox.mailboxes import Mailboxes, StorageFull
from mailproxy.sandbox.tokens import TokenBook


class Clock:
    seconds = 1000.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def mailboxes(clock):
    return Mailboxes(TokenBook(clock))


def test_a_password_opens_only_its_own_account_whatever_the_case_of_the_name(mailboxes):
    mailboxes.add_account("robot@acme.example", "right")
    mailboxes.add_account("robot@globex.example", "other")
    assert mailboxes.accepts_password("Robot@ACME.example", "right")
    assert not mailboxes.accepts_password("robot@globex.example", "right")
    assert not mailboxes.accepts_password("robot@acme.example", "")
    assert not mailboxes.accepts_password("nobody@acme.example", "right")


def test_an_account_without_password_takes_none(mailboxes):
    mailboxes.add_account("robot@acme.example")
    assert not mailboxes.accepts_password("robot@acme.example", "")


def test_a_token_is_good_for_its_subject_until_it_expires(mailboxes, clock):
    token = mailboxes.tokens.issue("robot@acme.example", 60)
    assert mailboxes.accepts_token("robot@acme.example", token)
    assert not mailboxes.accepts_token("robot@globex.example", token)
    clock.seconds += 60
    assert not mailboxes.accepts_token("robot@acme.example", token)


def test_a_revoked_token_is_not_good(mailboxes):
    token = mailboxes.tokens.issue("robot@acme.example", 60)
    mailboxes.tokens.revoke_all()
    assert not mailboxes.accepts_token("robot@acme.example", token)


def test_expired_tokens_are_forgotten(mailboxes, clock):
    for _ in range(10):
        mailboxes.tokens.issue("robot@acme.example", 60)
        clock.seconds += 100
    assert len(mailboxes.tokens._good) == 1


def test_mail_for_an_unknown_address_has_a_mailbox_of_its_own(mailboxes):
    mailboxes.deliver(["a@x.example", "B@x.example", "b@X.example"], b"hello\r\n")
    assert [message.octets for message in mailboxes.mailbox("A@x.example").messages] == [b"hello\r\n"]
    assert len(mailboxes.mailbox("b@x.example").messages) == 1
    assert not mailboxes.mailbox("c@x.example").messages


def test_mail_that_does_not_fit_lies_in_no_mailbox(clock):
    mailboxes = Mailboxes(TokenBook(clock), capacity=10)
    with pytest.raises(StorageFull):
        mailboxes.deliver(["a@x.example", "b@x.example"], b"123456")
    assert not mailboxes.mailbox("a@x.example").messages
    mailboxes.deliver(["a@x.example"], b"1234567890")


def test_secrets_are_in_no_repr(mailboxes):
    mailboxes.add_account("robot@acme.example", "sentinel-password")
    token = mailboxes.tokens.issue("robot@acme.example", 60)
    assert "sentinel" not in repr(mailboxes)
    assert token not in repr(mailboxes)
