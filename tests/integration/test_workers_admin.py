"""
The admin endpoint of a proxy with two real workers: one answer for all of them, also when one hangs or dies.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from attrs import define
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.test_workers import CLIENTS, SHUTDOWN, House
from tests.support.ports import free_port
from tests.support.programs import run
from tests.support.scripted import serving
from tests.support.terminal import Terminal
from tests.support.waiting import until

pytestmark = pytest.mark.integration


@define
class Watched(House):
    """With an admin endpoint."""

    admin: int = 0

    def ask(self, path: str) -> tuple[int, str]:
        """Status and text of an answer."""
        try:
            with urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=20) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()

    def json(self, path: str) -> Any:
        """The same, read."""
        return json.loads(self.ask(path)[1])

    def stats(self, name: str) -> dict[str, int]:
        """The statistics of a listener."""
        lines = (line.split(": ") for line in self.ask("/stats")[1].splitlines())
        root = f"smtp.{name}-acme."
        return {each.removeprefix(root): int(number) for each, number in lines if each.startswith(root)}

    def metric(self, name: str, **labels: str) -> float:
        """The sum of its samples that have these labels."""
        families = text_string_to_metric_families(self.ask("/metrics")[1])
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        assert samples, name
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    def crew(self) -> list[tuple[str, bool]]:
        """What each worker does, and whether it is ready."""
        return [(hand["state"], hand["ready"]) for hand in self.json("/ready")["crew"]]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Watched]:
    """Two workers that keep a ledger, and write it where they can."""
    with ExitStack() as stack:
        admin = free_port()
        top = f'watch_seconds = 0\nworkers = 2\nadmin.endpoint = "tcp:{admin}"\nledger.path = "{tmp_path}/mail.jsonl"'
        house = Watched(tmp_path, top, stack=stack, admin=admin)
        house.submission.open.set()
        house.add("one", "smtp", stack.enter_context(serving(house.submission)))
        yield house


def quit_all(terminals: list[Terminal]) -> None:
    """These clients leave in good order."""
    for terminal in terminals:
        assert terminal.ask("QUIT").startswith(b"221 ")
        terminal.close()


def adds_up(stats: dict[str, int]) -> bool:
    """Whether every session is active or has one outcome."""
    outcomes = sum(number for name, number in stats.items() if name.startswith("outcomes."))
    return stats["sessions"] == stats["sessions_active"] + outcomes


def serves_together(house: Watched, each: dict[int, Terminal]) -> None:
    """Numbers are the sums of both workers, and of what they do together there is one picture."""
    quit_all([house.greeted("one") for _ in range(CLIENTS)])
    stats = until(lambda: stats if (stats := house.stats("one"))["sessions_active"] == 2 else None, "the ends")
    assert adds_up(stats)
    assert stats["sessions"] == 2 * CLIENTS
    until(lambda: house.metric("mailproxy_sessions_started_total", destination="one") == 2 * CLIENTS, "all sessions")
    assert house.metric("mailproxy_sessions_active") == 2
    assert house.metric("mailproxy_ledger_failing") == 0
    status = until(lambda: said if (said := house.json("/status"))["sessions"] == 2 else None, "the clients to be gone")
    assert (status["workers"], status["state"]) == (2, "running")
    (row,) = status["destinations"]
    assert (row["sessions"], row["sessions_total"], row["listening"]) == (2, 2 * CLIENTS, True)
    assert sorted(hand["pid"] for hand in status["crew"]) == sorted(each)


def loses_one(house: Watched, each: dict[int, Terminal]) -> None:
    """A worker that hangs holds up nobody, and one that is killed makes no number smaller."""
    victim, survivor = each
    os.kill(victim, signal.SIGSTOP)
    until(lambda: sorted(house.crew()) == [("serving", True), ("silent", False)], "that one is silent")
    assert house.ask("/ready")[0] == 200
    assert house.stats("one")["sessions"] == 2 * CLIENTS
    os.kill(victim, signal.SIGKILL)
    until(lambda: house.metric("mailproxy_workers_ended_total") == 1, "the end of a worker")
    after = until(lambda: stats if "outcomes.worker_lost" in (stats := house.stats("one")) else None, "its session's")
    assert adds_up(after)
    assert (after["sessions"], after["sessions_active"], after["outcomes.worker_lost"]) == (2 * CLIENTS, 1, 1)
    until(lambda: house.crew() == [("serving", True)] * 2, "another worker")
    quit_all([each[survivor], *(house.greeted("one") for _ in range(CLIENTS))])
    last = until(lambda: stats if (stats := house.stats("one"))["sessions_active"] == 0 else None, "the ends")
    assert adds_up(last)
    assert last["sessions"] == 3 * CLIENTS


def shows_what_ended_badly(house: Watched) -> None:
    """Sessions of both workers, and each comes to the same end once more."""
    for terminal in house.one_each("one").values():
        for command in ("EHLO x", "MAIL FROM:<ann@b.test>"):
            assert terminal.ask(command).startswith(b"250")
        assert terminal.ask(b"NOOP j\xf6rg\n").startswith(b"500 5.5.2 Bare <LF>")
        terminal.close()
    status = until(lambda: said if len((said := house.json("/status"))["recordings"]) == 2 else None, "the recordings")
    recordings = status["recordings"]
    numbers = {str(hand["number"]) for hand in status["crew"]}
    assert {each["session"].partition("-")[0] for each in recordings} == numbers
    for each in recordings:
        assert (each["listener"], each["outcome"], each["whole"]) == ("acme/one", "bad_line", True)
        assert "client -> MAIL FROM:<xxx@b.test>" in each["lines"], "there is no token"
    path = house.folder / "status.json"
    path.write_text(json.dumps(status))
    said = run([sys.executable, "-m", "mailproxy", "replay", str(path)]).decode()
    assert said.count("ended then: bad_line\nended now:  bad_line\n") == 2


def follows_a_reload(house: Watched) -> None:
    """What is shown is what is in use, and why the file is not."""
    house.add("two", "smtp", 1)
    assert "listeners: 1 as before, 0 changed, 1 new, 0 gone" in house.reload()
    until(lambda: [row["label"] for row in house.json("/status")["destinations"]] == ["acme/one", "acme/two"], "it")
    house.top += "\nnonsense = 1"
    assert "not loaded" in house.reload()
    problems = [f"{house.config}: nonsense: unknown key"]
    until(lambda: house.json("/status")["configuration"]["problems"] == problems, "the complaint")


def tells_of_the_end(house: Watched) -> None:
    """As long as a session may finish, there is an answer."""
    terminal = house.greeted("one")
    for command in ("EHLO x", "MAIL FROM:<a@b.test>"):
        assert terminal.ask(command).startswith(b"250")
    os.kill(house.proxy.pid, signal.SIGTERM)
    house.proxy.wait_for_log("stopping; sessions: ")
    code, text = house.ask("/ready")
    assert (code, json.loads(text)["reasons"]) == (503, ["draining: mailproxy is being stopped"])
    until(lambda: house.json("/status")["state"] == "draining", "the state")
    assert house.stats("one")["sessions_active"] == 1
    assert house.ask("/live")[0] == 200
    assert terminal.ask("RSET").startswith(b"250 ")
    assert terminal.read_line() == SHUTDOWN
    terminal.close()
    assert house.proxy.daemon.process.wait(20) == 0


def test_one_answer_for_all_workers_also_when_one_hangs_or_dies(house: Watched) -> None:
    house.start()
    until(lambda: house.crew() == [("serving", True)] * 2, "answers of both")
    until(lambda: house.metric("mailproxy_workers", state="serving") == 2, "answers of both")
    each = house.one_each("one")
    serves_together(house, each)
    loses_one(house, each)
    shows_what_ended_badly(house)
    follows_a_reload(house)
    tells_of_the_end(house)
    house.stop()
