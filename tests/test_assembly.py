"""What the configuration says of a listener arrives where it is obeyed."""

from ipaddress import ip_network

import attrs
import pytest

from mailproxy.assembly import Assembly, Tools
from mailproxy.config import LimitsConfig, TimeoutsConfig
from mailproxy.config.values import HoldOffConfig
from mailproxy.destination.model import Destination, Login, MailProtocol, TLSMode, TLSSettings
from mailproxy.downstream.balancers import Balancers
from mailproxy.downstream.rooms import Rooms
from mailproxy.recipes import OwnNames, orders
from mailproxy.session.actions import Waiting
from mailproxy.session.encryption import Encryption
from mailproxy.upstream.connector import Connector
from mailproxy.upstream.direct import Direct
from mailproxy.upstream.holdoff import HoldOffSettings
from mailproxy.wire.proxyprotocol import Version
from tests.support.proxies import HEAD, Site

BOTH = """
[listener_tls.tls]
mode = "required"
certificates = [{ certificate = "a.pem", key = "a.pem" }]
[[destinations]]
name = "pop"
service = "local"
protocol = "pop3"
listen = { acme = "tcp:1110" }
tls = "tls"
"""


def distinct(table):
    """A table in which every number is another one."""
    numbers = {field.name: 100 + place for place, field in enumerate(attrs.fields(table))}
    return table(**{name: type(attrs.fields_dict(table)[name].default)(number) for name, number in numbers.items()})


@pytest.fixture
def made(tmp_path, monkeypatch):
    """What an SMTP and a POP3 listener are made with: configuration, keepers, connectors' arguments."""
    site = Site(tmp_path)
    config = attrs.evolve(
        site.write('server_name = "us.test"\nehlo_name = "we.test"', head=HEAD + BOTH, dest='{ acme = "tcp:1587" }'),
        timeouts=distinct(TimeoutsConfig),
        limits=distinct(LimitsConfig),
        hold_off=distinct(HoldOffConfig),
    )
    arguments = []

    def connector(*args, **more):
        arguments.append((args, more))
        return Connector(*args, **more)

    monkeypatch.setattr("mailproxy.assembly.Connector", connector)
    tools = Tools(site.reactor, lambda _: "client tls", lambda settings, where, _: (settings, where), lambda: 0.5)
    assembly = Assembly(tools, Rooms(), lambda *_: False)
    keepers = [assembly.keeper(order) for order in orders(config, OwnNames("host.test"))]
    yield config, {keeper.order.recipe.upstream.protocol: keeper for keeper in keepers}, arguments
    for keeper in keepers:
        keeper.end.close()


def test_every_timeout_arrives(made):
    config, keepers, arguments = made
    timeouts = config.timeouts
    for protocol, keeper in keepers.items():
        around = keeper.factory._around
        smtp = protocol is MailProtocol.SMTP
        command = timeouts.command_seconds if smtp else timeouts.pop3_command_seconds
        for waiting in set(Waiting) - {Waiting.NOBODY, Waiting.UPSTREAM_LOGIN}:
            is_command = waiting in (Waiting.DOWNSTREAM_COMMAND, Waiting.DOWNSTREAM_FIRST_COMMAND)
            wanted = command if is_command else getattr(timeouts, f"{waiting.value}_seconds")
            assert around.timeouts[waiting] == wanted, waiting
        assert around.stall_seconds == timeouts.stall_seconds
        assert around.close_seconds == timeouts.close_seconds
        assert around.upstreams._quit_seconds == timeouts.upstream_quit_seconds
        assert around.overload_seconds == timeouts.overload_command_seconds
    for _, more in arguments:
        assert (more["login_seconds"], more["connect_seconds"]) == (timeouts.login_seconds, timeouts.connect_seconds)


def test_every_limit_of_a_listener_arrives(made):
    config, keepers, arguments = made
    limits = config.limits
    for keeper in keepers.values():
        keeper.settle()
        assert keeper.door.limit == limits.max_sessions_per_listener
        assert keeper.factory._around.min_content_rate == limits.min_content_octets_per_second
    for _, more in arguments:
        assert more["max_pending_logins"] == limits.max_pending_logins
        assert more["hold_off"] == HoldOffSettings(**attrs.asdict(config.hold_off))


def test_tls_towards_the_client_arrives(made):
    config, keepers, _ = made
    around = keepers[MailProtocol.POP3].factory._around
    assert around.server_tls == (config.listener_tls["tls"], f"{config.path}: listener_tls.tls.")
    assert (around.encryption, keepers[MailProtocol.POP3].factory._policy.encryption) == (Encryption.REQUIRED,) * 2
    around = keepers[MailProtocol.SMTP].factory._around
    assert (around.server_tls, around.encryption) == (None, Encryption.PLAINTEXT)


def test_the_log_has_the_listeners_names(made):
    _, keepers, _ = made
    for protocol, name in ((MailProtocol.SMTP, "dest"), (MailProtocol.POP3, "pop")):
        keepers[protocol].settle()
        log = keepers[protocol].factory.log
        assert (log.destination, log.tenant, log.label) == (name, "acme", f"acme/{name}")


def test_a_connection_to_a_mail_server_knows_what_it_may_and_who_we_are(made):
    _, keepers, arguments = made
    streams = {}
    for protocol, (args, _) in zip(keepers, arguments, strict=True):
        destination = Destination("d", protocol, "mail.test", 25, TLSSettings(TLSMode.NONE), login=False)
        streams[protocol] = args[4](Login(destination, None), None)
    smtp = streams[MailProtocol.SMTP]
    assert (smtp.identity, smtp._own_name) == (b"we.test", b"us.test")
    assert (smtp._allow_plaintext_auth, streams[MailProtocol.POP3]._allow_plaintext_auth) == (True, False)
    assert smtp.farewells is streams[MailProtocol.POP3].farewells is not None


PROXIED = """
proxy_protocol = "{version}"
proxy_protocol_from = ["10.0.0.0/8", "2001:db8::1", "unix"]
proxy_protocol_inside_tls = true
tls = "tls"
"""


MORE = f"""
timeouts.proxy_header_seconds = 7
limits.max_pending_headers = 9
{HEAD}
[listener_tls.tls]
mode = "implicit"
certificates = [{{ certificate = "a.pem", key = "a.pem" }}]
"""


def keeper_of(site, listen, head=HEAD):
    tools = Tools(site.reactor, lambda _: "client tls", lambda settings, where, _: (settings, where), lambda: 0.5)
    assembly = Assembly(tools, Rooms(), lambda *_: False)
    (order,) = orders(site.write(head=head, dest=listen), OwnNames("host.test"))
    return assembly.keeper(order)


@pytest.mark.parametrize(("version", "versions"), [("v1", {Version.V1}), ("v2", {Version.V2}), ("any", set(Version))])
def test_what_is_said_of_balancers_is_what_the_listener_expects(tmp_path, version, versions):
    keeper = keeper_of(Site(tmp_path), f'"tcp:1"\n{PROXIED.format(version=version)}', MORE)
    assert keeper.factory._around.balancers == Balancers(
        versions=frozenset(versions),
        networks=(ip_network("10.0.0.0/8"), ip_network("2001:db8::1")),
        local=True,
        inside_tls=True,
        seconds=7.0,
        most=9,
    )
    keeper.end.close()


def test_where_nothing_is_said_of_balancers_there_is_no_gate(made):
    _, keepers, _ = made
    for keeper in keepers.values():
        assert keeper.factory._around.balancers is None
        assert keeper.factory._around.introduce is None
        assert keeper.factory._gate is None


TO_ANYBODY = Destination("dest", MailProtocol.SMTP, "mail.test", 25, TLSSettings(TLSMode.NONE), login=False)


@pytest.mark.parametrize(
    ("telling", "version", "xclient"),
    [
        ('send_proxy = "v1"', Version.V1, "off"),
        ('send_proxy = "v2"\nxclient = "offered"', Version.V2, "offered"),
        ('xclient = "required"', None, "required"),
    ],
)
def test_what_the_mail_server_is_told_is_what_streams_are_made_with(tmp_path, telling, version, xclient):
    keeper = keeper_of(Site(tmp_path), f'"tcp:1"\n{telling}')
    upstreams = keeper.factory._around.upstreams
    assert isinstance(upstreams, Direct)
    assert keeper.factory._around.introduce == upstreams.introduce
    stream = upstreams._connect.__self__._make_stream(Login(TO_ANYBODY, None), None)
    assert (stream.send_proxy, stream._xclient) == (version, xclient)
    keeper.end.close()
