"""Measurements as Markdown."""

from tests.bench.table import Column, table

COLUMNS = (Column("sessions/s", "rate"), Column("x direct", "rate", 2, to="direct"), Column("CPU", "cpu", 1))
ROUNDS = [
    {
        "small": {"direct": {"rate": 2000.4}, "mailproxy": {"rate": 1000.0, "cpu": 0.46}},
        "far": {"mailproxy": {"rate": 3}},
    },
    {"small": {"mailproxy": {"rate": 1500.0, "cpu": 0.66}, "direct": {"rate": 2000.4}}},
]


def test_there_is_a_row_for_each_case_and_each_way():
    assert list(table(ROUNDS, ["small", "far"], COLUMNS)) == [
        "| case | through | sessions/s | x direct | CPU |",
        "|---|---|---|---|---|",
        "| small | direct | 2,000 | 1.00 | - |",
        "| small | mailproxy | 1,250 | 0.62 | 0.6 |",
        "| far | mailproxy | 3 | - | - |",
    ]


def test_a_case_that_was_left_out_has_no_row():
    assert len(list(table(ROUNDS, ["none"], COLUMNS))) == 2
