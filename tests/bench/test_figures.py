"""Medians over rounds, ratios within them."""

import pytest

from tests.bench.figures import medians, per, ratio

ROUNDS = [
    {"small": {"direct": {"rate": 100.0}, "mailproxy": {"rate": 50.0, "lost": 0}}},
    {"small": {"direct": {"rate": 10.0}, "mailproxy": {"rate": 9.0, "lost": 2}}},
    {"small": {"direct": {"rate": 80.0}, "mailproxy": {"rate": 20.0}}},
]


def test_each_figure_has_the_median_of_the_rounds_that_have_it():
    assert medians(ROUNDS, "small", "direct") == {"rate": 80.0}
    assert medians(ROUNDS, "small", "mailproxy") == {"rate": 20.0, "lost": 1.0}


def test_what_was_not_measured_has_no_figures():
    assert medians(ROUNDS, "large", "direct") == {}
    assert medians(ROUNDS, "small", "nobody") == {}


def test_ratios_are_made_within_a_round():
    assert ratio(ROUNDS, "small", "mailproxy", "direct", "rate") == 0.5
    assert ratio(ROUNDS, "small", "direct", "direct", "rate") == 1.0


@pytest.mark.parametrize(("case", "to", "figure"), [("large", "direct", "rate"), ("small", "nobody", "rate")])
def test_there_is_no_ratio_to_what_was_not_measured(case, to, figure):
    assert ratio(ROUNDS, case, "mailproxy", to, figure) is None


def test_a_round_with_nothing_to_divide_by_does_not_count():
    rounds = [{"c": {"a": {"x": 1.0}, "b": {"x": 0.0}}}, {"c": {"a": {"x": 6.0}, "b": {"x": 2.0}}}, {"c": {"b": {}}}]
    assert ratio(rounds, "c", "a", "b", "x") == 3.0


def test_nothing_for_each_of_nothing_is_nothing():
    assert per(3, 0) == 0
    assert per(3, 2) == 1.5
    assert per(3, 2, 1000) == 1500
