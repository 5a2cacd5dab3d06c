"""Who has more sessions than others steps back, and only then."""

import os

import pytest

from mailproxy.workers.board import MAX_SEATS, Board


@pytest.fixture
def board():
    board = Board.new()
    yield board
    board.close()


def test_a_worker_alone_is_never_ahead(board):
    assert not board.is_ahead(0, 0)
    assert not board.is_ahead(0, 1_000_000)


@pytest.mark.parametrize(
    ("mine", "least", "ahead"),
    [(0, 0, False), (1, 0, False), (2, 0, True), (9, 8, False), (10, 8, False), (11, 8, True), (1100, 1000, False)],
)
def test_more_than_another_one_by_more_than_a_little(board, mine, least, ahead):
    board.write(1, least)
    board.write(2, 1_000_000)
    assert board.is_ahead(0, mine) is ahead


def test_what_one_writes_the_others_see(board):
    with Board(os.dup(board.descriptor))._memory:
        other = Board(os.dup(board.descriptor))
    assert not board.is_ahead(MAX_SEATS - 1, 5)
    assert other.is_ahead(0, 7)
    other.close()


def test_a_worker_that_is_gone_does_not_count(board):
    board.write(1, 0)
    assert board.is_ahead(0, 5)
    board.clear(1)
    assert not board.is_ahead(0, 5)
