"""
SMTP sessions of any client with any mail server, one move after the other.

Every move is made in two sessions: in one the client's octets come as they were sent, in the other one by one.  As
long as the client keeps to its turn, nobody can tell the two apart.  Beside each stands a witness, who holds both
sides to their words after every move.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mailproxy import errors
from mailproxy.session.actions import Waiting
from mailproxy.session.encryption import Encryption
from mailproxy.session.smtp_policy import SMTPPolicy
from mailproxy.wire.transparency import BareNewlines
from tests.session.smtp_witness import SMTPWitness
from tests.wire.smuggling import SPELLINGS

POLICIES = st.builds(
    SMTPPolicy,
    st.just("proxy.test"),
    encryption=st.sampled_from(Encryption),
    bare_newline=st.sampled_from(BareNewlines),
    strict_sync=st.booleans(),
    max_message_octets=st.sampled_from([0, 0, 60]),
    max_recipients=st.sampled_from([0, 0, 1]),
    max_errors=st.sampled_from([20, 3]),
    max_line_octets=st.sampled_from([4096, 100]),
)
KEYWORDS = st.sampled_from([("PIPELINING", "8BITMIME", "SMTPUTF8", "DSN"), ("SIZE=50",), ()])
KNOWN = st.one_of(st.none(), KEYWORDS)
"""What others were offered lately."""
PATHS = st.sampled_from(["<a@x>", "<>", "b@x", '<"q > q"@x>', "<c@x> SIZE=10", "<d@x> BODY=8BITMIME", "<e@x> AUTH=<>"])
TEXTS = st.sampled_from([b"Subject: x\r\n", b"\r\n", b"..stuffed\r\n", b"long " * 30, b"cr \r", b"\n", b".", b"\0"])
NEGATIVE = st.sampled_from([b"450 later", b"550-no\r\n550 never", b"554 go away", b"530 log in", b"535 who are you"])
ENDS = st.sampled_from(
    [
        *[("vanish", {}), ("half_close", {}), ("expire", {}), ("drain", {}), ("hang_up", {})],
        *[("cut", {"last": False}), ("cut", {"last": True}), ("speak", {"octets": b"421 4.3.2 closing\r\n"})],
    ]
)
WRONG = st.sampled_from(
    [b"220 hi", b"250 what", b"354 go", b"334 Zm9v", b"199 no", b"999 no", b"25", b"+OK", b"250-half\r\n251 x"]
)
FAILURES = st.sampled_from(
    [
        errors.Unreachable("no"),
        errors.TLSFailed("no"),
        errors.RefusedLogin("no", temporary=False),
        errors.LimitReached("no"),
    ]
)
JUNK = st.sampled_from(
    [b"NOOP", b"VRFY x", b"HELP", b"", b"FROB", b"EXPN x", b"AUTH PLAIN", b"XCLIENT A=b", b"MAIL", b"DATA x"]
)
RARE = st.sampled_from(
    [
        b"GET / HTTP/1.1\r\n",
        b"x\0\r\n",
        b"NOOP\n",
        b"\r\r\n",
        b"y" * 5000 + b"\r\n",
        b"BDAT x\r\n",
        b"RCPT TO:<\xff>\r\n",
    ]
)
AT_REST = (Waiting.DOWNSTREAM_FIRST_COMMAND, Waiting.DOWNSTREAM_COMMAND)


def alive(machine):
    return machine.whole.outcome is None


def at_rest(machine):
    return machine.whole.session.waiting in AT_REST


def in_content(machine):
    return machine.whole.session.waiting is Waiting.DOWNSTREAM_CONTENT


def connected(machine):
    return machine.whole.upstream == "ready"


def asked(machine):
    return connected(machine) and bool(machine.whole.server.unanswered)


STAGES = [
    b"MAIL FROM:<k@x>\r\n",
    b"RCPT TO:<l@x>\r\n",
    b"DATA\r\n",
    b"Subject: y\r\n",
    b".\r\n",
    b"MAIL FROM:<m@x>\r\n",
]
"""What a well-behaved client sends, one after the other; some sessions begin far inside."""


class SMTPMachine(RuleBasedStateMachine):
    @initialize(
        policy=POLICIES, stage=st.integers(0, len(STAGES)), keywords=KEYWORDS, known=KNOWN, reused=st.booleans()
    )
    def connect(self, policy, stage, keywords, known, reused):
        self.keywords = keywords
        self.reused = reused
        self.whole = SMTPWitness(policy, known=known)
        self.pieces = SMTPWitness(policy, size=1, known=known)
        self.in_turn = True
        self.gets_as_far_as(stage)

    def gets_as_far_as(self, stage):
        """The mail server has agreed to all but the last of the first so many stages."""
        for octets in STAGES[:stage]:
            self.gets_what_it_wants()
            self.both("client", octets)

    def both(self, deed, *arguments, **more):
        for witness in (self.whole, self.pieces):
            getattr(witness, deed)(*arguments, **more)

    def out_of_turn(self):
        """From here on it matters what comes in one piece."""
        self.in_turn = False

    # The client keeps to its turn

    @precondition(at_rest)
    @rule(
        line=st.sampled_from(
            [b"EHLO client.test", b"HELO client.test", b"ehlo [192.0.2.1]", b"STARTTLS", b"RSET", b"NOOP"]
        )
    )
    def says_hello_or_not_much(self, line):
        self.both("client", line + b"\r\n")

    @precondition(at_rest)
    @rule(path=PATHS)
    def asks_to_send(self, path):
        self.both("client", f"MAIL FROM:{path}\r\n".encode())

    @precondition(at_rest)
    @rule(path=PATHS)
    def names_a_recipient(self, path):
        self.both("client", f"RCPT TO:{path}\r\n".encode())

    @precondition(at_rest)
    @rule()
    def asks_to_send_data(self):
        self.both("client", b"DATA\r\n")

    @precondition(at_rest)
    @rule(recipients=st.integers(0, 3), data=st.booleans())
    def sends_a_group(self, recipients, data):
        self.both("client", b"MAIL FROM:<g@x>\r\n" + b"RCPT TO:<h@x>\r\n" * recipients + b"DATA\r\n" * data)

    @precondition(at_rest)
    @rule(stage=st.integers(3, len(STAGES)))
    def sends_a_message(self, stage):
        """Or the greater part of one."""
        self.gets_as_far_as(stage)

    @precondition(in_content)
    @rule(texts=st.lists(TEXTS, max_size=4))
    def sends_text(self, texts):
        self.both("client", b"".join(texts))

    @precondition(in_content)
    @rule(spelling=st.sampled_from(sorted(SPELLINGS.values())))
    def smuggles(self, spelling):
        self.both("client", b"x" + spelling + b"RSET")

    @precondition(in_content)
    @rule(behind=st.sampled_from([b"", b"MAIL FROM:<i@x>\r\n", b"NOOP\r\nRSET\r\n"]))
    def ends_the_text(self, behind):
        self.both("client", b"\r\n.\r\n" + behind)

    @precondition(lambda machine: in_content(machine) and connected(machine))
    @rule(octets=st.sampled_from([b"2", b"250", b"250-a\r\n", b"\r"]))
    def ends_the_text_behind_half_a_reply(self, octets):
        self.both("speak", octets)
        self.both("client", b"\r\n.\r\n")

    @precondition(at_rest)
    @rule()
    def quits(self):
        self.both("client", b"QUIT\r\n")

    @precondition(at_rest)
    @rule(size=st.integers(0, 20))
    def sends_a_chunk(self, size):
        self.both("client", b"BDAT %d LAST\r\n" % size + b"n" * size)

    @precondition(at_rest)
    @rule(line=JUNK)
    def talks_nonsense(self, line):
        self.both("client", line + b"\r\n")

    # The client does as it likes

    @precondition(alive)
    @rule(octets=st.one_of(RARE, JUNK, TEXTS, st.binary(max_size=12)))
    def sends_anything_at_any_time(self, octets):
        self.out_of_turn()
        self.both("client", octets)

    @precondition(at_rest)
    @rule(first=st.sampled_from([b"EHLO x", b"HELO x", b"STARTTLS", b"AUTH PLAIN"]), then=JUNK)
    def does_not_wait_for_the_reply(self, first, then):
        self.out_of_turn()
        for witness in (self.whole, self.pieces):
            replies = witness.said.count(b"\r\n")
            witness.client(first + b"\r\n")
            if witness.said.count(b"\r\n") == replies:
                witness.client(then + b"\r\n")
                assert witness.reports["downstream_desync"] == 1
            elif witness.outcome is None and witness.session.waiting in AT_REST:
                witness.client(first + b"\r\n" + then + b"\r\n")

    @precondition(lambda machine: at_rest(machine) and machine.whole.outcome is None)
    @rule(
        first=st.sampled_from([b"EHLO x", b"HELO x", b"STARTTLS", b"AUTH PLAIN", b"QUIT", b"MAIL FROM:<j@x>", b"DATA"]),
        then=JUNK,
    )
    def sends_more_behind_what_has_to_be_the_last(self, first, then):
        self.out_of_turn()
        strict = self.whole.policy.strict_sync
        self.both("client", first + b"\r\n" + then + b"\r\n")
        if first.startswith((b"EHLO", b"HELO", b"STARTTLS", b"AUTH")) or (first == b"DATA" and strict):
            assert self.whole.reports["bad_pipeline"] == 1
            assert self.whole.outcome == "bad_pipeline"

    @precondition(lambda machine: machine.in_turn and asked(machine) and machine.whole.server.unanswered == [b"DATA"])
    @rule()
    def sends_data_before_it_may(self):
        self.out_of_turn()
        self.both("client", b"Subject: early\r\n")
        assert self.whole.reports["downstream_desync"] == self.whole.policy.strict_sync

    @precondition(lambda machine: machine.whole.session.waiting is Waiting.DOWNSTREAM_HANDSHAKE)
    @rule()
    def finishes_the_handshake(self):
        self.both("secure")

    # The mail server

    @precondition(lambda machine: machine.whole.upstream == "opening")
    @rule(keywords=KEYWORDS, reused=st.booleans())
    def lets_us_in(self, keywords, reused):
        """Or others have been let in there before."""
        self.both("open", *keywords, reused=reused)

    @precondition(connected)
    @rule()
    def is_wanted_by_others(self):
        self.both("want")

    @precondition(lambda machine: machine.whole.upstream == "opening")
    @rule(error=FAILURES)
    def does_not_let_us_in(self, error):
        self.both("refuse", error)

    @precondition(asked)
    @rule()
    def agrees(self):
        for witness in (self.whole, self.pieces):
            if witness.upstream == "ready" and witness.server.unanswered:
                code = b"354" if witness.server.unanswered[0] == b"DATA" else b"250"
                witness.speak(code + b"-yes\r\n" + code + b" yes \xc3\xa4\x1b\r\n")

    @precondition(lambda machine: machine.whole.upstream is not None)
    @rule()
    def gets_what_it_wants(self):
        """A login, and consent to all that it was asked, and to what it is asked because of that."""
        self.both("open", *self.keywords, reused=self.reused)
        for _ in range(5):
            if asked(self):
                self.agrees()

    @precondition(asked)
    @rule(words=NEGATIVE)
    def refuses(self, words):
        self.both("speak", words + b"\r\n")

    @precondition(asked)
    @rule()
    def mistakes_the_command(self):
        """The code that would have been right for another one."""
        code = b"250" if self.whole.server.unanswered[0] == b"DATA" else b"354"
        self.both("speak", code + b" what\r\n")

    @precondition(connected)
    @rule(words=WRONG)
    def says_what_it_may_not(self, words):
        self.both("speak", words + b"\r\n")

    @precondition(connected)
    @rule(octets=st.sampled_from([b"2", b"250", b"250-a\r\n", b"\r", b"\n", b"250 x\r\n250 y\r\n", b"z" * 5000]))
    def speaks_in_pieces_and_out_of_turn(self, octets):
        self.both("speak", octets)

    # What ends most sessions; one rule, or few of them would get any further

    @precondition(alive)
    @rule(how=ENDS)
    def something_ends_it(self, how):
        deed, more = how
        if deed == "half_close":
            self.out_of_turn()  # what one session has read already may still be on its way in the other one
        self.both(deed, **more)

    @precondition(lambda machine: machine.whole.outcome is not None)
    @rule(policy=POLICIES, stage=st.integers(0, len(STAGES)), keywords=KEYWORDS, known=KNOWN, reused=st.booleans())
    def the_next_client_comes(self, policy, stage, keywords, known, reused):
        self.teardown()
        self.connect(policy, stage, keywords, known, reused)

    # What must be true

    @invariant()
    def everybody_keeps_their_word(self):
        self.whole.settle()
        self.pieces.settle()

    @invariant()
    def nobody_can_tell_the_pieces(self):
        if self.in_turn:
            for name in ("said", "asked", "outcome", "upstream"):
                assert getattr(self.whole, name) == getattr(self.pieces, name), name
            assert self.whole.session.waiting is self.pieces.session.waiting

    def teardown(self):
        for witness in (self.whole, self.pieces):
            witness.silence()
            witness.settle()
            witness.come_late()


TestSMTPMachine = SMTPMachine.TestCase
TestSMTPMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
