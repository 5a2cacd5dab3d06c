"""What clients are told about failures: fixed words that give nobody away, and codes that agree with each other."""

import re

import pytest

from mailproxy import errors
from mailproxy.session.pop3_words import failure_line
from mailproxy.session.smtp_words import failure_reply
from tests.support import vocabulary

SENTINEL = "sentinel at mail.internal.example"
ERRORS = [
    errors.RefusedLogin(SENTINEL, temporary=False),
    errors.RefusedLogin(SENTINEL, temporary=True, response_code="IN-USE"),
    errors.DestinationUnusable("mail.sentinel", SENTINEL),
    *(
        kind(SENTINEL)
        for kind in vars(errors).values()
        if isinstance(kind, type)
        and issubclass(kind, errors.MailProxyError)
        and kind not in (errors.RefusedLogin, errors.DestinationUnusable, errors.ConfigError, errors.BadCommand)
    ),
]
named = pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)


@named
def test_no_word_about_a_failure_is_about_who_or_where(error):
    for told in (failure_reply(421, error), failure_reply(451, error), failure_line(error)):
        assert b"sentinel" not in told
        assert b"mail.internal" not in told


@named
def test_what_fails_on_our_side_is_temporary_for_smtp_and_never_the_clients_password_for_pop3(error):
    assert failure_reply(451, error).startswith(b"451 4.")
    assert failure_reply(421, error).startswith(b"421 4.")
    assert re.match(rb"-ERR \[(?:SYS/TEMP|SYS/PERM|IN-USE|LOGIN-DELAY)\] ", failure_line(error))


def test_an_enhanced_code_begins_as_its_reply_does():
    replies = [re.match(r"([2-5])[0-9]{2} ([0-9])\.[0-9]+\.[0-9]+ ", reply) for reply in vocabulary.smtp_replies()]
    found = [each.groups() for each in replies if each is not None]
    assert len(found) > 25
    assert all(one == other for one, other in found)
