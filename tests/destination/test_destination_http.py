"""Questions to services: bounded in time and size, and each failure in words."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from OpenSSL import SSL
from treq.client import HTTPClient
from twisted.internet import error as net
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.python.failure import Failure
from twisted.web.client import RequestTransmissionFailed, ResponseFailed

from mailproxy.destination.http import MAX_BODY_OCTETS, Question, Web
from mailproxy.destination.url import parse_url
from mailproxy.errors import DestinationUnavailable, HostNotFound
from mailproxy.tls import CertificateRejected
from tests.destination.coroutines import run, start
from tests.support.services import GARBAGE, HUGE, REDIRECT, SILENCE, SLOW_BODY, Fault

URL = "https://idp.example.com/idp/token?sentinel=query"
FORM = (("grant_type", "client_credentials"), ("client_secret", "sentinel secret+&="))


def question(**more):
    return Question("the token service", parse_url("uri", URL), FORM, **more)


class FailingAgent:
    """Fails every request like this."""

    def __init__(self, error):
        self.error = error

    def client(self, identity):
        if isinstance(self.error, ValueError):
            raise self.error
        return HTTPClient(self)

    def request(self, method, uri, headers=None, body=None):
        return fail(self.error)


def sentence(coroutine):
    with pytest.raises(DestinationUnavailable) as caught:
        run(coroutine)
    assert "sentinel" not in str(caught.value)
    return str(caught.value)


def test_a_form_is_posted_and_the_answer_comes_back(world):
    world.services.fail("idp", Fault(418, b'{"a": 1}'))
    answer = run(world.web.ask(question(headers=(("X-Extra", "1"),))))
    assert (answer.status, answer.json_object(), answer.retry_after) == (418, {"a": 1}, None)
    (seen,) = world.services.seen
    assert (seen.host, seen.form) == ("idp.example.com", dict(FORM))
    assert seen.headers["content-type"] == "application/x-www-form-urlencoded"
    assert (seen.headers["accept"], seen.headers["x-extra"]) == ("application/json", "1")


def test_without_a_form_it_is_a_get_and_a_level_stays_readable(world):
    url = parse_url("uri", "https://d.example").below("/destination-configuration/v2/destinations/a-b_c@instance")
    run(world.web.ask(Question("the destination service", url)))
    (seen,) = world.services.seen
    assert (seen.path, seen.form) == ("/destination-configuration/v2/destinations/a-b_c@instance", {})


def test_questions_and_answers_show_no_secret(world):
    asked = question(headers=(("Authorization", "sentinel"),))
    world.services.fail("idp", Fault(200, b"sentinel body"))
    answer = run(world.web.ask(asked))
    assert "sentinel" not in f"{asked!r} {answer!r}"


def test_a_redirect_is_not_followed(world):
    world.services.fail("idp", REDIRECT)
    answer = run(world.web.ask(question()))
    assert world.services.asked("idp") == 1
    assert str(answer.unavailable()) == (
        "the token service at idp.example.com answered with a redirect, which is not followed"
    )


@pytest.mark.parametrize("fault", [SILENCE, SLOW_BODY])
def test_one_deadline_covers_headers_and_body(world, fault):
    world.services.fail("idp", fault)
    asked = start(world.web.ask(question(timeout=7.0)))
    world.clients.flush()
    world.clock.advance(6.9)
    assert asked.running
    world.clock.advance(0.1)
    assert str(asked.error) == "the token service at idp.example.com did not answer within 7 seconds"
    assert isinstance(asked.error, DestinationUnavailable)


def test_octets_that_trickle_in_do_not_prolong_it(world):
    world.services.fail("idp", SLOW_BODY)
    asked = start(world.web.ask(question(timeout=7.0)))
    for _ in range(7):
        world.services.waiting[0].write(b"x")
        world.clients.flush()
        world.clock.advance(1)
    assert "within 7 seconds" in str(asked.error)


def test_a_body_has_a_limit(world):
    world.services.fail("idp", HUGE)
    assert sentence(world.web.ask(question())) == (
        f"the token service at idp.example.com answers with more than {MAX_BODY_OCTETS} octets"
    )
    world.services.fail("idp", Fault(200, b"x" * MAX_BODY_OCTETS))
    assert len(run(world.web.ask(question())).body) == MAX_BODY_OCTETS


def test_a_body_without_end_is_cut_off_at_the_limit(world):
    world.services.fail("idp", SLOW_BODY)
    asked = start(world.web.ask(question()))
    for _ in range(5):
        world.services.waiting[0].write(b"x" * 65536)
        world.clients.flush()
    assert "more than" in str(asked.error)


@pytest.mark.parametrize(
    "body", [GARBAGE.body, b"", b"[]", b"null", b'{"a": NaN}', b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"]
)
def test_what_is_no_json_object_is_an_answer_that_helps_nobody(world, body):
    world.services.fail("idp", Fault(200, body))
    answer = run(world.web.ask(question()))
    with pytest.raises(DestinationUnavailable, match="answered with status 200 and a body that "):
        answer.json_object()


def test_to_cancel_a_question_ends_it(world):
    world.services.fail("idp", SILENCE)
    asked = start(world.web.ask(question()))
    asked.deferred.cancel()
    assert isinstance(asked.error, CancelledError)


def test_to_cancel_a_question_while_its_body_comes_ends_it(world):
    world.services.fail("idp", SLOW_BODY)
    asked = start(world.web.ask(question()))
    world.clients.flush()
    asked.deferred.cancel()
    assert isinstance(asked.error, CancelledError)


@pytest.mark.parametrize(
    ("headers", "pause"),
    [
        ({"Retry-After": "17"}, 17.0),
        ({"Retry-After": "100000"}, 600.0),
        ({"Retry-After": "9" * 400}, 600.0),
        (
            {"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT", "Date": "Fri, 31 Dec 1999 23:59:29 GMT"},
            30.0,
        ),
        ({"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT", "Date": "Fri, 31 Dec 1999 12:00:00 GMT"}, 600.0),
        ({"Retry-After": "Fri, 31 Dec 1999 12:00:00 GMT", "Date": "Fri, 31 Dec 1999 23:59:29 GMT"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": b"\x99"}, None),
        ({"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT", "Date": b"Fri, 31 D\xe9c 1999 23:59:59 GMT"}, None),
        ({}, None),
    ],
)
def test_the_pause_that_a_service_asks_for_is_bounded(world, headers, pause):
    world.services.fail("idp", Fault(429, b"{}", headers))
    answer = run(world.web.ask(question()))
    assert answer.retry_after == pause
    assert answer.unavailable().retry_after == pause


def test_a_pause_until_a_date_is_counted_by_our_own_clock_where_the_service_tells_no_other(world):
    later = datetime.now(UTC) + timedelta(seconds=100)
    world.services.fail("idp", Fault(429, b"{}", {"Retry-After": format_datetime(later, usegmt=True)}))
    assert 0 < run(world.web.ask(question())).retry_after <= 100


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (net.DNSLookupError("no results for sentinel"), "cannot be found: its host name has no address"),
        (net.ConnectionRefusedError("sentinel"), "refuses connections"),
        (net.TimeoutError("sentinel"), "cannot be reached: no connection in time"),
        (net.NoRouteError("sentinel"), "cannot be reached"),
        (net.ConnectionLost("sentinel"), "closed the connection before its answer was complete"),
        (
            ResponseFailed([Failure(net.ConnectionDone("sentinel"))]),
            "closed the connection before its answer was complete",
        ),
        (ResponseFailed([Failure(RuntimeError("sentinel"))]), "answered with something that is no HTTP"),
        (
            ResponseFailed([Failure(net.ConnectionLost()), Failure(CertificateRejected("certificate has expired"))]),
            "cannot be asked over TLS: certificate has expired",
        ),
        (
            RequestTransmissionFailed([Failure(SSL.Error([("SSL routines", "", "wrong version number")]))]),
            "cannot be asked over TLS: peer does not speak TLS (wrong version number)",
        ),
        (HostNotFound("idp.example.com: no such name"), "cannot be asked: idp.example.com: no such name"),
        (
            ValueError("client certificate: the key cannot be read"),
            "cannot be asked: client certificate: the key cannot be read",
        ),
    ],
)
def test_each_failure_has_its_words(world, error, words):
    web = Web(FailingAgent(error), world.clock)
    assert sentence(web.ask(question())) == f"the token service at idp.example.com {words}"


def test_a_mistake_of_ours_is_not_taken_for_the_services(world):
    with pytest.raises(ZeroDivisionError):
        run(Web(FailingAgent(ZeroDivisionError()), world.clock).ask(question()))


def test_a_connection_that_does_not_come_about_is_cancelled(world):
    class Connecting:
        cancelled = 0

        def client(self, identity):
            return HTTPClient(self)

        def request(self, method, uri, headers=None, body=None):
            return Deferred(self.cancel)

        def cancel(self, _):
            self.cancelled += 1

    connecting = Connecting()
    asked = start(Web(connecting, world.clock).ask(question()))
    world.clock.advance(10)
    assert "within 10 seconds" in str(asked.error)
    assert connecting.cancelled == 1
