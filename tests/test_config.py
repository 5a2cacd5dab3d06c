"""The configuration file: what it means, and what is said about a mistake in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs.exceptions import FrozenInstanceError
from hypothesis import given, settings
from hypothesis import strategies as st

from mailproxy.config import (
    AdminConfig,
    CertificateConfig,
    Config,
    ListenerTLSConfig,
    TenantConfig,
    TrustConfig,
    examine,
    examine_source,
    load,
)
from mailproxy.config.source import MAX_FILE_OCTETS
from mailproxy.destination.model import MailProtocol
from mailproxy.errors import ConfigError

MINIMAL = """
[destination_services.local]
directory = "destinations"

[[destinations]]
name = "example-dest-smtp"
protocol = "smtp"
listen = { acme = "tcp:1587", globex = "tcp:1588" }
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "mailproxy.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def complaints(path):
    """What is said about a file, without the file's name that each line has to begin with."""
    problems = examine(path).problems
    assert all(problem.startswith(f"{path}: ") for problem in problems)
    return [problem.removeprefix(f"{path}: ") for problem in problems]


def test_what_the_file_holds_is_kept_where_workers_have_to_be_told(write):
    text = f"workers = 2  # \u00fc\n{MINIMAL}"
    config = load(write(text))
    assert (config.workers, config.source.decode()) == (2, text)
    again = examine_source(config.path, config.source)
    assert (again.config, again.problems) == (config, ())
    assert text not in repr(config)
    assert load(write(text.replace("2", "1", 1))).source == b""
    assert load(write(MINIMAL)).workers == 1


def test_little_has_to_be_said(write, tmp_path):
    config = load(write(MINIMAL))
    (destination,) = config.destinations
    assert destination.protocol is MailProtocol.SMTP
    assert destination.service == "local"
    assert destination.listen == {"acme": "tcp:1587:interface=127.0.0.1", "globex": "tcp:1588:interface=127.0.0.1"}
    assert config.destination_services["local"].directory == tmp_path / "destinations"
    assert config.tenants == {"acme": TenantConfig(subdomain="acme"), "globex": TenantConfig(subdomain="globex")}
    assert config == Config(
        path=tmp_path / "mailproxy.toml",
        tenants=config.tenants,
        destination_services=config.destination_services,
        destinations=config.destinations,
    )


def test_the_configuration_cannot_be_changed(write):
    config = load(write(MINIMAL))
    with pytest.raises(FrozenInstanceError):
        config.server_name = "other"
    with pytest.raises(FrozenInstanceError):
        config.timeouts.login_seconds = 1.0


def test_paths_start_from_the_file(write, tmp_path, monkeypatch):
    write('trust.ca_files = ["ca.pem", "/etc/other.pem"]\n' + MINIMAL)
    monkeypatch.chdir(tmp_path.parent)
    config = load(Path(tmp_path.name, "mailproxy.toml"))
    assert config.path == tmp_path / "mailproxy.toml"
    assert config.trust.ca_files == (tmp_path / "ca.pem", Path("/etc/other.pem"))


def test_whole_numbers_will_do_for_seconds(write):
    timeouts = load(write("timeouts = { login_seconds = 7, line_seconds = 0.5 }\n" + MINIMAL)).timeouts
    assert (timeouts.login_seconds, timeouts.line_seconds) == (7.0, 0.5)
    assert isinstance(timeouts.login_seconds, float)


def test_one_endpoint_without_tenants_is_the_providers_own(write):
    config = load(write(MINIMAL.replace('{ acme = "tcp:1587", globex = "tcp:1588" }', '"tcp:0"')))
    assert config.destinations[0].listen == {None: "tcp:0:interface=127.0.0.1"}
    assert config.tenants == {}


@pytest.mark.parametrize(
    ("table", "tenant"),
    [
        ("", TenantConfig(subdomain="acme")),
        ("[tenants.acme]", TenantConfig(subdomain="acme")),
        ('[tenants.acme]\nsubdomain = "acme-eu10"', TenantConfig(subdomain="acme-eu10")),
        ('[tenants.acme]\nid = "1-2"', TenantConfig(id="1-2")),
        ('[tenants.acme]\nid = "1-2"\nsubdomain = "acme"', TenantConfig(id="1-2", subdomain="acme")),
    ],
)
def test_a_tenant_is_known_by_its_subdomain_or_where_only_that_is_written_by_its_id(write, table, tenant):
    assert load(write(MINIMAL + table)).tenants["acme"] == tenant


MISTAKES = [
    # at the top
    ('server_nam = "x"', "", ["server_nam: unknown key; did you mean server_name?"]),
    ("zzz = 1", "", ["zzz: unknown key"]),
    ('"a.b\\n" = 1', "", ['"a.b\\n": unknown key']),
    ("server_name = 3", "", ["server_name: must be text in quotes"]),
    ('server_name = "a b"', "", ["server_name: must be a host name or an address in brackets"]),
    ('server_name = "a\\n"', "", ["server_name: must be a host name or an address in brackets"]),
    ("timeouts = 3", "", ["timeouts: must be a table"]),
    ("tenants = 3", "", ["tenants: must be written as [tenants.NAME]"]),
    # tables
    ("", "[timeouts]\nlogin_second = 3", ["timeouts.login_second: unknown key; did you mean login_seconds?"]),
    ("", "[timeouts]\nlogin_seconds = true", ["timeouts.login_seconds: must be a number"]),
    ("", '[timeouts]\nlogin_seconds = "3"', ["timeouts.login_seconds: must be a number"]),
    ("", "[timeouts]\nlogin_seconds = 0", ["timeouts.login_seconds: must be between 0.01 and 86400"]),
    ("", "[timeouts]\nlogin_seconds = -1", ["timeouts.login_seconds: must be between 0.01 and 86400"]),
    ("", "[timeouts]\nlogin_seconds = nan", ["timeouts.login_seconds: must be between 0.01 and 86400"]),
    ("", "[timeouts]\nlogin_seconds = inf", ["timeouts.login_seconds: must be between 0.01 and 86400"]),
    ("", f"[timeouts]\nlogin_seconds = 1{'0' * 400}", ["timeouts.login_seconds: must be between 0.01 and 86400"]),
    ("", "[limits]\nmax_sessions = 1.0", ["limits.max_sessions: must be a whole number"]),
    ("", "[limits]\nmax_sessions = true", ["limits.max_sessions: must be a whole number"]),
    ("", "[smtp]\nstrict_sync = 1", ["smtp.strict_sync: must be true or false"]),
    ("", '[smtp]\nbare_newline = "Reject"', ["smtp.bare_newline: must be one of normalize, reject"]),
    ("", "[smtp]\nbare_newline = [1]", ["smtp.bare_newline: must be one of normalize, reject"]),
    (
        "",
        "[smtp]\nmax_message_octets = -1",
        ["smtp.max_message_octets: must be between 1 and 1099511627776, or 0 for none"],
    ),
    ("workers = 0", "", ["workers: must be between 1 and 64"]),
    ("workers = 65", "", ["workers: must be between 1 and 64"]),
    ("workers = true", "", ["workers: must be a whole number"]),
    ("source = 1", "", ["source: unknown key"]),
    ("", "[smtp]\nmax_recipients = -1", ["smtp.max_recipients: must be between 1 and 1000000, or 0 for none"]),
    ("", '[trust]\nca_files = "ca.pem"', ["trust.ca_files: must be a list in brackets"]),
    ("", '[trust]\nca_files = ["a", 3]', ["trust.ca_files[1]: must be a path in quotes"]),
    ("", '[trust]\nca_files = ["a\\u0000"]', ["trust.ca_files[0]: must be a path in quotes"]),
    ("", "[trust]\nplatform = false", ["trust.platform: false leaves nobody to trust; name ca_files"]),
    # tenants
    ("", "[tenants.acmee]", ["tenants.acmee: no destination listens for this tenant"]),
    (
        "",
        "[tenants.Acme]",
        [
            "tenants.Acme: a name must be one DNS label: lower case letters, digits and inner hyphens",
            "tenants.Acme: no destination listens for this tenant",
        ],
    ),
    (
        "",
        '[tenants.acme]\nsubdomain = "a.b"',
        ["tenants.acme.subdomain: must be one DNS label: lower case letters, digits and inner hyphens"],
    ),
    (
        "",
        '[tenants.acme]\nid = "a\\r\\nX-zid: b"',
        ["tenants.acme.id: must be 1 to 64 letters, digits, '.', '_' or '-'"],
    ),
    ("", '[tenants.acme]\nsubdomain = "globex"', ["tenants.globex.subdomain: the same as that of tenants.acme"]),
    # services
    ("", "[destination_services.b]", ["destination_services.b: needs either binding or directory"]),
    (
        "",
        '[destination_services.b]\nbinding = "x"\ndirectory = "y"',
        ["destination_services.b: needs either binding or directory"],
    ),
    (
        "",
        '[destination_services.local.more]\ndirectory = "y"',
        ["destination_services.local.more: unknown key"],
    ),
]


@pytest.mark.parametrize(("before", "after", "expected"), MISTAKES)
def test_a_mistake_is_named_by_its_key_path(write, before, after, expected):
    service = 'service = "local"\nlisten' if "services.b" in after else "listen"
    assert complaints(write(f"{before}\n{MINIMAL.replace('listen', service)}\n{after}\n")) == expected


TLS = """
[listener_tls.inside]
mode = "required"
certificates = [{ certificate = "chain.pem", key = "/etc/key.pem" }]
"""


def test_tls_towards_clients_is_a_table_that_destinations_name(write, tmp_path):
    more = 'client_certificates = "optional"\nclient_ca_files = ["clients.pem"]\n'
    config = load(write(f'{MINIMAL}tls = "inside"\n{TLS}{more}'))
    assert config.destinations[0].tls == "inside"
    assert config.listener_tls["inside"] == ListenerTLSConfig(
        mode="required",
        certificates=(CertificateConfig(tmp_path / "chain.pem", Path("/etc/key.pem")),),
        minimum="TLSv1.2",
        client_certificates="optional",
        client_ca_files=(tmp_path / "clients.pem",),
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({'mode = "required"': ""}, ["mode: is missing"]),
        ({'"required"': '"starttls"'}, ["mode: must be one of offered, required, implicit"]),
        (
            {", key =": ", keys ="},
            ["certificates[0].keys: unknown key; did you mean key?", "certificates[0].key: is missing"],
        ),
        ({'"chain.pem"': "3"}, ["certificates[0].certificate: must be a path in quotes"]),
        ({'{ certificate = "chain.pem", key = "/etc/key.pem" }': ""}, ["certificates: needs at least one"]),
        ({"mode =": 'minimum = "TLSv1.1"\nmode ='}, ["minimum: must be one of TLSv1.2, TLSv1.3"]),
        (
            {"mode =": 'client_certificates = "optional"\nmode ='},
            ["client_ca_files: is missing: somebody has to vouch for the clients' certificates"],
        ),
        (
            {'"required"': '"offered"\nclient_certificates = "required"\nclient_ca_files = ["ca.pem"]'},
            ["mode: has to be required or implicit: who does without TLS would do without a certificate, too"],
        ),
        (
            {"mode =": 'client_ca_files = ["ca.pem"]\nmode ='},
            ["client_ca_files: has no effect while client_certificates is none"],
        ),
    ],
)
def test_a_mistake_in_tls_towards_clients_is_named_and_takes_the_destination_with_it(write, changes, expected):
    table = TLS
    for old, new in changes.items():
        table = table.replace(old, new)
    path = write(f'{MINIMAL}tls = "inside"\n{table}')
    assert sorted(complaints(path)) == sorted(f"listener_tls.inside.{each}" for each in expected)
    assert examine(path).config.destinations == ()
    assert examine(path).config.listener_tls == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MINIMAL + TLS, ["listener_tls.inside: no destination uses it"]),
        (f"{MINIMAL}tls = 'outside'", ["destinations[0].tls: there is no such table in listener_tls"]),
        (f"{MINIMAL}tls = true", ["destinations[0].tls: must be text in quotes"]),
        (f"listener_tls = 3\n{MINIMAL}", ["listener_tls: must be written as [listener_tls.NAME]"]),
        (
            MINIMAL.replace("tcp:1588", "ssl:1588:privateKey=/k") + f'tls = "inside"\n{TLS}',
            ["destinations[0].listen.globex: ssl: brings a certificate of its own; beside tls write tcp:"],
        ),
        (
            f'{MINIMAL}tls = "a b"\n{TLS.replace("inside", chr(34) + "a b" + chr(34))}',
            [
                "listener_tls.\"a b\": a name must be 1 to 200 letters, digits, '_' or '-'",
                "destinations[0].tls: must be 1 to 200 letters, digits, '_' or '-'",
            ],
        ),
    ],
)
def test_tls_and_destinations_have_to_agree(write, text, expected):
    assert complaints(write(text)) == expected


DESTINATION_MISTAKES = [
    ('name = "n"', ["protocol: is missing", "listen: is missing"]),
    ('name = ""\nprotocol = "smtp"\nlisten = "tcp:1"', ["name: must be 1 to 200 letters, digits, '_' or '-'"]),
    ('name = "../n"\nprotocol = "smtp"\nlisten = "tcp:1"', ["name: must be 1 to 200 letters, digits, '_' or '-'"]),
    ('name = "n"\nprotocol = "imap"\nlisten = "tcp:1"', ["protocol: must be one of smtp, pop3"]),
    ('name = "n"\nprotocol = "SMTP"\nlisten = "tcp:1"', ["protocol: must be one of smtp, pop3"]),
    (
        'name = "n"\nprotocol = "smtp"\nlisten = "tcp:1"\nservice = "nope"',
        ["service: there is no such table in destination_services"],
    ),
    (
        'name = "n"\nprotocol = "smtp"\nlisten = "tcp:1"\nlevel = "subaccount"',
        ["level: a directory of destinations has none; it needs a service with a binding"],
    ),
    (
        'name = "n"\nprotocol = "smtp"\nlisten = "tcp:1"\nlevel = "account"',
        ["level: must be one of subaccount, instance, provider_subaccount, provider_instance"],
    ),
    (
        'name = "n"\nprotocol = "smtp"\nlisten = "tcp:1"\nfragment = "f@global"',
        ["fragment: must be NAME or NAME@LEVEL, several with commas"],
    ),
    (
        'name = "n"\nprotocol = "smtp"\nlisten = "tcp:1"\nfragment_optional = true',
        ["fragment_optional: needs exactly one fragment"],
    ),
    (
        'name = "n"\nprotocol = "smtp"\nlisten = {}',
        ["listen: must be an endpoint in quotes, or a table of tenants with one endpoint each"],
    ),
    (
        'name = "n"\nprotocol = "smtp"\nlisten = { acme = 3, "A.B" = "tcp:1", globex = "udp:1" }',
        [
            "listen.acme: must be an endpoint in quotes, such as tcp:1587",
            'listen."A.B": a tenant\'s name must be one DNS label: lower case letters, digits and inner hyphens',
            "listen.globex: not an endpoint to listen on: must begin with tcp:, tcp6:, ssl:, unix:, systemd:",
        ],
    ),
    (
        'name = "n"\nprotocol = "smtp"\nlisten = { acme = "tcp:01587" }',
        ["listen.acme: listens where destinations[0].listen.acme does"],
    ),
    (
        'name = "n"\nprotocol = "pop3"\nlisten = "tcp:1588:interface=0.0.0.0"',
        ["listen: listens where destinations[0].listen.globex does"],
    ),
    (
        'name = "example-dest-smtp"\nprotocol = "smtp"\nlisten = { globex = "tcp:2000" }',
        ["listen.globex: the same destination and tenant as destinations[0].listen.globex"],
    ),
]


@pytest.mark.parametrize(("entry", "expected"), DESTINATION_MISTAKES)
def test_a_mistake_in_a_destination_is_named_by_its_place(write, entry, expected):
    text = f"{MINIMAL}\n[[destinations]]\n{entry}\n"
    assert complaints(write(text)) == [f"destinations[1].{each}" for each in expected]


PROXIED = 'proxy_protocol = "any"\nproxy_protocol_from = ["10.0.0.0/8"]\n'


@pytest.mark.parametrize(
    "entry",
    [
        PROXIED,
        'proxy_protocol = "v1"\nproxy_protocol_from = ["192.0.2.1", "2001:db8::/32", "::1", "unix"]',
        f'{PROXIED}proxy_protocol_inside_tls = true\ntls = "inside"',
        'send_proxy = "v2"\nxclient = "offered"',
        'xclient = "required"\npool = true',
    ],
)
def test_a_header_that_is_believed_or_sent(write, entry):
    more = TLS.replace("required", "implicit") if "tls =" in entry else ""
    assert complaints(write(f"{MINIMAL}{entry}\n{more}")) == []


EVERYBODY = "must not be everybody: whoever is listed is believed in all it says"
NO_NETWORK = "must be an address, a network such as 10.0.0.0/8, or 'unix'"


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (
            'proxy_protocol = "v1"',
            ["proxy_protocol_from: is missing: a header is only believed from addresses that are listed"],
        ),
        (
            'proxy_protocol = "any"\nproxy_protocol_from = []',
            ["proxy_protocol_from: is missing: a header is only believed from addresses that are listed"],
        ),
        ("proxy_protocol = true", ["proxy_protocol: must be one of off, v1, v2, any"]),
        (
            'proxy_protocol_from = ["10.0.0.0/8"]\nproxy_protocol_inside_tls = true',
            [
                "proxy_protocol_from: has no effect while proxy_protocol is off",
                "proxy_protocol_inside_tls: has no effect while proxy_protocol is off",
            ],
        ),
        *(
            (
                f'proxy_protocol = "v1"\nproxy_protocol_from = ["10.0.0.1", "{text}"]',
                [f"proxy_protocol_from[1]: {wrong}"],
            )
            for text, wrong in [
                ("0.0.0.0/0", EVERYBODY),
                ("::/0", EVERYBODY),
                ("10.0.0.1/8", NO_NETWORK),
                ("balancer.example.com", NO_NETWORK),
                ("::ffff:10.0.0.0/104", "must be written as what it is, an address or network of IPv4"),
                ("", NO_NETWORK),
                ("10.0.0.0/33", NO_NETWORK),
                ("UNIX", NO_NETWORK),
            ]
        ),
        (
            f"{PROXIED}proxy_protocol_inside_tls = true",
            ["proxy_protocol_inside_tls: needs implicit TLS: nothing else comes before the session"],
        ),
        ('send_proxy = "v3"', ["send_proxy: must be one of off, v1, v2"]),
        ("xclient = true", ["xclient: must be one of off, offered, required"]),
        (
            'send_proxy = "v1"\nmax_connections = 3',
            ["max_connections: has no effect beside send_proxy: each session has its own connection"],
        ),
        (
            'xclient = "offered"\nmax_connections = 3',
            ["max_connections: has no effect beside xclient: each session has its own connection"],
        ),
    ],
)
def test_a_mistake_about_headers_is_named(write, entry, expected):
    assert complaints(write(f"{MINIMAL}{entry}\n")) == [f"destinations[0].{each}" for each in expected]


@pytest.mark.parametrize("mode", ["offered", "required"])
def test_a_header_is_inside_tls_only_where_that_comes_first(write, mode):
    text = f'{MINIMAL}{PROXIED}proxy_protocol_inside_tls = true\ntls = "inside"\n{TLS.replace("required", mode)}'
    assert complaints(write(text)) == [
        "destinations[0].proxy_protocol_inside_tls: needs implicit TLS: nothing else comes before the session"
    ]


def test_the_short_form_of_tls_is_implicit(write):
    listen = 'listen = "ssl:1:privateKey=/k"'
    text = MINIMAL.replace('listen = { acme = "tcp:1587", globex = "tcp:1588" }', listen)
    assert complaints(write(f"{text}{PROXIED}proxy_protocol_inside_tls = true")) == []


def test_xclient_is_for_smtp(write):
    text = MINIMAL.replace('"smtp"', '"pop3"')
    assert complaints(write(f'{text}send_proxy = "v1"')) == []
    assert complaints(write(f'{text}xclient = "offered"')) == [
        "destinations[0].xclient: is for smtp; to a server of pop3 there is send_proxy"
    ]


def test_one_look_finds_every_mistake(write):
    text = """
    severname = "x"
    [timeouts]
    login_seconds = "soon"
    reply_seconds = -1
    [destination_services.local]
    directory = "destinations"
    [[destinations]]
    name = "a"
    protocol = "smtp"
    listen = "tcp:70000"
    [[destinations]]
    name = "b"
    service = "nope"
    protocol = "pop3"
    listen = "tcp:2000"
    [[destinations]]
    name = "c"
    protocol = "pop3"
    listen = "tcp:2000"
    """
    assert complaints(write(text)) == [
        "severname: unknown key; did you mean server_name?",
        "timeouts.login_seconds: must be a number",
        "timeouts.reply_seconds: must be between 0.01 and 86400",
        "destinations[0].listen: not an endpoint to listen on: port must be a number from 0 to 65535",
        "destinations[1].service: there is no such table in destination_services",
        "destinations[2].listen: listens where destinations[1].listen does",
    ]


def test_a_file_with_mistakes_is_refused_whole(write):
    with pytest.raises(ConfigError) as caught:
        load(write(MINIMAL + "[tenants.nobody]\n[pop3]\nfix_newlines = 1"))
    assert len(caught.value.problems) == 2


def test_what_is_sound_can_still_be_looked_at(write):
    text = MINIMAL + '[[destinations]]\nname = "x"\n[timeouts]\nlogin_seconds = 0\nline_seconds = 9\n[smtp]\n'
    config = examine(write(text)).config
    assert [each.name for each in config.destinations] == ["example-dest-smtp"]
    assert config.timeouts.line_seconds == 60.0


def test_a_trust_that_trusts_nobody_does_not_keep_the_rest_from_being_looked_at(write):
    examined = examine(write(MINIMAL + "[trust]\nplatform = false\n"))
    assert len(examined.problems) == 1
    assert examined.config.trust == TrustConfig()
    assert [each.name for each in examined.config.destinations] == ["example-dest-smtp"]


def test_a_service_with_a_mistake_is_not_complained_about_again(write):
    text = MINIMAL.replace('directory = "destinations"', "directory = 3")
    assert complaints(write(text)) == ["destination_services.local.directory: must be a path in quotes"]
    assert examine(write(text)).config.destinations == ()


def test_a_tenant_of_a_faulty_destination_is_not_called_unused(write):
    text = MINIMAL.replace('"smtp"', '"imap"') + "[tenants.acme]\n"
    assert complaints(write(text)) == ["destinations[0].protocol: must be one of smtp, pop3"]


def test_an_empty_file_has_nothing_to_listen_for(write):
    assert complaints(write("")) == ["destinations: is missing: there is nothing to listen for"]


def test_with_two_services_each_destination_names_its_own(write):
    text = MINIMAL + '[destination_services.other]\nbinding = "b"\n'
    assert complaints(write(text)) == [
        "destinations[0].service: is missing: there is not exactly one table in destination_services"
    ]


def test_level_and_fragment_go_with_a_binding(write):
    text = MINIMAL.replace('directory = "destinations"', 'binding = "key.json"')
    text += 'level = "subaccount"\nfragment = "eu@instance"\nfragment_optional = true\n'
    destination = load(write(text)).destinations[0]
    assert (destination.level, destination.fragment) == ("subaccount", "eu@instance")


def test_fragments_may_have_blanks_around_their_commas(write):
    text = MINIMAL.replace('directory = "destinations"', 'binding = "key.json"') + 'fragment = "eu, us@instance"\n'
    assert load(write(text)).destinations[0].fragment == "eu, us@instance"


SYNTAX = [
    (b"a = 1\nb = = 2\n", "line 2, column 5: Invalid value"),
    (b"a = 1\na = 2\n", "line 2, column 6: Cannot overwrite a value"),
    (b"[t]\n[t]\n", "line 2, column 3: Cannot declare ('t',) twice"),
    (b"a = ", "line 1, column 5: Invalid value"),
    (b"x = 1\ny = 'caf\xe9'", "line 2, column 9: not UTF-8"),
    (b"a = " + b"[" * 20_000, "nested too deeply"),
    (b"a = " + b"9" * 5000, "a number is too long"),
    (b"#" * (MAX_FILE_OCTETS + 1), f"is larger than {MAX_FILE_OCTETS} octets"),
]


@pytest.mark.parametrize(("octets", "expected"), SYNTAX, ids=range(len(SYNTAX)))
def test_a_syntax_error_names_line_and_column(write, octets, expected):
    assert complaints(write(octets)) == [expected]


def test_a_file_that_is_not_there(tmp_path):
    assert complaints(tmp_path / "none.toml") == ["cannot be read: No such file or directory"]
    assert complaints(tmp_path) == ["cannot be read: Is a directory"]


def test_complaints_do_not_repeat_values(write):
    text = MINIMAL.replace('"tcp:1587"', '"hunter2"') + '[tenants.globex]\nid = "hunter2 "\nsubdomain = "Hunter2"\n'
    problems = complaints(write(text))
    assert len(problems) == 3
    assert not any("unter2" in problem for problem in problems)


def test_thousands_of_listeners_are_judged_quickly(write):
    entries = "".join(
        f'[[destinations]]\nname = "d{number}"\nprotocol = "smtp"\nlisten = "tcp:{number + 1}"\n'
        for number in range(2000)
    )
    assert len(load(write('[destination_services.l]\ndirectory = "d"\n' + entries)).destinations) == 2000


VALUES = st.recursive(
    st.booleans()
    | st.integers()
    | st.sampled_from(['"smtp"', '"tcp:1"', '"x"', "1.5", "nan", "1979-05-27", "[]", "{}"]),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=3,
)
KEYS = st.sampled_from(
    [
        "server_name",
        "timeouts",
        "timeouts.login_seconds",
        "smtp.bare_newline",
        "trust.ca_files",
        "tenants",
        "tenants.acme",
        "tenants.acme.id",
        "listener_tls",
        "listener_tls.a.mode",
        "listener_tls.a.certificates",
        "destination_services",
        "destination_services.a.binding",
        "destinations",
    ]
)


def as_toml(value):
    if isinstance(value, bool):
        return str(value).lower()
    return f"[{', '.join(map(as_toml, value))}]" if isinstance(value, list) else str(value)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_any_value_anywhere_gives_complaints_and_no_crash(tmp_path_factory, values):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text("".join(f"{key} = {as_toml(value)}\n" for key, value in values.items()))
    assert complaints(path)


# The admin endpoint


def test_there_is_no_admin_endpoint_unless_it_is_asked_for(write):
    assert load(write(MINIMAL)).admin is None


def test_an_admin_endpoint_is_on_loopback_unless_it_is_said(write, tmp_path):
    assert load(write(f"[admin]\n{MINIMAL}")).admin == AdminConfig()
    text = '[admin]\nendpoint = "tcp:9000"\ntoken_file = "token"\nhost_names = ["ops.example.com"]\n'
    assert load(write(text + MINIMAL)).admin == AdminConfig(
        endpoint="tcp:9000:interface=127.0.0.1", token_file=tmp_path / "token", host_names=("ops.example.com",)
    )


@pytest.mark.parametrize(
    "endpoint", ["tcp:9494", "tcp6:9494", "unix:/run/mailproxy/admin", "tcp:9494:interface=127.9.9.9"]
)
def test_who_is_on_this_machine_needs_no_token(write, endpoint):
    assert load(write(f'[admin]\nendpoint = "{endpoint}"\n{MINIMAL}')).admin.token_file is None


@pytest.mark.parametrize("interface", ["0.0.0.0", "192.0.2.1", "\\\\:\\\\:"])
def test_others_need_one_unless_the_operator_says_otherwise(write, interface):
    text = f'[admin]\nendpoint = "tcp:9494:interface={interface}"\n'
    assert complaints(write(text + MINIMAL)) == [
        "admin.token_file: is missing: others than this machine can reach the endpoint"
    ]
    for more in ('token_file = "token"', "allow_without_token = true"):
        assert complaints(write(f"{text}{more}\n{MINIMAL}")) == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('endpoint = "nonsense"', "admin.endpoint: not an endpoint to listen on: must begin with tcp:"),
        ("endpoint = 9494", "admin.endpoint: must be an endpoint in quotes"),
        ('endpoint = "ssl:9494:privateKey=/k.pem"', "admin.endpoint: ssl: is for mail; it may begin with tcp:"),
        ('endpoint = "systemd:UNIX:name=admin"', "admin.endpoint: systemd: is for mail; it may begin with tcp:"),
        ('endpoint = "tcp:1588"', "admin.endpoint: listens where destinations[0].listen.globex does"),
        ('endpoint = "tcp:1588:interface=0.0.0.0"\ntoken_file = "t"', "admin.endpoint: listens where destinations[0]"),
        ('token_file = "t"\nallow_without_token = true', "admin.allow_without_token: has no effect while there is a"),
        ('host_names = ["not a name"]', "admin.host_names[0]: must be a host name"),
        ("port = 9494", "admin.port: unknown key"),
    ],
)
def test_a_mistake_about_it_is_told_and_it_does_not_come_into_use(write, text, complaint):
    path = write(f"[admin]\n{text}\n{MINIMAL}")
    (said,) = complaints(path)
    assert said.startswith(complaint)
    assert examine(path).config.admin is None


def test_there_may_be_one_where_there_are_workers(write):
    assert load(write(f"workers = 2\n[admin]\n{MINIMAL}")).admin == AdminConfig()
