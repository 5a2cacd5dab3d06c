"""The configuration file is loaded when its content has changed, and nothing that is wrong with it does harm."""

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher

from mailproxy.config import load
from mailproxy.watch import Watch, fingerprint

SOUND = """
[destination_services.local]
directory = "destinations"
[[destinations]]
name = "example-dest-smtp"
protocol = "smtp"
listen = "tcp:1587"
"""


class Service:
    """Takes every configuration, unless it has `problems`; with `waits` it takes its time."""

    def __init__(self, config):
        self.config = config
        self.asked = []
        self.problems = []
        self.waits = None

    def reload(self, config):
        self.asked.append(config)
        if self.waits is not None:
            return self.waits
        if not self.problems:
            self.config = config
        return succeed(list(self.problems))


@pytest.fixture
def said():
    """Levels and problems of what the log says."""
    lines = []

    def note(event):
        lines.append((event["log_level"], event.get("problem")))

    globalLogPublisher.addObserver(note)
    yield lines
    globalLogPublisher.removeObserver(note)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "mailproxy.toml"
    path.write_text(SOUND)
    return path


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def service(path):
    return Service(load(path))


@pytest.fixture
def told():
    return []


@pytest.fixture
def watch(clock, service, path, told):
    watch = Watch(
        clock,
        service,
        fingerprint(path),
        loading=lambda: told.append("loading"),
        loaded=told.append,
    )
    watch.start()
    yield watch
    watch.stop()
    assert not clock.getDelayedCalls()


@pytest.mark.usefixtures("watch")
class TestTheFile:
    def test_nothing_happens_as_long_as_it_stays_as_it_is(self, clock, service, told, path):
        clock.pump([5] * 10)
        path.touch()
        clock.pump([5] * 10)
        assert (service.asked, told) == ([], [])

    def test_another_content_is_loaded_once(self, clock, service, told, path):
        path.write_text(f'server_name = "other.test"\n{SOUND}')
        clock.advance(4.9)
        assert not service.asked
        clock.pump([0.1, 5, 5])
        (config,) = service.asked
        assert config.server_name == "other.test"
        assert told == ["loading", True]

    def test_a_file_in_its_place_is_another_content(self, clock, service, path, tmp_path):
        (tmp_path / "new").write_text(f'server_name = "other.test"\n{SOUND}')
        (tmp_path / "new").rename(path)
        clock.advance(5)
        assert len(service.asked) == 1
        path.unlink()
        path.write_text(SOUND)
        clock.advance(5)
        assert len(service.asked) == 2

    def test_a_mistake_is_told_line_by_line_and_once(self, clock, service, told, path, said):
        path.write_text(f"a = 1\nb = 2\n{SOUND}")
        clock.pump([5] * 5)
        assert said == [(LogLevel.error, f"{path}: a: unknown key"), (LogLevel.error, f"{path}: b: unknown key")]
        assert not service.asked
        assert told == ["loading", False]

    def test_another_mistake_is_told_again(self, clock, path, said):
        for key in ("a", "b"):
            path.write_text(f"{key} = 1\n{SOUND}")
            clock.pump([5] * 3)
        assert [problem for _, problem in said] == [f"{path}: a: unknown key", f"{path}: b: unknown key"]

    def test_mended_it_is_loaded(self, clock, service, told, path):
        path.write_text(f"a = 1\n{SOUND}")
        clock.advance(5)
        path.write_text(SOUND)
        clock.pump([5] * 3)
        assert len(service.asked) == 1
        assert told == ["loading", False, "loading", True]

    def test_the_service_knows_what_keeps_the_file_from_being_used_as_long_as_it_does(self, clock, service, path):
        path.write_text(f"a = 1\n{SOUND}")
        clock.advance(5)
        assert service.complaints == [f"{path}: a: unknown key"]
        path.write_text(SOUND)
        clock.pump([5] * 3)
        assert service.complaints == []

    def test_what_only_lacked_something_else_is_tried_again(self, clock, service, told, path, said):
        service.problems = ["no such certificate"]
        path.write_text(f"# other\n{SOUND}")
        clock.pump([5] * 48)
        assert len(service.asked) == 4
        assert said == [(LogLevel.error, "no such certificate")]
        service.problems = []
        clock.pump([5] * 48)
        assert len(service.asked) == 5
        assert told == ["loading", False, True]

    def test_a_file_that_vanishes_changes_nothing_and_is_told_once(self, clock, service, told, path, said):
        path.unlink()
        clock.pump([5] * 4)
        assert [level for level, _ in said] == [LogLevel.warn]
        path.write_text(SOUND)
        clock.pump([5] * 4)
        assert (service.asked, told) == ([], [])
        path.unlink()
        clock.pump([5] * 4)
        assert [level for level, _ in said] == [LogLevel.warn] * 2

    def test_a_link_to_another_folder_is_another_content(self, clock, service, tmp_path, path):
        """As Kubernetes does it with a mounted ConfigMap: `..data` is exchanged, the file's own link stays."""
        for version, text in (("..1", SOUND), ("..2", f"# other\n{SOUND}")):
            (tmp_path / version).mkdir()
            (tmp_path / version / path.name).write_text(text)
        (tmp_path / "..data").symlink_to("..1")
        path.unlink()
        path.symlink_to(f"..data/{path.name}")
        clock.pump([5] * 2)
        assert not service.asked
        (tmp_path / "..tmp").symlink_to("..2")
        (tmp_path / "..tmp").rename(tmp_path / "..data")
        clock.pump([5] * 2)
        assert len(service.asked) == 1

    def test_the_interval_is_that_of_the_configuration_in_use(self, clock, service, path):
        path.write_text(f"watch_seconds = 1\n{SOUND}")
        clock.advance(5)
        path.write_text(f"watch_seconds = 0\n{SOUND}")
        clock.advance(1)
        assert len(service.asked) == 2
        path.write_text(SOUND)
        clock.pump([5] * 10)
        assert len(service.asked) == 2

    def test_a_mistake_of_ours_is_not_repeated(self, clock, service, told, path, logged_failures):
        service.waits = Deferred()
        path.write_text(f"# other\n{SOUND}")
        clock.advance(5)
        service.waits.errback(ZeroDivisionError())
        service.waits = None
        clock.pump([5] * 4)
        assert len(service.asked) == 1
        assert told == ["loading", False]
        assert len(logged_failures) == 1
        logged_failures.clear()


class TestAsked:
    def test_it_is_loaded_whether_or_not_it_has_changed(self, watch, service, told):
        watch.load()
        watch.load()
        assert len(service.asked) == 2
        assert told == ["loading", True] * 2

    def test_a_mistake_is_told_each_time(self, watch, clock, path, said):
        path.write_text(f"a = 1\n{SOUND}")
        watch.load()
        clock.pump([5] * 3)
        watch.load()
        assert said == [(LogLevel.error, f"{path}: a: unknown key")] * 2

    def test_a_file_that_is_not_there_is_a_mistake(self, watch, path, said):
        path.unlink()
        watch.load()
        assert said == [(LogLevel.error, f"{path}: cannot be read: No such file or directory")]

    def test_what_was_loaded_so_is_not_loaded_again(self, watch, clock, service, path):
        path.write_text(f"# other\n{SOUND}")
        watch.load()
        clock.pump([5] * 3)
        assert len(service.asked) == 1

    def test_in_the_middle_of_another_it_comes_after_that(self, watch, service):
        service.waits = Deferred()
        watch.load()
        watch.load()
        watch.load()
        assert len(service.asked) == 1
        waits, service.waits = service.waits, None
        waits.callback([])
        assert len(service.asked) == 2

    def test_after_the_end_nothing_is_loaded(self, watch, service):
        watch.stop()
        watch.load()
        assert not service.asked

    def test_it_works_where_the_file_is_not_watched(self, clock, service, path):
        service.config = load(path)
        watch = Watch(clock, service, None, loading=list, loaded=bool)
        watch.start()
        path.write_text(f"# other\n{SOUND}")
        clock.pump([5] * 4)
        assert not service.asked
        watch.load()
        assert len(service.asked) == 1
        assert not clock.getDelayedCalls()


def test_what_is_no_file_has_no_fingerprint(tmp_path):
    assert fingerprint(tmp_path) is None
    assert fingerprint(tmp_path / "none") is None
