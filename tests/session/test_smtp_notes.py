"""What the ledger hears of mail transactions."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproxy.errors import Unreachable
from mailproxy.session import smtp_notes
from mailproxy.session.actions import Recipient, Transacted, TransactionBegun
from mailproxy.session.agenda import Agenda
from mailproxy.session.smtp import SMTPSession
from mailproxy.session.smtp_notes import (
    MAX_MESSAGE_ID_OCTETS,
    MAX_SEARCHED_OCTETS,
    MAX_WORDS_OCTETS,
    MessageIDFinder,
    Notes,
)
from mailproxy.session.smtp_policy import SMTPPolicy
from mailproxy.wire.smtp import Reply
from tests.session.smtp_script import Script
from tests.session.test_smtp import CONTENT, DATA, EHLO, MAIL, RCPT

ASKED = "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>\n"
END = "C: .\nm: .\\r\\n\n"
TAKEN = "U: 250 2.0.0 Ok: queued as 1\nS: 250 2.0.0 Ok: queued as 1\n"
QUIT = "C: QUIT\nS: 221 2.0.0 proxy.test closing connection\n"
QUIET = "\nquiet"


class Told:
    """A session with a ledger, its script, and what the ledger was told."""

    def __init__(self, script, policy=None, *, cut=None, may_record=lambda: True):
        self.begun = 0
        self.records = []
        self.order = []
        self.script = Script(policy, cut)
        self.script.session = SMTPSession(policy or SMTPPolicy("proxy.test"), lambda: None, may_record=may_record)
        self.script.down = b""
        take = self.script.session.next_action
        self.script.session.next_action = lambda: self._note(take())
        self.script.session.start()
        self.script._collect()
        self.script.run(script)

    def _note(self, action):
        self.order.append(action)
        if isinstance(action, TransactionBegun):
            self.begun += 1
        elif isinstance(action, Transacted):
            self.records.append(action)
        else:
            return action
        return self._note(self.script.session._agenda.take()) if len(self.script.session._agenda) else None

    def end(self):
        """The session's owner ends it."""
        self.records += self.script.session.account()
        assert self.script.session.account() == []
        return self

    @property
    def one(self):
        (record,) = self.records
        return record


def told(script, **more):
    return Told(script, **more).end().one


def brief(record):
    return record.ending, record.code, record.text, record.upstream_said_so


def test_a_message_that_was_taken():
    record = told(
        CONTENT + "C: Message-ID: <1@x>\nC: \nC: ..\nm: Message-ID: <1@x>\\r\\n\\r\\n..\\r\\n\n" + END + TAKEN
    )
    assert record == Transacted(
        ending="accepted",
        ehlo=b"client",
        reverse_path=b"<a@x>",
        recipients=(Recipient(b"<b@y>", 250, b"2.1.5 Ok"),),
        left_out=0,
        octets=24,
        message_id=b"<1@x>",
        sha256=sha256(b"Message-ID: <1@x>\r\n\r\n.\r\n").hexdigest(),
        code=250,
        text=b"2.0.0 Ok: queued as 1",
        upstream_said_so=True,
    )


def test_it_is_told_before_the_client_is():
    session = Told(CONTENT + END + TAKEN)
    place = session.order.index(session.one)
    assert all(b"queued" not in getattr(each, "raw", b"") for each in session.order[:place])
    assert any(b"queued" in getattr(each, "raw", b"") for each in session.order[place:])


@pytest.mark.parametrize(
    ("script", "ending", "code", "text", "upstream"),
    [
        (EHLO + "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>\nU: 550 no\nS: 550 no", "rejected", 550, b"no", True),
        (
            EHLO + ASKED + "U: 530 log in\nS: 451 4.7.0 Upstream authentication failed\nabort",
            "rejected",
            530,
            b"log in",
            True,
        ),
        (
            EHLO + "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>\nlost\nS: 451 4.4.2 Upstream connection lost",
            "rejected",
            451,
            b"4.4.2 Upstream connection lost",
            False,
        ),
        (CONTENT + END + "U: 554 spam\nS: 554 spam", "rejected", 554, b"spam", True),
        (
            CONTENT + END + "lost\nS: 451 4.4.2 Delivery status unknown",
            "unknown",
            451,
            b"4.4.2 Delivery status unknown",
            False,
        ),
        (
            CONTENT + "lost\nC: x\nC: .\nS: 451 4.4.2 Upstream connection lost",
            "rejected",
            451,
            b"4.4.2 Upstream connection lost",
            False,
        ),
        (CONTENT + "U: 552 too much\nabort\nC: x\nC: .\nS: 552 too much", "rejected", 552, b"too much", True),
        (
            CONTENT + "c: x\\x00\\r\\n.\\r\\n\nabort\nS: 550 5.5.2 Message contains NUL\nclose bad_content",
            "rejected",
            550,
            b"5.5.2 Message contains NUL",
            False,
        ),
        (CONTENT + "gone\nabort\nclose downstream_lost", "aborted", None, b"", False),
        (CONTENT + END, "unknown", None, b"", False),
        (CONTENT + END + "gone\nU: 250 ok\nS: 250 ok\nrelease\nclose downstream_lost", "accepted", 250, b"ok", True),
        (EHLO + MAIL + RCPT + "C: RSET\nM: RSET\nU: 250 ok\nS: 250 ok", "aborted", None, b"", False),
        (EHLO + MAIL + "C: EHLO again\nM: RSET", "aborted", None, b"", False),
        (EHLO + MAIL + RCPT + QUIT + "release\nclose quit", "aborted", None, b"", False),
        (
            EHLO + MAIL + "lost\nC: RCPT TO:<b@y>\nS: 421 4.4.2 Upstream connection lost\nclose upstream_lost",
            "aborted",
            None,
            b"",
            False,
        ),
        (
            EHLO + MAIL + "C: RCPT TO:<b@y>\nM: RCPT TO:<b@y>\nU: 550 who\nS: 550 who\n" + QUIT + "release\nclose quit",
            "rejected",
            550,
            b"who",
            True,
        ),
        (
            EHLO + MAIL + RCPT + "C: DATA\nM: DATA\nU: 554 no\nS: 554 no\n" + QUIT + "release\nclose quit",
            "rejected",
            554,
            b"no",
            True,
        ),
    ],
)
def test_how_it_ended(script, ending, code, text, upstream):
    assert brief(told(script + QUIET)) == (ending, code, text, upstream)


def test_a_session_without_a_transaction_is_nothing_to_tell():
    session = Told(
        EHLO + "C: NOOP\nS: 250 2.0.0 OK\nC: RCPT TO:<b@y>\nS: 503 5.5.1 Need MAIL before RCPT\n" + QUIET
    ).end()
    assert (session.begun, session.records) == (0, [])


def test_a_command_that_is_refused_for_its_form_begins_nothing():
    session = Told(EHLO + "C: MAIL FROM:<a@x> FOO=1\nS: 555 5.5.4 Unsupported parameter\n").end()
    assert (session.begun, session.records) == (0, [])


def test_each_transaction_is_told_once():
    session = Told(EHLO + 2 * (MAIL + RCPT + DATA + END + TAKEN) + MAIL).end()
    assert [each.ending for each in session.records] == ["accepted", "accepted", "aborted"]
    assert session.begun == 3


def test_no_login_at_the_mail_server_is_told():
    record = told(
        "S: 220 proxy.test ESMTP mailproxy\nC: MAIL FROM:<a@x>\nfail Unreachable\nS: 451 4.4.1 Upstream not reachable"
    )
    assert brief(record) == ("rejected", 451, b"4.4.1 Upstream not reachable", False)
    assert record.sha256 is None


def test_who_leaves_while_waiting_for_a_login_is_told():
    record = told("S: 220 proxy.test ESMTP mailproxy\nC: MAIL FROM:<a@x>\nask\ngone\nabort\nclose downstream_lost")
    assert brief(record) == ("aborted", None, b"", False)


def test_what_has_to_be_asked_again_is_one_transaction():
    again = "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>\nC: RCPT TO:<b@y>\nM: RCPT TO:<b@y>\nlost\n"
    again += "open fresh PIPELINING\nM: MAIL FROM:<a@x>\nM: RCPT TO:<b@y>\nU: 250 ok\nU: 250 ok\nS: 250 ok\nS: 250 ok\n"
    session = Told(
        "S: 220 proxy.test ESMTP mailproxy\nC: EHLO c\nopen reused PIPELINING\nS: 250-proxy.test\nS: 250 PIPELINING\n"
        + again
    ).end()
    assert session.begun == 1
    assert session.one.recipients == (Recipient(b"<b@y>", 250, b"ok"),)


def test_what_has_to_be_asked_again_and_cannot_is_one_transaction():
    script = "S: 220 proxy.test ESMTP mailproxy\nC: MAIL FROM:<a@x>\nopen reused\nM: MAIL FROM:<a@x>\nlost\n"
    session = Told(script + "fail fresh Unreachable\nS: 451 4.4.1 Upstream not reachable\n").end()
    assert session.begun == 1
    assert brief(session.one) == ("rejected", 451, b"4.4.1 Upstream not reachable", False)


def test_recipients_have_their_own_replies_in_any_mixture():
    script = "S: 220 proxy.test ESMTP mailproxy\nC: MAIL FROM:<a@x>\nopen PIPELINING\nM: MAIL FROM:<a@x>\n"
    script += "C: RCPT TO:<a@y>\nM: RCPT TO:<a@y>\nC: RCPT TO:<b@y>\nM: RCPT TO:<b@y>\nC: RCPT TO:<c@y>\n"
    script += "U: 250 ok\nS: 250 ok\nU: 550 no\nS: 550 no\n"
    record = told(script, policy=SMTPPolicy("proxy.test", max_recipients=2))
    assert record.recipients == (
        Recipient(b"<a@y>", 550, b"no"),
        Recipient(b"<b@y>", None, b""),
        Recipient(b"<c@y>", 452, b"4.5.3 Too many recipients"),
    )
    assert record.ending == "aborted"


def test_where_every_recipient_was_refused_the_last_refusal_decided_it():
    script = EHLO + MAIL + "C: RCPT TO:<b@y>\nM: RCPT TO:<b@y>\nU: 550 who\nS: 550 who\nC: RCPT TO:<c@y> SIZE=1\n"
    script += "S: 555 5.5.4 Unsupported parameter\nC: RCPT TO:<c@y>\nM: RCPT TO:<c@y>\nU: 450 later\nS: 450 later\n"
    assert brief(told(script)) == ("rejected", 450, b"later", True)
    assert brief(told(script + "C: DATA\nM: DATA\nU: 354 go\nS: 354 go\n" + END)) == ("unknown", None, b"", False)
    accepted = script + "C: RCPT TO:<d@y>\nM: RCPT TO:<d@y>\nU: 250 ok\nS: 250 ok\n"
    assert brief(told(accepted)) == ("aborted", None, b"", False)


def test_the_owner_may_end_it_at_any_moment():
    assert told(EHLO + MAIL).ending == "aborted"
    assert told(CONTENT).ending == "aborted"
    assert told(CONTENT + END).ending == "unknown"


def test_what_was_not_carried_out_is_told_all_the_same():
    """The owner has ended it before it took the last action."""
    session = SMTPSession(SMTPPolicy("proxy.test"), lambda: None, may_record=lambda: True)
    session.start()
    session.receive_downstream(b"MAIL FROM:<a@x>\r\n")
    session.upstream_failed(Unreachable("no"))
    assert [each.ending for each in session.account()] == ["rejected"]


def test_without_a_ledger_nothing_is_told():
    script = Script().run(CONTENT + END + TAKEN)
    assert script.deeds == []
    assert script.session.account() == []


def test_a_ledger_that_cannot_be_written_keeps_transactions_from_beginning():
    writable = [False]
    session = Told(
        EHLO + "C: MAIL FROM:<a@x>\nS: 451 4.3.0 Audit ledger not available, try later\n" + QUIET,
        may_record=lambda: writable[0],
    )
    assert (session.begun, session.records) == (0, [])
    writable[0] = True
    session.script.run(MAIL)
    writable[0] = False
    session.script.run(RCPT + DATA + END + TAKEN)
    assert session.one.ending == "accepted"


def test_a_ledger_that_fails_during_the_login():
    writable = [True]
    session = Told("S: 220 proxy.test ESMTP mailproxy\nC: MAIL FROM:<a@x>\nask\n", may_record=lambda: writable[0])
    writable[0] = False
    session.script.run("opened\nS: 451 4.3.0 Audit ledger not available, try later\n" + QUIET)
    assert brief(session.one) == ("rejected", 451, b"4.3.0 Audit ledger not available, try later", False)


def test_a_name_from_before_tls_does_not_count():
    notes = Notes(Agenda(), lambda: True)
    notes.greeted(b"x" * 2000)
    notes.begin(b"<" + b"y" * 2000 + b">")
    notes.asked()
    notes.break_off()
    (record,) = notes._agenda.take_records()
    assert (len(record.ehlo), len(record.reverse_path)) == (MAX_WORDS_OCTETS, MAX_WORDS_OCTETS)


# Bounds


def test_recipients_that_find_no_room_are_counted(monkeypatch):
    monkeypatch.setattr(smtp_notes, "MAX_NOTED_OCTETS", 1000)
    notes = Notes(Agenda(), lambda: True)
    notes.begin(b"<>")
    notes.asked()
    for number in range(20):
        notes.recipient(b"<%02d@y>" % number)
        notes.recipient_answered(Reply(250, (b"250 " + b"x" * 50,)))
    notes.break_off()
    (record,) = notes._agenda.take_records()
    assert len(record.recipients) + record.left_out == 20
    assert 5 < len(record.recipients) < 10
    assert sum(len(each.path) + len(each.text) for each in record.recipients) <= 1000
    assert record.ending == "aborted"


@given(st.data())
def test_the_hash_and_the_id_do_not_depend_on_the_cut(data):
    lines = st.sampled_from([b".x", b"..", b"", b"Message-Id: <a@b>", b" folded", b"X: y", b"m", b"message-id", b":"])
    raw = b"".join(line + b"\r\n" for line in data.draw(st.lists(lines, max_size=12)))
    stuffed = raw.replace(b"\r\n.", b"\r\n..")
    stuffed = b"." + stuffed if raw.startswith(b".") else stuffed
    whole, cut = (Notes(Agenda(), lambda: True) for _ in range(2))
    places = sorted(data.draw(st.lists(st.integers(0, len(stuffed)), max_size=8)))
    pieces = [stuffed[a:b] for a, b in zip([0, *places], [*places, len(stuffed)], strict=True)]
    for notes, chunks in ((whole, [stuffed]), (cut, pieces)):
        notes.begin(b"<>")
        notes.asked()
        notes.content_begins()
        for chunk in chunks:
            notes.content(chunk)
        notes.committed()
        notes.break_off()
    (one,), (other,) = whole._agenda.take_records(), cut._agenda.take_records()
    assert one == other
    assert one.sha256 == sha256(raw).hexdigest()
    assert one.octets == len(raw)


def found(content, size=None):
    finder = MessageIDFinder()
    size = size or len(content) or 1
    for start in range(0, len(content), size):
        finder.feed(content[start : start + size])
        assert len(finder._kept) <= MAX_MESSAGE_ID_OCTETS + 2
    return finder.found


@pytest.mark.parametrize("size", [None, 1, 2, 7])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"Message-ID: <1@x>\r\n\r\n", b"<1@x>"),
        (b"From: a\r\nMESSAGE-id :<1@x>\r\nTo: b\r\n\r\n", b"<1@x>"),
        (b"Message-ID:\r\n <1@x>\r\n\t(c)\r\n\r\nbody", b"<1@x> (c)"),
        (b"Message-ID: <1@x>\r\nMessage-ID: <2@x>\r\n\r\n", b"<1@x>"),
        (b"X-Message-ID: <1@x>\r\nSubject: Message-ID: <2@x>\r\n\r\n", None),
        (b"Subject: a\r\n message-id: <1@x>\r\n\r\n", None),
        (b"\r\nMessage-ID: <1@x>\r\n\r\n", None),
        (b"From: a\r\n\r\nMessage-ID: <1@x>\r\n\r\n", None),
        (b"Message-ID:\r\n\r\n", None),
        (b"Message-ID: <1@x>\r\n", None),
        (b"", None),
        (b"Message-ID: <" + b"x" * MAX_MESSAGE_ID_OCTETS + b">\r\n\r\n", None),
        (b"Message-ID:" + b"x" * (MAX_MESSAGE_ID_OCTETS - 11) + b"\r\n\r\n", b"x" * (MAX_MESSAGE_ID_OCTETS - 11)),
        (b"Message-ID:" + b"x" * (MAX_MESSAGE_ID_OCTETS - 10) + b"\r\n\r\n", None),
    ],
)
def test_the_message_id(content, expected, size):
    assert found(content, size) == expected


@pytest.mark.parametrize("size", [None, 1000])
def test_it_is_looked_for_near_the_beginning(size):
    header = b"X: y\r\n" * (MAX_SEARCHED_OCTETS // 6 - 10)
    assert found(header + b"Message-ID: <1@x>\r\n\r\n", size) == b"<1@x>"
    header = b"X: y\r\n" * (MAX_SEARCHED_OCTETS // 6)
    assert found(header + b"Message-ID: <1@x>\r\n\r\n", size) is None
