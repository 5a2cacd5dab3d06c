"""Mail data on its way, and the verdict on it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproxy.session.smtp_content import Content
from mailproxy.wire.transparency import BareNewlines


def test_the_first_verdict_stays():
    content = Content(BareNewlines.NORMALIZE, 0)
    content.spoil(b"451 lost\r\n")
    content.spoil(b"550 other\r\n", "bad_content")
    assert (content.verdict, content.outcome) == (b"451 lost\r\n", None)


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        (b"long " * 30 + b"\0", b"552 "),
        (b"\0" + b"long " * 30, b"550 5.5.2 Message contains NUL"),
        (b"\nSubject: x\0", b"550 5.5.2 Message contains bare"),
        (b"a\r\0\n", b"550 5.5.2 Message contains NUL"),
        (b"a\0\n", b"550 5.5.2 Message contains NUL"),
    ],
)
def test_of_several_faults_the_first_one_counts(body, verdict):
    content = Content(BareNewlines.REJECT, 60)
    content.feed(body)
    assert content.verdict.startswith(verdict)


PARTS = st.lists(st.sampled_from([b"ab", b"\r\n", b".", b"\r", b"\n", b"\0", b"x" * 20]), max_size=12).map(b"".join)


@given(PARTS, st.sampled_from(BareNewlines), st.sampled_from([0, 10, 30]), st.integers(1, 30))
def test_the_verdict_is_the_same_for_any_cut(body, policy, limit, size):
    whole, pieces, octets = Content(policy, limit), Content(policy, limit), Content(policy, limit)
    whole.feed(body)
    for start in range(0, len(body), size):
        pieces.feed(body[start : start + size])
    for octet in body:
        octets.feed(bytes((octet,)))
    verdicts = {(each.verdict, each.outcome) for each in (whole, pieces, octets)}
    assert len(verdicts) == 1
