"""The clock is started anew with each wait, and with nothing else."""

from mailproxy.session.actions import Waiting
from mailproxy.session.wait import Wait


def test_the_serial_moves_with_whose_turn_it_is_and_with_what_it_is_about():
    wait = Wait(Waiting.NOBODY)
    serials = [wait.serial]
    for waiting, about in [
        (Waiting.DOWNSTREAM_COMMAND, 0),
        (Waiting.DOWNSTREAM_COMMAND, 0),
        (Waiting.DOWNSTREAM_COMMAND, 1),
        (Waiting.DOWNSTREAM_LINE, 1),
        (Waiting.DOWNSTREAM_LINE, 1),
    ]:
        wait.note(waiting, about)
        assert wait.waiting is waiting
        serials.append(wait.serial)
    assert serials == [0, 1, 1, 2, 3, 3]
