import fcntl
import itertools
import json
import os
import stat
from pathlib import Path

import pytest

from mailproxy.ledger import files as ledger_files
from mailproxy.ledger.chain import read
from mailproxy.ledger.files import parse_head
from mailproxy.ledger.verify import verify
from tests.ledger.books import NOON, Disk, files, small, writer, written


def records(folder):
    return [json.loads(line) for path in files(folder) for line in path.read_bytes().splitlines()]


def descriptors():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def sound(folder):
    (finding,) = verify(files(folder))
    assert finding.problem is None, finding.problem
    return finding


def test_the_first_record_says_that_the_ledger_begins(tmp_path):
    written(tmp_path, 2)
    assert [each["kind"] for each in records(tmp_path)] == ["genesis", "transaction", "transaction"]
    assert records(tmp_path)[0]["time"] == "2026-11-21T12:00:00.000Z"
    assert sound(tmp_path).records == 3


def test_nobody_else_may_read_it(tmp_path):
    written(tmp_path)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_the_file_is_only_appended_to(tmp_path, monkeypatch):
    flags = []
    real = os.open
    monkeypatch.setattr(
        "mailproxy.ledger.writer.os.open",
        lambda path, flag, *more: flags.append((str(path), flag)) or real(path, flag, *more),
    )
    written(tmp_path, 1)
    written(tmp_path, 1)
    of_files = [flag for path, flag in flags if path.endswith(".jsonl")]
    assert of_files
    assert all(flag & os.O_APPEND and not flag & os.O_TRUNC for flag in of_files)


def test_a_record_is_one_write(tmp_path, monkeypatch):
    writes = []
    real = os.write
    monkeypatch.setattr(
        "mailproxy.ledger.writer.os.write", lambda fd, octets: writes.append(octets) or real(fd, octets)
    )
    written(tmp_path, 3)
    assert [octets.count(b"\n") for octets in writes] == [1] * 4


def test_the_chain_goes_on_after_a_restart(tmp_path):
    written(tmp_path, 2)
    written(tmp_path, 2)
    assert [each["seq"] for each in records(tmp_path)] == [1, 2, 3, 4, 5]
    assert len(files(tmp_path)) == 1
    assert sound(tmp_path).notes == ()


def test_only_the_end_of_the_newest_file_is_read_at_the_start(tmp_path, monkeypatch):
    written(tmp_path, 400)
    asked = []
    real = ledger_files._tail_in
    monkeypatch.setattr(
        ledger_files, "_tail_in", lambda octets, *, whole: asked.append(len(octets)) or real(octets, whole=whole)
    )
    written(tmp_path, 1)
    assert asked == [ledger_files._FIRST_LOOK_OCTETS]
    assert files(tmp_path)[0].stat().st_size > 2 * asked[0]


def test_a_record_that_is_longer_than_the_first_look_is_found(tmp_path):
    book = writer(tmp_path)
    book.append(small("x" * 300_000))
    book.close()
    written(tmp_path, 1)
    assert sound(tmp_path).records == 3


def test_two_processes_do_not_write_one_ledger(tmp_path):
    one, other = writer(tmp_path), writer(tmp_path)
    one.open()
    with pytest.raises(OSError, match="another process writes this ledger"):
        other.append(small())
    one.close()
    other.append(small())
    other.close()
    assert sound(tmp_path).records == 2


# Another file


def test_a_full_file_is_followed_by_another_one_that_carries_the_chain_on(tmp_path):
    written(tmp_path, 9, max_octets=2000)
    found = files(tmp_path)
    assert len(found) > 2
    assert all(path.stat().st_size <= 2000 + 200 for path in found)
    for before, path in itertools.pairwise(found):
        first = json.loads(path.read_bytes().splitlines()[0])
        assert first["kind"] == "carried"
        assert first["previous"] == before.name
        assert path.name == f"mail.{first['seq']:012}.jsonl"
    assert [each["seq"] for each in records(tmp_path)] == list(range(1, len(records(tmp_path)) + 1))
    assert sound(tmp_path).notes == ()


def test_an_old_file_is_followed_by_another_one_also_after_a_restart(tmp_path):
    now = [NOON]
    book = writer(tmp_path, lambda: now[0], max_age_seconds=100.0)
    book.append(small())
    now[0] += 60
    book.close()
    book = writer(tmp_path, lambda: now[0], max_age_seconds=100.0)
    book.append(small())
    assert len(files(tmp_path)) == 1
    now[0] += 40
    book.append(small())
    book.close()
    assert [len(path.read_bytes().splitlines()) for path in files(tmp_path)] == [3, 2]
    sound(tmp_path)


def test_files_that_are_full_are_put_on_disk_and_closed(tmp_path, monkeypatch):
    book = writer(tmp_path, max_octets=600)
    for _ in range(6):
        book.append(small("x" * 300))
    before = descriptors()
    assert len(book._retired) == len(files(tmp_path)) - 1 > 2
    synced = []
    monkeypatch.setattr("mailproxy.ledger.writer.os.fsync", synced.append)
    book.sync_job()()
    assert len(synced) == len(files(tmp_path))
    assert descriptors() == before - len(synced) + 1
    book.close()


# After a crash


@pytest.mark.parametrize("left", [1, 5, 100, 400])
def test_what_a_crash_has_left_of_a_record_is_kept_and_named(tmp_path, left):
    (path,) = written(tmp_path, 3)
    torn = path.read_bytes()[:-left]
    path.write_bytes(torn)
    written(tmp_path, 1)
    assert path.read_bytes().startswith(torn)
    (recovered,) = [json.loads(each) for each in path.read_bytes().splitlines() if b'"recovered"' in each]
    finding = sound_but_for_missing(tmp_path, recovered["missing_records"])
    assert len(finding.notes) == (left > 1)
    assert recovered["torn_octets"] == (0 if left == 1 else len(torn.rpartition(b"\n")[2]))


def sound_but_for_missing(folder, missing):
    """The head knew of a record that is not there: that is no crash of ours, and is never forgotten."""
    (finding,) = verify(files(folder))
    if missing:
        assert f"{missing} records before it were missing" in finding.problem.what
    else:
        assert finding.problem is None
    return finding


def test_a_crash_within_a_write_is_no_loss_that_the_head_knows_of(tmp_path):
    """The head is written behind the record."""
    book = writer(tmp_path)
    book.append(small("one"))
    disk = Disk(book, room=30)
    book.append(small("two"))
    assert not book.whole
    book.close()
    disk.room = 1 << 30
    written(tmp_path, 1)
    assert [each["kind"] for each in map(json.loads, lines_that_are_records(tmp_path))] == [
        "genesis",
        "test",
        "recovered",
        "transaction",
    ]
    assert len(sound(tmp_path).notes) == 1


def lines_that_are_records(folder):
    return [line for path in files(folder) for line in path.read_bytes().splitlines() if line.endswith(b"}")]


def test_octets_of_a_loss_of_power_are_kept_as_well(tmp_path):
    (path,) = written(tmp_path, 2)
    with path.open("ab") as file:
        file.write(b"\0" * 5000 + b"\n" + b"\0" * 100)
    written(tmp_path, 1)
    assert b"\0" * 5000 in path.read_bytes()
    assert len(sound(tmp_path).notes) == 1


def test_records_that_are_gone_at_the_start_are_named(tmp_path):
    (path,) = written(tmp_path, 4)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-2]))
    written(tmp_path, 1)
    (finding,) = verify(files(tmp_path))
    assert finding.problem.line == 4
    assert "says that 2 records before it were missing" in finding.problem.what


def test_an_end_without_any_record_is_left_to_people(tmp_path):
    (path,) = written(tmp_path, 1)
    path.write_bytes(b"something else\n")
    with pytest.raises(OSError, match=f"{path.name} does not end with a record"):
        writer(tmp_path).append(small())
    assert path.read_bytes() == b"something else\n"


def test_a_ledger_whose_files_are_gone_is_not_begun_anew(tmp_path):
    for path in written(tmp_path, 1):
        path.unlink()
    with pytest.raises(OSError, match="all files of this ledger are gone; its last record was 2"):
        writer(tmp_path).append(small())


def test_an_empty_file_of_a_crash_is_used(tmp_path):
    written(tmp_path, 1)
    (tmp_path / "mail.000000000003.jsonl").touch()
    written(tmp_path, 3, max_octets=1500)
    sound(tmp_path)
    for path in files(tmp_path):
        path.unlink()
    (tmp_path / "mail.head").unlink()
    (tmp_path / "mail.000000000001.jsonl").touch()
    written(tmp_path, 1)
    assert sound(tmp_path).records == 2


# A full disk


@pytest.mark.parametrize("room", [0, 1, 50, 150])
def test_a_record_that_was_written_in_part_is_completed(tmp_path, room):
    book = writer(tmp_path)
    book.append(small("one"))
    disk = Disk(book, room)
    if room:
        book.append(small("two"))
    else:
        with pytest.raises(OSError, match="No space"):
            book.append(small("two"))
    with pytest.raises(OSError, match="No space"):
        book.append(small("three"))
    disk.room = 1 << 30
    if not room:
        book.append(small("two"))
    book.append(small("three"))
    book.close()
    assert [each.get("words") for each in records(tmp_path)] == [None, "one", "two", "three"]
    sound(tmp_path)


def test_another_file_that_finds_no_room_does_not_cost_a_record(tmp_path):
    book = writer(tmp_path, max_octets=600)
    book.append(small("one" * 80))
    disk = Disk(book, 0)
    for _ in range(3):
        with pytest.raises(OSError, match="No space"):
            book.append(small("two" * 80))
    disk.room = 1 << 30
    book.append(small("two" * 80))
    book.close()
    assert [each["kind"] for each in records(tmp_path)] == ["genesis", "test", "carried", "test"]
    sound(tmp_path)


def test_a_link_in_the_place_of_a_file_is_not_followed(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.touch()
    (tmp_path / "mail.000000000001.jsonl").symlink_to(elsewhere)
    with pytest.raises(OSError, match="symbolic links"):
        writer(tmp_path).append(small())
    assert elsewhere.read_bytes() == b""


def test_a_device_in_the_place_of_the_head_is_refused(tmp_path):
    os.mkfifo(tmp_path / "mail.head")
    with pytest.raises(OSError, match="is not what belongs there"):
        writer(tmp_path).append(small())


def test_the_head_knows_the_last_record(tmp_path):
    (path,) = written(tmp_path, 3)
    head = parse_head((tmp_path / "mail.head").read_bytes())
    assert head == read(path.read_bytes().splitlines()[-1]).link
    with (tmp_path / "mail.head").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody holds it any more
