"""Destinations in files."""

import base64
import errno
import json
import os

import pytest

from mailproxy.destination.directory import DestinationDirectory
from mailproxy.destination.model import MailProtocol
from mailproxy.destination.report import Reporter
from mailproxy.destination.source import PROVIDER, Reference, Tenant
from mailproxy.errors import DestinationUnknown, DestinationUnusable, LimitReached, TokenRefused
from mailproxy.sandbox.pki import Authority
from tests.destination.coroutines import run, start
from tests.support.services import SILENCE, Fault

ACME, GLOBEX = Tenant("acme", "acme"), Tenant("globex", "globex")
REFERENCE = Reference("mail")
BASIC = {
    "Name": "mail",
    "Type": "MAIL",
    "ProxyType": "Internet",
    "Authentication": "BasicAuthentication",
    "mail.user": "robot",
    "mail.password": "sentinel-password",
    "mail.transport.protocol": "smtp",
    "mail.smtp.host": "mail.example.com",
}
TOKEN = {
    **BASIC,
    "Authentication": "OAuth2ClientCredentials",
    "tokenServiceURL": "https://idp.example.com/idp/token",
    "clientId": "client",
    "clientSecret": "sentinel-secret",
}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "destinations"
    folder.mkdir()
    return folder


@pytest.fixture
def make(world, folder):
    world.services.clients["client"] = "sentinel-secret"

    def make(tenant=PROVIDER):
        return DestinationDirectory(
            folder, tenant, web=world.web, random=lambda: 0.0, reporter=Reporter(tenant), timeout=10.0
        )

    return make


def write(path, properties=BASIC):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(properties))
    return path


def problem(directory, kind=DestinationUnusable):
    with pytest.raises(kind) as caught:
        directory.read(REFERENCE)
    assert "sentinel" not in str(caught.value)
    return str(caught.value)


def test_a_file_is_a_destination(make, folder):
    write(folder / "mail.json")
    assert run(make().find(REFERENCE)).properties == BASIC


def test_the_name_may_be_left_to_the_file(make, folder):
    write(folder / "mail.json", {key: value for key, value in BASIC.items() if key != "Name"})
    assert make().read(REFERENCE).properties == BASIC


def test_an_answer_of_the_service_will_do_as_well(make, folder):
    write(folder / "mail.json", {"owner": {}, "destinationConfiguration": BASIC})
    assert make().read(REFERENCE).properties == BASIC


def test_a_tenants_own_file_wins_for_that_tenant_alone(make, folder):
    write(folder / "mail.json", {**BASIC, "mail.user": "all"})
    write(folder / "acme" / "mail.json", {**BASIC, "mail.user": "acme"})
    users = [make(tenant).read(REFERENCE).properties["mail.user"] for tenant in (ACME, GLOBEX, PROVIDER)]
    assert users == ["acme", "all", "all"]


def test_a_tenant_that_is_known_by_its_id_has_its_files_under_its_name(make, folder):
    write(folder / "acme" / "mail.json", {**BASIC, "mail.user": "acme"})
    assert make(Tenant("acme", id="1234")).read(REFERENCE).properties["mail.user"] == "acme"
    with pytest.raises(DestinationUnknown):
        make(Tenant("../acme", id="1234")).read(REFERENCE)


def test_a_tenants_file_that_cannot_be_used_is_not_passed_over(make, folder):
    write(folder / "mail.json")
    (folder / "acme").mkdir()
    (folder / "acme" / "mail.json").symlink_to("nowhere")
    assert problem(make(ACME)) == "acme/mail.json: cannot be read: No such file or directory"


def test_a_missing_file_is_a_missing_destination(make, folder):
    assert problem(make(ACME), DestinationUnknown) == f"there is no mail.json for tenant acme in {folder}"


def test_links_are_followed_and_pipes_are_not_waited_for(make, folder):
    write(folder / "other")
    (folder / "mail.json").symlink_to("other")
    assert make().read(REFERENCE).properties == BASIC
    (folder / "mail.json").unlink()
    os.mkfifo(folder / "mail.json")
    assert problem(make()) == "mail.json: is no file"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"Name": "mail", "sentinel', "is no JSON (line 1, column 18: Unterminated string starting at)"),
        (b'{"mail.user": "a", "mail.user": "sentinel"}', "holds the key 'mail.user' twice"),
        (b'{"a\\n\\ud800": 1, "a\\n\\ud800": 2}', r"holds the key 'a\x0a\xed\xa0\x80' twice"),
        (b'["sentinel"]', "is no JSON object"),
        (b"\xff", "is no JSON (not UTF-8)"),
        (b'{"Name": "other"}', "has another Name than the file: it must be mail"),
        (b'{"Name": null}', "has another Name than the file: it must be mail"),
        (b"", "is no JSON (line 1, column 1: Expecting value)"),
        (
            b'{"destinationConfiguration": {}, "certificates": [{"Name": "x"}]}',
            "holds a certificate without Name and Content",
        ),
        (
            b'{"destinationConfiguration": {}, "certificates": [{"Name": "x", "Content": "?"}]}',
            "holds a certificate that is no base64",
        ),
    ],
)
def test_a_broken_file_is_named_with_the_reason(make, folder, content, reason):
    (folder / "mail.json").write_bytes(content)
    assert problem(make()) == f"mail.json: {reason}"


def test_a_byte_order_mark_does_no_harm(make, folder):
    (folder / "mail.json").write_text(json.dumps(BASIC), encoding="utf-8-sig")
    assert make().read(REFERENCE).properties == BASIC


@pytest.mark.parametrize("reference", [Reference("mail", "instance"), Reference("mail", fragment="f")])
def test_levels_and_fragments_are_the_services(make, folder, reference):
    write(folder / "mail.json")
    with pytest.raises(DestinationUnusable, match="works with a destination service only"):
        make().read(reference)


def test_a_change_is_seen_at_once_also_one_of_the_same_size(make, folder):
    path = write(folder / "mail.json")
    directory = make()
    first = directory.read(REFERENCE)
    assert directory.read(REFERENCE) is first
    times = path.stat()
    write(path, {**BASIC, "mail.user": "ROBOT"})
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert directory.read(REFERENCE).properties["mail.user"] == "ROBOT"
    path.write_text("{")
    assert problem(directory).startswith("mail.json: is no JSON")
    path.unlink()
    problem(directory, DestinationUnknown)
    write(path)
    assert directory.read(REFERENCE) == first


def test_a_tenants_file_that_appears_wins_from_then_on(make, folder):
    write(folder / "mail.json")
    directory = make(ACME)
    directory.read(REFERENCE)
    write(folder / "acme" / "mail.json", {**BASIC, "mail.user": "acme"})
    assert directory.read(REFERENCE).properties["mail.user"] == "acme"


def token_of(directory):
    return run(directory.token(REFERENCE, directory.read(REFERENCE)))


def test_a_token_is_fetched_and_kept(make, folder, world):
    write(folder / "mail.json", TOKEN)
    directory = make()
    token = token_of(directory)
    assert token.expires_at == world.clock.seconds() + 3600
    world.clock.advance(2800)
    assert token_of(directory) == token
    world.clock.advance(200)
    assert token_of(directory) == token, "renewal is ahead, the old one is still good"
    assert token_of(directory) != token
    assert world.services.asked("idp") == 2


def test_a_token_goes_on_until_its_end_when_no_new_one_comes(make, folder, world, ours):
    write(folder / "mail.json", TOKEN)
    directory = make(ACME)
    token = token_of(directory)
    world.services.lasting["idp"] = Fault(500)
    for _ in range(35):
        world.clock.advance(100)
        assert token_of(directory) == token
    words = "destination mail, tenant acme: the token service at idp.example.com answered with status 500"
    assert ours() == [words]
    del world.services.lasting["idp"]
    world.clock.advance(69)
    token_of(directory)
    assert ours() == [words, "destination mail, tenant acme: works again"]


def test_a_refused_client_is_left_alone_until_it_changes(make, folder, world):
    path = write(folder / "mail.json", {**TOKEN, "clientSecret": "sentinel-wrong"})
    directory = make()
    for _ in range(20):
        with pytest.raises(TokenRefused) as caught:
            token_of(directory)
        assert "sentinel" not in str(caught.value)
        world.clock.advance(1)
    assert world.services.asked("idp") == 1
    write(path, TOKEN)
    token_of(directory)


def test_a_refused_token_is_dropped(make, folder):
    write(folder / "mail.json", TOKEN)
    directory = make()
    token = token_of(directory)
    found = directory.read(REFERENCE)
    directory.drop(REFERENCE, found, "older")
    assert token_of(directory) == token
    directory.drop(REFERENCE, found, token.value)
    assert token_of(directory) != token


def with_store(name):
    more = {"tokenService.KeyStoreLocation": name}
    return {key: value for key, value in {**TOKEN, **more}.items() if key != "clientSecret"}


def test_a_key_store_lies_beside_the_destination_the_tenants_own_first(make, folder, world):
    world.services.clients["client"] = ""
    write(folder / "mail.json", with_store("client.pem"))
    ours, theirs = (Authority.create().issue("client.example") for _ in range(2))
    (folder / "client.pem").write_bytes(ours.chain_pem + ours.key_pem)
    token_of(make(ACME))
    (folder / "acme").mkdir()
    (folder / "acme" / "client.pem").write_bytes(theirs.chain_pem + theirs.key_pem)
    token_of(make(ACME))
    assert [identity.certificate for identity in world.clients.identities] == [ours.chain_pem, theirs.chain_pem]


def test_a_new_key_store_makes_a_new_question(make, folder, world):
    world.services.clients["client"] = ""
    write(folder / "mail.json", with_store("client.pem"))
    directory = make()
    for _ in range(2):
        issued = Authority.create().issue("client.example")
        (folder / "client.pem").write_bytes(issued.chain_pem + issued.key_pem)
        token_of(directory)
        token_of(directory)
    assert world.services.asked("idp") == 2


def test_a_key_store_may_come_with_the_destination(make, folder, world):
    world.services.clients["client"] = ""
    issued = Authority.create().issue("client.example")
    content = base64.b64encode(issued.chain_pem + issued.key_pem).decode()
    stores = [{"Name": "client.pem", "Content": content, "Type": "CERTIFICATE"}]
    write(folder / "mail.json", {"destinationConfiguration": with_store("client.pem"), "certificates": stores})
    token_of(make())
    assert world.clients.identities[0].certificate == issued.chain_pem


@pytest.mark.parametrize("name", ["../client.pem", "/etc/hostname", ".client.pem", "nowhere.pem", "a\0b.pem"])
def test_a_key_store_is_a_file_in_the_directory(make, folder, name):
    (folder.parent / "client.pem").write_text("x")
    (folder / ".client.pem").write_text("x")
    write(folder / "mail.json", with_store(name))
    with pytest.raises(DestinationUnusable, match=r"^tokenService\.KeyStoreLocation: '.*' is no file in the directory"):
        token_of(make())


def test_a_destination_can_be_checked_without_asking_anybody(make, folder, world):
    path = write(folder / "mail.json", TOKEN)
    directory = make()
    directory.check(REFERENCE, MailProtocol.SMTP)
    with pytest.raises(DestinationUnusable, match="the listener speaks pop3"):
        directory.check(REFERENCE, MailProtocol.POP3)
    write(path, {**TOKEN, "tokenServiceURL": "idp"})
    with pytest.raises(DestinationUnusable, match="tokenServiceURL: is a URL"):
        directory.check(REFERENCE, MailProtocol.SMTP)
    assert world.services.seen == []


def test_a_key_store_that_cannot_be_used_says_why(make, folder):
    write(folder / "mail.json", with_store("client.pem"))
    (folder / "client.pem").write_text("sentinel")
    with pytest.raises(DestinationUnusable, match=r"KeyStoreLocation: 'client\.pem' holds no certificate$"):
        token_of(make())
    (folder / "client.pem").unlink()
    (folder / "client.pem").mkdir()
    with pytest.raises(DestinationUnusable, match=r"^client\.pem: is no file$"):
        token_of(make())


def test_a_folder_that_may_not_be_looked_into_is_not_passed_over(make, folder, monkeypatch):
    write(folder / "mail.json")
    refused = PermissionError(13, "Permission denied")
    monkeypatch.setattr("pathlib.Path.lstat", lambda path: (_ for _ in ()).throw(refused))
    assert problem(make(ACME)) == "acme/mail.json: cannot be read: Permission denied"


def test_a_file_for_which_no_descriptor_is_left_is_not_called_unusable(make, folder, monkeypatch):
    write(folder / "mail.json", with_store("client.pem"))
    (folder / "client.pem").write_text("sentinel")
    directory = make()
    directory.read(REFERENCE)
    exhausted = OSError(errno.EMFILE, "Too many open files")
    monkeypatch.setattr("pathlib.Path.open", lambda path, mode: (_ for _ in ()).throw(exhausted))
    assert problem(directory, LimitReached) == "mail.json: cannot be read: Too many open files"
    monkeypatch.undo()
    found = directory.read(REFERENCE)
    monkeypatch.setattr("pathlib.Path.open", lambda path, mode: (_ for _ in ()).throw(exhausted))
    with pytest.raises(LimitReached, match=r"^client\.pem: cannot be read: Too many open files$"):
        run(directory.token(REFERENCE, found))


def test_closing_ends_what_is_in_flight(make, folder, world):
    write(folder / "mail.json", TOKEN)
    world.services.fail("idp", SILENCE)
    directory = make()
    asked = start(directory.token(REFERENCE, directory.read(REFERENCE)))
    directory.close()
    assert str(asked.error) == "mailproxy is stopping"


def test_a_password_needs_no_token_service(make, folder):
    write(folder / "mail.json")
    make().check(REFERENCE, MailProtocol.SMTP)
