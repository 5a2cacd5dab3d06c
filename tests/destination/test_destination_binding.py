"""Service keys in all the layouts in which they are handed to a program."""

import json
import os

import pytest

from mailproxy.destination.binding import BindingFile, read_binding
from mailproxy.errors import ConfigError
from mailproxy.sandbox.pki import Authority

SECRET = "sentinel-secret"
KEY = {
    "clientid": "sb-clone!b1|destination-xsappname!b2",
    "clientsecret": SECRET,
    "url": "https://provider.authentication.eu10.hana.ondemand.com",
    "uri": "https://destination-configuration.cfapps.eu10.hana.ondemand.com",
    "identityzone": "provider",
    "tenantid": "5c1e8b6a",
    "credential-type": "binding-secret",
    "verificationkey": "-----BEGIN PUBLIC KEY-----\nMII\n-----END PUBLIC KEY-----\n",
}


def write_file(path, fields=KEY):
    path.write_text(json.dumps(fields))
    return path


def write_directory(path, fields):
    path.mkdir(exist_ok=True)
    for name, value in fields.items():
        (path / name).write_text(value)
    return path


def metadata(*entries):
    return json.dumps({"metaDataProperties": [], "credentialProperties": list(entries)})


def problems(path):
    with pytest.raises(ConfigError) as caught:
        read_binding(path)
    assert SECRET not in str(caught.value)
    return list(caught.value.problems)


def as_file(tmp_path):
    return write_file(tmp_path / "key.json")


def as_file_with_credentials(tmp_path):
    return write_file(tmp_path / "key.json", {"name": "x", "credentials": KEY})


def as_files(tmp_path):
    return write_directory(tmp_path / "binding", {"type": "destination\n", **{k: v + "\n" for k, v in KEY.items()}})


def as_operators_secret(tmp_path):
    entries = [{"name": name, "format": "text"} for name in KEY]
    fields = {**KEY, "tags": '["a"]', ".metadata": metadata(*entries, {"name": "tags", "format": "json"})}
    return write_directory(tmp_path / "binding", fields)


def as_operators_secret_with_a_container(tmp_path):
    entry = {"name": "credentials", "format": "json", "container": True}
    fields = {"credentials": json.dumps(KEY), "plan": "lite", ".metadata": metadata(entry)}
    return write_directory(tmp_path / "binding", fields)


def as_one_file_in_a_directory(tmp_path):
    return write_directory(tmp_path / "binding", {"service.json": json.dumps({"plan": "lite", **KEY})})


def as_one_file_among_others(tmp_path):
    return write_directory(tmp_path / "binding", {"plan": "lite", "whole": json.dumps({"credentials": KEY})})


def as_mounted_secret(tmp_path):
    """The kubelet's layout: the files are links through a link that is renamed at each change."""
    path = tmp_path / "binding"
    data = write_directory(tmp_path / "binding", {}) / "..2026_1"
    write_directory(data, KEY)
    (path / "..data").symlink_to("..2026_1")
    for name in KEY:
        (path / name).symlink_to(f"..data/{name}")
    return path


@pytest.mark.parametrize(
    "layout",
    [
        as_file,
        as_file_with_credentials,
        as_files,
        as_operators_secret,
        as_operators_secret_with_a_container,
        as_one_file_in_a_directory,
        as_one_file_among_others,
        as_mounted_secret,
    ],
)
def test_every_layout_gives_the_same_key(tmp_path, layout):
    binding = read_binding(layout(tmp_path))
    assert (binding.clientid, binding.clientsecret) == (KEY["clientid"], SECRET)
    assert binding.token_base.full == KEY["url"] + "/"
    assert binding.uri.full == KEY["uri"] + "/"
    assert binding.identity is None
    assert SECRET not in repr(binding)


def x509(**more):
    issued = Authority.create().issue("client.example")
    fields = {key: value for key, value in KEY.items() if key not in ("clientsecret", "credential-type")}
    pem = {"certificate": issued.chain_pem.decode(), "key": issued.key_pem.decode()}
    return {**fields, **pem, "certurl": "https://provider.authentication.cert.eu10.hana.ondemand.com", **more}


@pytest.mark.parametrize("directory", [False, True])
def test_a_certificate_takes_the_place_of_the_secret_and_goes_to_its_own_url(tmp_path, directory):
    fields = x509()
    path = write_directory(tmp_path / "b", fields) if directory else write_file(tmp_path / "b.json", fields)
    binding = read_binding(path)
    assert binding.token_base.host == "provider.authentication.cert.eu10.hana.ondemand.com"
    assert binding.clientsecret is None
    assert b"PRIVATE KEY" in binding.identity.key
    assert "PRIVATE KEY" not in repr(binding)


def test_the_credential_type_decides_when_there_are_both(tmp_path):
    both = x509(clientsecret=SECRET)
    assert read_binding(write_file(tmp_path / "a", both)).clientsecret == SECRET
    binding = read_binding(write_file(tmp_path / "b", {**both, "credential-type": "x509"}))
    assert (binding.clientsecret, binding.identity is None) == (None, False)


def test_all_missing_fields_are_named_with_the_path(tmp_path):
    path = write_file(tmp_path / "key.json", {"credential-type": "x509", "uri": "http://10.0.0.1"})
    assert problems(path) == [
        f"{path}: clientid: is missing",
        f"{path}: uri: is http:// to 10.0.0.1: secrets go over https:// or stay on this machine",
        f"{path}: certurl: is missing",
        f"{path}: certificate: is missing",
    ]
    assert problems(write_file(path, {"clientid": "x"})) == [
        f"{path}: uri: is missing",
        f"{path}: url: is missing",
        f"{path}: clientsecret: is missing",
    ]


def test_a_key_of_another_certificate_is_refused(tmp_path):
    path = write_file(tmp_path / "key.json", {**x509(), "key": x509()["key"]})
    assert problems(path) == [
        f"{path}: certificate and key: holds a private key that does not fit its first certificate"
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "is no JSON (line 1, column 2: Expecting property name enclosed in double quotes)"),
        (b"\xff\xfe", "is no JSON (not UTF-8)"),
        (b"[]", "is no JSON object"),
        (b"[" * 100_000, "is JSON nested too deeply"),
        (b'{"clientid": ' + b"9" * 101 + b"}", "is no JSON (a number in it is too long)"),
        (b'{"clientid": "a", "clientid": "b"}', "holds the key 'clientid' twice"),
        (b" " * 300_000, "is longer than 262144 octets"),
    ],
)
def test_a_broken_file_is_reported_with_its_path(tmp_path, content, reason):
    path = tmp_path / "key.json"
    path.write_bytes(content)
    assert problems(path) == [f"{path}: {reason}"]


def test_what_cannot_be_read_is_reported_and_never_waited_for(tmp_path):
    path = tmp_path / "nothing"
    assert problems(path) == [f"{path}: cannot be read: No such file or directory"]
    os.mkfifo(path)
    assert problems(path) == [f"{path}: is no file"]


def test_a_broken_file_of_a_directory_is_named(tmp_path):
    path = write_directory(tmp_path / "binding", {**KEY, ".metadata": "{"})
    assert problems(path)[0].startswith(f"{path}: .metadata: is no JSON")
    (path / ".metadata").unlink()
    (path / "clientsecret").write_bytes(b"\xff")
    assert problems(path) == [f"{path}: clientsecret: is no UTF-8 text"]


def test_a_new_version_is_used_once_it_is_there(tmp_path, ours):
    path = as_file(tmp_path)
    file = BindingFile(path)
    first = file.current()
    assert file.current() is first
    write_file(path, {**KEY, "clientsecret": "sentinel-other"})
    assert file.current().clientsecret == "sentinel-other"
    assert ours() == [f"service key {path} has changed"]
    os.utime(path, ns=(1, 1))
    file.current()
    assert len(ours()) == 1, "the same content is no change"


def test_a_mounted_secret_is_followed_through_its_links(tmp_path):
    path = as_mounted_secret(tmp_path)
    file = BindingFile(path)
    write_directory(path / "..2026_2", {**KEY, "clientsecret": "sentinel-other"})
    (path / "..new").symlink_to("..2026_2")
    (path / "..new").rename(path / "..data")
    assert file.current().clientsecret == "sentinel-other"


def test_a_broken_new_version_is_reported_once_and_the_old_one_stays(tmp_path, ours):
    path = as_file(tmp_path)
    file = BindingFile(path)
    first = file.current()
    path.write_text('{"clientid": "')
    for _ in range(3):
        assert file.current() is first
    (event,) = ours()
    assert event.startswith(f"service key {path} cannot be used as it is now, the one before stays in use: {path}: ")
    path.unlink()
    for _ in range(3):
        assert file.current() is first
    assert len(ours()) == 2
    write_file(path)
    assert file.current() == first
    assert len(ours()) == 2


def test_a_key_that_is_broken_at_the_start_is_an_error(tmp_path):
    with pytest.raises(ConfigError):
        BindingFile(tmp_path / "nothing")


def test_a_directory_that_cannot_be_a_key_is_reported(tmp_path, monkeypatch):
    path = write_directory(tmp_path / "binding", {f"file{number}": "x" for number in range(101)})
    assert problems(path) == [f"{path}: holds more than 100 files"]
    refused = PermissionError(13, "Permission denied")
    monkeypatch.setattr("pathlib.Path.iterdir", lambda _: (_ for _ in ()).throw(refused))
    assert problems(path) == [f"{path}: cannot be read: Permission denied"]
