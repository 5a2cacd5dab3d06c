"""Whatever is done to a ledger, the first place is found, and what is wrong there is said."""

from hashlib import sha256

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailproxy.ledger.chain import Link, read
from mailproxy.ledger.record import MAX_RECORD_OCTETS
from mailproxy.ledger.verify import lines, verify
from tests.ledger.books import files, written

QUICK = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def problem(folder, paths=None):
    (finding,) = verify(paths or files(folder))
    return finding.problem


def at(folder, paths=None):
    found = problem(folder, paths)
    return found.file.name, found.line, found.what


@pytest.fixture
def one(tmp_path):
    """A file with seven records."""
    (path,) = written(tmp_path)
    return path


@pytest.fixture
def three(tmp_path):
    """Three files."""
    paths = written(tmp_path, 5, max_octets=2600)
    assert len(paths) == 3
    return paths


def change(path, deed):
    found = path.read_bytes().splitlines(keepends=True)
    deed(found)
    path.write_bytes(b"".join(found))


def test_what_nobody_touched_is_in_order(three):
    assert problem(three[0].parent) is None


@QUICK
@given(st.data())
def test_any_altered_octet_is_found_where_it_is(one, data):
    octets = one.read_bytes()
    where = data.draw(st.integers(0, len(octets) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda octet: octet != octets[where]))
    try:
        one.write_bytes(octets[:where] + bytes([other]) + octets[where + 1 :])
        found = problem(one.parent)
        assert found.line == octets[:where].count(b"\n") + 1
    finally:
        one.write_bytes(octets)


@QUICK
@given(st.data())
def test_a_tail_that_is_cut_off_anywhere_is_found(one, data):
    octets = one.read_bytes()
    where = data.draw(st.integers(0, len(octets) - 1))
    try:
        one.write_bytes(octets[:where])
        found = problem(one.parent)
        assert found is not None
        assert found.line in (octets[:where].count(b"\n"), octets[:where].count(b"\n") + 1)
    finally:
        one.write_bytes(octets)


def test_an_altered_record_is_named(one):
    change(one, lambda found: found.__setitem__(3, found[3].replace(b"acme", b"evil")))
    assert at(one.parent) == (one.name, 4, "was altered: it does not fit its own hash")


def test_a_record_that_was_made_to_fit_does_not_fit_the_next_one(one):
    def forge(found):
        body, _, _ = found[3].replace(b"acme", b"evil").rpartition(b',"hash"')
        found[3] = body + b',"hash":"' + sha256(body + b"}").hexdigest().encode() + b'"}\n'

    change(one, forge)
    assert at(one.parent) == (
        one.name,
        5,
        "is record 5, but does not hold on to the record before it: one of them is another's",
    )


def test_a_missing_record_is_named(one):
    change(one, lambda found: found.pop(3))
    assert at(one.parent) == (one.name, 4, "record 4 is missing before this line")


def test_several_missing_records_are_named(one):
    change(one, lambda found: found.__delitem__(slice(2, 5)))
    assert at(one.parent) == (one.name, 3, "records 3 to 5 are missing before this line")


def test_the_first_record_of_all_may_not_be_missing(one):
    change(one, lambda found: found.pop(0))
    assert at(one.parent) == (one.name, 1, "record 1 is missing before this line")


@pytest.mark.parametrize("first", range(6))
def test_two_records_that_were_swapped_are_named(one, first):
    def swap(found):
        found[first], found[first + 1] = found[first + 1], found[first]

    change(one, swap)
    what = f"is out of order: record {first + 1} belongs here, and stands in {one}:{first + 2}"
    assert at(one.parent) == (one.name, first + 1, what)


def test_a_record_that_stands_there_twice_is_named(one):
    change(one, lambda found: found.insert(3, found[3]))
    assert at(one.parent) == (one.name, 5, "is the line before it once more")


def test_a_record_that_stands_there_again_later_is_named(one):
    change(one, lambda found: found.insert(5, found[2]))
    assert at(one.parent) == (one.name, 6, "is record 3 once more, or out of its place: 6 is to come")


def test_a_tail_that_is_cut_off_in_a_record_is_named(one):
    one.write_bytes(one.read_bytes()[:-20])
    assert at(one.parent) == (one.name, 7, "is cut off in its middle")


def test_a_tail_that_is_cut_off_between_records_is_named(one):
    change(one, lambda found: found.__delitem__(slice(5, 7)))
    what = "the end is cut off: records 6 to 7 are missing behind this line, as the head knows"
    assert at(one.parent) == (one.name, 5, what)


def test_without_a_head_somebody_has_to_know_the_last_record(one):
    last = read(one.read_bytes().splitlines()[-1]).link
    change(one, lambda found: found.pop())
    (one.parent / "mail.head").unlink()
    assert problem(one.parent) is None
    (finding,) = verify([one], last)
    assert finding.problem.what == "the end is cut off: record 7 is missing behind this line, as the head knows"


def test_a_chain_that_was_written_anew_is_not_the_one_that_the_head_knows(one):
    (finding,) = verify([one], Link(5, "0" * 64))
    assert finding.problem.line == 5
    assert finding.problem.what == "is not the record that the head knows: the chain was written anew"


def test_a_missing_file_is_named(three):
    three[1].unlink()
    what = f"; {three[1].name}, which comes before this file, is cut off or missing"
    file, line, found = at(three[0].parent)
    assert (file, line) == (three[2].name, 1)
    assert found.endswith(what)
    assert found.startswith("records ")


def test_a_file_that_was_cut_off_before_the_next_one_is_named(three):
    change(three[1], lambda found: found.pop())
    file, line, found = at(three[0].parent)
    assert (file, line) == (three[2].name, 1)
    assert found.endswith(f"; {three[1].name}, which comes before this file, is cut off or missing")


def test_the_newest_file_may_not_be_gone(three):
    three[2].unlink()
    file, _, found = at(three[0].parent)
    assert file == three[1].name
    assert found.startswith("the end is cut off: records ")


def test_old_files_may_be_elsewhere(three):
    three[0].unlink()
    (finding,) = verify(three[1:])
    assert finding.problem is None
    assert finding.notes == (
        f"{three[1]}:1: begins with record {int(three[1].name.split('.')[1])}; {three[0].name} comes before it",
    )


def test_files_may_be_named_in_any_order(three):
    assert problem(three[0].parent, three[::-1]) is None
    assert problem(three[0].parent, [three[2], three[0], three[1], three[0]]) is None


def test_some_files_alone_can_be_judged(three):
    assert problem(three[0].parent, three[:2]) is None


def test_each_ledger_is_judged_for_itself(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    paths = [*written(tmp_path / "a"), *written(tmp_path / "b")]
    change(paths[1], lambda found: found.pop(2))
    found = {finding.of.parent.name: finding.problem for finding in verify(paths)}
    assert found["a"] is None
    assert found["b"].line == 3


def test_a_line_without_end_is_not_kept(tmp_path):
    path = tmp_path / "endless"
    path.write_bytes(b"x" * (2 * MAX_RECORD_OCTETS + 100))
    assert {len(line.octets) for line in lines(path)} == {MAX_RECORD_OCTETS + 1, 98}
    assert problem(tmp_path, [path]).line == 1


def test_a_torn_line_that_nobody_recovered_from_is_wrong(one):
    change(one, lambda found: found.insert(3, b"torn\n"))
    assert at(one.parent) == (one.name, 4, "is no record of a ledger")


def test_a_torn_line_is_only_what_the_recovery_says(one):
    with one.open("ab") as file:
        file.write(b"torn")
    written(one.parent, 1)
    assert problem(one.parent) is None
    one.write_bytes(one.read_bytes().replace(b"torn\n", b"TORN\n"))
    assert at(one.parent) == (one.name, 8, "is no record of a ledger")


def test_a_record_that_is_being_written_is_no_fault(one):
    with one.open("ab") as file:
        file.write(b'{"seq":8,"prev":')
    (finding,) = verify([one])
    assert finding.problem is None
    assert finding.notes == (f"{one}:8: a record is being written here, or was when a crash came",)
    (one.parent / "mail.head").unlink()
    assert at(one.parent) == (one.name, 8, "is cut off in its middle")


def test_a_record_that_is_written_but_for_its_newline_is_no_fault(one):
    octets = one.read_bytes()
    one.write_bytes(octets[:-1])
    assert at(one.parent) == (one.name, 7, "has lost its end, the newline")
    head = read(octets.splitlines()[-2]).link
    (finding,) = verify([one], head)
    assert finding.problem is None
    assert len(finding.notes) == 1
