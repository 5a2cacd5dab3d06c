"""
The documentation and the code say the same.  What the code says is read out of it, nothing is listed here a second time.
"""

from __future__ import annotations

import fnmatch
import json
import re
from itertools import product
from pathlib import Path

import pytest

from mailproxy import errors
from mailproxy import service as service_module
from mailproxy.config import examine, load
from mailproxy.destination import access, properties, reader, tokenrequest
from mailproxy.destination.binding import read_binding
from mailproxy.destination.model import MailProtocol, TLSMode
from mailproxy.destination.properties import parse_destination
from mailproxy.destination.source import Tenant
from mailproxy.errors import (
    DestinationError,
    DestinationUnavailable,
    DestinationUnusable,
    LimitReached,
    RefusedLogin,
    UpstreamError,
)
from mailproxy.observe import sessions as session_log
from mailproxy.sandbox.pki import Authority
from mailproxy.service import check
from mailproxy.session import pop3_login, pop3_words, smtp, smtp_ehlo, smtp_local
from mailproxy.session.actions import Waiting
from mailproxy.session.pop3_words import failure_line
from mailproxy.session.smtp_content import Content
from mailproxy.session.smtp_words import failure_reply
from mailproxy.wire import pop3 as wire_pop3
from mailproxy.wire.pop3 import POP3Capabilities
from mailproxy.wire.smtp import Extensions
from mailproxy.wire.transparency import BareNewlines
from tests.support import vocabulary
from tests.support.pages import DOCS, ROOT, page, pages, span, spans

OUTCOMES, FAILURES, DESTINATIONS = (page(f"reference/{name}.md") for name in ("outcomes", "failures", "destinations"))
SMTP, POP3 = page("reference/smtp.md"), page("reference/pop3.md")
ROOT_ERRORS = (UpstreamError, DestinationError)
"""What a session at the mail server, or the way to it, can fail with."""


def unique(items):
    """The items as a set; one that stands there twice is a mistake."""
    items = list(items)
    assert len(items) == len(set(items)), sorted(item for item in items if items.count(item) > 1)
    return set(items)


def leaves(cls):
    """The classes of errors that are raised: those that have none below them in `errors`."""
    below = [each for each in cls.__subclasses__() if each.__module__ == errors.__name__]
    return {leaf for each in below for leaf in leaves(each)} if below else {cls}


FAILING = sorted((leaf for root in ROOT_ERRORS for leaf in leaves(root)), key=lambda cls: cls.__name__)


# Links


def _ids(items):
    return [str(each.path.relative_to(ROOT)) for each in items]


@pytest.mark.parametrize("each", pages(), ids=_ids(pages()))
def test_every_link_leads_somewhere(each):
    by_path = {other.path: other for other in pages()}
    for link in each.links:
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (each.path.parent / name).resolve() if name else each.path
        assert target.exists(), link
        assert ROOT in target.parents, link
        if anchor:
            assert anchor in by_path[target].anchors, link


def test_every_page_can_be_reached_from_the_readme():
    seen, waiting = set(), [ROOT / "README.md"]
    by_path = {each.path: each for each in pages()}
    while waiting:
        path = waiting.pop()
        if path in by_path and path not in seen:
            seen.add(path)
            waiting += [(path.parent / link.partition("#")[0]).resolve() for link in by_path[path].links]
    assert by_path.keys() == seen


@pytest.mark.parametrize("each", pages(), ids=_ids(pages()))
def test_every_block_of_code_is_closed_and_every_table_is_even(each):
    assert "```" not in each.prose
    assert all(rows for _, rows in each.tables())


# Outcomes and events


def test_the_page_has_every_outcome_of_a_session():
    documented = unique(span(row["Outcome"]) for row in OUTCOMES.table("Outcome", "How the session ended"))
    assert documented == vocabulary.outcomes() | {cls.outcome for cls in FAILING}


def test_the_page_has_every_event_with_its_level_and_fields():
    rows = OUTCOMES.table("Event", "Level", "Fields")
    documented = {span(row["Event"]): (row["Level"], set(spans(row["Fields"]))) for row in rows}
    assert len(documented) == len(rows)
    assert documented == {name: (_level(name), fields) for name, fields in vocabulary.events().items()}


def _level(event):
    if event in session_log._ONLY_COUNTED:
        return "not logged"
    return "`warn`" if event in session_log._WARNINGS else "`info`"


def test_the_page_has_a_word_for_every_turn():
    documented = unique(span(row["Word"]) for row in OUTCOMES.table("Word", "What was awaited"))
    assert documented == {waiting.value for waiting in Waiting}


def test_every_line_of_the_log_on_the_page_is_one_of_the_codes():
    for row in OUTCOMES.table("Line", "Level"):
        assert _is_said(span(row["Line"])), row["Line"]


# Failures


def _is_said(sentence, least=12):
    """
    Whether the code can say this, `<words>` standing for anything.

    A sentence may begin with who is asked.  A text of the code with hardly a letter of its own fits everything, and so
    only itself.
    """
    said, wanted = vocabulary.sentences(), vocabulary.normal(sentence)
    if wanted in said or wanted.removeprefix("* ") in said:
        return True
    telling = [text for text in said if len(text.replace("*", "")) >= least]
    return any(fnmatch.fnmatchcase(wanted, re.sub(r"([\[\]?])", r"[\1]", text)) for text in telling)


def _variants(cls):
    """Errors of a class, one for each answer that it can lead to."""
    if cls is RefusedLogin:
        yield cls("", temporary=False)
        yield from (cls("", temporary=True, response_code=code) for code in (None, *pop3_words._MAILDROP))
    elif cls is DestinationUnusable:
        yield cls("key", "reason")
    else:
        yield cls("")


def test_every_failure_before_the_session_has_its_replies():
    documented = {
        (span(row["Outcome"]), span(row["SMTP reply"]), span(row["POP3 line"])) for row in FAILURES.table("Cause")
    }
    possible = {
        (cls.outcome, failure_reply(451, error).decode().rstrip(), failure_line(error).decode().rstrip())
        for cls in FAILING
        for error in _variants(cls)
    }
    assert documented <= possible
    later = {reply for row in FAILURES.table("When", "What happened", "Reply") for reply in spans(row["Reply"])}
    for outcome, reply, _ in possible - documented:
        assert outcome not in {each for each, _, _ in documented}
        assert reply in later, outcome


@pytest.mark.parametrize("row", FAILURES.table("Cause", "Log sentence"), ids=lambda row: span(row["Outcome"]))
def test_every_sentence_about_a_failure_is_one_of_the_codes(row):
    assert spans(row["Log sentence"])
    for sentence in spans(row["Log sentence"]):
        assert _is_said(sentence), sentence


def test_a_sentence_that_nobody_says_would_be_found():
    assert not _is_said("the mail server is tired")
    assert not _is_said("no connection to <host>: <reason>")
    assert _is_said("<listener>: listening on <endpoint>")


def test_the_limit_of_sessions_has_the_words_of_its_error():
    assert "`421 4.3.2 Too many sessions, try later`" in FAILURES.text
    assert failure_reply(421, LimitReached()) == b"421 4.3.2 Too many sessions, try later\r\n"
    assert f"`{failure_line(LimitReached()).decode().rstrip()}`" in FAILURES.text


# Replies of ours


def _documented(pattern, *where):
    return {vocabulary.normal(text) for each in where for text in each.spans if re.fullmatch(pattern, text)}


def test_the_pages_have_every_reply_of_smtp():
    documented = _documented(r"[2-5][0-5][0-9] .*", SMTP, FAILURES)
    failures = {vocabulary.normal(span(row["SMTP reply"])) for row in FAILURES.table("Cause")}
    in_session = {failure_reply(451, cls("")).decode().rstrip() for cls in leaves(UpstreamError) - {RefusedLogin}}
    said = vocabulary.smtp_replies()
    assert documented - failures - in_session == said - failures - in_session


def test_the_pages_have_every_line_of_pop3():
    documented = _documented(r"(\+OK|-ERR)( .*)?", POP3, FAILURES) - {"-ERR"}
    failures = {span(row["POP3 line"]) for row in FAILURES.table("Cause")}
    assert documented - failures == vocabulary.pop3_lines()


# What is relayed, answered and announced


def _commands(where):
    rows = [row for row in where.table("Command", "Answered by") if row["Command"] != "anything else"]
    return {
        who: unique(name for row in rows if row["Answered by"] == who for name in spans(row["Command"]))
        for who in ("mailproxy", "mail server")
    }


def test_the_page_has_every_command_of_smtp():
    relayed = {"MAIL", "RCPT", "DATA", "RSET"}
    known = {verb.decode() for verb in (*smtp._COMMANDS, *smtp_local._REPLIES)}
    assert _commands(SMTP) == {"mailproxy": known - relayed, "mail server": relayed}


def test_the_page_has_every_command_of_pop3():
    ours = {*pop3_login.LOGIN_KEYWORDS, "CAPA"}
    assert _commands(POP3) == {"mailproxy": ours, "mail server": set(wire_pop3.RELAYED)}


def test_the_page_has_every_keyword_of_ehlo():
    everything = {name: "RCPTMAX=1" for name in (*smtp_ehlo._PASSED, "SIZE", "LIMITS", "STARTTLS", "AUTH", "X-OTHER")}
    announced = smtp_ehlo.announced(Extensions(b"", everything), max_message_octets=0, max_recipients=0)
    assert unique(span(row["Keyword"]) for row in SMTP.table("Keyword", "Announced")) == announced.keys()


def test_the_page_has_every_parameter():
    named = {text.rstrip("=") for text in SMTP.spans if re.fullmatch(r"[A-Z0-9]+=?", text)}
    assert {*smtp_ehlo._MAIL_PARAMETERS, *smtp_ehlo._RCPT_PARAMETERS} <= named


def test_the_page_has_every_capability():
    rows = {span(row["Capability"]): row["Announced"] for row in POP3.table("Capability", "Announced")}
    everything = {name: () for name in (*pop3_words._PASSED, "SASL", "STLS", "UTF8", "IMPLEMENTATION", "X-OTHER")}
    assert rows.keys() == pop3_words.announced(POP3Capabilities(everything)).keys()
    always = pop3_words.announced(POP3Capabilities({})).keys()
    assert {name for name, when in rows.items() if when.startswith("Always")} == always
    assert pop3_words.announced(POP3Capabilities(None)).keys() == always | {"TOP", "UIDL"}


# Destinations

PROTOCOLS = {"smtp": MailProtocol.SMTP, "smtps": MailProtocol.SMTP, "pop3": MailProtocol.POP3, "pop3s": MailProtocol.POP3}


def destination(name="smtp", **more):
    """Properties of a destination; `__` in a name stands for a dot, `p` for the protocol."""
    given = {key.replace("__", ".").replace("mail.p.", f"mail.{name}."): value for key, value in more.items()}
    return {
        "Name": "any",
        "Type": "MAIL",
        "ProxyType": "Internet",
        "Authentication": "BasicAuthentication",
        "mail.user": "user",
        "mail.password": "password",
        "mail.transport.protocol": name,
        f"mail.{name}.host": "mail.example.com",
        **given,
    }


def parsed(name="smtp", **more):
    return parse_destination(destination(name, **more), listener_protocol=PROTOCOLS[name])


def _general(keys):
    """`mail.smtp.host` and `mail.pop3s.host` are `mail.<p>.host`; what only one protocol has keeps its name."""
    found = {}
    for key in keys:
        match = re.fullmatch(r"mail\.(smtp|pop3)s?\.(.*)", key)
        found.setdefault(match[2] if match else key, set()).add(match[1] if match else None)
    for key, protocols in found.items():
        if protocols == {None}:
            yield key
        else:
            yield f"mail.<p>.{key}" if len(protocols) == 2 else f"mail.{protocols.pop()}.{key}"


@pytest.fixture
def keys_read(monkeypatch):
    """Every key that the code looks for, with all protocols and all kinds of logins."""
    seen = set()

    class Seeing(reader.PropertyReader):
        def touch(self, *keys):
            seen.update(keys)
            super().touch(*keys)

        def _value(self, key):
            seen.add(key)
            return super()._value(key)

    monkeypatch.setattr(properties, "PropertyReader", Seeing)
    monkeypatch.setattr(tokenrequest, "PropertyReader", Seeing)
    for name, kind in product(PROTOCOLS, access.Authentication):
        parsed(name, Authentication=kind.value)
    prefixes = (tokenrequest._BODY, tokenrequest._QUERIES, tokenrequest._HEADERS)
    token = {"tokenServiceURL": "https://a.example", "clientId": "a", "clientSecret": "a"}
    token |= {f"{prefix}any": "a" for prefix in prefixes}
    tokenrequest.parse_token_request(token, tenant=Tenant("a"), store=None, default_timeout=1)
    for prefix in prefixes:
        seen.remove(f"{prefix}any")
        seen.add(f"{prefix}<name>")
    return seen


def test_the_page_has_every_property_that_is_read_and_no_other_one(keys_read):
    read = set(_general(keys_read))
    silent = {key for key in properties._SILENT if key not in read}
    prefixes = {f"{prefix}<name>" for prefix in properties._SILENT_PREFIXES if prefix != "tokenService"}
    honoured = unique(span(row["Property"]) for row in DESTINATIONS.table("Property", "Default"))
    without = {span(row["Property"]): row for row in DESTINATIONS.table("Property", "What the log says")}
    others = {key for key, row in without.items() if row["What the log says"] == "named once"}
    assert honoured | (without.keys() - others) == read | silent | prefixes
    assert not honoured & without.keys()


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (span(row["Property"]), row["What the log says"])
        for row in DESTINATIONS.table("Property", "What the log says")
    ],
)
def test_what_has_no_effect_is_told_as_the_page_says(key, said):
    for name in PROTOCOLS:
        if key.startswith("mail.") and "<p>" not in key and not name.startswith(key.split(".")[1]):
            continue
        key_here = key.replace("<p>", name).replace("<name>", "any")
        key_here = re.sub(r"^mail\.(smtp|pop3)\.", f"mail.{name}.", key_here)
        told, plain = parsed(name, **{key_here: "true"}), parsed(name)
        if said.startswith("a warning"):
            assert [warning for warning in told.warnings if warning.startswith(key_here)]
        else:
            assert told.warnings == plain.warnings
            assert told.ignored == ((key_here,) if said == "named once" else ())


def test_a_key_that_would_weaken_nothing_is_not_warned_about():
    assert parsed(TrustAll="false") == parsed()


@pytest.mark.parametrize("row", DESTINATIONS.table("Protocol", "Default port"), ids=lambda row: span(row["Protocol"]))
def test_the_page_has_the_default_ports(row):
    found = parsed(span(row["Protocol"]))
    assert found.port == int(span(row["Default port"]))
    assert (found.tls.mode is TLSMode.IMPLICIT) == (row["TLS"] == "from the first octet")


MODES = {
    "TLS, or no session": TLSMode.REQUIRED,
    "TLS where the mail server offers it": TLSMode.OPPORTUNISTIC,
    "no TLS": TLSMode.NONE,
}


def _choices(cell):
    words = {"not set": None, "`true`": "true", "`false`": "false"}
    return [value for word, value in words.items() if word in cell or cell == "any"]


@pytest.mark.parametrize("name", ["smtp", "pop3"])
def test_the_page_says_when_the_connection_is_encrypted(name):
    documented = {}
    for row in DESTINATIONS.table("`starttls.required`", "`starttls.enable`"):
        for required, enabled in product(_choices(row["`starttls.required`"]), _choices(row["`starttls.enable`"])):
            assert documented.setdefault((required, enabled), row["Result"]) == row["Result"]
    assert documented.keys() == set(product((None, "true", "false"), repeat=2))
    for (required, enabled), result in documented.items():
        found = parsed(name, mail__p__starttls__required=required, mail__p__starttls__enable=enabled)
        assert found.tls.mode is MODES[result]
        assert bool(found.warnings) == (found.tls.mode is not TLSMode.REQUIRED)


@pytest.mark.parametrize("kind", ["OAuth2RefreshToken", "OAuth2AuthorizationCode", "OAuth2SAMLBearerAssertion"])
def test_what_the_page_calls_refused_is_refused(kind):
    with pytest.raises(DestinationUnusable):
        parsed(Authentication=kind)
    with pytest.raises(DestinationUnusable):
        parsed(ProxyType="OnPremise")


def test_the_page_names_every_kind_of_authentication():
    (row,) = [row for row in DESTINATIONS.table("Property", "Default") if row["Property"] == "`Authentication`"]
    assert set(spans(row["Meaning"])) == {*(kind.value for kind in access.Authentication), *access._NOT_YET}


# Configurations and destinations as examples

WHOLE = [
    pytest.param(each, block, id=f"{each.path.relative_to(ROOT)}-{number}")
    for each in pages()
    for number, block in enumerate(each.blocks)
    if block.language == "toml" and "[[destinations]]" in block.text
]
EXAMPLES = [
    pytest.param(block, id=f"{each.path.relative_to(ROOT)}-{block.name or number}")
    for each in pages()
    for number, block in enumerate(each.blocks)
    if block.language == "json"
]


def _file_of(block):
    return block.name or f"destinations/{json.loads(block.text)['Name']}.json"


@pytest.mark.parametrize(("each", "block"), WHOLE)
def test_every_configuration_on_a_page_can_be_used_with_the_files_beside_it(each, block, tmp_path):
    config = tmp_path / "mailproxy.toml"
    config.write_text(block.text)
    for example in each.blocks:
        if example.language == "json":
            path = tmp_path / _file_of(example)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(example.text)
    for path in examine(config).config.trust.ca_files:
        Authority.create().write(path)
    assert check(load(config)) == []


def test_every_page_of_instructions_has_a_configuration():
    with_one = {param.values[0].path for param in WHOLE}
    without = {path.stem for path in (DOCS / "how-to").glob("*.md") if path not in with_one}
    assert without == {"run-under-systemd"}


def test_every_block_of_toml_is_a_whole_configuration():
    blocks = [block for each in pages() for block in each.blocks if block.language == "toml"]
    assert len(blocks) == len(WHOLE)


@pytest.mark.parametrize("block", EXAMPLES)
def test_every_block_of_json_is_a_destination_or_a_service_key(block, tmp_path):
    given = json.loads(block.text)
    if "clientid" in given:
        path = tmp_path / "key.json"
        path.write_text(block.text)
        read_binding(path)
        return
    assert Path(_file_of(block)).stem == given["Name"]
    found = parse_destination(given, listener_protocol=PROTOCOLS[given["mail.transport.protocol"]])
    assert found.ignored == found.warnings == ()
    if given["Authentication"] == "OAuth2ClientCredentials":
        tokenrequest.parse_token_request(given, tenant=Tenant("acme", "acme"), store=None, default_timeout=1)


@pytest.mark.parametrize("block", EXAMPLES)
def test_no_example_holds_a_secret(block):
    for key, value in json.loads(block.text).items():
        if re.search(r"password|secret", key, re.IGNORECASE):
            assert value == "..."


# Explanations


def test_the_picture_is_that_of_the_code():
    picture = next(block.text for block in page("explanation/architecture.md").blocks)
    assert all(line.strip() in service_module.__doc__ for line in picture.splitlines())


def test_every_part_of_the_code_is_explained():
    rows = page("explanation/architecture.md").table("Part", "What it is")
    parts = {path.stem for path in vocabulary.PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert unique(name for row in rows for name in spans(row["Part"])) == parts - {"__init__"}


OCTETS = {"CRLF": b"\r\n", "CR": b"\r", "LF": b"\n"}


def _octets(cell):
    found = re.findall(r"`([^`]+)`|(CRLF|CR|LF)", cell)
    return b"".join(OCTETS[newline] if newline else text.encode() for text, newline in found)


@pytest.mark.parametrize("row", page("explanation/mail-data.md").table("The client sends", "The mail server gets"))
def test_stray_newlines_become_what_the_page_says(row):
    content = Content(BareNewlines.NORMALIZE, 0)
    sent = b"x" + _octets(row["The client sends"])
    assert content.feed(sent) + content.feed(b"y") == b"x" + _octets(row["The mail server gets"]) + b"y"
    assert not content.ended


# News


def test_every_news_fragment_has_a_type():
    folder = ROOT / "newsfragments"
    types = spans((folder / "README.md").read_text())[1:]
    names = [path.name for path in folder.iterdir() if path.name != "README.md"]
    assert names
    assert [name for name in names if not re.fullmatch(rf"[0-9]+\.({'|'.join(types)})\.md", name)] == []


# Retried by whom


def test_the_pauses_on_the_page_are_those_of_the_code():
    from mailproxy.destination import backoff, lookup

    first, longest, _ = backoff.pauses_after(DestinationUnavailable(""))
    words = " ".join(FAILURES.prose.split())
    assert f"{first:g} second at first" in words
    assert longest == 60
    assert f"{lookup._FIRST_REPLACEMENT_PAUSE_SECONDS:g} seconds at first" in words
    assert f"{backoff.LONGEST_PAUSE_SECONDS / 60:g} minutes at most" in words
