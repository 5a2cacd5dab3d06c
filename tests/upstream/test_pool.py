"""Connections that are used again: who gets which, when it is let go, and that nothing is left."""

import gc
import weakref

import pytest
from attrs import evolve
from twisted.internet.defer import CancelledError

from mailproxy.destination.model import Password, Timeouts, TLSMode, TLSSettings, Token
from mailproxy.errors import DestinationUnavailable, LimitReached, RefusedSession, Unreachable
from mailproxy.observe.observation import PoolFigures
from mailproxy.upstream.resting import RSET_SECONDS, Shelf
from mailproxy.wire.smtp import Extensions
from tests.upstream.pools import DESTINATION, LOGIN_SECONDS, QUIT_SECONDS, Bed, other


@pytest.fixture
def bed():
    return Bed()


def used(bed, **more):
    """A connection that a session has had and left, at rest."""
    stream = bed.borrow().give_back(**more)
    bed.network.settle()
    return stream


def is_open(stream):
    return stream.transport is not None


class TestUsedAgain:
    def test_the_next_session_gets_the_connection_of_the_one_before(self, bed):
        first = bed.borrow()
        assert not first.reused
        stream = first.give_back()
        second = bed.borrow()
        assert second.stream is stream
        assert second.reused
        assert bed.connector.opened == 1

    def test_whatever_is_said_is_heard_by_who_has_it_now(self, bed):
        first = bed.borrow()
        stream = first.give_back()
        second = bed.borrow()
        stream.write(b"MAIL FROM:<a@x>\r\n")
        bed.network.settle()
        server = bed.server(stream)
        assert server.hear() == b"MAIL FROM:<a@x>\r\n"
        server.say(b"250 ok\r\n")
        bed.network.settle()
        assert (first.heard, second.heard) == (b"", b"250 ok\r\n")

    def test_a_connection_that_comes_back_in_good_order_is_told(self, bed):
        used(bed)
        used(bed, sound=False)
        assert bed.good == 1

    def test_the_youngest_goes_first(self, bed):
        old = bed.borrow()
        bed.network.advance(1)
        young = bed.borrow()
        young_stream = young.give_back()
        bed.network.advance(1)
        old_stream = old.give_back()  # has come back last, and is older all the same
        assert bed.borrow().stream is young_stream
        assert bed.borrow().stream is old_stream

    def test_who_waits_longest_is_served_first(self, bed):
        holder = bed.borrow()
        bed.connector.manual = True
        waiting = [bed.borrow() for _ in range(3)]
        stream = holder.give_back()
        assert [each.stream for each in waiting] == [stream, None, None]
        waiting[0].give_back()
        assert [each.stream for each in waiting] == [None, stream, None]

    def test_a_connection_goes_to_who_waits_and_the_attempt_ends_at_rest(self, bed):
        holder = bed.borrow()
        bed.connector.manual = True
        waiting = bed.borrow()
        holder.give_back()
        assert waiting.stream is not None
        bed.connector.succeed()
        assert len(bed.shelf) == 1
        assert not bed.borrow().reused

    def test_a_connection_that_nobody_has_used_is_not_reused(self, bed):
        bed.connector.manual = True
        gone = bed.borrow()
        bed.borrow()
        gone.leave()
        bed.connector.succeed()
        assert bed.connector.cancelled == 1
        assert len(bed.shelf) == 0

    def test_fresh_is_one_that_nobody_has_used(self, bed):
        stream = used(bed)
        fresh = bed.borrow(fresh=True)
        assert fresh.stream is not stream
        assert not fresh.reused
        assert len(bed.shelf) == 1

    def test_what_was_given_back_in_the_callback_of_its_claim_is_not_fresh(self, bed):
        bed.connector.manual = True
        bed.borrow(when_served=Borrowed.give_back)
        fresh = bed.borrow(fresh=True)
        bed.connector.succeed()
        assert fresh.stream is None
        bed.connector.succeed()
        assert not fresh.reused


def test_how_it_is_can_be_asked(bed):
    assert bed.pool.figures() == PoolFigures()
    first = bed.borrow()
    assert bed.pool.figures() == PoolFigures(in_use=1, made=1)
    first.give_back()
    assert bed.pool.figures() == PoolFigures(resting=1, made=1)
    bed.borrow()
    assert bed.pool.figures() == PoolFigures(in_use=1, made=1, reused=1)
    bed.connector.manual = True
    bed.borrow()
    assert bed.pool.figures() == PoolFigures(in_use=1, made=1, reused=1, opening=1, waiting=1)


class Borrowed:
    """What sessions do in the moment in which they are served."""

    @staticmethod
    def give_back(borrower):
        borrower.give_back()


class TestCheckIn:
    def test_outside_of_a_transaction_nothing_is_said(self, bed):
        stream = used(bed)
        assert bed.server(stream).hear() == b""
        assert len(bed.shelf) == 1

    def test_inside_a_transaction_it_is_reset_first(self, bed):
        stream = used(bed, reset=True)
        assert bed.server(stream).hear() == b"RSET\r\n"
        assert len(bed.shelf) == 0
        bed.connector.manual = True
        waiting = bed.borrow()
        bed.server(stream).say(b"250 2.0.0 reset\r\n")
        bed.network.settle()
        assert waiting.stream is stream
        assert waiting.heard == b""

    def test_the_reply_may_come_in_pieces(self, bed):
        stream = used(bed, reset=True)
        for piece in (b"250-well", b"\r\n250 re", b"set\r\n"):
            assert len(bed.shelf) == 0
            bed.server(stream).say(piece)
            bed.network.settle()
        assert len(bed.shelf) == 1

    @pytest.mark.parametrize(
        "said",
        [
            b"421 4.3.2 closing\r\n",
            b"450 later\r\n",
            b"500 what\r\n",
            b"251 well\r\n",
            b"354 go on\r\n",
            b"250 one\r\n250 two\r\n",
            b"250 one\r\n25",
            b"+OK\r\n",
            b"\r\n",
            b"x" * 5000,
        ],
    )
    def test_any_other_reply_ends_it(self, bed, said):
        stream = used(bed, reset=True)
        bed.server(stream).say(said)
        bed.network.settle()
        assert not is_open(stream)
        assert len(bed.shelf) == 0
        bed.network.advance(RSET_SECONDS)
        assert bed.borrow().stream is not stream

    def test_so_does_silence(self, bed):
        stream = used(bed, reset=True)
        bed.network.advance(RSET_SECONDS - 0.1)
        assert is_open(stream)
        bed.network.advance(0.2)
        assert not is_open(stream)
        assert not bed.clock.getDelayedCalls()

    def test_and_the_end_of_the_connection(self, bed):
        stream = used(bed, reset=True)
        bed.server(stream).close()
        bed.network.settle()
        assert not is_open(stream)
        assert not bed.clock.getDelayedCalls()

    def test_nobody_hears_of_it_when_others_want_what_is_being_reset(self):
        bed = Bed(connections=1)
        stream = used(bed, reset=True)
        waiting = bed.borrow()
        assert waiting.stream is None
        bed.server(stream).say(b"250 ok\r\n")
        bed.network.settle()
        assert waiting.stream is stream

    def test_what_is_not_sound_never_comes_back(self, bed):
        stream = used(bed, sound=False)
        assert bed.goodbye(bed.server(stream)) == b"QUIT\r\n"
        assert not is_open(stream)
        assert bed.borrow().stream is not stream

    def test_nor_what_was_aborted(self, bed):
        borrower = bed.borrow()
        stream = borrower.stream
        borrower.abort()
        bed.network.settle()
        assert not is_open(stream)
        assert bed.borrow().stream is not stream

    def test_nor_what_has_carried_its_messages(self):
        bed = Bed(messages=5)
        stream = used(bed, messages=4)
        assert bed.borrow().stream is stream
        borrower = bed.borrow()
        assert borrower.stream is not stream
        assert used(bed, messages=5) is not stream
        assert len(bed.shelf) == 0

    @pytest.mark.parametrize(
        ("mailmax", "messages", "kept"), [(3, 2, 1), (3, 3, 0), (1, 1, 0), (900, 99, 1), (900, 100, 0)]
    )
    def test_nor_what_has_carried_those_that_the_mail_server_allows(self, bed, mailmax, messages, kept):
        bed.connector.capabilities = Extensions(b"mail.test", {"LIMITS": f"MAILMAX={mailmax}"})
        used(bed, messages=messages)
        assert len(bed.shelf) == kept

    @pytest.mark.parametrize("said", [[5], [2, 3], [1] * 5, [0, 4, 0, 1]])
    def test_nor_what_the_mail_server_has_said_no_on_too_often(self, bed, said):
        *earlier, last = said
        for refusals in earlier:
            used(bed, taken=False, refusals=refusals)
            assert len(bed.shelf) == 1
        used(bed, taken=False, refusals=last)
        assert len(bed.shelf) == 0

    def test_what_was_said_before_it_took_a_message_is_forgotten(self, bed):
        for _ in range(5):
            stream = used(bed, taken=False, refusals=4)
            assert used(bed, taken=True, refusals=0) is stream
        used(bed, taken=True, refusals=4)
        used(bed, taken=False, refusals=0)
        assert len(bed.shelf) == 1
        used(bed, taken=False, refusals=1)
        assert len(bed.shelf) == 0

    def test_nor_what_is_too_old(self, bed):
        borrower = bed.borrow()
        bed.network.advance(299.9)
        stream = borrower.give_back()
        assert len(bed.shelf) == 1
        borrower = bed.borrow()
        bed.network.advance(0.1)
        assert borrower.give_back() is stream
        assert len(bed.shelf) == 0

    def test_a_claim_is_not_served_by_what_is_worn(self, bed):
        holder = bed.borrow()
        bed.connector.manual = True
        waiting = bed.borrow()
        bed.network.advance(0.1)
        holder.give_back(messages=100)
        assert waiting.stream is None


class TestAtRest:
    @pytest.mark.parametrize("said", [b"421 4.4.2 idle\r\n", b"250 ok\r\n", b"4", b"\0"])
    def test_whatever_the_mail_server_says_ends_it(self, bed, said):
        stream = used(bed)
        bed.server(stream).say(said)
        bed.network.settle()
        assert not is_open(stream)
        assert len(bed.shelf) == 0
        assert bed.borrow().stream is not stream

    def test_so_does_its_end(self, bed):
        stream = used(bed)
        bed.server(stream).close()
        bed.network.settle()
        assert not is_open(stream)
        assert len(bed.shelf) == 0
        assert bed.borrow().stream is not stream

    def test_it_rests_for_so_long_and_says_goodbye(self, bed):
        stream = used(bed)
        bed.network.advance(29.9)
        assert bed.server(stream).hear() == b""
        bed.network.advance(0.2)
        assert bed.goodbye(bed.server(stream)) == b"QUIT\r\n"
        assert not bed.clock.getDelayedCalls()

    def test_each_has_a_time_of_its_own(self, bed):
        one, two = bed.borrow(), bed.borrow()
        first = one.give_back()
        bed.network.advance(20)
        second = two.give_back()
        bed.network.advance(11)
        assert bed.server(first).hear() == b"QUIT\r\n"
        assert bed.server(second).hear() == b""
        bed.network.advance(20)
        assert bed.server(second).hear() == b"QUIT\r\n"

    def test_the_time_begins_anew_with_each_rest(self, bed):
        stream = used(bed)
        for _ in range(5):
            bed.network.advance(20)
            assert bed.borrow().give_back() is stream

    def test_it_does_not_grow_too_old_at_rest(self, bed):
        borrower = bed.borrow()
        bed.network.advance(290)
        stream = borrower.give_back()
        bed.network.advance(11)
        assert bed.server(stream).hear() == b"QUIT\r\n"

    def test_what_is_over_its_time_is_not_handed_out_even_if_nobody_has_looked(self, bed):
        stream = used(bed)
        bed.clock.rightNow += 31  # the reactor was busy
        assert bed.borrow().stream is not stream

    def test_a_mail_server_that_does_not_answer_the_farewell_is_not_waited_for(self, bed):
        stream = used(bed)
        bed.network.advance(30 + QUIT_SECONDS + 0.1)
        assert not is_open(stream)


CHANGES = {
    "password": {"credentials": Password("alice", "another")},
    "user": {"credentials": Password("bob", "secret")},
    "token": {"credentials": Token("alice", "t1", 1e9)},
    "no login": {"credentials": None},
    "host": {"destination": evolve(DESTINATION, host="mail2.test")},
    "port": {"destination": evolve(DESTINATION, port=588)},
    "name": {"destination": evolve(DESTINATION, name="e")},
    "TLS": {"destination": evolve(DESTINATION, tls=TLSSettings(TLSMode.IMPLICIT))},
    "host name check": {"destination": evolve(DESTINATION, tls=TLSSettings(TLSMode.REQUIRED, check_name=False))},
    "least TLS": {"destination": evolve(DESTINATION, tls=TLSSettings(TLSMode.REQUIRED, minimum="TLSv1.3"))},
    "mechanisms": {"destination": evolve(DESTINATION, mechanisms=("PLAIN",))},
    "disabled mechanisms": {"destination": evolve(DESTINATION, disabled=frozenset({"LOGIN"}))},
    "our name": {"destination": evolve(DESTINATION, ehlo_name="us.test")},
    "timeouts": {"destination": evolve(DESTINATION, timeouts=Timeouts(read=1.0))},
    "trust": {"trust": "other roots"},
    "way": {"way": "globex"},
}


class TestAnotherChannel:
    @pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
    def test_nothing_old_is_handed_out(self, bed, change):
        stream = used(bed)
        bed.connector.now = other(**change)
        borrower = bed.borrow()
        assert borrower.stream is not stream
        assert borrower.stream.channel == bed.connector.now
        assert bed.goodbye(bed.server(stream)) == b"QUIT\r\n"

    @pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
    def test_nor_what_comes_back_later(self, bed, change):
        holder = bed.borrow()
        bed.connector.now = other(**change)
        bed.connector.manual = True
        waiting = bed.borrow()
        stream = holder.give_back()
        assert waiting.stream is None
        bed.connector.succeed()
        assert waiting.stream is not stream
        assert waiting.stream.channel == bed.connector.now

    def test_what_comes_back_later_is_closed_when_somebody_asks(self, bed):
        holder = bed.borrow()
        bed.connector.now = other(credentials=Password("alice", "new"))
        bed.borrow()
        stream = holder.give_back()
        bed.borrow()
        assert bed.goodbye(bed.server(stream)) == b"QUIT\r\n"

    def test_what_was_offered_elsewhere_and_heard_late_is_forgotten_too(self, bed):
        bed.connector.manual = True
        bed.borrow()
        bed.connector.now = other(destination=evolve(DESTINATION, host="mail2.test"))
        bed.borrow()
        bed.connector.succeed()
        bed.borrow()
        assert bed.pool.known() is None

    def test_an_attempt_with_the_password_before_is_for_nobody_who_has_come_since(self, bed):
        bed.connector.manual = True
        gone = bed.borrow()
        bed.connector.now = other(credentials=Password("alice", "new"))
        waiting = bed.borrow()
        gone.leave()
        assert bed.connector.cancelled == 1
        bed.connector.succeed()
        assert waiting.stream is None
        bed.connector.succeed()
        assert waiting.stream.channel == bed.connector.now

    def test_what_the_connector_has_replaced_meanwhile_is_good_for_who_waited_for_it(self, bed):
        """A token was refused and another one was fetched: no second login, and no third, follows from that."""
        bed.connector.manual = True
        waiting = bed.borrow()
        fetched = other(credentials=Token("alice", "fresh", 1e9))
        bed.connector.now = fetched
        bed.connector.succeed(channel=fetched)
        assert waiting.stream is not None
        assert bed.connector.opened == 1
        stream = waiting.give_back()
        assert bed.borrow().stream is stream

    def test_tokens_that_nobody_keeps_do_not_end_in_a_storm_of_logins(self, bed):
        """Every look-up brings another one."""
        bed.connector.manual = True
        borrowers = [bed.borrow() for _ in range(3)]
        for number in range(3):
            token = Token("alice", f"token {number}", 1e9)
            bed.connector.succeed(channel=other(credentials=token))
        assert all(borrower.stream is not None for borrower in borrowers)
        assert bed.connector.opened == 3

    def test_what_was_offered_elsewhere_is_forgotten(self, bed):
        used(bed)
        assert bed.pool.known() is bed.connector.capabilities
        bed.connector.manual = True
        bed.connector.now = other(destination=evolve(DESTINATION, host="mail2.test"))
        bed.borrow()
        assert bed.pool.known() is None


class TestWhatIsKnown:
    def test_nothing_at_first(self, bed):
        assert bed.pool.known() is None

    def test_a_login_that_fails_makes_us_forget(self, bed):
        bed.borrow()
        assert bed.pool.known() is bed.connector.capabilities
        bed.connector.failure = RefusedSession("no")
        bed.borrow()
        assert bed.pool.known() is None

    def test_so_does_a_look_up_that_fails(self, bed):
        bed.borrow()
        bed.connector.lookups = []
        bed.borrow()
        bed.connector.look_up(DestinationUnavailable("no"))
        assert bed.pool.known() is None

    def test_and_time(self, bed):
        bed.borrow()
        bed.network.advance(599.9)
        assert bed.pool.known() is not None
        bed.network.advance(0.2)
        assert bed.pool.known() is None


class TestAttempts:
    def test_an_attempt_that_fails_tells_one_of_those_who_wait(self, bed):
        bed.connector.manual = True
        waiting = [bed.borrow() for _ in range(3)]
        bed.refuse(2)
        assert [type(each.error) for each in waiting] == [RefusedSession, type(None), type(None)]
        assert len(bed.connector.attempts) == 2

    def test_an_attempt_that_nobody_waits_for_fails_in_silence(self, bed):
        holder = bed.borrow()
        bed.connector.manual = True
        waiting = bed.borrow()
        holder.give_back()
        bed.refuse()
        assert waiting.error is None
        assert not bed.connector.attempts

    def test_who_leaves_takes_an_attempt_along(self, bed):
        bed.connector.manual = True
        waiting = [bed.borrow() for _ in range(2)]
        waiting[0].leave()
        assert isinstance(waiting[0].error, CancelledError)
        assert bed.connector.cancelled == 1
        bed.connector.succeed()
        assert waiting[1].stream is not None

    def test_who_leaves_during_the_look_up_leaves_nothing_behind(self, bed):
        bed.connector.lookups = []
        borrower = bed.borrow()
        borrower.leave()
        bed.connector.look_up()
        assert bed.connector.opened == 0
        assert not bed.clock.getDelayedCalls()

    def test_who_has_left_does_not_hear_that_the_look_up_failed(self, bed):
        bed.connector.lookups = []
        borrower = bed.borrow()
        borrower.leave()
        bed.connector.look_up(DestinationUnavailable("no"))
        assert isinstance(borrower.error, CancelledError)

    def test_a_look_up_that_fails_fails_the_claim(self, bed):
        bed.connector.lookups = []
        borrower = bed.borrow()
        bed.connector.look_up(DestinationUnavailable("no"))
        assert isinstance(borrower.error, DestinationUnavailable)
        assert bed.connector.opened == 0

    def test_a_look_up_that_takes_too_long_has_its_own_words(self, bed):
        bed.connector.lookups = []
        borrower = bed.borrow()
        bed.network.advance(LOGIN_SECONDS + 0.1)
        assert isinstance(borrower.error, DestinationUnavailable)
        assert str(borrower.error) == "no credentials within 20 s"
        bed.connector.look_up()
        assert bed.connector.opened == 0

    def test_one_at_rest_is_waited_for_until_the_look_up_says_that_it_will_do(self, bed):
        stream = used(bed)
        bed.connector.lookups = []
        borrower = bed.borrow()
        assert borrower.stream is None
        bed.connector.look_up()
        assert borrower.stream is stream
        assert bed.connector.opened == 1

    def test_an_attempt_has_the_time_that_is_left_and_says_itself_why_it_took_too_long(self, bed):
        bed.connector.lookups, bed.connector.manual = [], True
        borrower = bed.borrow()
        bed.network.advance(5)
        bed.connector.look_up()
        assert bed.connector.attempts[0].seconds == pytest.approx(LOGIN_SECONDS - 5)
        bed.network.advance(15.1)
        assert borrower.error is None
        bed.refuse()
        assert isinstance(borrower.error, RefusedSession)

    def test_an_error_is_for_who_has_an_attempt_and_not_for_who_looks_up(self, bed):
        bed.connector.lookups, bed.connector.manual = [], True
        slow, quick = bed.borrow(), bed.borrow()
        bed.connector.lookups.reverse()
        bed.connector.look_up()
        bed.refuse()
        assert slow.error is None
        assert isinstance(quick.error, RefusedSession)

    def test_a_failure_at_once_is_the_claims_own(self, bed):
        bed.connector.failure = Unreachable("no")
        assert isinstance(bed.borrow().error, Unreachable)
        assert bed.connector.opened == 1
        assert not bed.clock.getDelayedCalls()

    def test_a_mistake_of_ours_that_nobody_waits_for_is_logged(self, bed, logged_failures):
        holder = bed.borrow()
        bed.connector.manual = True
        bed.borrow()
        holder.give_back()
        bed.connector.fail(ZeroDivisionError("what"))
        assert len(logged_failures) == 1
        logged_failures.clear()


class TestHowMany:
    def test_there_are_never_more_than_allowed(self):
        bed = Bed(connections=2)
        holders = [bed.borrow(), bed.borrow()]
        waiting = bed.borrow()
        assert waiting.stream is None
        assert bed.connector.opened == 2
        assert [each.wanted for each in holders] == [1, 1]
        stream = holders[1].give_back()
        assert waiting.stream is stream

    def test_who_waits_is_served_in_turn_when_a_connection_has_ended(self):
        bed = Bed(connections=1)
        holder = bed.borrow()
        waiting = [bed.borrow(), bed.borrow()]
        holder.abort()
        bed.network.settle()
        assert waiting[0].stream is not None
        assert waiting[1].stream is None
        assert bed.connector.opened == 2

    def test_what_says_goodbye_still_counts(self):
        bed = Bed(connections=1)
        stream = used(bed, sound=False)
        waiting = bed.borrow()
        assert waiting.stream is None
        bed.goodbye(bed.server(stream))
        assert waiting.stream is not None

    def test_the_wait_has_an_end(self):
        bed = Bed(connections=1)
        holder = bed.borrow()
        waiting = bed.borrow()
        bed.network.advance(LOGIN_SECONDS - 0.1)
        assert waiting.error is None
        bed.network.advance(0.2)
        assert isinstance(waiting.error, LimitReached)
        holder.give_back()
        assert len(bed.shelf) == 1
        assert waiting.stream is None

    def test_those_who_hold_one_are_asked_until_somebody_lets_go(self):
        bed = Bed(connections=3)
        holders = [bed.borrow() for _ in range(3)]
        holders[1].lets_go = True
        waiting = bed.borrow()
        assert waiting.stream is not None
        assert [each.wanted for each in holders] == [1, 1, 0]

    def test_what_rests_and_is_of_no_use_gives_way(self):
        bed = Bed(connections=1)
        stream = used(bed)
        fresh = bed.borrow(fresh=True)
        assert fresh.stream is None
        assert bed.goodbye(bed.server(stream)) == b"QUIT\r\n"
        assert fresh.stream is not None

    def test_an_error_of_the_only_attempt_lets_the_next_one_try(self):
        bed = Bed(connections=1)
        bed.connector.manual = True
        waiting = [bed.borrow(), bed.borrow()]
        bed.refuse()
        assert isinstance(waiting[0].error, RefusedSession)
        bed.connector.succeed()
        assert waiting[1].stream is not None

    @pytest.mark.parametrize(
        "host", ["smtp.office365.com", "outlook.office365.com", "SMTP.Office365.COM.", "x.outlook.com"]
    )
    def test_a_hosted_service_allows_three(self, host):
        bed = Bed(channel=other(destination=evolve(DESTINATION, host=host)))
        borrowers = [bed.borrow() for _ in range(5)]
        assert [borrower.stream is not None for borrower in borrowers] == [True] * 3 + [False] * 2

    def test_also_for_those_who_come_before_the_host_is_known(self):
        bed = Bed(channel=other(destination=evolve(DESTINATION, host="smtp.office365.com")))
        bed.connector.lookups = []
        borrowers = [bed.borrow() for _ in range(5)]
        while bed.connector.lookups:
            bed.connector.look_up()
        assert bed.connector.opened == 3
        assert sum(borrower.stream is not None for borrower in borrowers) == 3

    @pytest.mark.parametrize("host", ["mail.test", "notoffice365.com", "office365.com.mail.test"])
    def test_others_as_many_as_are_needed(self, host):
        bed = Bed(channel=other(destination=evolve(DESTINATION, host=host)))
        assert all(bed.borrow().stream is not None for _ in range(5))

    def test_the_operators_word_counts_for_a_hosted_service_too(self):
        bed = Bed(connections=4, channel=other(destination=evolve(DESTINATION, host="smtp.office365.com")))
        assert sum(bed.borrow().stream is not None for _ in range(5)) == 4


class TestKeptReady:
    def test_not_before_anybody_has_come(self):
        bed = Bed(min_idle=2)
        bed.network.advance(100)
        assert bed.connector.opened == 0

    def test_so_many_rest(self):
        bed = Bed(min_idle=2)
        bed.borrow()
        assert len(bed.shelf) == 2
        assert bed.connector.opened == 3
        bed.borrow()
        assert len(bed.shelf) == 2
        assert bed.connector.opened == 4

    def test_again_when_they_have_rested_long_enough(self):
        bed = Bed(min_idle=2)
        used(bed)
        for _ in range(3):
            bed.network.advance(30 + QUIT_SECONDS)
            assert len(bed.shelf) == 2
        assert bed.connector.opened <= 3 + 2 * 4

    @pytest.mark.parametrize("at_once", [True, False])
    def test_a_login_that_fails_is_not_tried_in_a_loop(self, at_once):
        bed = Bed(min_idle=3)
        used(bed)
        opened = bed.connector.opened
        bed.connector.manual, bed.connector.failure = not at_once, Unreachable("no") if at_once else None
        bed.network.advance(30.1)
        while bed.connector.attempts:
            bed.refuse()
        bed.network.advance(29)
        assert bed.connector.opened - opened <= 3
        bed.network.advance(2)
        while bed.connector.attempts:
            bed.refuse()
        assert bed.connector.opened - opened <= 6

    def test_a_mail_server_that_closes_what_rests_is_not_called_in_a_loop(self):
        bed = Bed(min_idle=1)
        borrower = bed.borrow()
        opened = bed.connector.opened
        for stream, server in list(bed.connector.servers.items()):
            if stream is not borrower.stream:
                server.say(b"421 too many of you\r\n")
        bed.network.settle()
        assert len(bed.shelf) == 0
        bed.network.advance(29)
        assert bed.connector.opened == opened
        bed.network.advance(2)
        assert bed.connector.opened == opened + 1

    def test_more_than_there_may_be_are_not_made_in_a_loop(self):
        bed = Bed(min_idle=5, connections=3)
        borrower = bed.borrow()
        bed.network.advance(1)
        assert bed.connector.opened == 3
        assert len(bed.shelf) == 2
        assert borrower.wanted == 0

    def test_nor_more_than_have_a_place(self):
        bed = Bed(min_idle=5, shelf=Shelf(2))
        bed.borrow()
        opened = bed.connector.opened
        assert opened <= 6
        bed.network.advance(29)
        assert len(bed.shelf) == 2
        assert bed.connector.opened == opened

    def test_nothing_is_kept_ready_where_nothing_may_rest(self):
        bed = Bed(min_idle=2)
        used(bed)
        bed.shelf.resize(0)
        opened = bed.connector.opened
        bed.network.advance(100)
        assert bed.connector.opened == opened
        assert not bed.network.transports
        assert not bed.clock.getDelayedCalls()


class TestShelf:
    def test_of_several_pools_the_one_that_has_rested_longest_gives_way(self):
        shelf = Shelf(2)
        one = Bed(shelf=shelf)
        two = Bed(shelf=shelf, network=one.network, channel=other(way="globex"))
        oldest, second = used(one), used(two)
        assert len(shelf) == 2
        third = one.borrow(fresh=True).give_back()
        assert len(shelf) == 2
        assert one.goodbye(one.server(oldest)) == b"QUIT\r\n"
        assert one.borrow().stream is third
        assert two.borrow().stream is second

    def test_at_a_stop_all_say_goodbye_and_what_comes_back_does(self):
        bed = Bed()
        holder, broken_off = bed.borrow(), bed.borrow()
        stream = used(bed)
        bed.shelf.resize(0)
        assert bed.goodbye(bed.server(stream)) == b"QUIT\r\n"
        assert bed.goodbye(bed.server(holder.give_back())) == b"QUIT\r\n"
        assert bed.goodbye(bed.server(broken_off.give_back(reset=True))) == b"QUIT\r\n"
        assert not bed.network.transports

    def test_at_a_stop_who_waits_is_served_all_the_same(self):
        bed = Bed(connections=1)
        holder = bed.borrow()
        waiting = bed.borrow()
        bed.shelf.resize(0)
        stream = holder.give_back(reset=True)
        bed.network.settle()
        bed.server(stream).say(b"250 ok\r\n")
        bed.network.settle()
        assert waiting.stream is stream

    def test_without_a_place_each_session_has_its_own(self):
        bed = Bed(shelf=Shelf(0))
        stream = used(bed)
        assert bed.borrow().stream is not stream
        assert bed.server(stream).hear() == b"QUIT\r\n"

    def test_a_place_that_is_taken_by_another_pool_in_a_callback_is_nobody_elses(self):
        """Two wait and two rest; the first one gives back at once, which costs the second connection its place."""
        shelf = Shelf(2)
        bed = Bed(shelf=shelf)
        first, second, third = bed.borrow(), bed.borrow(), bed.borrow()
        first.give_back()
        second.give_back()
        bed.connector.lookups = []

        def give_two_back(borrower):
            borrower.give_back()
            third.give_back()

        waiting = [bed.borrow(when_served=give_two_back), bed.borrow(), bed.borrow()]
        while bed.connector.lookups:
            bed.connector.look_up()
        assert all(each.error is None for each in waiting)
        lent = [each.stream for each in waiting[1:]]
        assert None not in lent
        assert lent[0] is not lent[1]


class TestReentrancy:
    def test_who_is_served_may_come_back_at_once(self, bed):
        more = []
        bed.borrow(when_served=lambda _: more.append(bed.borrow()))
        assert more[0].stream is not None

    def test_who_comes_back_in_its_callback_finds_what_it_has_given_back(self, bed):
        used(bed)
        more = []

        def again(borrower):
            borrower.give_back()
            more.append(bed.borrow())

        borrower = bed.borrow(when_served=again)
        assert more[0].stream is not None
        assert borrower.stream is None
        assert bed.connector.opened == 1

    def test_a_connection_that_many_pass_on_at_once_has_one_owner_at_a_time(self):
        bed = Bed(connections=1)
        holder = bed.borrow()
        served = []

        def pass_on(borrower):
            served.append(borrower)
            borrower.give_back()

        waiting = [bed.borrow(when_served=pass_on) for _ in range(50)]
        holder.give_back()
        assert served == waiting
        assert len(bed.shelf) == 1


class TestNothingIsLeft:
    def test_a_pool_that_is_closed_lets_all_go(self, bed):
        resting = used(bed)
        holder = bed.borrow(fresh=True)
        bed.connector.manual = True
        attempt = bed.borrow(fresh=True)
        attempt.leave()
        bed.pool.close()
        assert bed.goodbye(bed.server(resting)) == b"QUIT\r\n"
        assert bed.goodbye(bed.server(holder.give_back())) == b"QUIT\r\n"
        assert not bed.clock.getDelayedCalls()
        assert not bed.network.transports

    def test_surplus_attempts_end_with_it(self, bed):
        holder = bed.borrow()
        bed.connector.manual = True
        bed.borrow()
        holder.give_back()
        bed.pool.close()
        assert bed.connector.cancelled == 1

    def test_what_was_being_reset_says_goodbye(self, bed):
        stream = used(bed, reset=True)
        bed.pool.close()
        bed.server(stream).hear()
        bed.server(stream).say(b"250 ok\r\n")
        assert bed.goodbye(bed.server(stream)) == b"QUIT\r\n"
        assert not bed.clock.getDelayedCalls()

    def test_a_look_up_that_ends_behind_the_close_changes_nothing(self, bed):
        bed.connector.lookups = []
        bed.borrow().leave()
        bed.pool.close()
        bed.connector.look_up()
        assert bed.connector.opened == 0

    def test_refcounting_alone_frees_streams_sessions_and_pool(self):
        bed = Bed(min_idle=1, connections=2)
        gc.collect()
        gc.disable()
        try:
            borrower = bed.borrow()
            used_stream = borrower.give_back(reset=True)
            bed.network.settle()
            bed.server(used_stream).say(b"250 ok\r\n")
            bed.network.settle()
            second = bed.borrow()
            late = bed.borrow(fresh=True)
            bed.network.advance(LOGIN_SECONDS + 1)
            second.give_back()
            bed.network.settle()
            bed.pool.close()
            for server in list(bed.connector.servers.values()):
                bed.goodbye(server)
            bed.network.advance(QUIT_SECONDS)
            watched = [weakref.ref(each) for each in (borrower, second, late, used_stream, bed.pool)]
            bed.connector.servers.clear()
            assert not bed.clock.getDelayedCalls()
            assert not bed.network.transports
            del borrower, second, late, used_stream
            bed.pool = None
            assert [each() for each in watched] == [None] * 5
        finally:
            gc.enable()
