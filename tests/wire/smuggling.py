"""
What an attacker writes into mail data, and how receivers that are not strict read what we make of it.
"""

import re

CRLF = b"\r\n"
END = b"\r\n.\r\n"

SPELLINGS = {
    "LF . LF": b"\n.\n",
    "LF . CRLF": b"\n.\r\n",
    "CRLF . LF": b"\r\n.\n",
    "CR . CR": b"\r.\r",
    "CR . CRLF": b"\r.\r\n",
    "CRLF . CR": b"\r\n.\r",
    "LF . CR": b"\n.\r",
    "CR . LF": b"\r.\n",
    "CR CRLF . CRLF without its last LF": b"\r\r\n.\r",
    "CRLF . CR CRLF": b"\r\n.\r\r\n",
    "LF CRLF . LF": b"\n\r\n.\n",
    "LF CR . LF CR": b"\n\r.\n\r",
    "CRLF NUL . CRLF": b"\r\n\0.\r\n",
    "CRLF . NUL CRLF": b"\r\n.\0\r\n",
    "NUL CRLF . LF": b"\0\r\n.\n",
    "CR NUL LF . CR NUL LF": b"\r\0\n.\r\0\n",
}
"""Sequences that are no end of data, and that some receiver has taken for one."""

_LINE_ENDS = {
    "CRLF": rb"\r\n",
    "CRLF or LF": rb"\r?\n",
    "CRLF, LF or CR": rb"\r\n|\n|\r",
    "CRLF or CR": rb"\r\n?",
    "any run of CR before LF": rb"\r*\n",
    "CRLF or LF CR": rb"\r\n|\n\r",
    "any run of CR and LF": rb"[\r\n]+",
}

_AROUND_THE_DOT = {
    "LF . LF": (rb"\n", rb"\n"),
    "LF . CRLF": (rb"\n", rb"\r\n"),
    "CRLF . LF": (rb"\r\n", rb"\n"),
    "CR . CR": (rb"\r", rb"\r"),
    "CR . CRLF": (rb"\r", rb"\r\n"),
    "CRLF . CR": (rb"\r\n", rb"\r"),
    "LF . CR": (rb"\n", rb"\r"),
    "CR . LF": (rb"\r", rb"\n"),
    "any newline . any newline": (rb"[\r\n]", rb"[\r\n]"),
    "any newline . any newline, NUL anywhere": (rb"[\r\n]\0*", rb"\0*[\r\n]"),
}


def _by_lines(line_end, *, deaf_to_nul):
    """A receiver that takes lines apart first, and ends the data at one that is a lone dot."""

    def read(data):
        if deaf_to_nul:
            data = data.replace(b"\0", b"")
        place = 0
        for newline in re.finditer(line_end, data):
            if data[place : newline.start()] == b".":
                return data[place:]
            place = newline.end()
        return None

    return read


def _by_search(before, behind):
    """A receiver that looks for a sequence of its own, beside the right one; the data begins behind a line end."""
    sequence = re.compile(rb"%b(\.)%b|\r\n(\.)\r\n" % (before, behind))

    def read(data):
        found = sequence.search(CRLF + data)
        return data[max(found.span(1)[0], found.span(2)[0]) - 2 :] if found else None

    return read


RECEIVERS = (
    {f"lines end with {name}": _by_lines(line_end, deaf_to_nul=False) for name, line_end in _LINE_ENDS.items()}
    | {f"lines end with {name}, deaf to NUL": _by_lines(end, deaf_to_nul=True) for name, end in _LINE_ENDS.items()}
    | {f"also ends at {name}": _by_search(*around) for name, around in _AROUND_THE_DOT.items()}
)
"""Receivers of mail data, each lax in its own way: what it has from the dot on that ends the data for it, or None."""


def deceived(data, end):
    """The receivers for which the end of the data is not where these last octets begin; None is for no end at all."""
    return [name for name, read in RECEIVERS.items() if read(data) != end]


def normalized(body):
    """
    What a body has to become where stray newlines are mended: line by line, as it is written down.

    Each CR, LF and CRLF ends a line, and a CRLF takes its place.  A line that begins with a dot only because a stray
    newline is before it, or is a lone dot only because a stray newline is behind it, gets one dot more.
    """
    *pieces, last = re.split(rb"(\r\n|\r|\n)", body)
    lines = [*zip(pieces[::2], pieces[1::2], strict=True), (last, b"")]
    out, before = [], CRLF
    for text, newline in lines:
        created = text.startswith(b".") and before != CRLF
        exposed = text == b"." and newline in (b"\r", b"\n")
        out += [b"." * (created or exposed), text, CRLF if newline else b""]
        before = newline
    return b"".join(out)


def divided(stream):
    """Body and rest at the one end there is, no body without an end.  Mail data begins behind a CRLF."""
    found = (CRLF + stream).find(END)
    return (None, b"") if found < 0 else (stream[:found], stream[found + len(END) - 2 :])
