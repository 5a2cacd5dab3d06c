"""Time that octets earn: a steady trickle runs out, honest speed never does."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailproxy.downstream.allowance import Allowance

MOST, RATE = 300.0, 100.0


def test_it_runs_down():
    allowance = Allowance(MOST, RATE, 1000.0)
    assert allowance.left(1000.0) == MOST
    assert allowance.left(1299.0) == 1
    assert allowance.left(1301.0) == -1


def test_an_octet_is_worth_its_share_of_a_second():
    allowance = Allowance(MOST, RATE, 0.0)
    allowance.earn(50, 10.0)
    assert allowance.left(10.0) == 290.5


def test_there_is_never_more_of_it_than_at_the_beginning():
    allowance = Allowance(MOST, RATE, 0.0)
    allowance.earn(10**9, 5.0)
    assert allowance.left(5.0) == MOST
    assert allowance.left(304.0) == 1


def test_who_trickles_runs_out_of_it_however_evenly():
    allowance, now = Allowance(MOST, RATE, 0.0), 0.0
    while allowance.left(now) > 0:
        now += 1
        allowance.earn(50, now)
    assert now == 600


def test_who_is_fast_enough_on_average_keeps_it():
    allowance = Allowance(MOST, RATE, 0.0)
    for burst in range(1, 100):
        allowance.earn(20_000, burst * 200.0)
        assert allowance.left(burst * 200.0) == MOST


def test_without_a_rate_every_octet_gives_back_everything():
    allowance = Allowance(MOST, 0, 0.0)
    allowance.earn(1, 299.0)
    assert allowance.left(299.0) == MOST
    assert allowance.left(600.0) == -1


def test_while_it_is_held_it_does_not_run_down_but_octets_still_count():
    allowance = Allowance(MOST, RATE, 0.0)
    allowance.hold(100.0)
    assert allowance.left(5000.0) == 200
    allowance.earn(1000, 5000.0)
    assert allowance.left(6000.0) == 210
    allowance.earn(10**9, 6000.0)
    allowance.hold(6500.0)
    allowance.go_on(7000.0)
    assert allowance.left(7000.0) == MOST
    allowance.go_on(7001.0)
    assert allowance.left(7001.0) == MOST - 1


@settings(max_examples=200, deadline=None)
@example(0.0, [(100.0, 0, "earn")] * 4 + [(0.0, 2, "earn")])
@given(
    st.floats(0, 1000),
    st.lists(
        st.tuples(st.floats(0, 100), st.integers(0, 100_000), st.sampled_from(["earn", "hold", "go on"])), max_size=30
    ),
)
def test_it_is_what_a_plain_account_of_it_says(rate, events):
    allowance = Allowance(MOST, rate, 0.0)
    now, left, held = 0.0, MOST, False
    for pause, octets, event in events:
        now += pause
        left -= 0 if held else pause
        if event == "earn" and octets:
            allowance.earn(octets, now)
            left = min(left + octets * (1 / rate if rate else MOST), MOST)
        elif event == "hold":
            allowance.hold(now)
            held = True
        elif event == "go on":
            allowance.go_on(now)
            held = False
        assert allowance.left(now) == pytest.approx(left, abs=1e-6, rel=1e-6)
        assert allowance.left(now) <= MOST + 1e-6
