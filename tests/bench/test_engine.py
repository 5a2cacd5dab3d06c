"""Sessions in a loop."""

import socket

import pytest

from tests.bench.engine import READ, WRITE, Broken, Loop


@pytest.fixture
def pair():
    """Two connected sockets."""
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        other.setblocking(False)
        yield one, other


def _told(ended):
    return ended.append


def test_a_session_goes_on_when_its_socket_is_ready(pair):
    one, other = pair
    heard, ended = [], []

    def asking():
        one.send(b"ping")
        yield READ
        heard.append(one.recv(10))
        one.close()

    def answering():
        heard.append(other.recv(10))
        yield WRITE
        other.send(b"pong")
        other.close()

    loop = Loop()
    loop.start(one.fileno(), asking(), WRITE, _told(ended))
    loop.start(other.fileno(), answering(), READ, _told(ended))
    assert len(loop) == 2
    loop.run()
    assert heard == [b"ping", b"pong"]
    assert ended == [None, None]
    assert len(loop) == 0


@pytest.mark.parametrize("failure", [Broken("no"), ConnectionResetError("gone")])
def test_a_session_that_fails_says_so_and_the_others_go_on(pair, failure):
    one, other = pair
    ended = []

    def failing():
        one.close()
        raise failure
        yield READ

    def listening():
        assert other.recv(10) == b""
        yield WRITE
        other.close()

    loop = Loop()
    loop.start(one.fileno(), failing(), WRITE, _told(ended))
    loop.start(other.fileno(), listening(), READ, _told(ended))
    loop.run()
    assert ended == [failure, None]


def test_who_sleeps_goes_on_by_itself_and_is_not_woken_by_octets(pair):
    one, other = pair
    ended, turns = [], []
    other.send(b"x")

    def sleeping():
        for _ in range(3):
            turns.append(one.fileno())
            yield 0.0
        yield READ
        turns.append(one.recv(10))
        one.close()

    loop = Loop()
    loop.start(one.fileno(), sleeping(), READ, _told(ended))
    loop.run()
    assert turns[1:] == [*turns[:1] * 2, b"x"]
    assert ended == [None]


def test_a_loop_can_be_stopped_in_the_middle(pair):
    one, _ = pair
    loop = Loop()

    def stopping():
        loop.stop()
        yield READ

    loop.start(one.fileno(), stopping(), WRITE, _told([]))
    loop.run()
    assert len(loop) == 1


def test_a_loop_ends_when_time_is_up(pair):
    one, _ = pair
    loop = Loop()
    loop.start(one.fileno(), iter(()), READ, _told([]))
    loop.run(until=0.0)
    assert len(loop) == 1
