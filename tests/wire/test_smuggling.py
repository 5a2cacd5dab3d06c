"""Ends of data that are none: every one of them, cut everywhere, and seen with the eyes of lax receivers."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproxy.errors import BareNewline, NulOctet
from mailproxy.wire.pop3 import MultilineScanner
from mailproxy.wire.transparency import BareNewlines, EndFinder, NewlineKeeper
from tests.wire.smuggling import END, SPELLINGS, deceived, divided, normalized

ALPHABET = b"\r\n.a\0"
FINAL = END[2:]
BEHIND = b"QUIT\r\n"
STRAY = re.compile(rb"\r(?!\n)|(?<!\r)\n")


def forwarded(chunks, policy):
    """What goes on, and what stopped it or is behind the end (None: it has not come)."""
    finder, keeper, out = EndFinder(), NewlineKeeper(policy), b""
    try:
        for chunk in chunks:
            out += keeper.feed(finder.feed(chunk))
    except (NulOctet, BareNewline) as error:
        return out, type(error)
    return out, finder.rest if finder.ended else None


def expected(stream, policy):
    """The same, worked out slowly from the definitions; of a body that is refused, the part is not determined."""
    body, rest = divided(stream)
    if b"\0" in body:
        return None, NulOctet
    if policy is BareNewlines.REJECT and STRAY.search(body):
        return None, BareNewline
    return normalized(body), rest


def ways_of_cutting(stream):
    yield [stream]
    for place in range(1, len(stream)):
        yield [stream[:place], stream[place:]]
    yield [stream[place : place + 1] for place in range(len(stream))]


def every_text(longest):
    for length in range(longest + 1):
        yield from map(bytes, itertools.product(ALPHABET, repeat=length))


def check_every_cut(stream, policy):
    """However the stream is cut, what goes on is what should: the message, or the parts before a refusal."""
    sent, stopped = expected(stream, policy)
    results = {forwarded(chunks, policy) for chunks in ways_of_cutting(stream)}
    if sent is not None:
        assert results == {(sent, stopped)}, stream
        return sent, set()
    # NUL and a stray newline in one body: which one is met first depends on the cut.
    assert {what for _, what in results} <= {NulOctet, BareNewline}, stream
    assert stopped in {what for _, what in results}, stream
    return None, {out for out, _ in results}


# 5 ** 7 texts, each cut everywhere.  Half of the time goes into the lax receivers, who see each result once.
@pytest.mark.parametrize("policy", list(BareNewlines))
def test_no_text_around_the_end_of_data_ends_it_earlier(policy):
    whole, broken_off = set(), set()
    for text in every_text(7):
        sent, parts = check_every_cut(text + END + BEHIND, policy)
        broken_off |= parts
        if sent is not None:
            whole.add(sent)
    assert min(len(whole), len(broken_off)) > 200
    for sent in whole:
        assert not deceived(sent + FINAL, FINAL), sent
    for sent in broken_off:
        assert not deceived(sent, None), sent


NAMED = [pytest.param(octets, id=name) for name, octets in SPELLINGS.items()]


@pytest.mark.parametrize("spelling", NAMED)
@pytest.mark.parametrize("policy", list(BareNewlines))
@pytest.mark.parametrize("before", [b"", b"Subject: x\r\n\r\nbody", b"body\r\n", b"body\n", b"body\n."])
def test_a_message_smuggled_behind_a_spelling_stays_mail_data(spelling, policy, before):
    smuggled = b"MAIL FROM:<evil@x>\r\nRCPT TO:<victim@y>\r\nDATA\r\nFrom: boss@y\r\n\r\npay"
    sent, parts = check_every_cut(before + spelling + smuggled + END + BEHIND, policy)
    assert not any(deceived(out, None) for out in parts)
    assert sent is None or not deceived(sent + FINAL, FINAL)
    assert (sent is None) == (policy is BareNewlines.REJECT or b"\0" in spelling)


@pytest.mark.parametrize("spelling", NAMED)
def test_each_spelling_deceives_one_of_the_receivers(spelling):
    """Or it would prove nothing that what we send on deceives none of them."""
    assert deceived(b"body" + spelling + b"RSET" + END, FINAL)


def test_the_receivers_understand_an_end_that_is_one():
    assert not deceived(b"a\r\n..\r\n" + FINAL + b"RSET", FINAL + b"RSET")
    assert not deceived(FINAL, FINAL)
    assert not deceived(b"a\r\n.b\r\n..\r\n", None)


LONG = st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"..", b"a", b"RSET", *SPELLINGS.values()]), max_size=40)


@given(LONG.map(b"".join), st.lists(st.integers(1, 50), min_size=1, max_size=12))
def test_nor_do_longer_texts_in_any_pieces(text, sizes):
    stream = text + END + BEHIND
    ends = itertools.takewhile(lambda place: place < len(stream), itertools.accumulate(itertools.cycle(sizes)))
    places = [0, *ends, len(stream)]
    out, what = forwarded([stream[a:b] for a, b in itertools.pairwise(places)], BareNewlines.NORMALIZE)
    if b"\0" in divided(stream)[0]:
        assert what is NulOctet
        assert not deceived(out, None)
    else:
        assert (out, what) == expected(stream, BareNewlines.NORMALIZE)
        assert not deceived(out + FINAL, FINAL)


# The mirror image: mail on its way to a lax mail client


def collected(chunks):
    scanner = MultilineScanner(fix_newlines=True)
    return b"".join([scanner.feed(chunk) for chunk in chunks]), scanner.ended, scanner.rest


def test_no_text_in_a_mail_ends_the_response_earlier_for_a_lax_client():
    results = set()
    for text in every_text(6):
        stream = text + END + b"+OK\r\n"
        body, rest = divided(stream)
        wanted = normalized(body) + FINAL
        for chunks in ways_of_cutting(stream):
            assert collected(chunks) == (wanted, True, rest), chunks
        if b"\0" not in wanted:
            results.add(wanted)
    assert len(results) > 200
    for result in results:
        assert not deceived(result, FINAL), result
