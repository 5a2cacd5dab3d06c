"""The statistics as text: Envoy's names, sorted, one number in each line; and the page that explains them."""

import re

import pytest

from mailproxy.downstream.rooms import Limit
from mailproxy.observe.counters import Counters
from mailproxy.observe.observation import Observation
from mailproxy.observe.stats import SEEN, STATISTICS, numbers, render
from mailproxy.session import tally
from tests.support.pages import page, span, spans, unique

PAGE = page("reference/statistics.md")
ENVOY = [
    "sessions",
    "sessions_upstream_desync",
    "sessions_downstream_desync",
    "sessions_bad_line",
    "sessions_bad_pipeline",
    "sessions_bad_ehlo",
    "sessions_non_esmtp",
    "sessions_esmtp_unencrypted",
    "sessions_downstream_terminated_ssl",
    "sessions_upstream_terminated_ssl",
    "sessions_downstream_ssl_err",
    "sessions_upstream_ssl_err",
    "sessions_upstream_ssl_command_err",
]


def listener(protocol="smtp", prefix="mail-acme", **seen):
    counters = Counters()
    counters.seen.update(seen)
    return Observation(protocol, "mail", "acme", prefix, counters)


def test_a_new_listener_has_every_name_of_envoys_and_zeros():
    lines = render([listener()]).splitlines()
    assert len(ENVOY) == 13
    for name in ENVOY:
        assert f"smtp.mail-acme.{name}: 0" in lines


def test_what_was_the_case_is_under_its_name():
    for protocol, names in STATISTICS.items():
        for what, name in names.items():
            before, after = numbers(listener(protocol)), numbers(listener(protocol, **{what: 3}))
            assert {each: after[each] for each in after if after[each] != before[each]} == {name: 3}


def test_a_protocol_has_only_the_names_that_it_can_raise():
    smtp, pop3 = (set(numbers(listener(protocol))) for protocol in ("smtp", "pop3"))
    only_smtp = {"sessions_bad_ehlo", "sessions_non_esmtp", "sessions_esmtp_unencrypted", "sessions_upstream_421"}
    assert smtp - pop3 == only_smtp
    assert pop3 - smtp == {"sessions_unencrypted"}


def test_words_have_a_line_as_soon_as_they_were_counted():
    one = listener()
    one.counters.began()
    one.counters.began()
    one.counters.ended("quit")
    one.counters.turned_away["client"] += 1
    one.counters.replies["upstream.rcpt.5xx"] += 4
    found = numbers(one)
    assert (found["sessions"], found["sessions_active"], found["outcomes.quit"]) == (2, 1, 1)
    assert (found["turned_away.client"], found["replies.upstream.rcpt.5xx"]) == (1, 4)


def test_the_lines_of_all_listeners_are_sorted_and_whole():
    text = render([listener(prefix="b"), listener("pop3", "a"), listener(prefix="a")])
    lines = text.splitlines()
    assert lines == sorted(lines)
    assert text.endswith("\n")
    assert {line.rpartition(".")[0] for line in lines} == {"smtp.a", "smtp.b", "pop3.a"}
    assert all(re.fullmatch(r"(smtp|pop3)\.[ab]\.\w+: \d+", line) for line in lines)
    assert render([]) == ""


# The page


def test_the_page_has_every_name():
    rows = PAGE.table("Name", "Protocols")
    documented = {span(row["Name"]): row["Protocols"] for row in rows}
    assert len(documented) == len(rows)
    names = {protocol: set(numbers(listener(protocol))) for protocol in STATISTICS}
    assert documented == {
        name: ", ".join(protocol.upper() for protocol, own in names.items() if name in own)
        for name in set().union(*names.values())
    }


def test_the_page_has_every_kind_of_word():
    one = listener()
    one.counters.outcomes["<outcome>"] += 1
    one.counters.turned_away["<limit>"] += 1
    one.counters.replies["<author>.<stage>.<class>"] += 1
    found = {name for name in numbers(one) if "." in name}
    assert unique(span(row["Name"]) for row in PAGE.table("Name", "Counts")) == found
    (limits,) = (row["Counts"] for row in PAGE.table("Name", "Counts") if "limit" in row["Name"])
    assert {limit.name.lower() for limit in Limit} <= set(spans(limits))


def test_the_page_has_every_stage():
    rows = {span(row["Stage"]): spans(row["What is answered"]) for row in PAGE.table("Stage", "What is answered")}
    commands = rows.pop("<command>")
    assert unique(rows) == {tally.GREETING, tally.CONTENT, tally.OTHER}
    assert sorted(commands) == sorted([*tally.SMTP_STAGES.values(), *tally.POP3_STAGES.values()])


@pytest.mark.parametrize(
    ("first", "upstream", "key"),
    [
        (b"250", True, "upstream.rcpt.2xx"),
        (b"451", False, "proxy.rcpt.4xx"),
        (b"+OK", False, "proxy.rcpt.ok"),
        (b"-ERR", True, "upstream.rcpt.err"),
    ],
)
def test_a_reply_is_counted_by_author_stage_and_class(first, upstream, key):
    assert tally.key("rcpt", first[0], upstream=upstream) == key


def test_everything_that_is_counted_once_in_a_session_has_a_name():
    assert {what for names in STATISTICS.values() for what in names} == SEEN
