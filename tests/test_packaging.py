"""What is delivered: the wheel, the locked requirements, the image and the unit."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import mailproxy
from mailproxy.admin.desk import STATIC

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The names of the files in a wheel made from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_the_package_the_plugin_and_nothing_else(wheel):
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "mailproxy").rglob("*.py")}
    page = {f"mailproxy/admin/static/{name}" for name in STATIC.values()}
    answers = {str(path.relative_to(ROOT)) for path in (ROOT / "mailproxy/doctor/answers").iterdir()}
    assert names == sources | page | answers | {"mailproxy/py.typed", "twisted/plugins/mailproxy_plugin.py"}


def test_the_package_says_its_version():
    assert mailproxy.__version__ == PROJECT["project"]["version"]


def test_the_wheel_says_what_it_needs_and_under_which_licence(wheel):
    (metadata,) = [wheel.read(name).decode() for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    assert "Requires-Python: >=3.11\n" in metadata
    assert "License-Expression: MIT\n" in metadata
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel.namelist())
    assert metadata.count("\nRequires-Dist: ") >= len(PROJECT["project"]["dependencies"])


def locked(path):
    """Name and version of everything in a file of locked requirements."""
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", path.read_text(), re.MULTILINE))


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [
        ("run.txt", PROJECT["project"]["dependencies"]),
        ("dev.txt", PROJECT["project"]["dependencies"] + EXTRAS["test"] + EXTRAS["lint"]),
        ("fuzz.txt", EXTRAS["fuzz"]),
        ("build.txt", PROJECT["build-system"]["requires"]),
    ],
)
def test_the_locked_versions_are_those_that_the_project_asks_for(lock, wanted):
    versions = locked(ROOT / "requirements" / lock)
    for text in wanted:
        requirement = Requirement(text)
        assert requirement.specifier.contains(versions[requirement.name]), text


def test_the_locks_agree_with_each_other():
    run, dev, build = (locked(ROOT / f"requirements/{name}.txt") for name in ("run", "dev", "build"))
    assert run.items() <= dev.items()
    assert build.items() <= dev.items()


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_every_locked_file_has_a_hash_and_no_address(path):
    entries = re.split(r"^(?=\S)", path.read_text(), flags=re.MULTILINE)[1:]
    for entry in entries:
        assert re.fullmatch(r"[a-z0-9-]+==\S+( ; [^\\]*?)?( \\\n    --hash=sha256:[0-9a-f]{64})+\n", entry), entry[:80]


def test_the_unit_and_the_image_start_the_same_command():
    unit = (ROOT / "etc/mailproxy.service").read_text()
    image = (ROOT / "Dockerfile").read_text()
    command = "twistd --nodaemon --pidfile= mailproxy --config /etc/mailproxy/mailproxy.toml"
    assert f"ExecStart=/opt/mailproxy/bin/{command}\n" in unit
    assert f"ExecStartPre=/opt/mailproxy/bin/{command} --check\n" in unit
    entry = re.search(r"^ENTRYPOINT \[(.*)\]\nCMD \[(.*)\]$", image, re.MULTILINE)
    assert re.findall(r'"([^"]*)"', entry[0]) == command.split()


def test_the_unit_allows_what_tls_needs():
    assert not re.search(r"^MemoryDenyWriteExecute=", (ROOT / "etc/mailproxy.service").read_text(), re.MULTILINE)


def test_the_image_is_given_all_that_it_copies():
    image = (ROOT / "Dockerfile").read_text()
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", image, re.MULTILINE)
    assert {Path(name).parts[0] for names in copied for name in names.split()} == allowed
    assert "USER 65532:65532\n" in image
