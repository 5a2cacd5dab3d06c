"""Replies in the order of the commands, whoever gives them and whenever they are ready."""

import pytest

from mailproxy.session.reply_queue import Awaited, ReplyQueue


@pytest.fixture
def queue():
    return ReplyQueue()


def test_a_reply_that_is_ready_waits_for_those_before_it(queue):
    queue.say(b"1")
    queue.expect(Awaited.MAIL)
    queue.say(b"3")
    assert queue.take_ready() == (b"1", None)
    assert queue.take_ready() == (b"", None)
    queue.settle(b"2")
    assert queue.take_ready() == (b"23", None)
    assert len(queue) == 0


def test_nothing_is_said_behind_the_last_reply(queue):
    queue.expect(Awaited.MAIL)
    queue.say(b"2", "quit")
    queue.say(b"3")
    assert queue.closing
    queue.settle(b"1")
    assert queue.take_ready() == (b"12", "quit")
    assert queue.take_ready() == (b"", None)


def test_what_is_said_in_place_of_a_reply_is_said_when_that_comes(queue):
    queue.expect(Awaited.RCPT)
    queue.expect(Awaited.DATA)
    queue.doom(b"2", "downstream_desync")
    assert queue.closing
    assert not queue.doomed
    queue.settle(b"1")
    assert queue.doomed
    assert queue.take_ready() == (b"1", None)
    queue.settle(b"other", "upstream_421")
    assert queue.take_ready() == (b"2", "downstream_desync")


def test_what_is_withdrawn_takes_along_all_that_is_behind_it(queue):
    queue.say(b"0")
    queue.expect(Awaited.MAIL)
    queue.say(b"2")
    queue.expect(Awaited.RCPT)
    queue.withdraw()
    assert not queue.awaited
    queue.say(b"1")
    assert queue.take_ready() == (b"01", None)


def test_breaking_off_leaves_one_reply(queue):
    queue.expect(Awaited.MAIL)
    queue.say(b"2")
    queue.break_off(b"421", "shutdown")
    assert not queue.awaited
    assert queue.closing
    assert queue.take_ready() == (b"421", "shutdown")
