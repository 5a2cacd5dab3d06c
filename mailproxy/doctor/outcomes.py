"""
What failures with the same outcome have in common: on whose side they are, what they mean, and what to do.

Whoever knows the words of a failure knows more.  This holds where nobody knows them, for the doctor and for the pages
that show what went wrong lately.
"""

from __future__ import annotations

from attrs import frozen


@frozen
class Meaning:
    """On whose side the cause of a failure is, the cause, and what to do about it: each a step, or another way."""

    side: str
    cause: str
    remedy: tuple[str, ...]


MAIL_SERVER = "mail server"
DESTINATION = "destination"
TOKEN_SERVICE = "token service"  # noqa: S105 - names a service, is no secret
DESTINATION_SERVICE = "Destination service"
SERVICE = "destination or token service"
CONFIGURATION = "configuration of mailproxy"
OURS = "mailproxy"
SIDES = (MAIL_SERVER, DESTINATION, TOKEN_SERVICE, DESTINATION_SERVICE, SERVICE, CONFIGURATION, OURS)
"""Where a cause can be: with whom, or in what, something has to be set right."""

MEANINGS = {
    "upstream_error": Meaning(
        MAIL_SERVER, "The mail server, or the way to it, failed.", ("See whether the mail server works at all.",)
    ),
    "upstream_name_lookup_failed": Meaning(
        OURS,
        "The name service of this machine gives no answer about the mail server's host.",
        ("See to the machine's resolver; other names may be affected, too.",),
    ),
    "upstream_host_not_found": Meaning(
        DESTINATION,
        "There is no such host.",
        ("Correct the host in the destination, or the record in the name service.",),
    ),
    "upstream_unreachable": Meaning(
        MAIL_SERVER,
        "Nobody answers at the mail server's address and port.",
        ("See whether the server runs, whether host and port are right, and what a firewall in between does.",),
    ),
    "upstream_refused_session": Meaning(
        MAIL_SERVER,
        "The mail server closes the connection, stays silent, or does not want us at the moment.",
        ("Read its words; often it limits sessions, or knows our address as a sender of spam.",),
    ),
    "upstream_lost": Meaning(
        MAIL_SERVER,
        "The connection broke in the middle of a session.",
        ("A single one is nothing; many are a matter for the mail server's or the network's people.",),
    ),
    "upstream_timeout": Meaning(
        MAIL_SERVER,
        "The mail server took longer than it may.",
        ("See how busy it is; the waits are those of [timeouts].",),
    ),
    "upstream_protocol_error": Meaning(
        MAIL_SERVER,
        "The other side does not speak the protocol.",
        ("See whether host and port are those of a mail server, and whether port and TLS go together.",),
    ),
    "upstream_lacks_tls": Meaning(
        MAIL_SERVER,
        "TLS is required, and the mail server does not offer it on this port.",
        ("Use the port that has TLS, or have the server's people switch it on.",),
    ),
    "upstream_tls_failed": Meaning(
        MAIL_SERVER,
        "The mail server's certificate proves nothing, or the handshake failed.",
        ("Have it renewed if it has expired; name its authority in [trust] if that is your own; correct the host.",),
    ),
    "upstream_lacks_mechanism": Meaning(
        DESTINATION,
        "Mail server and destination have no way to log in in common.",
        ("Compare the mechanisms that the destination allows with those that the server offers.",),
    ),
    "upstream_refused_login": Meaning(
        DESTINATION,
        "The mail server does not accept the credentials.",
        (
            "Renew password or client secret in the destination.",
            "See whether the mailbox may log in by this protocol.",
        ),
    ),
    "loop": Meaning(
        DESTINATION,
        "The destination leads back to mailproxy itself.",
        ("Put the mail server's host and port into it.",),
    ),
    "destination_error": Meaning(SERVICE, "The destination could not be found out.", ("Read the sentence.",)),
    "destination_unavailable": Meaning(
        SERVICE,
        "The destination service or the token service gives no answer that can be used.",
        ("See to that service, and to the way to it; mailproxy goes on by itself when it is back.",),
    ),
    "token_refused": Meaning(
        DESTINATION,
        "The token service refuses the client.",
        ("Compare client id, client secret, scope and tenant in the destination with what is registered there.",),
    ),
    "destination_unknown": Meaning(
        DESTINATION,
        "There is no such destination, fragment or tenant.",
        ("Create it, or correct its name in the configuration; upper and lower case count.",),
    ),
    "destination_unusable": Meaning(
        DESTINATION, "The destination cannot be used as it stands.", ("Correct the property that the sentence names.",)
    ),
    "upstream_lacks_xclient": Meaning(
        MAIL_SERVER,
        "The mail server has to be told of the client with XCLIENT, and does not offer that to us.",
        ("List our address at the mail server (Postfix: smtpd_authorized_xclient_hosts), or set xclient to offered.",),
    ),
    "proxy_header_refused": Meaning(
        OURS,
        "A balancer began a connection with a PROXY header that cannot be used.",
        ("Compare what the balancer sends, and when, with proxy_protocol of the destination's listeners.",),
    ),
    "limit_reached": Meaning(
        OURS,
        "A limit of mailproxy's own was reached.",
        ("See whether the mail server is slow; else raise the limit that the sentence names.",),
    ),
}
"""By outcome."""

REFUSED = Meaning(
    MAIL_SERVER,
    "The mail server refuses what was asked of it behind the login; a client of the proxy would get the same reply.",
    ("Its words say why; give them, with the time, to whoever runs it.",),
)
"""Of a reply that is a failure to nobody but who wanted another one."""
