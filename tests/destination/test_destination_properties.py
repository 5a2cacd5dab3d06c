"""What the properties of a destination mean."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailproxy.destination.access import TokenLogin
from mailproxy.destination.model import MailProtocol, Password, Timeouts, TLSMode, TLSSettings
from mailproxy.destination.properties import parse_destination, parse_login
from mailproxy.errors import DestinationUnusable

SMTP, POP3 = MailProtocol.SMTP, MailProtocol.POP3
SENTINEL = "sentinel-password-ü€"
AUTH, PROTOCOL = "Authentication: ", "mail.transport.protocol: "


def properties(protocol="smtp", **more):
    """A destination as in SAP's samples; in the keys of `more`, `__` stands for a dot and `P__` for its protocol."""
    base = {
        "Name": f"example-dest-{protocol}",
        "Type": "MAIL",
        "Authentication": "BasicAuthentication",
        "ProxyType": "Internet",
        "mail.user": "robot@example.com",
        "mail.password": SENTINEL,
        "mail.transport.protocol": protocol,
        f"mail.{protocol}.host": "mail.example.com",
    }
    for key, value in more.items():
        name = key.replace("P__", f"mail.{protocol}.").replace("__", ".").replace("_", "-" if "digest" in key else "_")
        base[name] = value
    return {key: value for key, value in base.items() if value is not ...}


def parse(protocol="smtp", **more):
    listener = SMTP if protocol.startswith("smtp") else POP3
    return parse_destination(properties(protocol, **more), listener_protocol=listener)


def problem(protocol="smtp", **more):
    with pytest.raises(DestinationUnusable) as caught:
        parse(protocol, **more)
    return str(caught.value)


@pytest.mark.parametrize(
    ("protocol", "speaks", "port", "mode"),
    [
        ("smtp", SMTP, 587, TLSMode.REQUIRED),
        ("smtps", SMTP, 465, TLSMode.IMPLICIT),
        ("pop3", POP3, 110, TLSMode.REQUIRED),
        ("pop3s", POP3, 995, TLSMode.IMPLICIT),
    ],
)
@pytest.mark.parametrize("authentication", ["BasicAuthentication", "OAuth2ClientCredentials"])
def test_all_eight_kinds_are_understood_and_encrypted_by_default(protocol, speaks, port, mode, authentication):
    destination, access = parse_login(properties(protocol, Authentication=authentication), listener_protocol=speaks)
    assert (destination.name, destination.protocol, destination.host) == (
        f"example-dest-{protocol}",
        speaks,
        "mail.example.com",
    )
    assert (destination.port, destination.tls, destination.login) == (port, TLSSettings(mode), True)
    assert (destination.warnings, destination.ignored) == ((), ())
    wanted = (
        Password("robot@example.com", SENTINEL)
        if authentication == "BasicAuthentication"
        else TokenLogin("robot@example.com")
    )
    assert access == wanted


def test_the_samples_of_sap_and_of_the_providers_parse():
    for sample in (
        {
            "Name": "example-dest-pop3s",
            "Type": "MAIL",
            "Authentication": "OAuth2ClientCredentials",
            "mail.user": "u",
            "mail.password": "p",
            "mail.transport.protocol": "pop3s",
            "mail.pop3s.host": "pop3s",
            "mail.pop3s.auth": "true",
            "mail.pop3s.port": "995",
            "ProxyType": "Internet",
            "tokenServiceURL": "https://x",
            "clientId": "c",
            "clientSecret": "s",
            "tokenServiceURLType": "Dedicated",
        },
        {
            "Name": "company-pop",
            "Type": "MAIL",
            "ProxyType": "Internet",
            "Authentication": "BasicAuthentication",
            "mail.user": "robot@example.com",
            "mail.password": "***",
            "mail.transport.protocol": "pop3s",
            "mail.pop3s.host": "mail.example.com",
            "mail.pop3s.port": "995",
        },
    ):
        destination = parse_destination(sample, listener_protocol=POP3)
        assert (destination.port, destination.ignored, destination.warnings) == (995, (), ())


@pytest.mark.parametrize(
    ("enable", "required", "mode"),
    [
        (..., ..., TLSMode.REQUIRED),
        ("true", ..., TLSMode.REQUIRED),
        ("false", ..., TLSMode.NONE),
        (..., "true", TLSMode.REQUIRED),
        ("true", "true", TLSMode.REQUIRED),
        ("false", "true", TLSMode.REQUIRED),
        (..., "false", TLSMode.OPPORTUNISTIC),
        ("true", "false", TLSMode.OPPORTUNISTIC),
        ("FALSE", "False", TLSMode.NONE),
        ("", "", TLSMode.REQUIRED),
        (None, None, TLSMode.REQUIRED),
        (False, ..., TLSMode.NONE),
    ],
)
@pytest.mark.parametrize("protocol", ["smtp", "pop3"])
def test_starttls_is_required_unless_the_destination_says_otherwise_in_so_many_words(protocol, enable, required, mode):
    destination = parse(protocol, P__starttls__enable=enable, P__starttls__required=required)
    assert destination.tls.mode is mode
    assert bool(destination.warnings) == (mode in (TLSMode.NONE, TLSMode.OPPORTUNISTIC))


@pytest.mark.parametrize(("protocol", "port"), [("smtp", 465), ("pop3", 995)])
def test_ssl_enable_means_implicit_tls_on_the_port_for_it(protocol, port):
    destination = parse(protocol, P__ssl__enable="true", P__starttls__enable="false")
    assert (destination.tls.mode, destination.port) == (TLSMode.IMPLICIT, port)


def test_an_implicit_tls_protocol_cannot_be_without_tls():
    assert problem("smtps", P__ssl__enable="false") == "mail.smtps.ssl.enable: is false, but smtps always is TLS"


@pytest.mark.parametrize(
    ("words", "minimum", "maximum", "warns"),
    [
        ("TLSv1.2", "TLSv1.2", "TLSv1.2", False),
        ("TLSv1.3", "TLSv1.3", None, False),
        ("TLSv1.2 TLSv1.3", "TLSv1.2", None, False),
        ("TLSv1.3,TLSv1.2", "TLSv1.2", None, False),
        ("SSLv3 TLSv1 TLSv1.1 TLSv1.2", "TLSv1.2", "TLSv1.2", True),
    ],
)
def test_of_the_tls_versions_only_those_from_1_2_on_are_kept(words, minimum, maximum, warns):
    destination = parse(P__ssl__protocols=words)
    assert (destination.tls.minimum, destination.tls.maximum) == (minimum, maximum)
    assert bool(destination.warnings) == warns


def test_without_a_tls_version_that_is_safe_the_destination_is_unusable():
    assert problem(P__ssl__protocols="TLSv1 TLSv1.1") == "mail.smtp.ssl.protocols: holds neither TLSv1.2 nor TLSv1.3"


def test_the_name_check_can_be_switched_off_with_a_warning_the_chain_cannot():
    destination = parse(P__ssl__checkserveridentity="false", P__ssl__trust="*", TrustAll="TRUE")
    assert destination.tls == TLSSettings(TLSMode.REQUIRED, check_name=False)
    assert [warning.split()[0] for warning in destination.warnings] == [
        "mail.smtp.ssl.checkserveridentity=false:",
        "mail.smtp.ssl.trust",
        "TrustAll",
    ]
    assert destination.ignored == ()


def test_what_says_what_is_the_case_anyway_is_not_worth_a_word():
    destination = parse(P__ssl__checkserveridentity="true", TrustAll="FALSE", P__auth__ntlm__disable="true")
    assert (destination.warnings, destination.ignored, destination.tls.check_name) == ((), (), True)


def test_times_are_in_milliseconds_and_none_is_infinite():
    times = {"P__connectiontimeout": "20000", "P__timeout": "1500", "P__writetimeout": 250}
    assert parse(**times).timeouts == Timeouts(connect=20.0, read=1.5, write=0.25)
    assert parse(P__timeout="0", P__writetimeout="-1").timeouts == Timeouts()


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("client.example.com.", "client.example.com"),
        ("192.0.2.1", "[192.0.2.1]"),
        ("[192.0.2.1]", "[192.0.2.1]"),
        ("2001:db8::1", "[IPv6:2001:db8::1]"),
    ],
)
def test_the_name_for_ehlo_is_a_host_name_or_an_address_literal(value, name):
    assert parse(P__localhost=value).ehlo_name == name


def test_pop3_can_do_without_capa():
    assert parse("pop3s").ask_capabilities
    assert not parse("pop3s", P__disablecapa="true").ask_capabilities


def test_mechanisms_are_kept_in_order_as_far_as_they_fit_the_login():
    assert parse().mechanisms is None
    destination = parse(P__auth__mechanisms="login plain XOAUTH2 DIGEST-MD5 login")
    assert destination.mechanisms == ("LOGIN", "PLAIN")
    assert destination.warnings == ("mail.smtp.auth.mechanisms: XOAUTH2, DIGEST-MD5 cannot be used here",)
    by_token = parse(Authentication="OAuth2ClientCredentials", P__auth__mechanisms="OAUTHBEARER XOAUTH2")
    assert by_token.mechanisms == ("OAUTHBEARER", "XOAUTH2")


def test_mechanisms_that_leave_no_way_to_log_in_make_it_unusable():
    assert problem(P__auth__mechanisms="NTLM XOAUTH2") == (
        "mail.smtp.auth.mechanisms: names none of PLAIN, LOGIN, CRAM-MD5, which BasicAuthentication needs"
    )


def test_mechanisms_can_be_switched_off():
    off = {"P__auth__login__disable": "true", "P__auth__plain__disable": "TRUE", "P__auth__xoauth2__disable": "false"}
    assert parse(**off).disabled == {"LOGIN", "PLAIN"}


@pytest.mark.parametrize(
    "more",
    [
        {"Authentication": "NoAuthentication", "mail__user": "", "mail__password": ...},
        {"Authentication": "NoAuthentication"},
        {"P__auth": "false", "mail__user": ..., "mail__password": ...},
        {"Authentication": "OAuth2ClientCredentials", "P__auth": False, "mail__user": ...},
    ],
)
def test_a_destination_may_want_no_login(more):
    destination = parse(**more)
    assert not destination.login
    assert destination.ignored == ()


def test_the_user_of_the_protocol_stands_in_for_the_missing_one():
    _, access = parse_login(properties(mail__user=..., P__user="other"), listener_protocol=SMTP)
    assert access == Password("other", SENTINEL)
    _, access = parse_login(properties(P__user="other"), listener_protocol=SMTP)
    assert access == Password("robot@example.com", SENTINEL)


@pytest.mark.parametrize(
    ("value", "host"),
    [
        (" Mail.Example.COM. ", "mail.example.com"),
        ("192.0.2.7", "192.0.2.7"),
        ("[2001:DB8:0::1]", "2001:db8::1"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("mail_server", "mail_server"),
    ],
)
def test_hosts_are_names_or_addresses(value, host):
    assert parse(P__host=value).host == host


@pytest.mark.parametrize(
    "value",
    [
        "https://mail.example.com",
        "mail.example.com:587",
        "a b",
        "-a.example",
        "a..b",
        "127.1",
        "2130706433",
        "0x7f000001",
        "fe80::1%eth0",
        ".",
        "a." * 127 + "com",
        "x" * 64 + ".example",
        "user@mail.example.com",
        "☃.example:1",
    ],
)
def test_what_is_no_host_name_is_refused(value):
    assert problem(P__host=value).startswith("mail.smtp.host: '")
    assert problem(P__host=value).endswith("' is no host name")


@pytest.mark.parametrize("value", ["0", "65536", "587.0", "0x24b", "٥٨٧", "5_87", "smtp", "-1", 587.5, [587]])
def test_a_bad_port_is_refused(value):
    assert problem(P__port=value).startswith("mail.smtp.port: is no ")


@pytest.mark.parametrize("value", ["2525", 2525, " 2525 "])
def test_a_port_may_be_a_text_or_a_number(value):
    assert parse(P__port=value).port == 2525


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"Type": "HTTP"}, "Type: is 'HTTP', not MAIL"),
        ({"Type": ...}, "Type: is missing"),
        ({"ProxyType": "PrivateLink"}, "ProxyType: is 'PrivateLink', not Internet or OnPremise"),
        ({"ProxyType": "OnPremise"}, "ProxyType: OnPremise is not supported yet, only Internet"),
        ({"ProxyType": ...}, "ProxyType: is missing"),
        ({"Authentication": "OAuth2RefreshToken"}, "Authentication: 'OAuth2RefreshToken' is not supported yet"),
        (
            {"Authentication": "OAuth2AuthorizationCode"},
            "Authentication: 'OAuth2AuthorizationCode' is not supported yet",
        ),
        (
            {"Authentication": "PrincipalPropagation"},
            "Authentication: 'PrincipalPropagation' is not supported for mail",
        ),
        ({"Authentication": ...}, "Authentication: is missing"),
        ({"mail__transport__protocol": "imap4"}, "mail.transport.protocol: is imap4: IMAP is not supported"),
        ({"mail__transport__protocol": "pop3s"}, "mail.transport.protocol: is pop3s, but the listener speaks smtp"),
        (
            {"mail__transport__protocol": "lmtp"},
            f"{PROTOCOL}is 'lmtp', not smtp or smtps or pop3 or pop3s",
        ),
        ({"mail__transport__protocol": ...}, "mail.transport.protocol: is missing"),
        ({"P__host": ...}, "mail.smtp.host: is missing"),
        ({"P__host": None}, "mail.smtp.host: is missing"),
        ({"mail__user": ""}, "mail.user: is missing"),
        ({"mail__password": ...}, "mail.password: is missing"),
        ({"mail__user": "a\x01b"}, "mail.user: holds control characters"),
        ({"mail__password": f"{SENTINEL}\r\nQUIT"}, "mail.password: holds control characters"),
        ({"mail__password": f"{SENTINEL}\0"}, "mail.password: holds control characters"),
        ({"mail__password": f"{SENTINEL}\ud800"}, "mail.password: holds control characters"),
        ({"mail__password": [SENTINEL]}, "mail.password: is no text"),
        ({"P__auth": "yes"}, "mail.smtp.auth: is neither true nor false"),
        ({"P__starttls__required": "maybe"}, "mail.smtp.starttls.required: is neither true nor false"),
        ({"P__timeout": "5s"}, "mail.smtp.timeout: is no whole number from -10000000000 to 10000000000"),
        ({"P__localhost": "my pc"}, "mail.smtp.localhost: 'my pc' is no host name"),
        ({"Name": "../etc"}, "Name: is not 1 to 200 letters, digits, '_' or '-'"),
        ({"Name": "x" * 201}, "Name: is not 1 to 200 letters, digits, '_' or '-'"),
        ({"Type": "MA\x1bIL"}, "Type: holds control characters"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_sentence_that_names_the_key(more, sentence):
    assert problem(**more) == sentence
    assert SENTINEL not in sentence


def test_the_listener_and_the_destination_have_to_agree():
    with pytest.raises(DestinationUnusable, match="is smtp, but the listener speaks pop3"):
        parse_destination(properties("smtp"), listener_protocol=POP3)


def test_properties_without_effect_are_named_once_and_values_never():
    destination = parse(
        P__from="a@example.com",
        P__socks__host="proxy",
        mail__pop3__host="other",
        mail__bpm__send__disabled="false",
        User="u",
        Password=SENTINEL,
        TrustStoreLocation="x.jks",
        Description="two\nlines",
        clientSecret=SENTINEL,
        tokenService__body__x=SENTINEL,
        tokenServiceURL__queries__y="1",
        CloudConnectorLocationId="dc",
    )
    assert destination.ignored == (
        "Password",
        "TrustStoreLocation",
        "User",
        "mail.bpm.send.disabled",
        "mail.pop3.host",
        "mail.smtp.from",
        "mail.smtp.socks.host",
    )
    assert SENTINEL not in repr(destination)


def test_strange_keys_are_escaped_and_bounded_in_number():
    more = {f"mail.x{number}\n": "" for number in range(70)}
    destination = parse_destination({**properties(), **more}, listener_protocol=SMTP)
    assert len(destination.ignored) == 50
    assert all("\n" not in key for key in destination.ignored)


KEYS = st.sampled_from(
    [*properties("smtp"), *properties("pop3s"), "mail.smtp.port", "mail.smtp.auth", "mail.smtp.timeout"]
)
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.lists(st.text(max_size=2), max_size=2)
)


@settings(max_examples=200)
@given(st.dictionaries(st.one_of(KEYS, st.text(max_size=12)), VALUES, max_size=8), st.sampled_from(MailProtocol))
def test_whatever_a_service_answers_it_is_a_destination_or_unusable(changes, listener):
    try:
        destination = parse_destination({**properties(), **changes}, listener_protocol=listener)
    except DestinationUnusable as error:
        sentence = str(error)
    else:
        sentence = repr(destination)
        assert destination.protocol is listener
        assert 1 <= destination.port <= 65535
    assert sentence.isprintable()
