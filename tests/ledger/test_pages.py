"""The pages about the ledger say what the code does, and all of it."""

import ast
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from mailproxy.ledger.chain import START, seal
from mailproxy.ledger.record import ForwardPath, Peers, POP3Session, Transaction, encode
from mailproxy.session import smtp_notes
from tests.ledger.books import small, transaction, writer
from tests.support import vocabulary
from tests.support.pages import ROOT, page, span, spans, unique

LEDGER, AUDIT = page("reference/ledger.md"), page("how-to/audit.md")


def names(cls, without=()):
    return [field.name for field in attrs.fields(cls) if field.name not in without]


def documented(heading):
    section = LEDGER.text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `") and line.count("|") == 4]
    return [spans(line)[0] for line in lines]


COMMON = names(Peers)
FOLLOWING = {"aborted", "rejected", "unknown"}
"""Outcomes of what goes no further: `Notes._ending`."""


def test_the_page_has_every_field_in_its_order():
    assert documented("Fields of mail transactions and POP3 sessions") == COMMON
    assert documented("Fields of POP3 sessions") == names(POP3Session, COMMON)
    assert documented("Fields of mail transactions") == [*names(Transaction, COMMON), *names(ForwardPath)]
    assert documented("Fields of every record") == ["seq", "prev", "kind", "hash"]


def test_the_page_has_every_kind_with_its_fields():
    rows = {span(row["Kind"]): spans(row["Fields"]) for row in LEDGER.table("Kind", "Fields")}
    assert rows == dict(kinds())


def kinds():
    """The records that the ledger keeps about itself."""
    for call, _ in vocabulary.calls(vocabulary.trees("ledger")):
        if vocabulary.callee(call) == "note" and isinstance(call.args[0], ast.Constant):
            yield call.args[0].value, [each.arg for each in call.keywords]


def test_the_page_has_every_outcome_of_a_transaction():
    found = {
        node.value
        for root in vocabulary.trees("session/*.py")
        for call, _ in vocabulary.calls([root])
        if ast.unparse(call.func).endswith("notes.end") or ast.unparse(call.func) == "self._ending"
        for node in ast.walk(call)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value != "MAIL"
    }
    assert unique(span(row["`outcome`"]) for row in LEDGER.table("`outcome`")) == found | FOLLOWING


def test_the_bounds_on_the_page_are_those_of_the_code():
    assert smtp_notes.MAX_NOTED_OCTETS == 512 << 10
    assert smtp_notes.MAX_SEARCHED_OCTETS == 64 << 10
    assert smtp_notes.MAX_MESSAGE_ID_OCTETS == 1000
    assert smtp_notes.MAX_WORDS_OCTETS == 1024
    assert "512 KiB together" in LEDGER.text
    assert "first 64 KiB" in LEDGER.text
    assert "cut at 1024 octets" in LEDGER.text


def test_every_line_of_the_log_is_one_of_the_codes():
    for row in LEDGER.table("Line", "Level"):
        assert vocabulary.normal(span(row["Line"])) in vocabulary.sentences(), row["Line"]


# Worked examples


@pytest.fixture
def example(tmp_path):
    """The ledger of which the examples are."""
    folder = tmp_path / "ledger"
    folder.mkdir()
    book = writer(folder)
    for number, recipient in enumerate(
        ("anna@example.org", "ben@example.org", "anna@example.com", "cleo@example.org"), 1
    ):
        changes = {"reverse_path": "robot@example.com", "message_id": f"<{number}@example.com>"}
        changes |= {"destination": "example-dest-smtp", "ehlo": "app.example.com"}
        changes |= {"upstream_host": "mail.example.com", "upstream_address": "192.0.2.1", "upstream_port": 587}
        changes |= {"upstream_tls": "TLSv1.3", "upstream_cipher": "TLS_AES_128_GCM_SHA256"}
        book.append(encode(transaction(number, forward_paths=(ForwardPath(recipient, 250, "2.1.5 Ok"),), **changes)))
    book.close()
    return tmp_path


def bash(command, folder):
    program = f'mailproxy() {{ PYTHONPATH={ROOT} "{sys.executable}" -m mailproxy "$@"; }}\n'
    return subprocess.run(["bash", "-c", program + command], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "block", [each for each in AUDIT.blocks if each.language == "console"], ids=lambda each: each.name
)
def test_every_example_comes_out_as_it_stands_there(block, example):
    out, status = "", 0
    for line in block.text.splitlines():
        if line.startswith("$ "):
            done = bash(line[2:], example)
            out += f"{line}\n{done.stdout}{done.stderr}"
            status = done.returncode
    assert out == block.text
    assert status == (block.name not in ("ask", "verify"))


def test_a_hash_can_be_worked_out_without_us(tmp_path):
    line, link = seal(START, small())
    (tmp_path / "line").write_bytes(line)
    done = bash("sed 's/,\"hash\":\"[0-9a-f]*\"}$/}/' line | tr -d '\\n' | sha256sum", tmp_path)
    assert done.stdout.split()[0] == link.hash


def test_the_program_is_installed_under_the_name_that_the_pages_use():
    assert 'mailproxy = "mailproxy.cli:main"' in (ROOT / "pyproject.toml").read_text()
    assert Path(vocabulary.PACKAGE / "cli.py").is_file()
