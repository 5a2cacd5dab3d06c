"""
Targets: what an operator and a client are shown of a peer's words.
"""

from __future__ import annotations

import json

from twisted.logger import Logger, eventAsText

from mailproxy.destination.jsontext import peer_words
from mailproxy.destination.model import Password, Token
from mailproxy.observe.sessions import ListenerLog
from mailproxy.observe.text import printable, without_secrets
from mailproxy.upstream.words import concealer, quoted
from tests.fuzz.target import options, target

SECRET = "Sentinel/s3cret+word=="
OTHER = "Sentinel-of-another-kind"
BASE64 = (b"U2VudGluZWwvczNjcmV0K3dvcmQ9PQ==", b"TZW50aW5lbC9zM2NyZXQrd29yZD09", b"AU2VudGluZWwvczNjcmV0K3dvcmQ9PQ")


@target(
    "text",
    SECRET.encode(),
    SECRET[:9].encode(),
    OTHER.encode(),
    *BASE64,
    b"\x1b[2J",
    b"\r\n",
    b"\xc3\xa4",
    b"Sentinel%2Fs3cret%2Bword%3D%3D",
)
def check_text(data):
    (choice,), octets = options(data, 1)
    limit = 1 + choice
    check_printable(octets, limit)
    text = octets.decode("utf-8", "surrogateescape") if choice & 1 else octets.decode("latin-1")
    check_without_secrets(text)
    shown = peer_words(text, secrets=(SECRET, OTHER), limit=limit)
    check_line(shown)
    assert SECRET not in shown
    assert len(shown) <= 4 * limit + 3
    check_credentials(octets)


def check_line(text):
    """One line of printable ASCII."""
    assert text.isascii()
    assert text.isprintable() or text == ""


def check_printable(octets, limit):
    shown = printable(octets, limit)
    check_line(shown)
    assert len(shown) <= 4 * limit + 3
    if len(octets) <= limit:
        assert shown.encode().decode("unicode_escape").encode("latin-1") == octets


def check_without_secrets(text):
    clean = without_secrets(text, (SECRET, OTHER))
    assert SECRET[:8] not in clean
    assert OTHER[:8] not in clean
    if SECRET[:8] not in text:
        assert clean == text
    assert without_secrets(clean, (SECRET, OTHER)) == clean


def check_credentials(octets):
    """What a mail server says, with whatever it was sent to log in."""
    for credentials in (None, Password("robot", SECRET), Token("robot", SECRET, 1e9)):
        conceal = concealer(credentials)
        clean = conceal(octets)
        words = quoted(octets, credentials)
        check_line(words)
        assert conceal(clean) == clean
        if credentials is None:
            assert clean == octets
            continue
        for form in (SECRET.encode(), b"U2VudGluZWwvczNjcmV0K3dvcmQ9P", b"TZW50aW5lbC9zM2NyZXQrd29yZD0"):
            assert form not in clean
            assert form.decode() not in words
        if b"Sentinel" not in octets and not any(form[2:10] in octets for form in BASE64):
            assert len(clean) == len(octets) or b"<secret>" in clean


@target(
    "log",
    b"\x1b]0;x\x07",
    b"\r\n2026-01-01T00:00:00 [fake#info] ",
    b"{log_format}",
    b"{",
    b"}",
    b"{0}",
    b"\xc2\x85",
    b"\xe2\x80\xa8",
)
def check_log(octets):
    """Whatever a peer says, a session's line in the log is one line, in text as in JSON."""
    events = []
    log = ListenerLog("mail", "acme", logger=Logger(namespace="fuzz", observer=events.append)).session("192.0.2.1")
    log.quote = lambda text: quoted(text, Password("robot", SECRET))
    text = octets.decode("latin-1")
    for fields in ({"text": octets}, {"reason": text, "code": 250}, {}):
        log.report("message", fields)
    log.ended("quit")
    assert len(events) == 4
    # Of a peer's own words, which are bytes, the log knows what must not be in them.
    assert SECRET not in eventAsText(events[0])
    for event in events:
        check_line(eventAsText(event, includeTimestamp=False))
        assert json.loads(json.dumps(event["text"])) == event["text"]
