"""Peers that have nothing to say to us, and much to OpenSSL."""

import hashlib
import hmac
import struct

import pytest_twisted
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from twisted.internet.task import LoopingCall

from mailproxy.tls.stepped import RECORDS_AT_ONCE
from tests.sockets.hall import OURS, Hall, Subject, Way, settle, until

UPDATES = 2_000
KEY_UPDATE = b"\x18\x00\x00\x01\x00"
"""RFC 8446 §4.6.3; none is wanted in return."""

HELLO_REQUEST = b"\x16\x03\x03\x00\x04\x00\x00\x00\x00"
"""RFC 5246 §7.4.1.1."""

REQUESTS = 5_000

TICKETS = 2
"""Records of a server behind the handshake, before it says anything itself."""

HANDSHAKE, APPLICATION_DATA = 22, 23


def _expand(secret, label, length):
    """RFC 8446 §7.1, for what one block of SHA-256 suffices for."""
    label = b"tls13 " + label
    info = struct.pack(">HB", length, len(label)) + label + b"\0\1"
    return hmac.new(secret, info, hashlib.sha256).digest()[:length]


class Sealer:
    """A peer's records of TLS_AES_128_GCM_SHA256, as it likes them (RFC 8446 §5.2)."""

    def __init__(self, secret, sent=0):
        self._secret = secret
        self._begin(sent)

    def _begin(self, sent):
        self._key = AESGCM(_expand(self._secret, b"key", 16))
        self._iv = int.from_bytes(_expand(self._secret, b"iv", 12), "big")
        self._sent = sent

    def seal(self, octets, kind):
        header = b"\x17\x03\x03" + struct.pack(">H", len(octets) + 17)
        nonce = (self._iv ^ self._sent).to_bytes(12, "big")
        self._sent += 1
        return header + self._key.encrypt(nonce, octets + bytes([kind]), header)

    def update(self):
        """The last record with this key says that there is another."""
        record = self.seal(KEY_UPDATE, HANDSHAKE)
        self._secret = _expand(self._secret, b"traffic upd", 32)
        self._begin(0)
        return record


@pytest_twisted.ensureDeferred
async def test_a_peer_that_only_changes_its_keys_does_not_keep_others_waiting(our_hall):
    """One record of OpenSSL's own is read in a turn, so that everybody gets theirs; what is behind them arrives."""
    lines = []
    context = our_hall.context("TLSv1.3")
    context.set_tls13_ciphersuites(b"TLS_AES_128_GCM_SHA256")
    context.set_keylog_callback(lambda _, line: lines.append(line.split()))
    subject = Subject()
    peer = await our_hall.secured(subject, "TLSv1.3", context=context)
    await settle()
    side, sent = (b"SERVER", TICKETS) if our_hall.way.client else (b"CLIENT", 0)
    secret = next(line[2].decode() for line in lines if line[0] == side + b"_TRAFFIC_SECRET_0")
    sealer = Sealer(bytes.fromhex(secret), sent)
    updates = b"".join(sealer.update() for _ in range(UPDATES))
    peer.wire.transport.write(updates + sealer.seal(b"and now to you", APPLICATION_DATA))
    assert await _turns_until(lambda: subject.received) > UPDATES // 4
    assert subject.received == b"and now to you"


@pytest_twisted.ensureDeferred
async def test_a_server_that_only_asks_for_a_handshake_in_the_handshake_does_not_keep_others_waiting(certificate):
    hall = Hall(Way(OURS, "client"), certificate)
    subject = Subject(made=lambda it: it.transport.startTLS(hall.creator()))
    wire = await hall.meet(subject)
    wire.transport.write(HELLO_REQUEST * REQUESTS + b"\x15\x03\x03\x00\x02\x02\x28")
    assert await _turns_until(lambda: subject.lost) > REQUESTS // RECORDS_AT_ONCE
    assert "alert handshake failure" in str(subject.reason.value)
    await hall.close()


@pytest_twisted.ensureDeferred
async def test_requests_among_the_records_of_a_handshake_do_no_harm(certificate):
    hall = Hall(Way(OURS, "client"), certificate)
    subject = Subject(made=lambda it: it.transport.startTLS(hall.creator("TLSv1.2")))
    wire = await hall.meet(subject)
    wire.transport.write(HELLO_REQUEST * 3 * RECORDS_AT_ONCE)
    peer = hall.peer(wire, "TLSv1.2")
    peer.go_on()
    await until(lambda: subject.shaken and peer.shaken)
    peer.send(b"hello")
    await until(lambda: subject.received == b"hello")
    await hall.close()


async def _turns_until(condition):
    """How often it was others' turn meanwhile."""
    turns = []
    counting = LoopingCall(turns.append, None)
    counted = counting.start(0)
    await until(condition)
    counting.stop()
    await counted
    return len(turns)
