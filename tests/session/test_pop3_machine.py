"""
POP3 sessions of any client with any mail server, one move after the other.

Every move is made in two sessions: in one the client's octets come as they were sent, in the other one by one; nobody
can tell the two apart.  Beside each stands a witness, who holds both sides to their words at every move.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mailproxy import errors
from mailproxy.session.actions import Waiting
from mailproxy.session.encryption import Encryption
from mailproxy.session.pop3_policy import POP3Policy
from tests.session.pop3_witness import POP3Witness
from tests.wire.smuggling import SPELLINGS

POLICIES = st.builds(
    POP3Policy,
    encryption=st.sampled_from(Encryption),
    accept_any_login=st.booleans(),
    fix_newlines=st.booleans(),
    max_line_octets=st.sampled_from([512, 60]),
    max_queued_octets=st.sampled_from([65536, 512]),
)
LISTED = st.sampled_from([{"TOP": (), "UIDL": (), "LANG": (), "STLS": (), "EXPIRE": ("NEVER",)}, {}, None])
USUAL = [
    b"STAT",
    b"LIST",
    b"list 2",
    b"RETR 1",
    b"RETR  2",
    b"DELE 1",
    b"NOOP",
    b"RSET",
    b"TOP 1 0",
    b"UIDL",
    b"uidl 1",
]
LOGINS = [
    b"USER u",
    b"PASS p  q",
    b"AUTH PLAIN",
    b"AUTH LOGIN",
    b"*",
    b"AUTH",
    b"AUTH PLAIN AHUAcA==",
    b"APOP u d",
    b"STLS",
]
STRANGE = [
    b"",
    b" ",
    b"RETR",
    b"RETR x",
    b"DELE 1 2",
    b"LANG",
    b"LANG de",
    b"XTND",
    b"\xff",
    b"STAT\0",
    b"x" * 700,
    b"QUIT now",
]
LINES = st.sampled_from(USUAL + USUAL + LOGINS + STRANGE + [b"CAPA"])
MANY_LINES = st.sampled_from(
    [
        b"",
        b"1 100\r\n2 200\r\n",
        b"Subject: x\r\n\r\n..\r\n",
        b"\xff\0\r\n",
        *(b"a" + each + b"b\r\n" for each in SPELLINGS.values()),
    ]
)
REFUSALS = st.sampled_from([b"-ERR", b"-ERR [SYS/TEMP] later", b"-ERR no such message", b"-ERR \x1b[2J"])
WRONG = st.sampled_from(
    [b"OK", b"+OKAY", b"+ok", b"-err", b"250 ok", b"+ more", b"", b"+OK \0", b"y" * 5000, b"+OK x\r"]
)
FAILURES = st.sampled_from(
    [errors.Unreachable("no"), errors.RefusedLogin("no", temporary=True), errors.LimitReached("no")]
)
ENDS = st.sampled_from(
    [
        *[("vanish", {}), ("half_close", {}), ("expire", {}), ("drain", {}), ("hang_up", {})],
        *[("cut", {"last": False}), ("cut", {"last": True})],
    ]
)


def alive(machine):
    return machine.whole.outcome is None


def asked(machine):
    return alive(machine) and machine.whole.relay is not None


def connected(machine):
    return machine.whole.upstream == "ready"


STAGES = [b"", b"STAT\r\n", b"RETR 1\r\n", b"QUIT\r\n"]
"""What the client has said when it gets interesting."""


class POP3Machine(RuleBasedStateMachine):
    @initialize(policy=POLICIES, stage=st.sampled_from([None, *STAGES]), listed=LISTED)
    def connect(self, policy, stage, listed):
        self.whole = POP3Witness(policy)
        self.pieces = POP3Witness(policy, size=1)
        self.in_turn = True
        if stage is not None:
            self.both("open", listed)
            self.both("client", stage)

    def both(self, deed, *arguments, **more):
        for witness in (self.whole, self.pieces):
            getattr(witness, deed)(*arguments, **more)

    # The client

    @precondition(alive)
    @rule(lines=st.lists(LINES, min_size=1, max_size=4), newline=st.sampled_from([b"\r\n", b"\r\n", b"\n"]))
    def sends_commands(self, lines, newline):
        if any(line.upper().startswith((b"STLS", b"AUTH")) for line in lines[:-1]):
            self.in_turn = False
        self.both("client", b"".join(line + newline for line in lines))

    @precondition(alive)
    @rule(behind=LINES)
    def sends_more_behind_stls(self, behind):
        self.in_turn = False
        self.both("client", b"STLS\r\n" + behind + b"\r\n")

    @precondition(alive)
    @rule()
    def quits(self):
        self.both("client", b"QUIT\r\n")

    @precondition(alive)
    @rule(octets=st.one_of(st.binary(max_size=12), st.sampled_from([b"\r", b"RET", b"R 1\r", b"z" * 600, b"\n\n"])))
    def sends_anything(self, octets):
        self.both("client", octets)

    @precondition(lambda machine: machine.whole.session.waiting is Waiting.DOWNSTREAM_HANDSHAKE)
    @rule()
    def finishes_the_handshake(self):
        self.both("secure")

    # The mail server

    @precondition(lambda machine: machine.whole.upstream == "opening")
    @rule(listed=LISTED, logged_in=st.sampled_from([True, True, False]))
    def lets_us_in(self, listed, logged_in):
        self.both("open", listed, logged_in=logged_in)

    @precondition(lambda machine: machine.whole.upstream == "opening")
    @rule(error=FAILURES)
    def does_not_let_us_in(self, error):
        self.both("refuse", error)

    @precondition(asked)
    @rule(body=MANY_LINES, cut=st.integers(0, 30), more=st.sampled_from([b"", b"", b"", b"+OK\r\n"]))
    def agrees(self, body, cut, more):
        octets = b"+OK yes\r\n" + (body + b".\r\n" if self.whole.relay.many_lines else b"") + more
        self.both("speak", octets[:cut])
        self.both("speak", octets[cut:])

    @precondition(asked)
    @rule(words=REFUSALS)
    def refuses(self, words):
        self.both("speak", words + b"\r\n")

    @precondition(asked)
    @rule(octets=st.sampled_from([b"+", b"+OK\r\n", b"+OK\r\nabc\r\n", b"+OK\r\n.", b".\r", b"\n"]))
    def says_a_part_of_it(self, octets):
        self.both("speak", octets)

    @precondition(connected)
    @rule(words=WRONG)
    def says_what_it_may_not(self, words):
        self.both("speak", words + b"\r\n")

    # What ends most sessions; one rule, or few of them would get any further

    @precondition(alive)
    @rule(how=ENDS)
    def something_ends_it(self, how):
        deed, more = how
        self.both(deed, **more)

    @precondition(lambda machine: machine.whole.outcome is not None)
    @rule(policy=POLICIES, stage=st.sampled_from([None, *STAGES]), listed=LISTED)
    def the_next_client_comes(self, policy, stage, listed):
        self.teardown()
        self.connect(policy, stage, listed)

    # What must be true

    @invariant()
    def nobody_can_tell_the_pieces(self):
        if self.in_turn:
            for name in ("said", "asked", "outcome", "upstream"):
                assert getattr(self.whole, name) == getattr(self.pieces, name), name
            assert self.whole.session.waiting is self.pieces.session.waiting

    def teardown(self):
        for witness in (self.whole, self.pieces):
            witness.silence()
            witness.come_late()


TestPOP3Machine = POP3Machine.TestCase
TestPOP3Machine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
