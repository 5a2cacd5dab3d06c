"""
What bad input gets: one clear sentence for the operator, a fixed reply for the mail client, no traceback, no secret.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

import pytest
from attrs import frozen

from mailproxy.sandbox.pki import Authority
from tests.integration.conftest import Launch, NewSetup
from tests.support.accounts import ACME, Account
from tests.support.bed import MAIL_HOST, Bed
from tests.support.cloud import TOKEN_HOST
from tests.support.leaks import SECRETS, leaked
from tests.support.ports import free_port
from tests.support.proxy import Proxy, attempt
from tests.support.routes import Properties, basic, oauth, server_port
from tests.support.scripted import Visit, serving
from tests.support.setup import CLOUD, FILES, Setup
from tests.support.terminal import bare_socket
from tests.support.waiting import listens

pytestmark = pytest.mark.integration

WRONG_SECRET = "mistaken-sentinel-secret"
STRANGER = Account("stranger", ACME.user, ACME.password)
KINDS = ("smtps", "pop3s")
STARTTLS_KINDS = ("smtp", "pop3")

# What the two protocols' clients are told: see the failure tables of the sessions.
NOT_CONFIGURED = (b"451 4.3.5 Upstream access not configured", b"-ERR [SYS/PERM] mail server login not possible")
NO_CREDENTIALS = (b"451 4.7.0 Credentials currently unavailable", b"-ERR [SYS/PERM] mail server login not possible")
NO_SERVICE = (b"451 4.7.0 Credentials currently unavailable", b"-ERR [SYS/TEMP] credentials currently unavailable")
REFUSED_LOGIN = (b"451 4.7.0 Upstream authentication failed", b"-ERR [SYS/PERM] mail server login not possible")
NOT_VERIFIED = (b"451 4.7.5 Upstream TLS verification failed", b"-ERR [SYS/PERM] mail server login not possible")
UNREACHABLE = (b"451 4.4.1 Upstream not reachable", b"-ERR [SYS/TEMP] mail server not reachable")
REFUSED_SESSION = (b"451 4.4.2 Upstream refused the session", b"-ERR [SYS/TEMP] mail server not reachable")
NOT_THE_PROTOCOL = (b"451 4.5.0 Upstream protocol error", b"-ERR [SYS/TEMP] mail server not reachable")


@frozen
class Ground:
    """What cases are made of: the port of the real server, and the ports of those that are not right."""

    url: str
    right: int
    untrusted: int
    expired: int
    silent: int
    closed: int
    busy: int
    babbling: int


Build = Callable[[str, str, Ground], Properties]


@frozen
class Case:
    """
    A destination that cannot be used; `words` is what the operator has to read, as a pattern.
    """

    build: Build | None
    replies: tuple[bytes, bytes]
    words: str
    services: tuple[str, ...] = (FILES, CLOUD)
    tenant: str = ACME.tenant


def _changed(**changes: str) -> Build:
    """A good destination but for these keys; `<p>` in a key is its protocol."""
    return lambda name, kind, at: basic(
        name, kind, at.right, ACME, **{key.replace("<p>", kind): value for key, value in changes.items()}
    )


def _behind(port: str) -> Build:
    """A good destination whose mail server is not."""
    return lambda name, kind, at: basic(name, kind, getattr(at, port), ACME)


def _without(key: str) -> Build:
    def build(name: str, kind: str, at: Ground) -> Properties:
        properties = basic(name, kind, at.right, ACME)
        del properties[key.replace("<p>", kind)]
        return properties

    return build


def _token(**changes: str) -> Build:
    return lambda name, kind, at: oauth(name, kind, at.right, ACME, at.url, **changes)


CASES: Mapping[str, Case] = {
    "unknown-tenant": Case(None, NO_CREDENTIALS, "tenant", (CLOUD,), STRANGER.tenant),
    "missing": Case(None, NO_CREDENTIALS, "missing"),
    "wrong-type": Case(_changed(Type="HTTP"), NOT_CONFIGURED, "Type.*MAIL"),
    "protocol-unknown": Case(
        _changed(**{"mail.transport.protocol": "imap4"}), NOT_CONFIGURED, r"mail\.transport\.protocol.*imap4"
    ),
    "protocol-of-another-listener": Case(
        lambda name, kind, at: basic(name, {"smtps": "pop3s", "pop3s": "smtps"}[kind], at.right, ACME),
        NOT_CONFIGURED,
        r"mail\.transport\.protocol",
    ),
    "port-too-high": Case(_changed(**{"mail.<p>.port": "70000"}), NOT_CONFIGURED, r"mail\.(smtps|pop3s)\.port"),
    "port-no-number": Case(_changed(**{"mail.<p>.port": "smtp"}), NOT_CONFIGURED, r"mail\.(smtps|pop3s)\.port"),
    "host-missing": Case(_without("mail.<p>.host"), NOT_CONFIGURED, r"mail\.(smtps|pop3s)\.host"),
    "password-missing": Case(_without("mail.password"), NOT_CONFIGURED, r"mail\.password"),
    "on-premise": Case(_changed(ProxyType="OnPremise"), NOT_CONFIGURED, "ProxyType.*OnPremise"),
    "authentication-unknown": Case(
        _changed(Authentication="OAuth2SAMLBearerAssertion"), NOT_CONFIGURED, "Authentication.*OAuth2SAMLBearer"
    ),
    "token-refused": Case(_token(clientSecret=WRONG_SECRET), NO_CREDENTIALS, "token"),
    "token-service-down": Case(
        lambda name, kind, at: oauth(name, kind, at.right, ACME, f"https://tokens.localhost:{at.closed}/"),
        NO_SERVICE,
        "token",
        (FILES,),
    ),
    "token-service-of-another-name": Case(
        lambda name, kind, at: oauth(
            name, kind, at.right, ACME, at.url.replace(f"//{TOKEN_HOST}:", "//other.localhost:")
        ),
        NO_SERVICE,
        "token service at other.localhost.*certificate",
        (FILES,),
    ),
    "password-refused": Case(
        _changed(**{"mail.password": WRONG_SECRET}), REFUSED_LOGIN, "535 5.7.8|Authentication failed"
    ),
    "name-of-another-host": Case(
        _changed(**{"mail.<p>.host": "other.localhost"}),
        NOT_VERIFIED,
        r"certificate is for another host: mail\.localhost",
    ),
    "untrusted-authority": Case(_behind("untrusted"), NOT_VERIFIED, "certificate"),
    "expired-certificate": Case(_behind("expired"), NOT_VERIFIED, "certificate.*expired"),
    "silent": Case(_behind("silent"), REFUSED_SESSION, r"no login within 2 s"),
    "nobody-there": Case(_behind("closed"), UNREACHABLE, "refused"),
    "busy": Case(_behind("busy"), REFUSED_SESSION, "come back later"),
    "babbling": Case(_behind("babbling"), NOT_THE_PROTOCOL, "not a reply of SMTP|no POP3 status line"),
}
ROWS = [
    pytest.param(name, kind, service, id=f"{name}-{kind}-{service}")
    for name, case in CASES.items()
    for kind in KINDS
    for service in case.services
]


def _stay_silent(visit: Visit) -> None:
    visit.read_line()


def _be_busy_smtp(visit: Visit) -> None:
    visit.send(b"554 come back later\r\n")


def _be_busy_pop3(visit: Visit) -> None:
    visit.send(b"-ERR come back later\r\n")


def _babble(visit: Visit) -> None:
    visit.send(b"HTTP/1.1 200 OK\r\n\r\n")


@pytest.fixture(scope="module")
def grounds(bed: Bed, new_setup: NewSetup) -> Iterator[tuple[Setup, dict[str, Ground]]]:
    """Every server that is not right, and a configuration that is."""
    setup = new_setup("[timeouts]\nlogin_seconds = 2.0\n")
    long_ago = dt.datetime.now(dt.UTC) - dt.timedelta(days=2)
    expired = bed.authority.issue(MAIL_HOST, not_before=long_ago, not_after=long_ago + dt.timedelta(days=1))
    issued = {
        "right": bed.authority.issue(MAIL_HOST),
        "untrusted": Authority.create().issue(MAIL_HOST),
        "expired": expired,
    }
    files = {
        name: dict(zip(("certificate", "key"), each.write(setup.folder, name), strict=True))
        for name, each in issued.items()
    }
    with ExitStack() as stack:
        ports = {
            "untrusted": stack.enter_context(serving(_stay_silent, **files["untrusted"])),
            "expired": stack.enter_context(serving(_stay_silent, **files["expired"])),
            "silent": stack.enter_context(serving(_stay_silent, **files["right"])),
            "babbling": stack.enter_context(serving(_babble, **files["right"])),
            "closed": free_port(),
        }
        busy = {
            "smtps": stack.enter_context(serving(_be_busy_smtp, **files["right"])),
            "pop3s": stack.enter_context(serving(_be_busy_pop3, **files["right"])),
        }
        yield (
            setup,
            {kind: Ground(setup.token_url, server_port(bed, kind), busy=busy[kind], **ports) for kind in KINDS},
        )


@pytest.fixture(scope="module")
def proxy(bed: Bed, grounds: tuple[Setup, dict[str, Ground]], launch: Launch) -> Proxy:
    """All cases in one process."""
    setup, by_kind = grounds
    for name, case in CASES.items():
        for kind in KINDS:
            for service in case.services:
                full_name = f"{name}-{kind}-{service}"
                if case.build is None:
                    setup.listen(case.tenant, full_name, kind, service)
                else:
                    setup.add(case.tenant, case.build(full_name, kind, by_kind[kind]), service, kind=kind)
    for kind in STARTTLS_KINDS:
        wrong = {f"mail.{kind}.host": "other.localhost"}
        setup.add(ACME.tenant, basic(f"starttls-{kind}", kind, server_port(bed, kind), ACME, **wrong), FILES)
    setup.listen(ACME.tenant, "broken-file", "smtps", FILES)
    (setup.folder / "destinations" / ACME.tenant / "broken-file.json").write_text('{"Name": "broken-file", \n')
    return launch(setup)


@pytest.mark.parametrize(("name", "kind", "service"), ROWS)
def test_an_unusable_destination(proxy: Proxy, name: str, kind: str, service: str) -> None:
    case, full_name = CASES[name], f"{name}-{kind}-{service}"
    assert _first_answer(proxy.ports[case.tenant, full_name], kind) == case.replies[KINDS.index(kind)]
    _check_log(proxy, f"{case.tenant}/{full_name}", case.words)


@pytest.mark.parametrize("kind", STARTTLS_KINDS)
def test_no_credentials_follow_a_starttls_to_another_host(bed: Bed, proxy: Proxy, kind: str) -> None:
    place = len(bed.dovecot.log)
    answer = _first_answer(proxy.ports[ACME.tenant, f"starttls-{kind}"], kind)
    assert answer == NOT_VERIFIED[STARTTLS_KINDS.index(kind)]
    _check_log(proxy, f"{ACME.tenant}/starttls-{kind}", r"certificate is for another host: mail\.localhost")
    assert ACME.user not in bed.dovecot.log[place:]


def _first_answer(port: int, kind: str) -> bytes:
    """What a client hears that wants to send, or to collect."""
    with bare_socket(port) as terminal:
        greeting = terminal.read_line()
        if kind.startswith("pop3"):
            return greeting
        assert greeting.startswith(b"220 ")
        return terminal.ask("MAIL FROM:<a@b.test>")


def test_a_file_that_is_no_json(proxy: Proxy) -> None:
    with bare_socket(proxy.ports[ACME.tenant, "broken-file"]) as terminal:
        terminal.read_line()
        assert terminal.ask("MAIL FROM:<a@b.test>").startswith(b"451 4.3.5 ")
    _check_log(proxy, f"{ACME.tenant}/broken-file", r"broken-file\.json.*JSON")


def _check_log(proxy: Proxy, label: str, words: str) -> None:
    """Exactly one sentence says what is wrong; it names destination and tenant."""
    proxy.wait_for_log(f"{re.escape(label)}: .*ended: ")
    wanted = re.compile(rf"\[mailproxy\.session#(warn|error)\] {re.escape(label)}: ")
    sentences = [line for line in proxy.log.splitlines() if wanted.search(line)]
    assert len(sentences) == 1, sentences
    assert re.search(words, sentences[0].partition(f"{label}: ")[2], re.IGNORECASE), sentences[0]


def test_neither_secrets_nor_tracebacks_are_in_the_log(proxy: Proxy) -> None:
    assert leaked(proxy.log, (*SECRETS, WRONG_SECRET)) == []
    assert "Traceback" not in proxy.log


# What is wrong before the start

BAD_FILES: Mapping[str, tuple[Callable[[str], str], str]] = {
    "broken TOML": (lambda text: text + "[smtp\n", r"mailproxy\.toml: .*line"),
    "unknown key": (
        lambda text: text + "[smtp]\nbare_newlines = 'reject'\n",
        r"mailproxy\.toml: smtp\.bare_newlines: ",
    ),
    "wrong type": (
        lambda text: text + "[timeouts]\nlogin_seconds = 'soon'\n",
        r"mailproxy\.toml: timeouts\.login_seconds: ",
    ),
    "missing key": (
        lambda text: text.replace('protocol = "smtp"\n', ""),
        r"mailproxy\.toml: destinations\[0\]\.protocol: ",
    ),
    "unknown protocol": (
        lambda text: text.replace('protocol = "smtp"', 'protocol = "imap"'),
        r"mailproxy\.toml: destinations\[0\]\.protocol: must be one of smtp, pop3",
    ),
    "unknown service": (
        lambda text: text.replace('service = "files"', 'service = "elsewhere"'),
        r"mailproxy\.toml: destinations\[0\]\.service: there is no such",
    ),
    "bad endpoint": (
        lambda text: re.sub(r'"tcp:\d+:', '"tcp:port:', text),
        r"mailproxy\.toml: destinations\[0\]\.listen\.acme: ",
    ),
    "unreadable binding": (
        lambda text: text.replace('"binding.json"', '"nowhere"'),
        r"mailproxy\.toml: destination_services\.cloud\.binding: .*nowhere",
    ),
    "unreadable directory": (
        lambda text: text.replace('"destinations"', '"nowhere"'),
        r"mailproxy\.toml: destination_services\.files\.directory: .*nowhere",
    ),
    "unreadable authorities": (
        lambda text: re.sub(r"ca_files = .*", 'ca_files = ["nowhere"]', text),
        r"mailproxy\.toml: trust\.ca_files\[0\]: .*nowhere",
    ),
}


@pytest.fixture
def good(bed: Bed, new_setup: NewSetup) -> Setup:
    """A configuration without a mistake, not yet started."""
    setup = new_setup()
    setup.add(ACME.tenant, basic("good", "smtp", server_port(bed, "smtp"), ACME), FILES)
    setup.write()
    return setup


@pytest.mark.parametrize("options", [[], ["--check"]], ids=["start", "check"])
@pytest.mark.parametrize("mistake", BAD_FILES)
def test_a_configuration_with_a_mistake(good: Setup, mistake: str, options: list[str]) -> None:
    damage, words = BAD_FILES[mistake]
    good.config.write_text(damage(good.config.read_text()))
    _expect_one_problem(good, words, options)


BAD_BINDINGS: Mapping[str, tuple[str, str]] = {
    "no JSON": ('{"clientid": ', "JSON"),
    "no URL": ('{"clientid": "a", "clientsecret": "mistaken-sentinel-secret", "uri": "https://a.localhost"}', "url"),
    "no secret": ('{"clientid": "a", "url": "https://a.localhost", "uri": "https://a.localhost"}', "clientsecret"),
    "plain HTTP": (
        '{"clientid": "a", "clientsecret": "mistaken-sentinel-secret", "url": "http://a.test", "uri": "https://b.test"}',
        "https",
    ),
}


@pytest.mark.parametrize("options", [[], ["--check"]], ids=["start", "check"])
@pytest.mark.parametrize("mistake", BAD_BINDINGS)
def test_a_binding_with_a_mistake(good: Setup, mistake: str, options: list[str]) -> None:
    text, words = BAD_BINDINGS[mistake]
    (good.folder / "binding.json").write_text(text)
    _expect_one_problem(good, rf"destination_services\.cloud\.binding: .*{words}", options)


def _expect_one_problem(setup: Setup, words: str, options: list[str]) -> None:
    done = attempt(setup.config, *options)
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 1, lines
    assert len(lines) == 1, lines
    assert re.search(words, lines[0]), lines[0]
    assert leaked(lines[0], (*SECRETS, WRONG_SECRET)) == []


def test_all_mistakes_are_told_at_once(good: Setup) -> None:
    text = good.config.read_text().replace('"binding.json"', '"nowhere"') + "[smtp]\nstrict = 1\n[pop3]\nlazy = true\n"
    good.config.write_text(text)
    done = attempt(good.config, "--check")
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 3


def test_a_check_without_mistakes_opens_no_port(good: Setup) -> None:
    done = attempt(good.config, "--check")
    assert (done.returncode, done.stdout) == (0, b"configuration ok\n")
    assert not any(map(listens, good.ports.values()))


def test_a_port_that_is_taken_ends_the_start(good: Setup) -> None:
    def idle(visit: Visit) -> None:
        visit.read_line()

    with serving(idle) as taken:
        (port,) = good.ports.values()
        good.config.write_text(good.config.read_text().replace(str(port), str(taken)))
        done = attempt(good.config)
    assert done.returncode == 1
    assert re.search(rf"acme/good: cannot listen on tcp:{taken}:.*in use", done.stdout.decode()), done.stdout
    assert b"Traceback" not in done.stdout
