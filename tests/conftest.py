"""
What holds for every test: no error goes unheard, nothing is left in the reactor, and in CI nothing is skipped.

pytest-twisted sees neither an unhandled error of a Deferred nor what a test leaves in the reactor.
"""

from __future__ import annotations

import gc
import os
import signal

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.logger import LogLevel, globalLogPublisher

IN_CI = os.environ.get("CI") == "true"
TURN_SECONDS = 0.01
TURNS = 200
"""How often the reactor turns for what a test has ended already: a close takes a few turns to go through."""


def pytest_configure():
    """A shell that starts us in the background has SIGINT ignored; the programs that we start would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish():
    """What was imported stays out of every later collection of garbage, which makes one after each test affordable."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def logged_failures():
    """
    The failures and critical events that were logged during the test, which fails unless the list is empty.

    A test that provokes one on purpose asks for this fixture, looks at the list and clears it.
    """
    events = []

    def observe(event):
        if "log_failure" in event or event["log_level"] is LogLevel.critical:
            events.append(event)

    globalLogPublisher.addObserver(observe)
    yield events
    gc.collect()  # the error of a Deferred is logged when nobody holds it any more
    gc.freeze()  # or each test would go over the heap of all before it, which takes minutes in the end
    globalLogPublisher.removeObserver(observe)
    assert not events, "\n".join(_words(event) for event in events)


def _words(event):
    failure = event.get("log_failure")
    return failure.getTraceback() if failure is not None else str(event.get("log_format"))


@pytest.fixture(autouse=True)
def _clean_reactor(logged_failures):
    """No timer and no open socket is in the reactor that was not there before."""
    before = _contents()
    yield
    for _ in range(TURNS):
        if _contents() <= before:
            return
        pytest_twisted.blockon(deferLater(reactor, TURN_SECONDS))
    left = _contents() - before
    assert not left, f"left in the reactor: {left}"


def _contents():
    held = {*reactor.getDelayedCalls(), *reactor.getReaders(), *reactor.getWriters()}
    return held - reactor._internalReaders  # its own wakers come and go with its run


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """In CI a skipped test is a failed one: what was not tried is not known to work."""
    report = yield
    if IN_CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: skipped, which counts as failed in CI: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    """In CI the same goes for a module that is skipped as a whole."""
    report = yield
    if IN_CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid}: skipped, which counts as failed in CI: {report.longrepr}"
    return report
