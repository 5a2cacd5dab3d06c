"""Destinations and commands of the cookbook work with the sandbox in the provider's place; each fault is found."""

import re

import pytest
import pytest_twisted
from twisted.internet import reactor

from tests.doctor.providers import FAULTS, Stage, documents, pages
from tests.doctor.ward import masked
from tests.support.pages import page

COMMANDS = [
    pytest.param(each, line, id=f"{each.path.stem}-{number}")
    for each in (page("how-to/doctor.md"), *pages())
    for number, line in enumerate(
        line for block in each.blocks if not block.language for line in block.text.splitlines() if line
    )
]
DESTINATIONS = [
    pytest.param(each, given["Name"], id=f"{each.path.stem}-{given['Name']}")
    for each in pages()
    for given in documents(each).values()
    if "Name" in given
]
QUOTED = {block.name: (each, block.text) for each in pages() for block in each.blocks if block.language == "text"}


@pytest.mark.parametrize(("where", "command"), COMMANDS)
@pytest_twisted.ensureDeferred
async def test_every_command_on_a_page_succeeds(tmp_path, where, command):
    assert command.startswith("mailproxy check ")
    report = await Stage(reactor, tmp_path).check(where, command)
    assert report.ok, [(str(check.subject), check.failed) for check in report.checks]


@pytest.mark.parametrize(("where", "name"), DESTINATIONS)
@pytest_twisted.ensureDeferred
async def test_every_destination_on_a_page_logs_in(tmp_path, where, name):
    (check,) = (await Stage(reactor, tmp_path).check(where, f"mailproxy check {name}")).checks
    status = {step.name: step.status for step in check.steps}
    assert (status["tls"], status["login"], status["probe"]) == ("ok", "ok", "ok")


@pytest.mark.parametrize("name", FAULTS)
@pytest_twisted.ensureDeferred
async def test_the_page_has_what_the_doctor_says(tmp_path, name):
    where, quoted = QUOTED[name]
    assert where.path.stem == FAULTS[name].page
    command = quoted.partition("\n")[0].removeprefix("$ ")
    assert masked(await Stage(reactor, tmp_path, FAULTS[name]).said(where, command)) == masked(quoted)


@pytest.mark.parametrize("name", FAULTS)
@pytest_twisted.ensureDeferred
async def test_the_fault_is_explained_by_the_answer_that_was_given(tmp_path, name):
    where, quoted = QUOTED[name]
    report = await Stage(reactor, tmp_path, FAULTS[name]).check(where, quoted.partition("\n")[0].removeprefix("$ "))
    (trouble,) = [step.trouble for step in report.checks[0].steps if step.trouble is not None]
    assert trouble.answer == FAULTS[name].answer


def test_every_page_says_what_has_to_be_said():
    assert QUOTED.keys() == FAULTS.keys()
    for each in pages():
        heads = re.findall(r"^## (.*)$", each.text, re.MULTILINE)
        assert heads[-3:] == ["What the administrator does", "Limits", "What the doctor says when it is wrong"]


def test_the_doctor_leads_to_every_page():
    assert {each.path.name for each in pages()} <= set(page("how-to/doctor.md").links)
