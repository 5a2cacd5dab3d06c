"""Mail servers that lie, babble, trickle and break off, at any step of the login: it ends, once, and leaves nothing."""

import itertools
from contextlib import contextmanager

import pytest
from twisted.internet.task import LoopingCall

from mailproxy.destination.model import TLSMode
from mailproxy.errors import LacksTLS, RefusedLogin, RefusedSession, TLSFailed, UpstreamError, Violation
from mailproxy.upstream.stream import UpstreamStream
from tests.upstream.hostile import SCRIPTS, SECONDS, LogIn, MailServer

MOST_OCTETS = 300_000
"""What is read of an endless reply, with all that is on its way."""

STEPS = [(protocol, mode, step) for (protocol, mode), script in SCRIPTS.items() for step in range(len(script))]
HANDSHAKES = list(SCRIPTS)
MEGABYTES = 4 << 20


@pytest.fixture
def octets_read(monkeypatch):
    """How many octets each chunk had that the login was given."""
    chunks, receive = [], UpstreamStream.dataReceived

    def spy(stream, data):
        chunks.append(len(data))
        receive(stream, data)

    monkeypatch.setattr(UpstreamStream, "dataReceived", spy)
    return chunks


def name(case):
    return "-".join(str(getattr(part, "value", part)) for part in case)


each_step = pytest.mark.parametrize(("protocol", "mode", "step"), STEPS, ids=map(name, STEPS))
each_handshake = pytest.mark.parametrize(("protocol", "mode"), HANDSHAKES, ids=map(name, HANDSHAKES))


def failed(log_in, kind=UpstreamError):
    log_in.close()
    assert isinstance(log_in.result, kind), log_in.result
    return str(log_in.result)


@contextmanager
def noted(what):
    """A failure inside says with which entry of a table it was."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"it was: {what}")
        raise


# What can be said in place of a reply


def instead(octets):
    return lambda server, step: server.say(octets)


GARBAGE = {
    "nothing": b"\r\n",
    "web page": b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n",
    "shell": b"SSH-2.0-OpenSSH_9.2\r\n",
    "imap": b"* OK [CAPABILITY IMAP4rev1] ready\r\n",
    "alert of TLS": b"\x15\x03\x01\x00\x02\x02\x28\r\n",
    "noise": bytes(range(256)) * 4 + b"\r\n",
    "high octets": b"\xff\xfe\xe4\r\n",
    "only nul": b"\0" * 100 + b"\r\n",
    "bare lf": b"250 ok\n+OK\n",
    "bare cr": b"+OK a\rb\r\n",
    "code of 099": b"099 hi\r\n",
    "code of 000": b"000 hi\r\n",
    "code of 150": b"150 hi\r\n",
    "code of 600": b"600 hi\r\n",
    "code of 2x5": b"2x5 hi\r\n",
    "code of four": b"2200 hi\r\n",
    "code alone in a line of many": b"250-\r\n220 \r\n",
    "another code in the middle": b"220-a\r\n250-b\r\n220 c\r\n",
    "lower case": b"+ok\r\n",
    "no status": b"+\r\n",
    "end of a list": b".\r\n",
}


@each_step
def test_garbage_in_place_of_a_reply(protocol, mode, step):
    for what, octets in GARBAGE.items():
        with noted(what):
            failed(LogIn(protocol, mode, {step: instead(octets)}))


ENDLESS = {
    "one line": b"x" * MEGABYTES,
    "a reply of one line": b"250-" + b"x" * MEGABYTES,
    "a status of one line": b"+OK " + b"x" * MEGABYTES,
    "many lines": b"250-SIZE 1000\r\n" * (MEGABYTES // 15),
    "many statuses": b"+OK\r\n" * (MEGABYTES // 5),
    "a long list": b"+OK\r\n" + b"X-CAPABILITY\r\n" * (MEGABYTES // 14),
    "a list of long lines": b"+OK\r\n" + (b"X" * 16000 + b"\r\n") * (MEGABYTES // 16000),
    "many long lines": (b"250-" + b"x" * 4000 + b"\r\n") * (MEGABYTES // 4006),
    "empty lines": b"\r\n" * (MEGABYTES // 2),
    "nul": b"\0" * MEGABYTES,
    "challenges": b"334 \r\n" * (MEGABYTES // 6),
}


@each_step
def test_a_reply_without_end_is_not_read_to_its_end(protocol, mode, step, octets_read):
    for what, octets in ENDLESS.items():
        with noted(what):
            octets_read.clear()
            failed(LogIn(protocol, mode, {step: instead(octets)}))
            assert sum(octets_read) < MOST_OCTETS


@pytest.mark.parametrize("keywords", [64, 127])
def test_a_long_list_of_keywords_is_bounded(keywords):
    lines = [b"250-X%d\r\n" % number for number in range(keywords)]
    log_in = LogIn("smtp", TLSMode.IMPLICIT, {1: instead(b"".join(lines) + b"250 AUTH PLAIN\r\n")})
    log_in.close()


# Out of turn


MORE = {str(octets): octets for octets in (b"250 ok\r\n", b"+OK\r\n", b"2", b"+", b"\r\n", b"\0", b"\x16\x03\x01")}


@each_step
def test_more_than_was_asked_for_in_the_same_breath(protocol, mode, step):
    for what, more in MORE.items():
        with noted(what):
            failed(LogIn(protocol, mode, {step: instead(SCRIPTS[protocol, mode][step].reply + more)}), Violation)


@each_step
def test_a_reply_said_twice(protocol, mode, step):
    def attack(server, good):
        server.say(good.reply * 2)

    failed(LogIn(protocol, mode, {step: attack}), Violation)


@each_step
def test_a_second_greeting_in_place_of_a_reply(protocol, mode, step):
    greeting = SCRIPTS[protocol, mode][0].reply
    log_in = LogIn(protocol, mode, {step: instead(greeting)})
    log_in.advance(SECONDS + 1).close()


@each_step
def test_a_word_before_it_was_asked_for(protocol, mode, step):
    """The reply to the next command comes with this one, or just behind it."""
    script = SCRIPTS[protocol, mode]
    following = script[step + 1].reply if step + 1 < len(script) else b"220 what else\r\n"

    def attack(server, good):
        server.say(good.reply + following)

    failed(LogIn(protocol, mode, {step: attack}), Violation)


# Refusals


def closing(octets=b""):
    def attack(server, good):
        server.say(octets)
        server.transport.loseConnection()

    return attack


REFUSALS = {
    "421": b"421 4.3.2 closing\r\n",
    "554": b"554 no\r\n",
    "-ERR": b"-ERR\r\n",
    "-ERR with a code": b"-ERR [SYS/TEMP] closing\r\n",
}


@each_step
def test_a_refusal_at_any_step(protocol, mode, step):
    last_of_pop3 = protocol == "pop3" and step == len(SCRIPTS[protocol, mode]) - 1
    for what, refusal in REFUSALS.items():
        with noted(what):
            log_in = LogIn(protocol, mode, {step: closing(refusal)})
            if last_of_pop3 and refusal.startswith(b"-ERR"):
                log_in.close()  # we are in, and the mail server does not say what it can do
                assert log_in.result.capabilities.listed is None
            else:
                failed(log_in)


@pytest.mark.parametrize(
    ("mode", "step", "kind"),
    [
        (TLSMode.REQUIRED, 0, RefusedSession),
        (TLSMode.REQUIRED, 1, Violation),
        (TLSMode.REQUIRED, 2, LacksTLS),
        (TLSMode.REQUIRED, 3, Violation),
        (TLSMode.REQUIRED, 4, RefusedLogin),
    ],
)
def test_a_421_says_what_its_step_says(mode, step, kind):
    log_in = LogIn("smtp", mode, {step: instead(b"421 4.3.2 closing\r\n")})
    failed(log_in, kind)
    assert log_in.result.temporary


# Silence


def trickle(octets, seconds):
    """Says one octet after another, at intervals, and begins anew when it has none left."""

    def attack(server, good):
        said = itertools.cycle(octets)
        loop = LoopingCall(lambda: server.say(bytes([next(said)])))
        loop.clock = server.clock
        loop.start(seconds)
        server.at_end.append(loop.stop)

    return attack


SLOW = {
    "silence": instead(b""),
    "half a reply": instead(b"2"),
    "a line that never ends": trickle(b"x", 1),
    "a reply that never ends": trickle(b"250-SIZE\r\n", 0.1),
    "a list that never ends": lambda server, good: (server.say(b"+OK\r\n"), trickle(b"X\r\n", 1)(server, good)),
    "one octet a minute": trickle(b"+", 60),
}


@each_step
def test_slowness_does_not_put_the_deadline_off(protocol, mode, step):
    for what, attack in SLOW.items():
        with noted(what):
            log_in = LogIn(protocol, mode, {step: attack}).advance(SECONDS - 1)
            if log_in.result is None:
                log_in.advance(2)
                assert "within 20 s" in failed(log_in, RefusedSession)
            else:
                failed(log_in, Violation)


@each_step
def test_who_gives_up_leaves_nothing_behind(protocol, mode, step):
    for what, attack in SLOW.items():
        with noted(what):
            log_in = LogIn(protocol, mode, {step: attack}).advance(1)
            log_in.opening.cancel()
            log_in.advance(120).close()


# Breaking off


def resetting(octets=b""):
    """What was said before a reset may get lost, or not."""

    def attack(server, good):
        server.say(octets)
        server.clock.callLater(0, lambda: server.over or server.transport.abortConnection())

    return attack


BROKEN = {
    "closed": closing(),
    "closed in a reply": closing(b"2"),
    "closed in a list": closing(b"+OK\r\nTOP\r\n"),
    "closed in a reply of many lines": closing(b"250-a\r\n"),
    "reset": resetting(),
    "reset in a reply": resetting(b"+O"),
    "reset in a list": resetting(b"+OK\r\nTOP\r\n"),
}


@each_step
def test_a_connection_that_breaks_off(protocol, mode, step):
    for what, attack in BROKEN.items():
        with noted(what):
            failed(LogIn(protocol, mode, {step: attack}))


@each_step
@pytest.mark.parametrize("end", ["loseConnection", "abortConnection"])
def test_a_connection_that_breaks_off_behind_a_reply(protocol, mode, step, end):
    def attack(server, good):
        MailServer.keep_to_it(server, good)
        server.clock.callLater(0, lambda: server.over or getattr(server.transport, end)())

    log_in = LogIn(protocol, mode, {step: attack})
    log_in.close()
    if isinstance(log_in.result, UpstreamStream):
        assert step == len(SCRIPTS[protocol, mode]) - 1


# The handshake


def plain(octets, *, then=None):
    """In place of a handshake something else is said, and nothing more."""

    def attack(server, good):
        server.turn = len(server.script)
        server.say(octets)
        if then is not None:
            getattr(server.transport, then)()

    return attack


def when_asked_then(attack):
    """The same attack behind what the client of TLS says first."""

    def wait(server, good):
        server.dataReceived = lambda data: attack(server, good)

    return wait


def when_asked(octets, then=None):
    return when_asked_then(plain(octets, then=then))


NO_HANDSHAKE = {
    "a greeting": plain(b"220 hello\r\n"),
    "a status": when_asked(b"+OK hello\r\n"),
    "an alert": when_asked(b"\x15\x03\x01\x00\x02\x02\x28"),
    "an endless record": when_asked(b"\x16\x03\x03\xff\xff" + b"\0" * MEGABYTES),
    "noise": when_asked(bytes(range(256)) * 100),
    "closed": plain(b"", then="loseConnection"),
    "closed when asked": when_asked(b"", "loseConnection"),
    "closed in a record": when_asked(b"\x16\x03\x03\x00\x7a\x02", "loseConnection"),
    "reset": plain(b"", then="abortConnection"),
    "reset when asked": when_asked(b"", "abortConnection"),
    "reset in a record": when_asked(b"\x16\x03\x03\x00\x7a\x02", "abortConnection"),
}


@each_handshake
def test_what_is_no_handshake(protocol, mode):
    for what, attack in NO_HANDSHAKE.items():
        with noted(what):
            failed(LogIn(protocol, mode, {"handshake": attack}), (TLSFailed, RefusedSession, Violation))


SLOW_HANDSHAKE = {
    "silence": plain(b""),
    "a record that never ends": when_asked(b"\x16\x03\x03\x3f\xff\x02"),
    "one octet a minute": when_asked_then(trickle(b"\x16\x03\x03\x3f\xff\x02", 60)),
}


@each_handshake
def test_a_handshake_that_does_not_end(protocol, mode):
    for what, attack in SLOW_HANDSHAKE.items():
        with noted(what):
            log_in = LogIn(protocol, mode, {"handshake": attack}).advance(SECONDS + 1)
            assert "waiting for the TLS handshake" in failed(log_in, RefusedSession)


@each_handshake
def test_a_handshake_can_be_given_up(protocol, mode):
    for what, attack in SLOW_HANDSHAKE.items():
        with noted(what):
            log_in = LogIn(protocol, mode, {"handshake": attack}).advance(1)
            log_in.opening.cancel()
            log_in.advance(120).close()


@pytest.mark.parametrize("protocol", ["smtp", "pop3"])
@pytest.mark.parametrize("more", [b"250 AUTH PLAIN\r\n", b"+OK\r\nUSER\r\n.\r\n", b"x"])
def test_octets_in_a_packet_behind_the_go_ahead_are_no_part_of_what_follows(protocol, more):
    """They come after the switch, so that TLS has to make something of them, and cannot."""

    def attack(server, good):
        server.say(more)
        server.begin_tls()

    def later(server, good):
        server.clock.callLater(0, attack, server, good)

    log_in = LogIn(protocol, TLSMode.REQUIRED, {"handshake": later}).advance(SECONDS + 1)
    failed(log_in, (TLSFailed, Violation, RefusedSession))
    assert not [line for secure, line in log_in.server.heard if secure]


# SASL


def challenges(octets):
    """The server answers whatever it hears with another challenge."""

    def attack(server, good):
        server.say(octets)
        server.go_on = lambda: server.say(octets)

    return attack


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("challenge", [b"", b" ", b" VXNlcg==", b" !!!", b" " + b"QUFB" * 900, b" \xff\0"])
@pytest.mark.parametrize(("protocol", "step", "word"), [("smtp", 2, b"334"), ("pop3", 2, b"+")])
def test_endless_challenges_end(protocol, step, word, challenge, mechanism):
    mechanisms = (mechanism,) if protocol == "smtp" else ("PLAIN",)
    attacks = {step: challenges(word + challenge + b"\r\n")}
    if protocol == "pop3":
        attacks[1] = instead(b"+OK\r\nSASL PLAIN\r\n.\r\n")
    log_in = LogIn(protocol, TLSMode.IMPLICIT, attacks, mechanisms=mechanisms)
    failed(log_in, Violation)
    assert len(log_in.server.heard) < 10
