"""Every file of the corpus through its target, and the fuzzer's own way of telling what it found."""

import random
import sys

import pytest

from tests.fuzz import run
from tests.fuzz.lines import mutate_lines
from tests.fuzz.session_targets import MOST_OCTETS, events_of
from tests.fuzz.target import CORPUS, Target, the_same_for_every_cut, ways_of_cutting
from tests.fuzz.targets import TARGETS

FILES = [
    pytest.param(TARGETS[path.parent.name], path, id=f"{path.parent.name}-{path.name}")
    for path in sorted(CORPUS.glob("*/*"))
]


@pytest.mark.parametrize(("target", "path"), FILES)
def test_what_is_in_the_corpus_shows_no_mistake(target, path):
    target.check(path.read_bytes())


def test_every_target_has_a_corpus_and_every_corpus_a_target():
    assert {path.name for path in CORPUS.iterdir()} == TARGETS.keys()
    assert [target.name for target in TARGETS.values() if not any(target.corpus.iterdir())] == []


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_every_target_bears_nothing_and_anything(target):
    chance = random.Random(7)
    for octets in [b"", b"\0", b"\xff" * 40, *(chance.randbytes(chance.randint(1, 60)) for _ in range(20))]:
        target.check(octets)
        target.check(octets + b"\n".join(target.words)[: target.longest])


def test_every_way_of_cutting_loses_nothing():
    for octets in (b"", b"a", b"a\r\nb" * 50):
        ways = list(ways_of_cutting(octets))
        assert len(ways) == 4
        assert all(b"".join(chunks) == octets for chunks in ways)


def test_a_reader_that_minds_the_cuts_is_found_out():
    with pytest.raises(AssertionError, match="in pieces"):
        the_same_for_every_cut(b"abc", len)


def test_a_conversation_is_read_line_by_line():
    text = b"P lax\nC EHLO x\nc \\r\\n\\0\\\\\\xff\nC*3 NOOP\n?? \nx\n"
    assert list(events_of(text)) == [
        ("P", b"lax"),
        ("C", b"EHLO x\r\n"),
        ("c", b"\r\n\0\\\xff"),
        ("C", b"NOOP\r\n" * 3),
        ("x", b""),
    ]
    assert (
        sum(len(octets) for _, octets in events_of(b"C*2000 " + b"x" * 90 + b"\n" + b"C*2000 y\n" * 20)) <= MOST_OCTETS
    )


def test_a_mutation_moves_lines_about():
    lines = b"C EHLO x\no PIPELINING\nC MAIL FROM:<a@b>\nS 250 ok"
    seen = {mutate_lines(lines, (b"h", b"v"), random.Random(seed)) for seed in range(50)}
    assert len(seen) > 40
    assert all(set(each.split(b"\n")) <= {*lines.split(b"\n"), b"h", b"v"} for each in seen)
    assert mutate_lines(b"", (b"h",), random.Random(1)) is not None


# The runner


@pytest.fixture
def said(monkeypatch, tmp_path):
    """What the runner says; it works in a folder of its own."""
    lines = []
    monkeypatch.setattr(run, "WORK", tmp_path / "fuzz")
    monkeypatch.setattr(run, "_say", lines.append)
    return lines


def child(monkeypatch, script):
    """A fuzzer that is none."""
    monkeypatch.setattr(run, "CHILD", (sys.executable, "-c", script))


FINDS = """
import sys
prefix = next(each for each in sys.argv if each.startswith('-artifact_prefix=')).partition('=')[2]
open(prefix + 'crash-1', 'wb').write(b'octets')
print('AssertionError: something')
sys.exit(77)
"""


def test_a_finding_is_told_with_the_way_to_see_it_again(monkeypatch, said, tmp_path):
    child(monkeypatch, FINDS)
    assert run.main(["--seconds", "1", "--target", "lines"]) == 1
    finding = tmp_path / "fuzz/findings/lines/crash-1"
    assert f"  again: make fuzz TARGET=lines REPLAY={finding}" in said
    assert any("AssertionError: something" in line for line in said)
    assert said[-1] == "1 targets, 1 of them with findings"


def test_without_a_finding_all_is_well(monkeypatch, said):
    child(monkeypatch, "print('stat::number_of_executed_units: 12')")
    assert run.main(["--seconds", "2"]) == 0
    assert len(said) == len(TARGETS) + 1
    assert said[0].endswith(" s, 12 inputs")
    assert said[-1].endswith(" 0 of them with findings")


def test_a_fuzzer_that_cannot_run_is_no_success(monkeypatch, said):
    child(monkeypatch, "raise SystemExit('no module named atheris')")
    assert run.main(["--seconds", "1", "--target", "lines"]) == 1
    assert any("no module named atheris" in line for line in said)


def test_a_file_can_be_tried_again_without_a_fuzzer(monkeypatch, said, tmp_path):
    def refuse(octets):
        assert octets != b"bad", "it is bad"

    monkeypatch.setitem(run.TARGETS, "lines", Target("lines", refuse))
    (tmp_path / "good").write_bytes(b"good")
    assert run.main(["--target", "lines", "--replay", str(tmp_path / "good")]) == 0
    (tmp_path / "bad").write_bytes(b"bad")
    assert run.main(["--target", "lines", "--replay", str(tmp_path)]) == 1
    assert said[-1] == "lines: 1 of the inputs show a mistake"
    assert any("it is bad" in line for line in said)
    with pytest.raises(SystemExit):
        run.main(["--replay", str(tmp_path)])
