"""The supervisor keeps the sockets, and leads all workers from one configuration to the next, or none."""

import os
import signal
import socket

import pytest
import pytest_twisted
import treq
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.logger import LogLevel, formatEvent, globalLogPublisher

from mailproxy.destination.model import MailProtocol
from mailproxy.errors import ConfigError
from mailproxy.observe.observation import PoolFigures, State
from mailproxy.recipes import Identity
from mailproxy.workers.board import Board
from mailproxy.workers.held import Held
from mailproxy.workers.states import format_states
from mailproxy.workers.supervisor import Supervisor, _fail
from tests.support.crews import Spawner, counts
from tests.support.ports import free_port
from tests.support.proxies import Followed, Site

TOP = "workers = 2"


@pytest.fixture
def lines():
    """Levels and texts of the log."""
    said = []

    def note(event):
        said.append((event["log_level"], formatEvent(event)))

    globalLogPublisher.addObserver(note)
    yield said
    globalLogPublisher.removeObserver(note)


@pytest.fixture
def spawner():
    """Workers that end when they are told to."""
    return Spawner(drain=lambda process: process.end())


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


@pytest.fixture
def start(site, spawner):
    """A supervisor with real sockets; what it is given are the endpoints of its destinations."""
    made = []

    async def start(top=TOP, **listen):
        supervisor = Supervisor(site.write(top, **listen), reactor, spawner, Board.new(), give_up=lambda: None)
        made.append(supervisor)
        supervisor.privilegedStartService()
        supervisor.startService()
        await turns()
        return supervisor

    yield start
    for supervisor in made:
        supervisor.hurry()
        pytest_twisted.blockon(supervisor.stopService())


async def turns(count=5):
    for _ in range(count):
        await deferLater(reactor, 0, lambda: None)


def endpoint(port, more=""):
    return f'{{ acme = "tcp:{port}{more}" }}'


def is_open(port, host="127.0.0.1"):
    with socket.socket() as client:
        return client.connect_ex((host, port)) == 0


def asked(spawner):
    """What each worker was asked since the last time."""
    found = []
    for process in spawner.alive:
        found.append([message["do"] for message in process.channel.said])
        process.channel.said.clear()
    return found


# The beginning


@pytest_twisted.ensureDeferred
async def test_workers_get_every_socket_and_the_configuration(site, start, spawner):
    one, two = free_port(), free_port()
    supervisor = await start(one=endpoint(one), two=endpoint(two))
    assert supervisor.ready
    assert Followed(supervisor.serving()).called
    for process in spawner.processes:
        *sockets, last = process.channel.said
        assert [message["do"] for message in sockets] == ["socket", "socket"]
        assert process.channel.files == [held.descriptor for held in supervisor.listeners]
        assert last["path"] == str(site.folder / "mailproxy.toml")
        assert last["source"] == (site.folder / "mailproxy.toml").read_text()
    assert is_open(one)
    assert is_open(two)


@pytest_twisted.ensureDeferred
async def test_clients_wait_as_long_as_nobody_serves_them(start, spawner):
    spawner.answers["start"] = None
    port = free_port()
    supervisor = await start(one=endpoint(port))
    assert not supervisor.ready
    with socket.create_connection(("127.0.0.1", port)) as client:
        await turns(20)
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(1)
    for process in spawner.processes:
        process.say({"answer": []})
    assert supervisor.ready


@pytest_twisted.ensureDeferred
async def test_one_port_that_is_taken_keeps_it_from_starting(site, spawner, logged_failures):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        config = site.write(TOP, one=endpoint(free_port()), two=endpoint(port))
        supervisor = Supervisor(config, reactor, spawner, Board.new(), give_up=lambda: None)
        with pytest.raises(SystemExit) as caught:
            supervisor.privilegedStartService()
    assert caught.value.code == 1
    assert f"acme/two: cannot listen on tcp:{port}" in logged_failures.pop()["problem"]
    assert logged_failures == []
    await supervisor.stopService()


def test_what_is_wrong_with_files_keeps_it_from_being_made(site, spawner):
    config = site.write(f'{TOP}\n[trust]\nca_files = ["none.pem"]', one=endpoint(1))
    with pytest.raises(ConfigError, match=r"none\.pem"):
        Supervisor(config, reactor, spawner, Board.new(), give_up=lambda: None)


# Another configuration


def reload(site, supervisor, top=TOP, **listen):
    return supervisor.reload(site.write(top, **listen))


@pytest_twisted.ensureDeferred
async def test_a_listener_comes_another_goes_and_one_changes(site, start, spawner, lines):
    one, two, three = free_port(), free_port(), free_port()
    supervisor = await start(one=endpoint(one), two=endpoint(two))
    asked(spawner)
    top = f"{TOP}\nlimits.max_pending_logins = 7"
    assert await reload(site, supervisor, top, two=endpoint(two), three=endpoint(three)) == []
    assert asked(spawner) == [["socket", "prepare", "commit"]] * 2
    assert (is_open(one), is_open(two), is_open(three)) == (False, True, True)
    assert [held.order.label for held in supervisor.listeners] == ["acme/two", "acme/three"]
    assert supervisor.listeners[0].order.recipe.upstream.max_pending_logins == 7
    assert supervisor.config.limits.max_pending_logins == 7
    assert lines[-1][1].endswith("is in use; listeners: 0 as before, 1 changed, 1 new, 1 gone")


@pytest_twisted.ensureDeferred
async def test_a_port_that_is_taken_changes_nothing(site, start, spawner):
    one, three = free_port(), free_port()
    supervisor = await start(one=endpoint(one))
    asked(spawner)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        (problem,) = await reload(site, supervisor, three=endpoint(three), two=endpoint(port))
    assert "acme/two: cannot listen on tcp:" in problem
    assert asked(spawner) == [[], []]
    assert (is_open(one), is_open(three)) == (True, False)


@pytest.mark.parametrize(
    ("top", "listen", "problem"),
    [
        ("workers = 3", "1", "workers: 2 are running, and a change needs a restart"),
        ("workers = 1", "1", "workers: 2 are running, and a change needs a restart"),
        (f'{TOP}\n[trust]\nca_files = ["none.pem"]', "1", "none.pem"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_cannot_be_used_reaches_no_worker(site, start, spawner, top, listen, problem):
    supervisor = await start(one=endpoint(free_port()))
    asked(spawner)
    (found,) = await reload(site, supervisor, top, one=endpoint(listen))
    assert problem in found
    assert asked(spawner) == [[], []]


@pytest_twisted.ensureDeferred
async def test_when_one_worker_cannot_none_does(site, start, spawner):
    one, two = free_port(), free_port()
    supervisor = await start(one=endpoint(one))
    asked(spawner)
    config = supervisor.config
    spawner.processes[1].answers = {"prepare": ["acme/two: no"]}
    assert await reload(site, supervisor, two=endpoint(two)) == ["acme/two: no"]
    assert asked(spawner) == [["socket", "prepare", "undo"]] * 2
    assert (is_open(one), is_open(two)) == (True, False)
    assert supervisor.config is config
    assert [held.order.label for held in supervisor.listeners] == ["acme/one"]


@pytest_twisted.ensureDeferred
async def test_a_worker_that_meets_a_mistake_of_ours_behind_that_makes_way(site, start, spawner):
    supervisor = await start(one=endpoint(free_port()))
    asked(spawner)
    spawner.processes[1].answers = {"commit": ["internal error"], "drain": None}
    assert await reload(site, supervisor, one=endpoint(free_port())) == []
    assert asked(spawner) == [["socket", "prepare", "commit"], ["socket", "prepare", "commit", "drain"]]
    spawner.processes[1].answers = spawner.answers


@pytest_twisted.ensureDeferred
async def test_an_endpoint_in_the_way_of_another_is_left_first(site, start, spawner):
    port = free_port()
    supervisor = await start(one=endpoint(port))
    asked(spawner)
    assert await reload(site, supervisor, one=endpoint(port, ":interface=0.0.0.0")) == []
    assert asked(spawner) == [["leave", "socket", "prepare", "commit"]] * 2
    assert is_open(port, "127.0.0.2")


@pytest_twisted.ensureDeferred
async def test_an_endpoint_that_was_left_in_vain_is_taken_again(site, start, spawner):
    port = free_port()
    supervisor = await start(one=endpoint(port))
    asked(spawner)
    with socket.create_server(("127.0.0.2", port)):
        (problem,) = await reload(site, supervisor, one=endpoint(port, ":interface=0.0.0.0"))
    assert "acme/one: cannot listen on tcp:" in problem
    assert asked(spawner) == [["leave", "socket", "undo"]] * 2
    assert is_open(port)
    assert await reload(site, supervisor, one=endpoint(port)) == []
    assert asked(spawner) == [["prepare", "commit"]] * 2


@pytest_twisted.ensureDeferred
async def test_an_endpoint_that_is_lost_meanwhile_is_told(site, start, spawner, monkeypatch, logged_failures):
    port = free_port()
    supervisor = await start(one=endpoint(port))
    asked(spawner)
    monkeypatch.setattr(Held, "listen", lambda _: "somebody else was quicker")
    assert await reload(site, supervisor, one=endpoint(port, ":interface=0.0.0.0")) == ["somebody else was quicker"]
    assert logged_failures.pop()["problem"] == "somebody else was quicker"
    assert logged_failures == []
    assert asked(spawner) == [["leave", "undo"]] * 2


@pytest_twisted.ensureDeferred
async def test_a_mistake_of_ours_changes_nothing_either(site, start, spawner, monkeypatch):
    one, two = free_port(), free_port()
    supervisor = await start(one=endpoint(one))
    asked(spawner)
    monkeypatch.setattr("mailproxy.workers.exchange.hand_over", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        await reload(site, supervisor, two=endpoint(two))
    assert asked(spawner) == [["undo"]] * 2
    assert (is_open(one), is_open(two)) == (True, False)


@pytest_twisted.ensureDeferred
async def test_after_the_end_has_begun_nothing_is_loaded(site, start):
    supervisor = await start(one=endpoint(free_port()))
    stopped = supervisor.stopService()
    assert await reload(site, supervisor, one=endpoint(free_port())) == ["mailproxy is being stopped"]
    await stopped


# The end


@pytest_twisted.ensureDeferred
async def test_our_part_of_the_sockets_closes_before_a_worker_hears_of_it(start, spawner, lines):
    port = free_port()
    supervisor = await start(one=endpoint(port))
    open_then = []
    spawner.answers["drain"] = lambda process: [open_then.append(is_open(port)), process.end()]
    await supervisor.stopService()
    assert open_then == [False, False]
    assert (LogLevel.info, "stopping; sessions: 0") in lines
    assert not supervisor.ready


@pytest_twisted.ensureDeferred
async def test_the_socket_itself_is_not_shut_down(start, spawner):
    port = free_port()
    supervisor = await start(one=endpoint(port))
    of_a_worker = socket.socket(fileno=os.dup(supervisor.listeners[0].descriptor))
    with of_a_worker, socket.create_connection(("127.0.0.1", port)) as waiting:
        await supervisor.stopService()
        of_a_worker.accept()[0].close()
        assert waiting.recv(1) == b""


@pytest_twisted.ensureDeferred
async def test_the_wait_before_the_end_is_ours_and_can_be_cut_short(start, spawner):
    port = free_port()
    supervisor = await start(f"{TOP}\ntimeouts.drain_delay_seconds = 1000", one=endpoint(port))
    asked(spawner)
    stopped = supervisor.stopService()
    await turns()
    assert asked(spawner) == [[], []]
    assert is_open(port)
    supervisor.hurry()
    await stopped
    assert spawner.alive == []


@pytest_twisted.ensureDeferred
async def test_the_counts_of_all_workers_are_summed_and_told_at_the_end(start, spawner, lines):
    supervisor = await start(one=endpoint(free_port()))
    who = ["one", "acme", "local", "smtp"]
    spawner.processes[0].say({"counts": counts(who, 5, 2, quit=3)})
    spawner.processes[1].say({"counts": counts(who, 7, 0, quit=7)})
    (total,) = supervisor.counters().values()
    assert (total.sessions, total.active, total.outcomes) == (12, 2, {"quit": 10})
    (seen,) = supervisor.observations()
    assert (seen.stat_prefix, seen.counters, seen.state) == ("one-acme", total, None)
    told = State(PoolFigures(resting=3))
    spawner.processes[0].say({"states": format_states({Identity("one", "acme", "local", MailProtocol.SMTP): told})})
    (seen,) = supervisor.observations()
    assert seen.state == told
    spawner.processes[0].end(signal=signal.SIGKILL)
    await supervisor.stopService()
    assert (LogLevel.info, "stopping; sessions: 0") in lines
    assert lines[-1] == (LogLevel.info, "all workers have ended; sessions served: 12, lost with a worker: 2")


def test_when_workers_do_not_start_the_process_ends_with_a_status_of_its_own(monkeypatch):
    registered, stops = [], []
    monkeypatch.setattr("atexit.register", lambda *what: registered.append(what))

    class Stops:
        def stop(self):
            stops.append(1)

    _fail(Stops())
    assert (registered, stops) == ([(os._exit, 1)], [1])


# The admin endpoint


ADMIN = '[admin]\nendpoint = "tcp:{}"\n'


async def get(port, path="/ready"):
    """Status and body."""
    response = await treq.get(f"http://127.0.0.1:{port}{path}", persistent=False, timeout=20)
    return response.code, await response.json()


@pytest_twisted.ensureDeferred
async def test_it_answers_for_all_from_the_start_to_the_very_end(start, spawner):
    spawner.answers["drain"] = None
    port, admin = free_port(), free_port()
    supervisor = await start(TOP + "\n" + ADMIN.format(admin), one=endpoint(port))
    code, said = await get(admin)
    assert (code, said["ready"], [each["state"] for each in said["crew"]]) == (200, True, ["serving"] * 2)
    stopped = supervisor.stopService()
    await turns()
    code, said = await get(admin)
    assert (code, said["reasons"]) == (503, ["draining: mailproxy is being stopped"])
    assert (await get(admin, "/status"))[1]["state"] == "draining"
    for process in spawner.alive:
        process.end()
    await stopped
    assert not is_open(admin)


@pytest_twisted.ensureDeferred
async def test_a_port_of_it_that_is_taken_keeps_all_from_starting(site, spawner, logged_failures):
    with socket.create_server(("127.0.0.1", 0)) as other:
        config = site.write(TOP + "\n" + ADMIN.format(other.getsockname()[1]), one=endpoint(free_port()))
        supervisor = Supervisor(config, reactor, spawner, Board.new(), give_up=lambda: None)
        with pytest.raises(SystemExit):
            supervisor.privilegedStartService()
    assert "admin endpoint: cannot listen on tcp:" in logged_failures.pop()["problem"]
    await supervisor.stopService()


@pytest_twisted.ensureDeferred
async def test_it_comes_moves_and_goes_with_the_configuration(site, start):
    port, first, second = (free_port() for _ in range(3))
    supervisor = await start(one=endpoint(port))
    since = supervisor.config_since
    assert await reload(site, supervisor, TOP + "\n" + ADMIN.format(first), one=endpoint(port)) == []
    assert (await get(first))[0] == 200
    assert supervisor.config_since > since
    assert await reload(site, supervisor, TOP + "\n" + ADMIN.format(second), one=endpoint(port)) == []
    assert (await get(second))[0] == 200
    assert not is_open(first)
    assert await reload(site, supervisor, one=endpoint(port)) == []
    await turns()
    assert not is_open(second)


@pytest_twisted.ensureDeferred
async def test_what_a_worker_does_not_take_leaves_it_as_it_was(site, start, spawner):
    port, first, second = (free_port() for _ in range(3))
    supervisor = await start(TOP + "\n" + ADMIN.format(first), one=endpoint(port))
    spawner.processes[1].answers = {"prepare": ["no"]}
    assert await reload(site, supervisor, TOP + "\n" + ADMIN.format(second), one=endpoint(port)) == ["no"]
    assert (is_open(first), is_open(second)) == (True, False)
    spawner.processes[1].answers = spawner.answers
    with socket.create_server(("127.0.0.1", second)):
        (problem,) = await reload(site, supervisor, TOP + "\n" + ADMIN.format(second), one=endpoint(port))
    assert "admin endpoint: cannot listen on" in problem
    assert is_open(first)
