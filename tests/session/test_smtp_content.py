"""Mail data on its way, and the verdict on it."""

from mailproxy.session.smtp_content import Content
from mailproxy.wire.transparency import BareNewlines


def test_the_first_verdict_stays():
    content = Content(BareNewlines.NORMALIZE, 0)
    content.spoil(b"451 lost\r\n")
    content.spoil(b"550 other\r\n", "bad_content")
    assert (content.verdict, content.outcome) == (b"451 lost\r\n", None)
