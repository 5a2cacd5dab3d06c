"""What the kernel says of processes is read as it is meant."""

import os
import subprocess
import sys

from tests.support.procfs import Memory, Stat, cpu_seconds, family, memory
from tests.support.waiting import until

ROLLUP = """\
55d0c0a00000-7ffd3a1f2000 ---p 00000000 00:00 0                          [rollup]
Rss:               57000 kB
Pss:               48123 kB
Pss_Dirty:         40000 kB
Pss_Anon:          39000 kB
Shared_Clean:      12000 kB
SwapPss:              17 kB
"""


def test_memory_is_what_is_held_and_the_share_of_what_is_shared():
    assert Memory.parse(ROLLUP) == Memory(57000 * 1024, 48123 * 1024)


def test_the_memory_of_two_processes_is_added():
    assert Memory(3, 2) + Memory(30, 20) == Memory(33, 22)
    assert Memory(3, 2) - Memory(1, 1) == Memory(2, 1)


def test_a_peak_has_the_larger_of_each():
    assert Memory(3, 20) | Memory(30, 2) == Memory(30, 20)


def test_a_name_with_parentheses_and_spaces_does_not_shift_the_fields():
    numbers = "S 41 42 42 0 -1 4194304 1 2 3 4 500 60 7 8 20 0 1 0 9 10 11"
    assert Stat.parse(f"42 (a) b (c)) {numbers}") == Stat(parent=41, ticks=575)


def test_a_process_counts_with_those_below_it():
    waiting = "import sys; sys.stdin.read()"
    above = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {waiting!r}])"
    with subprocess.Popen([sys.executable, "-c", above], stdin=subprocess.PIPE) as child:
        until(lambda: len(family(child.pid)) == 2, "a child of the child")
        assert family(child.pid)[0] == child.pid
        assert set(family(child.pid)) <= set(family(os.getpid()))
        assert memory(child.pid).proportional > 0
        assert memory(child.pid).resident >= memory(child.pid).proportional
        assert cpu_seconds(child.pid) >= 0
