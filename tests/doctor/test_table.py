"""The table of known answers: each entry finds its sample, and none is hidden behind another."""

import time

import pytest

from mailproxy.doctor.remedies import MAX_TEXT_CHARACTERS, STAGES
from mailproxy.doctor.table import TableError, known_answers, read_table

ENTRIES = [
    pytest.param(provider, answer, id=answer.id)
    for provider in known_answers().providers.values()
    for answer in provider.answers
]
HEAD = 'title = "x"\n'
ENTRY = """
[[answers]]
id = "one"
stages = ["auth"]
pattern = '^535'
sample = "535 no"
cause = "It was refused."
remedy = ["Ask."]
passes = false
evidence = "doc"
source = "RFC 4954"
"""


@pytest.mark.parametrize(("provider", "answer"), ENTRIES)
def test_every_answer_finds_its_sample_and_no_earlier_one_takes_it(table, provider, answer):
    for stage in answer.stages:
        assert table.find(stage, [answer.sample], [provider.key]) is answer, stage


@pytest.mark.parametrize(("provider", "answer"), ENTRIES)
def test_every_answer_reads_as_sentences(provider, answer):
    for text in (answer.cause, *answer.remedy):
        assert text == text.strip()
        assert text.isprintable()
        assert text.endswith((".", "?", ")", "!")), text


@pytest.mark.parametrize(("provider", "answer"), ENTRIES)
def test_no_text_takes_a_pattern_long(provider, answer):
    """The longest text there can be, made of what the pattern wants to see."""
    words = (answer.sample, answer.sample[:20], answer.pattern.pattern[1:4], "5", "a ")
    for word in words:
        text = (word * MAX_TEXT_CHARACTERS)[:MAX_TEXT_CHARACTERS]
        before = time.process_time()
        answer.pattern.search(text)
        assert time.process_time() - before < 0.5, word


def test_there_is_something_about_every_provider(table):
    assert len(table.providers) > 30
    assert sum(len(provider.answers) for provider in table.providers.values()) > 420
    assert all(provider.answers or provider.fallbacks for provider in table.providers.values())


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("smtp.office365.com", "microsoft365"),
        ("outlook.office365.com", "microsoft365"),
        ("login.microsoftonline.com", "entra"),
        ("smtp.gmail.com", "gmail"),
        ("oauth2.googleapis.com", "google-oauth"),
        ("email-smtp.eu-central-1.amazonaws.com", "amazon-ses"),
        ("smtp.mail.yahoo.com", "yahoo"),
        ("smtppro.zoho.eu", "zoho"),
        ("smtp.ionos.de", "ionos"),
        ("smtp.fastmail.com", "fastmail"),
        ("acme.authentication.eu10.hana.ondemand.com", "xsuaa"),
        ("destination-configuration.cfapps.eu10.hana.ondemand.com", "sap-destination"),
    ],
)
def test_a_host_tells_whose_it_is(table, host, key):
    assert [provider.key for provider in table.recognised(host)] == [key]
    assert table.candidates(host)[0] == key


def test_a_greeting_tells_what_answers():
    table = known_answers()
    assert table.candidates("mail.example.com", "220 mail.example.com ESMTP Postfix")[0] == "postfix"
    assert table.candidates("mail.example.com", "+OK Dovecot ready.")[0] == "dovecot"


def test_a_provider_comes_before_the_software_that_it_greets_like(table):
    greeting = "220 AM0PR00CA0001.outlook.office365.com Microsoft ESMTP MAIL Service ready"
    for host in ("smtp.office365.com", "mail.example.com"):
        assert table.candidates(host, greeting)[:2] == ["microsoft365", "exchange"]


def test_everybody_is_looked_at_in_the_end(table):
    assert table.candidates("smtp.gmail.com") == [
        "gmail",
        "smtp",
        "pop3",
        "mailproxy",
        "tls",
        "network",
        "http-proxy",
        "oauth",
    ]


def test_the_first_text_that_is_explained_counts(table):
    found = table.find("auth", ["", "nothing", "535 5.7.8 no", "454 later"], table.candidates())
    assert found.id == "smtp-auth-535"


def test_a_long_text_is_looked_at_so_far_and_no_further(table):
    late = "x\n" * (MAX_TEXT_CHARACTERS // 2) + "535 5.7.8 no"
    assert table.find("auth", [late], table.candidates()) is None
    assert table.find("auth", [late[12:]], table.candidates()) is not None


def test_a_file_is_read():
    provider = read_table({"x": HEAD + ENTRY}).providers["x"]
    assert (provider.title, provider.host, provider.fallbacks) == ("x", None, ())
    (answer,) = provider.answers
    assert (answer.id, answer.provider, answer.stages) == ("one", "x", frozenset({"auth"}))
    assert answer.remedy == ("Ask.",)
    assert answer.side is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "title is missing"),
        (HEAD + "colour = 'red'", "colour is no field"),
        (HEAD + "host = 3", "host is no str"),
        (HEAD + "host = '('", "host: is no regular expression"),
        (HEAD + 'fallbacks = ["y"]', "there is no y"),
        (HEAD + ENTRY + ENTRY, "one is there twice"),
        (HEAD + ENTRY.replace('id = "one"', 'id = "One!"'), "id is not"),
        (HEAD + ENTRY.replace('["auth"]', '["later"]'), "stages"),
        (HEAD + ENTRY.replace('["auth"]', "[]"), "stages"),
        (HEAD + ENTRY.replace("'^535'", "'^535.*'"), "without an end"),
        (HEAD + ENTRY.replace('"doc"', '"told"'), "evidence"),
        (HEAD + ENTRY.replace('["Ask."]', "[]"), "remedy"),
        (HEAD + ENTRY.replace('["Ask."]', "[1]"), "remedy"),
        (HEAD + ENTRY.replace('"It was refused."', '""'), "empty"),
        (HEAD + ENTRY.replace("passes = false", 'passes = "no"'), "passes is no bool"),
        (HEAD + ENTRY.replace("passes = false\n", ""), "passes missing"),
        (HEAD + ENTRY + "who = 1", "who is no field"),
        (HEAD + ENTRY + 'side = "somebody"', "one: side"),
    ],
)
def test_a_file_with_a_mistake_is_refused(text, problem):
    with pytest.raises(TableError, match=problem):
        read_table({"x": text})


def test_every_stage_is_one_of_somebody(table):
    assert set(STAGES) == {stage for param in ENTRIES for stage in param.values[1].stages}
