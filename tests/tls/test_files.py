"""What is made of files follows them, is never half of one thing and half of another, and says once why it does not."""

from __future__ import annotations

import os

import pytest
from attrs import define, field
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs

from mailproxy.errors import ConfigError
from mailproxy.tls.files import LOOK_SECONDS, MadeOfFiles
from tests.tls.logs import sentences


@define
class Words:
    """A value out of two files; the word `bad` cannot be used."""

    one: object
    two: object
    clock: Clock = field(factory=Clock)
    reads: int = 0

    def read(self):
        self.reads += 1
        try:
            words = self.one.read_text(), self.two.read_text()
        except OSError:
            raise ConfigError(["a file is missing"]) from None
        if "bad" in words:
            raise ConfigError(["one is bad", "another may be"])
        return words

    def made(self):
        return MadeOfFiles([self.one, self.two], self.read, self.clock.seconds)


@pytest.fixture
def words(tmp_path):
    made = Words(tmp_path / "one", tmp_path / "two")
    made.one.write_text("first")
    made.two.write_text("second")
    return made


def test_files_that_stay_are_read_once(words):
    made = words.made()
    for _ in range(5):
        words.clock.advance(LOOK_SECONDS)
        assert made.current() == ("first", "second")
    assert words.reads == 1


@pytest.mark.parametrize("change", ["in place", "renamed over", "same length and time"])
def test_a_change_is_followed_at_most_a_second_later(words, tmp_path, change):
    made = words.made()
    if change == "in place":
        words.one.write_text("changed")
    else:
        before = words.one.stat()
        (tmp_path / "new").write_text("third" if change == "same length and time" else "changed")
        (tmp_path / "new").rename(words.one)
        if change == "same length and time":
            os.utime(words.one, ns=(before.st_atime_ns, before.st_mtime_ns))
    words.clock.advance(LOOK_SECONDS - 0.01)
    assert made.current() == ("first", "second")
    words.clock.advance(0.01)
    with capturedLogs() as events:
        assert made.current() == (words.one.read_text(), "second")
    assert sentences(events, LogLevel.info) == [f"files have changed and are in use: {words.one}, {words.two}"]


def test_the_file_that_a_link_leads_to_counts(tmp_path):
    """A mounted Secret: the files are links into `..data`, which is a link to a directory, and is renamed over."""
    for folder, text in (("..1", "old"), ("..2", "new")):
        (tmp_path / folder).mkdir()
        for name in ("one", "two"):
            (tmp_path / folder / name).write_text(f"{text} {name}")
    (tmp_path / "..data").symlink_to("..1")
    words = Words(tmp_path / "one", tmp_path / "two")
    for path in (words.one, words.two):
        path.symlink_to(f"..data/{path.name}")
    made = words.made()
    assert made.current() == ("old one", "old two")
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    words.clock.advance(LOOK_SECONDS)
    assert made.current() == ("new one", "new two")
    assert words.reads == 2


@pytest.mark.parametrize("fault", ["unusable", "gone"])
def test_what_cannot_be_used_changes_nothing_and_is_said_once_for_each_change(words, fault):
    made = words.made()
    with capturedLogs() as events:
        for _ in range(2):
            if fault == "unusable":
                words.one.write_text("bad")
            else:
                words.one.unlink(missing_ok=True)
            for _ in range(3):
                words.clock.advance(LOOK_SECONDS)
                assert made.current() == ("first", "second")
    reason = "one is bad; another may be" if fault == "unusable" else "a file is missing"
    warning = f"files have changed and cannot be used, those before stay in use: {reason}"
    # Written twice it has changed twice; gone is gone.
    assert sentences(events, LogLevel.warn) == [warning] * (2 if fault == "unusable" else 1)


def test_after_a_fault_the_next_good_state_is_used(words):
    made = words.made()
    for text in ("bad", "better"):
        words.one.write_text(text)
        words.clock.advance(LOOK_SECONDS)
        made.current()
    assert made.current() == ("better", "second")


def test_a_file_that_is_away_for_a_while_is_used_when_it_is_back_unchanged(words, tmp_path):
    made = words.made()
    words.one.rename(tmp_path / "away")
    words.clock.advance(LOOK_SECONDS)
    made.current()
    (tmp_path / "away").rename(words.one)
    words.clock.advance(LOOK_SECONDS)
    assert made.current() == ("first", "second")


def test_a_change_while_the_files_are_read_is_seen_the_next_time(words):
    def read_slowly():
        value = words.read()
        if words.reads == 1:
            words.one.write_text("changed meanwhile")
        return value

    made = MadeOfFiles([words.one, words.two], read_slowly, words.clock.seconds)
    assert made.current() == ("first", "second")
    words.clock.advance(LOOK_SECONDS)
    assert made.current() == ("changed meanwhile", "second")


def test_a_clock_that_jumps_back_does_not_stop_the_looking(words):
    made = words.made()
    words.clock.rightNow = -3600.0
    words.one.write_text("changed")
    assert made.current() == ("changed", "second")


def test_at_the_beginning_a_fault_is_an_error(words):
    words.one.write_text("bad")
    with pytest.raises(ConfigError):
        words.made()
