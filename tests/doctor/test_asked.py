"""Questions to services are listened to, and the last of each kind is kept."""

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from mailproxy.destination.http import Answer, Question
from mailproxy.destination.url import ServiceURL
from mailproxy.doctor.asked import DESTINATION, TOKEN, Asked, Questions
from mailproxy.doctor.remedies import MAX_TEXT_CHARACTERS
from mailproxy.errors import DestinationUnavailable

URL = ServiceURL("https", "login.example.com", None, "/token")


class Broken:
    def client(self, identity):
        raise ValueError("no client")


def asked(status, body=b"{}"):
    return Asked(Question("the token service", URL), Answer("there", status, body))


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (asked(401), "HTTP 401 Unauthorized {}"),
        (asked(499), "HTTP 499  {}"),
        (asked(200, b"page"), "page"),
        (asked(500, b"\xff"), "HTTP 500 Internal Server Error \ufffd"),
        (Asked(Question("x", URL)), ""),
    ],
)
def test_an_answer_is_written_as_the_table_knows_it(found, text):
    assert found.text() == text
    assert found.host == "login.example.com"


def test_a_long_answer_is_cut():
    assert len(asked(200, b"x" * 100_000).text()) == MAX_TEXT_CHARACTERS


def test_an_answer_stays_out_of_what_is_shown_of_it():
    assert "secret" not in repr(asked(200, b"secret"))


@pytest_twisted.ensureDeferred
async def test_a_question_without_an_answer_is_kept_too():
    questions = Questions()
    heard = []
    questions.begins = heard.append
    web = questions.web(Broken(), Clock())
    for form in ((("grant_type", "x"),), None):
        with pytest.raises(DestinationUnavailable):
            await web.ask(Question("the service", URL, form=form))
    assert heard == [TOKEN, DESTINATION]
    assert questions.last[TOKEN].answer is None
    assert questions.last[DESTINATION].question.form is None
