import errno
import json

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogLevel, formatEvent, globalLogPublisher

from mailproxy.ledger import clerk as module
from mailproxy.ledger.clerk import ALARM_SECONDS, GROUP_SECONDS, QUIET_SECONDS, RETRY_SECONDS, SYNC_SECONDS
from mailproxy.ledger.verify import verify
from mailproxy.observe.observation import LedgerFigures
from tests.ledger.books import Disk, Thread, clerk, files, small


class Desk:
    """A clerk at work."""

    def __init__(self, folder, **settings):
        self.folder = folder
        self.clock = Clock()
        self.thread = Thread()
        self.clerk = clerk(folder, self.clock, self.thread, **settings)
        self.clerk.start()

    def write(self, words="x"):
        """A record, and nothing else is to be done."""
        durable = self.clerk.write(small(words))
        self.clock.advance(0)
        return durable

    def work(self, error=None):
        """The disk is done with one turn, and there is nothing else to do."""
        self.thread.work(error)
        self.clock.advance(0)

    @property
    def records(self):
        return [json.loads(line) for path in files(self.folder) for line in path.read_bytes().splitlines()]

    @property
    def words(self):
        return [each["words"] for each in self.records if each["kind"] == "test"]

    def turn(self, seconds):
        """One turn of the reactor, which takes so long."""
        self.clock.rightNow += seconds
        call = self.clock.calls.pop(0)
        call.called = 1
        call.func()

    def finish_disk(self):
        while self.thread.jobs:
            self.work()

    def stop(self):
        over = self.clerk.stop()
        self.finish_disk()
        assert over.called
        assert self.clock.getDelayedCalls() == []
        (finding,) = verify(files(self.folder))
        assert finding.problem is None, finding.problem


@pytest.fixture(autouse=True)
def said(logged_failures):
    events = []
    globalLogPublisher.addObserver(events.append)
    yield lambda level: [formatEvent(each) for each in events if each["log_level"] is level]
    globalLogPublisher.removeObserver(events.append)
    logged_failures[:] = [each for each in logged_failures if each["log_namespace"] != "mailproxy.ledger"]


# Making sure


def test_always_a_record_is_on_disk_before_anybody_hears_so(tmp_path):
    desk = Desk(tmp_path)
    durable = desk.write()
    assert desk.words == ["x"]
    assert not durable.called
    desk.work()
    assert durable.called
    desk.stop()


def test_many_wait_for_one_turn_of_the_disk(tmp_path):
    desk = Desk(tmp_path)
    first, *others = [desk.write(str(number)) for number in range(50)]
    assert len(desk.thread.jobs) == 1
    desk.work()
    assert first.called
    assert not any(each.called for each in others)
    assert len(desk.thread.jobs) == 1
    desk.work()
    assert all(each.called for each in others)
    assert desk.thread.jobs == []
    desk.stop()


def test_while_there_is_something_else_to_do_a_record_waits_for_others_but_not_for_long(tmp_path):
    desk = Desk(tmp_path)
    busy = 5 * QUIET_SECONDS
    for turns in (3, 200):
        waiting = []
        began = desk.clock.seconds()
        while len(waiting) < turns and not desk.thread.jobs:
            waiting.append(desk.clerk.write(small("one of many")))
            desk.turn(busy)
        desk.clock.advance(0)
        assert len(desk.thread.jobs) == 1
        desk.work()
        assert all(each.called for each in waiting)
        assert desk.clock.seconds() - began == pytest.approx(min(turns * busy, GROUP_SECONDS), abs=busy)
        assert desk.clock.getDelayedCalls() == []
    desk.stop()


def test_at_intervals_nobody_waits(tmp_path):
    desk = Desk(tmp_path, fsync="interval")
    assert desk.write() is desk.write() is None
    assert desk.thread.jobs == []
    desk.clock.advance(1.0)
    assert len(desk.thread.jobs) == 1
    desk.write()
    desk.clock.advance(1.0)
    assert len(desk.thread.jobs) == 1
    desk.work()
    desk.clock.advance(1.0)
    assert len(desk.thread.jobs) == 1
    desk.work()
    assert desk.clock.getDelayedCalls() == []
    desk.stop()


def test_never_the_disk_is_left_alone(tmp_path):
    desk = Desk(tmp_path, fsync="never", max_octets=300)
    for _ in range(3):
        assert desk.write() is None
    assert desk.clerk._writer._retired == []
    desk.stop()
    assert desk.thread.jobs == []


def test_at_the_end_everything_is_on_disk(tmp_path):
    desk = Desk(tmp_path, fsync="interval")
    desk.write()
    over = desk.clerk.stop()
    assert not over.called
    desk.work()
    assert over.called


def test_the_end_waits_for_a_turn_that_has_begun_and_for_what_came_behind_it(tmp_path):
    desk = Desk(tmp_path)
    desk.write()
    late = desk.write()
    over = desk.clerk.stop()
    desk.work()
    assert not over.called
    desk.work()
    assert late.called
    assert over.called


def test_a_disk_that_hangs_holds_nobody_up(tmp_path, said):
    desk = Desk(tmp_path)
    durable = desk.write()
    desk.clock.advance(SYNC_SECONDS)
    assert durable.called
    assert desk.clerk.problem == "the disk has not taken it within 10 s"
    assert not desk.clerk.open
    desk.write("later")
    desk.clock.advance(RETRY_SECONDS)
    assert not desk.clerk.open
    desk.work()
    desk.clock.advance(RETRY_SECONDS)
    assert desk.clerk.open
    assert desk.words == ["x", "later"]
    desk.stop()


def test_a_disk_that_hangs_does_not_hold_up_the_end(tmp_path):
    desk = Desk(tmp_path)
    desk.write()
    over = desk.clerk.stop()
    desk.clock.advance(SYNC_SECONDS)
    assert over.called
    assert desk.clock.getDelayedCalls() == []


def test_a_disk_that_fails_is_said_and_tried_again(tmp_path, said):
    desk = Desk(tmp_path)
    durable = desk.write()
    desk.work(OSError(errno.EIO, "Input/output error"))
    assert durable.called
    assert said(LogLevel.critical) == ["the ledger cannot be written: Input/output error"]
    desk.clock.advance(RETRY_SECONDS)
    assert desk.clerk.open
    desk.stop()


def test_a_disk_that_fails_at_the_end(tmp_path):
    desk = Desk(tmp_path)
    desk.write()
    over = desk.clerk.stop()
    desk.work(RuntimeError("whatever"))
    assert over.called
    assert desk.clock.getDelayedCalls() == []


def test_too_many_that_wait_for_the_disk_keep_others_from_beginning(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_UNSYNCED_SESSIONS", 3)
    desk = Desk(tmp_path)
    for _ in range(3):
        desk.write()
    assert desk.clerk.open
    desk.write()
    assert not desk.clerk.open
    desk.work()
    assert desk.clerk.open
    desk.stop()


def test_who_may_go_on_is_not_kept_by_a_slow_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_UNSYNCED_SESSIONS", 0)
    desk = Desk(tmp_path, block=False)
    desk.write()
    assert desk.clerk.open
    desk.stop()


# A disk that is full


def test_what_finds_no_room_waits_and_is_written_in_its_order(tmp_path, said):
    desk = Desk(tmp_path)
    disk = Disk(desk.clerk._writer, 0)
    assert desk.write("one") is desk.write("two") is None
    assert desk.clerk.problem == "No space left on device"
    assert not desk.clerk.open
    assert desk.clerk.waiting == 2
    desk.clock.advance(RETRY_SECONDS)
    assert not desk.clerk.open
    disk.room = 1 << 20
    desk.clock.advance(RETRY_SECONDS)
    assert desk.clerk.open
    assert desk.clerk.problem is None
    desk.write("three")
    assert desk.words == ["one", "two", "three"]
    assert said(LogLevel.critical) == ["the ledger cannot be written: No space left on device"]
    assert "the ledger is written again, as far as record 3:" in said(LogLevel.info)[1]
    desk.stop()


@pytest.mark.parametrize("room", range(1, 500, 31))
def test_no_record_is_lost_or_doubled_wherever_the_room_ends(tmp_path, room):
    desk = Desk(tmp_path, max_octets=900)
    disk = Disk(desk.clerk._writer, room)
    for number in range(6):
        desk.write(str(number) * 80)
    disk.room = 1 << 20
    desk.finish_disk()
    desk.clock.advance(RETRY_SECONDS)
    desk.write("7")
    assert desk.words == [*(str(number) * 80 for number in range(6)), "7"]
    desk.stop()


def test_who_may_go_on_goes_on(tmp_path):
    desk = Desk(tmp_path, block=False)
    disk = Disk(desk.clerk._writer, 0)
    assert desk.write("one") is None
    assert desk.clerk.problem is not None
    assert desk.clerk.open
    disk.room = 1 << 20
    desk.stop()
    assert desk.words == ["one"]


def test_it_is_said_again_with_what_waits_and_what_is_lost(tmp_path, monkeypatch, said):
    monkeypatch.setattr(module, "MAX_WAITING_RECORDS", 2)
    desk = Desk(tmp_path)
    disk = Disk(desk.clerk._writer, 0)
    for number in range(5):
        desk.write(str(number))
    for _ in range(int(ALARM_SECONDS / RETRY_SECONDS)):
        desk.clock.advance(RETRY_SECONDS)
    assert said(LogLevel.critical)[1:] == [
        "the ledger still cannot be written: No space left on device; records that wait: 2, lost: 3"
    ]
    disk.room = 1 << 20
    desk.clock.advance(RETRY_SECONDS)
    assert desk.words == ["0", "1"]
    assert desk.records[-1]["kind"] == "lost"
    assert desk.records[-1]["records"] == 3
    desk.stop()


def test_the_room_for_what_waits_is_bounded_in_octets(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_WAITING_OCTETS", 1000)
    desk = Desk(tmp_path)
    disk = Disk(desk.clerk._writer, 0)
    desk.write("x" * 700)
    desk.write("y" * 700)
    desk.write("z")  # there would be room, but the order of what is known to be there is kept
    assert (desk.clerk.waiting, desk.clerk.lost) == (1, 2)
    disk.room = 1 << 20
    desk.stop()
    assert desk.records[-1]["records"] == 2


def test_many_that_waited_are_written_part_by_part(tmp_path):
    desk = Desk(tmp_path, fsync="never")
    disk = Disk(desk.clerk._writer, 0)
    for number in range(1200):
        desk.write(str(number))
    disk.room = 1 << 30
    left = []
    catch_up = desk.clerk._catch_up
    desk.clerk._catch_up = lambda most: left.append(desk.clerk.waiting) or catch_up(most)
    desk.clock.advance(RETRY_SECONDS)
    assert left == [1200, 700, 200]
    assert desk.clerk.open
    assert desk.words == [str(number) for number in range(1200)]
    desk.stop()


def test_a_folder_that_is_not_there_yet_is_waited_for(tmp_path, said):
    desk = Desk(tmp_path / "later")
    assert not desk.clerk.open
    desk.write("one")
    (tmp_path / "later").mkdir()
    desk.clock.advance(RETRY_SECONDS)
    assert desk.words == ["one"]
    desk.stop()


def test_what_could_not_be_written_at_the_end_is_counted(tmp_path, said):
    desk = Desk(tmp_path)
    Disk(desk.clerk._writer, 0)
    desk.write("one")
    assert desk.clerk.stop().called
    assert said(LogLevel.critical)[-1] == (
        "the ledger ends, and cannot be written: No space left on device; records lost: 1"
    )
    assert desk.clock.getDelayedCalls() == []


def test_the_log_has_the_last_record_at_the_beginning_and_at_the_end(tmp_path, said):
    desk = Desk(tmp_path)
    desk.stop()
    last = f"1:{desk.records[-1]['hash']}"
    assert said(LogLevel.info) == [
        f"the ledger goes on behind record {last}",
        f"the ledger ends with record {last}",
    ]


# What operators see


def test_what_is_written_and_how_long_the_disk_takes_is_counted(tmp_path):
    desk = Desk(tmp_path)
    assert desk.clerk.figures == LedgerFigures()
    desk.write()
    desk.write()
    desk.write()
    figures = desk.clerk.figures
    assert (figures.records, figures.sessions, figures.failing, figures.blocking) == (3, 3, 0, 0)
    desk.clock.advance(0.2)
    desk.finish_disk()
    figures = desk.clerk.figures
    assert (figures.records, figures.sessions) == (3, 0)
    assert sum(figures.sync_seconds.counts) == 2, "the others shared the next one"
    assert figures.sync_seconds.total == pytest.approx(0.2)
    desk.stop()


@pytest.mark.parametrize("block", [True, False])
def test_a_full_disk_is_counted_and_so_is_what_it_costs(tmp_path, monkeypatch, block):
    monkeypatch.setattr(module, "MAX_WAITING_RECORDS", 2)
    desk = Desk(tmp_path, block=block)
    disk = Disk(desk.clerk._writer, 0)
    for _ in range(5):
        desk.write()
    desk.clock.advance(RETRY_SECONDS)
    figures = desk.clerk.figures
    assert (figures.records, figures.waiting, figures.lost) == (0, 2, 3)
    assert (figures.full, figures.slow, figures.other) == (2, 0, 0)
    assert (figures.failing, figures.blocking) == (1, int(block))
    disk.room = 1 << 20
    desk.clock.advance(RETRY_SECONDS)
    figures = desk.clerk.figures
    assert (figures.records, figures.waiting, figures.lost) == (2, 0, 3)
    assert (figures.failing, figures.blocking) == (0, 0)
    desk.stop()


def test_what_is_wrong_with_a_disk_is_told_apart(tmp_path):
    desk = Desk(tmp_path)
    desk.write()
    desk.clock.advance(SYNC_SECONDS)
    desk.work()
    desk.clock.advance(RETRY_SECONDS)
    desk.write()
    desk.work(OSError(errno.EIO, "Input/output error"))
    figures = desk.clerk.figures
    assert (figures.full, figures.slow, figures.other) == (0, 1, 1)
    desk.clock.advance(RETRY_SECONDS)
    desk.stop()
