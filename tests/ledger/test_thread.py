import pytest
import pytest_twisted
from twisted.internet import reactor

from mailproxy.ledger.thread import OwnThread


@pytest_twisted.ensureDeferred
async def test_one_thing_is_done_after_the_other():
    thread, done = OwnThread(reactor), []
    first, second = (thread(lambda number=number: done.append(number)) for number in (1, 2))
    await second
    assert first.called
    assert done == [1, 2]
    thread.stop()
    thread._thread.join()


@pytest_twisted.ensureDeferred
async def test_what_fails_fails_and_the_next_thing_is_done():
    thread = OwnThread(reactor)

    def fail():
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        await thread(fail)
    await thread(lambda: None)
    thread.stop()


def test_without_work_there_is_no_thread():
    thread = OwnThread(reactor)
    thread.stop()
    assert thread._thread is None
