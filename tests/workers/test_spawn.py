"""A worker's process gets what it needs, and nothing that was for the supervisor alone."""

import os
import sys
from pathlib import Path

import pytest

import mailproxy
from mailproxy.workers.board import Board
from mailproxy.workers.loglines import LogLines
from mailproxy.workers.mate import Mate
from mailproxy.workers.program import BOARD, CHANNEL, STDOUT
from mailproxy.workers.spawn import spawner
from tests.support.crews import Reactor

CODE = str(Path(mailproxy.__file__).resolve().parent.parent)


class Started(Reactor):
    """Keeps what a process was started with, and the identity of what it has open."""

    def __init__(self):
        super().__init__()
        self.open_then = {}
        self.adopted = []

    def spawnProcess(self, protocol, executable, args, env, childFDs):
        self.protocol, self.command, self.env, self.given = protocol, (executable, args), env, childFDs
        self.open_then = {number: os.fstat(opened) for number, opened in childFDs.items() if isinstance(opened, int)}

    def adoptStreamConnection(self, descriptor, family, factory):
        self.adopted.append(factory.buildProtocol(None))


@pytest.fixture
def board():
    board = Board.new()
    yield board
    board.close()


@pytest.fixture
def reactor():
    return Started()


@pytest.fixture
def mate(reactor):
    return Mate(reactor, 7, 3, None)


def test_a_worker_is_an_interpreter_with_its_number_and_seat(reactor, board, mate):
    spawner(reactor, {}, board, log_through_us=False)(mate)
    executable, arguments = reactor.command
    assert executable == sys.executable
    assert arguments == [sys.executable, "-P", "-m", "mailproxy.workers", "7", "3", STDOUT]
    assert reactor.protocol is mate
    assert reactor.adopted == [mate.channel]


def test_nothing_is_open_but_its_log_its_channel_and_the_board(reactor, board, mate):
    before = {*Path("/proc/self/fd").iterdir()}
    spawner(reactor, {}, board, log_through_us=False)(mate)
    assert reactor.given.keys() == {0, 1, 2, CHANNEL, BOARD}
    assert (reactor.given[1], reactor.given[2], reactor.given[BOARD]) == (1, 2, board.descriptor)
    assert os.path.samestat(reactor.open_then[0], Path(os.devnull).stat())
    assert {*Path("/proc/self/fd").iterdir()} <= before


def test_where_the_log_is_ours_to_write_we_read_what_it_says(reactor, board, mate):
    spawner(reactor, {}, board, log_through_us=True)(mate)
    assert (reactor.given[1], reactor.given[2]) == ("r", "r")
    assert isinstance(reactor.protocol, LogLines)


@pytest.mark.parametrize(("before", "after"), [({}, CODE), ({"PYTHONPATH": "/x"}, f"{CODE}:/x")])
def test_its_code_is_ours_wherever_it_starts(reactor, board, mate, before, after):
    spawner(reactor, before, board, log_through_us=False)(mate)
    assert reactor.env == {"PYTHONPATH": after}


def test_what_the_service_manager_has_said_is_not_for_it(reactor, board, mate):
    environ = dict.fromkeys(("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID"), "1")
    environ |= {"LISTEN_FDNAMES": "smtp", "PATH": "/bin"}
    spawner(reactor, environ, board, log_through_us=False)(mate)
    assert reactor.env == {"PATH": "/bin", "PYTHONPATH": CODE}
