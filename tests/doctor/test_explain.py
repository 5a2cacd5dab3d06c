"""What the log says about a failure leads to the same explanation as the failure itself."""

import pytest
import pytest_twisted
from twisted.internet import reactor

from mailproxy import errors
from mailproxy.doctor.explain import _STAGES, explained, meaning
from mailproxy.doctor.outcomes import MEANINGS
from mailproxy.doctor.remedies import STAGES
from tests.doctor.providers import FAULTS, Stage
from tests.doctor.test_cookbook import QUOTED
from tests.doctor.ward import CASES
from tests.support.vocabulary import PACKAGE, tree

ILL = sorted(CASES.keys() - {"well"})
LESS = {
    "pop3-on-an-smtp-port": None,
    "smtp-on-a-pop3-port": None,
    "token-429": "oauth-throttled",
    "postfix-password": "smtp-auth-535",
    "exchange-login": "smtp-auth-535",
    "dovecot-sessions": "pop3-in-use",
    "sender-not-verified": None,
}
"""Where the sentence alone says less: who answered is not in it, or what was said is not."""


def failure(report):
    (check,) = report.checks
    (trouble,) = [step.trouble for step in check.steps if step.trouble is not None]
    facts = {step.name: step.facts for step in check.steps}
    host = facts["token"].get("service") if "token" in check.failed else facts["destination"].get("host", "")
    return trouble, host


def same(table, name, trouble, host):
    found = explained(table, trouble.outcome, trouble.error, host)
    assert (None if found is None else found.id) == LESS.get(name, trouble.answer)


@pytest.mark.parametrize("name", ILL)
@pytest_twisted.ensureDeferred
async def test_the_doctors_cases(table, ward, name):
    CASES[name](ward)
    trouble, host = failure(await ward.check(f"mailproxy check {ward.wanted} --timeout 1"))
    same(table, name, trouble, host)


@pytest.mark.parametrize("name", FAULTS)
@pytest_twisted.ensureDeferred
async def test_the_cookbooks(table, tmp_path, name):
    where, quoted = QUOTED[name]
    report = await Stage(reactor, tmp_path, FAULTS[name]).check(where, quoted.partition("\n")[0].removeprefix("$ "))
    trouble, host = failure(report)
    same(table, name, trouble, host)


def test_an_outcome_that_is_no_failure_has_no_explanation(table):
    assert explained(table, "quit", "535 5.7.8 no") is None
    assert explained(table, "upstream_refused_login", "nothing of that kind") is None


def test_every_error_has_a_meaning():
    def below(cls):
        return {cls}.union(*map(below, cls.__subclasses__())) if cls.__module__ == errors.__name__ else set()

    wanted = {cls.outcome for cls in below(errors.MailProxyError) if hasattr(cls, "outcome")}
    assert wanted - {"config_error", "protocol_error"} == MEANINGS.keys()


def test_who_knows_the_words_says_more(table):
    sentence = "login: the mail server refused the login of x: 535 5.7.8 Error: authentication failed: UGFzc3dvcmQ6"
    usual, known = MEANINGS["upstream_refused_login"], table.find("auth", ["535 5.7.8 no"], ["smtp"])
    found = meaning(table, "upstream_refused_login", sentence)
    assert (found.side, found.cause, found.remedy) == (usual.side, known.cause, known.remedy)
    assert meaning(table, "upstream_refused_login", "nothing of that kind") is usual
    assert meaning(table, "quit", sentence) is None


def test_outcomes_and_stages_are_those_that_there_are():
    text = (PACKAGE / "errors.py").read_text()
    assert tree(PACKAGE / "errors.py")
    assert all(f'outcome = "{outcome}"' in text for outcome in _STAGES)
    assert {stage for stages in _STAGES.values() for stage in stages} <= set(STAGES)
