"""The shelf: a bounded number of connections at rest, and those that have rested longest go first."""

from mailproxy.upstream.resting import Resting, Shelf
from tests.support.transports import Network
from tests.upstream.pools import CHANNEL, Stream


def rest(shelf, evicted, network):
    stream = Stream(network.clock, CHANNEL.login, over_tls=False)
    network.plug(stream)
    resting = Resting(stream, 0.0, evicted.append)
    shelf.put(resting)
    return resting


def test_the_one_that_has_rested_longest_gives_way():
    shelf, evicted, network = Shelf(2), [], Network()
    first, second, third = (rest(shelf, evicted, network) for _ in range(3))
    assert evicted == [first]
    shelf.take(second)
    fourth = rest(shelf, evicted, network)
    assert (evicted, len(shelf)) == ([first], 2)
    shelf.resize(1)
    assert evicted == [first, third]
    shelf.resize(0)
    assert evicted == [first, third, fourth]
    assert shelf.closed


def test_what_is_taken_twice_is_taken_once():
    shelf, network = Shelf(2), Network()
    resting = rest(shelf, [], network)
    shelf.take(resting)
    shelf.take(resting)
    assert len(shelf) == 0


def test_nobody_is_asked_for_what_is_free():
    shelf, evicted, network = Shelf(2), [], Network()
    resting = rest(shelf, evicted, network)
    resting.stream.ask_for()
    assert (evicted, len(shelf)) == ([], 1)
