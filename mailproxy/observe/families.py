"""
The metrics there are: names, kinds, labels, and what each of them says.

Names and labels are an interface: dashboards and alerts rely on them.  A label takes a value out of a list that the
code or the configuration has, never one that a peer may choose, so that their number is bounded.
"""

from __future__ import annotations

from typing import Literal

from attrs import frozen

Kind = Literal["counter", "gauge", "histogram"]

LISTENER = ("destination", "tenant", "protocol")
SOURCE = ("service", "tenant")


@frozen
class Family:
    """One metric; the samples of a counter have `_total` behind its name."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str


STARTED = Family("mailproxy_sessions_started", "counter", LISTENER, "Clients that have connected.")
ENDED = Family("mailproxy_sessions", "counter", (*LISTENER, "outcome"), "Sessions that have ended, by outcome.")
ACTIVE = Family("mailproxy_sessions_active", "gauge", LISTENER, "Sessions at this moment.")
TURNED_AWAY = Family(
    "mailproxy_sessions_turned_away", "counter", (*LISTENER, "limit"), "Clients without a place, by the limit met."
)
SEEN = Family(
    "mailproxy_sessions_seen", "counter", (*LISTENER, "what"), "Sessions in which this was the case, each once."
)
MAILS_STARTED = Family("mailproxy_transactions_started", "counter", LISTENER, "MAIL commands that were accepted.")
MAILS = Family(
    "mailproxy_transactions", "counter", (*LISTENER, "result"), "Messages that have ended, by what their end was told."
)
UNKNOWN = Family("mailproxy_deliveries_unknown", "counter", LISTENER, "Messages that the mail server may have, or not.")
RECIPIENTS = Family("mailproxy_recipients", "counter", (*LISTENER, "result"), "RCPT commands, by their reply.")
OCTETS = Family(
    "mailproxy_octets", "counter", (*LISTENER, "side", "direction"), "Octets that went through, TLS not counted."
)
REPLIES = Family(
    "mailproxy_replies", "counter", (*LISTENER, "author", "stage", "class"), "Replies to clients, and who said them."
)
SESSION = Family("mailproxy_session_seconds", "histogram", LISTENER, "From a client's connection to its session's end.")
READY = Family(
    "mailproxy_upstream_ready_seconds",
    "histogram",
    LISTENER,
    "From the wish for a mail server until it is ready for commands.",
)
TRANSACTION = Family(
    "mailproxy_transaction_seconds", "histogram", LISTENER, "From MAIL to the reply to the end of the message."
)
FIRST_REPLY = Family(
    "mailproxy_first_reply_seconds",
    "histogram",
    LISTENER,
    "From a session's first octet to the mail server to the first octet back.",
)
POOL = Family("mailproxy_pool_connections", "gauge", (*LISTENER, "state"), "Connections to the mail server.")
WAITING = Family("mailproxy_pool_waiting", "gauge", LISTENER, "Sessions that wait for a connection.")
MADE = Family("mailproxy_pool_made", "counter", LISTENER, "Connections that were made and logged in.")
REUSED = Family("mailproxy_pool_reused", "counter", LISTENER, "Times that a connection went to another session.")
HOLD_OFF = Family(
    "mailproxy_hold_off", "gauge", (*LISTENER, "what"), "1 while it is left alone because it failed, else 0."
)
CERTIFICATE = Family(
    "mailproxy_certificate_expiry_timestamp_seconds", "gauge", LISTENER, "When the certificate for clients ends."
)
TOKEN = Family("mailproxy_token_expiry_timestamp_seconds", "gauge", LISTENER, "When the token used last ends.")
CACHE_ENTRIES = Family("mailproxy_destination_cache_entries", "gauge", SOURCE, "Destinations or tokens that are kept.")
CACHE_HITS = Family("mailproxy_destination_cache_hits", "counter", SOURCE, "Questions answered out of what is kept.")
CACHE_FETCHES = Family("mailproxy_destination_cache_fetches", "counter", SOURCE, "Questions that went to a service.")
CACHE_FAILURES = Family("mailproxy_destination_cache_failures", "counter", SOURCE, "Those that brought nothing.")
TOKEN_FETCH = Family("mailproxy_token_fetch_seconds", "histogram", SOURCE, "How long a token service took.")
LEDGER_RECORDS = Family("mailproxy_ledger_records", "counter", (), "Records that were written.")
LEDGER_WAITING = Family(
    "mailproxy_ledger_records_waiting", "gauge", (), "Records in memory, because they cannot be written."
)
LEDGER_LOST = Family("mailproxy_ledger_records_lost", "counter", (), "Records that there was no room for.")
LEDGER_FAILURES = Family("mailproxy_ledger_failures", "counter", ("reason",), "Attempts to write that failed.")
LEDGER_FAILING = Family("mailproxy_ledger_failing", "gauge", (), "Ledgers that cannot be written.")
LEDGER_BLOCKING = Family("mailproxy_ledger_blocking", "gauge", (), "Ledgers because of which nothing new begins.")
LEDGER_SESSIONS = Family("mailproxy_ledger_sessions_waiting", "gauge", (), "Sessions that wait for the disk.")
LEDGER_SYNC = Family(
    "mailproxy_ledger_sync_seconds", "histogram", (), "How long the disk took to have what was written."
)
WORKERS = Family("mailproxy_workers", "gauge", ("state",), "Workers, by what they do.")
WORKERS_ENDED = Family("mailproxy_workers_ended", "counter", (), "Workers that have ended without being told to.")
LAG = Family("mailproxy_reactor_lag_seconds", "histogram", (), "By how much the process was late, once a second.")
START_TIME = Family("mailproxy_start_time_seconds", "gauge", (), "When the process has started.")
BUILD = Family("mailproxy_build_info", "gauge", ("version", "python", "twisted"), "Which versions run; always 1.")
SAP_OPEN = Family("tp_open_tcp_connections", "gauge", (), "Open TCP connections of clients.")
SAP_TOTAL = Family("tp_tcp_connections", "counter", (), "TCP connections of clients so far.")

FAMILIES = tuple(each for each in list(globals().values()) if isinstance(each, Family))
"""All of them."""
