"""Whole sessions whose client writes an end of data that is none: nobody behind us takes it for one."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproxy.session.pop3_policy import POP3Policy
from mailproxy.session.smtp_policy import SMTPPolicy
from mailproxy.wire.transparency import BareNewlines
from tests.session.pop3_witness import POP3Witness
from tests.session.smtp_witness import SMTPWitness
from tests.wire.smuggling import END, SPELLINGS, deceived, divided, normalized

SMUGGLED = b"MAIL FROM:<evil@x>\r\nRCPT TO:<victim@y>\r\nDATA\r\nFrom: boss@y\r\n\r\npay"
NAMED = [pytest.param(octets, id=name) for name, octets in SPELLINGS.items()]


def in_content(policy, size=None):
    """A session whose mail server waits for mail data."""
    witness = SMTPWitness(policy, size=size)
    witness.client(b"MAIL FROM:<a@x>\r\n")
    witness.open("PIPELINING")
    witness.speak(b"250 ok\r\n")
    witness.client(b"RCPT TO:<b@y>\r\n")
    witness.speak(b"250 ok\r\n")
    witness.client(b"DATA\r\n")
    witness.speak(b"354 go\r\n")
    return witness


def check_sent(witness, stream):
    """The client has sent the stream: its one message went out, or none, and nobody sees another one in it."""
    witness.settle()
    body, rest = divided(stream)
    (server,) = witness.servers
    data = next(each.data for each in witness.answers if each.data is not None)
    if data.ended_at is None:
        assert not deceived(data.octets, None)
        assert witness.upstream is None
        assert witness.outcome == "bad_content"
        assert (
            witness.said.endswith(b"\r\n550 5.5.2 Message contains NUL\r\n" * (b"\0" in body))
            or b"bare" in witness.said
        )
    else:
        assert data.octets == normalized(body)
        assert not deceived(data.octets + END[2:], END[2:])
        assert server.log == [b"MAIL FROM:<a@x>", b"RCPT TO:<b@y>", b"DATA", data.octets]
        witness.speak(b"250 queued\r\n")
        assert b"250 queued\r\n" in witness.said
        assert rest == b""


@pytest.mark.parametrize("spelling", NAMED)
@pytest.mark.parametrize("policy", list(BareNewlines))
@pytest.mark.parametrize("size", [None, 1])
def test_what_is_smuggled_is_mail_data_or_ends_the_session(spelling, policy, size):
    witness = in_content(SMTPPolicy("proxy.test", bare_newline=policy), size)
    stream = b"Subject: x\r\n\r\nbody" + spelling + SMUGGLED + END
    witness.client(stream)
    check_sent(witness, stream)


@given(
    st.lists(st.sampled_from([*SPELLINGS.values(), b"\r\n", b"\r", b"\n", b".", b"RSET", b"a"]), max_size=12).map(
        b"".join
    ),
    st.lists(st.integers(0, 200), max_size=6),
    st.sampled_from(BareNewlines),
)
def test_so_it_is_for_any_text_in_any_pieces(text, places, policy):
    witness = in_content(SMTPPolicy("proxy.test", bare_newline=policy))
    stream = b"x" + text + b"x" + END
    stream = stream[: len(stream) - len(divided(stream)[1])]
    cuts = [0, *sorted(place % len(stream) for place in places), len(stream)]
    for start, end in itertools.pairwise(cuts):
        witness.client(stream[start:end])
    check_sent(witness, stream)


@pytest.mark.parametrize("spelling", NAMED)
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_a_mail_that_holds_one_does_not_end_its_response_for_a_lax_client(spelling, size):
    witness = POP3Witness(POP3Policy(fix_newlines=True))
    witness.open({})
    witness.client(b"RETR 1\r\n")
    before = len(witness.said)
    body = b"Subject: x\r\n\r\nbody" + spelling + b"+OK forged\r\n"
    octets = b"+OK\r\n" + body + END[2:]
    for start in range(0, len(octets), size):
        witness.speak(octets[start : start + size])
    response = witness.said[before:].removeprefix(b"+OK\r\n")
    assert response == normalized(body) + END[2:]
    if b"\0" not in spelling:
        assert not deceived(response, END[2:])
    witness.client(b"QUIT\r\n")
    assert witness.asked.endswith(b"QUIT\r\n")
