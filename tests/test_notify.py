"""The service manager is told how we are, in its own protocol."""

import os
import re
import socket
import time

import pytest
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from mailproxy.notify import Notifier


@pytest.fixture
def manager(tmp_path):
    """Hears what is said."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(0)
        yield listening


def heard(manager):
    messages = []
    while True:
        try:
            messages.append(manager.recv(4096).decode())
        except BlockingIOError:
            return messages


def notifier(manager, clock=None, **environ):
    return Notifier(clock or Clock(), {"NOTIFY_SOCKET": manager.getsockname(), **environ})


def test_it_hears_that_all_is_well(manager):
    notifier(manager).ready("listeners: 3")
    assert heard(manager) == ["READY=1\nSTATUS=listeners: 3"]


def test_it_hears_of_a_reload_when_it_began_by_its_own_clock(manager):
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier(manager).reloading()
    (message,) = heard(manager)
    (microseconds,) = re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=([0-9]+)", message).groups()
    assert before <= int(microseconds) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_it_hears_of_the_end(manager):
    notifier(manager).stopping("stopping")
    assert heard(manager) == ["STOPPING=1\nSTATUS=stopping"]


def test_an_abstract_address_will_do():
    name = f"mailproxy-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        listening.settimeout(0)
        Notifier(Clock(), {"NOTIFY_SOCKET": f"@{name}"}).ready("x")
        assert heard(listening) == ["READY=1\nSTATUS=x"]


def test_the_watchdog_is_fed_twice_as_often_as_it_wants(manager):
    clock = Clock()
    told = notifier(manager, clock, WATCHDOG_USEC="30000000", WATCHDOG_PID=str(os.getpid()))
    assert heard(manager) == []
    told.start()
    clock.pump([5] * 9)
    assert heard(manager) == ["WATCHDOG=1"] * 4
    told.stop()
    assert not clock.getDelayedCalls()


@pytest.mark.parametrize("environ", [{}, {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}])
def test_a_watchdog_that_is_not_ours_is_left_alone(manager, environ):
    clock = Clock()
    told = notifier(manager, clock, **environ)
    told.start()
    assert heard(manager) == []
    assert not clock.getDelayedCalls()
    told.stop()


def test_without_a_service_manager_nobody_is_told():
    clock = Clock()
    told = Notifier(clock, {"WATCHDOG_USEC": "30000000"})
    told.start()
    told.ready("x")
    told.reloading()
    told.stopping("x")
    assert not clock.getDelayedCalls()


def test_what_was_for_us_is_for_no_program_that_we_might_start(manager):
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "PATH": "/bin"}
    Notifier(Clock(), environ)
    assert environ == {"PATH": "/bin"}


def test_a_service_manager_that_is_gone_is_told_of_once(tmp_path):
    said = []
    globalLogPublisher.addObserver(said.append)
    try:
        told = Notifier(Clock(), {"NOTIFY_SOCKET": str(tmp_path / "nobody")})
        told.ready("x")
        told.stopping("x")
    finally:
        globalLogPublisher.removeObserver(said.append)
    assert [event["reason"] for event in said] == ["No such file or directory"]


def test_a_service_manager_that_does_not_listen_does_not_hold_us_up(manager):
    told = notifier(manager)
    for _ in range(10_000):
        told.ready("x" * 200)
    assert heard(manager)
