"""
The documentation is whole: links lead somewhere, examples work, pictures and tables are those of the code.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mailproxy import service
from mailproxy.config import examine, load
from mailproxy.destination.binding import read_binding
from mailproxy.destination.properties import parse_destination
from mailproxy.destination.source import Tenant
from mailproxy.destination.tokenrequest import parse_token_request
from mailproxy.sandbox.pki import Authority
from mailproxy.session.smtp_content import Content
from mailproxy.wire.transparency import BareNewlines
from tests.support import vocabulary
from tests.support.pages import DOCS, PROTOCOLS, ROOT, page, pages, spans, unique

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
    judged = examine(config).config
    for path in judged.trust.ca_files:
        Authority.create().write(path)
    for table in judged.listener_tls.values():
        _write_certificates(table)
    if judged.admin is not None and judged.admin.token_file is not None:
        judged.admin.token_file.write_text("a-token-of-the-operator")
    if judged.ledger is not None:
        judged.ledger.path.parent.mkdir()
    assert service.check(load(config)) == []


def _write_certificates(table):
    issued = Authority.create().subordinate().issue("mail.example.com")
    for files in table.certificates:
        files.certificate.parent.mkdir(exist_ok=True)
        for path, octets in ((files.certificate, issued.chain_pem), (files.key, issued.key_pem)):
            path.write_bytes(octets)
        if files.chain is not None:
            files.chain.write_bytes(issued.chain_pem)
    for path in table.client_ca_files:
        Authority.create().write(path)


def test_every_page_of_instructions_has_a_configuration():
    with_one = {param.values[0].path for param in WHOLE}
    without = {path.stem for path in (DOCS / "how-to").glob("*.md") if path not in with_one}
    assert without == {"run-under-systemd", "run-the-simulation", "chaos", "load", "fuzz"}


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
        parse_token_request(given, tenant=Tenant("acme", "acme"), store=None, default_timeout=1)


@pytest.mark.parametrize("block", EXAMPLES)
def test_no_example_holds_a_secret(block):
    for key, value in json.loads(block.text).items():
        if re.search(r"password|secret", key, re.IGNORECASE):
            assert value == "..."


# Explanations


def test_the_picture_is_that_of_the_code():
    picture = next(block.text for block in page("explanation/architecture.md").blocks)
    assert all(line.strip() in service.__doc__ for line in picture.splitlines())


def test_every_part_of_the_code_is_explained():
    rows = page("explanation/architecture.md").table("Part", "What it is")
    parts = {
        path.stem for path in vocabulary.PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
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
