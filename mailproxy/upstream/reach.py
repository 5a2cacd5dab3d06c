"""
Whether the mail server of a destination can be reached at all.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from mailproxy.destination.model import Destination, TLSSettings
from mailproxy.errors import HostNotFound, MailProxyError, NameLookupFailed, Unreachable, UpstreamError
from mailproxy.upstream.holdoff import HoldOff, HoldOffSettings

_NOT_REACHED = (NameLookupFailed, HostNotFound, Unreachable)


@frozen
class _Address:
    """What decides whether a mail server is reached."""

    host: str
    port: int
    tls: TLSSettings


class Reach:
    """
    Holds attempts off while the mail server is not reached: no address, no connection, or no login in good time.

    One that answers is reached, whatever it says: a refusal costs little, and may be about that one session.  Another
    address is another mail server, which is tried at once.

    Args:
        clock: tells the time.
        random: gives numbers from 0 to 1.
        settings: the pauses.
    """

    def __init__(self, clock: IReactorTime, random: Callable[[], float], settings: HoldOffSettings) -> None:
        self._hold_off = HoldOff(clock, random, settings.connect_first_seconds, settings.connect_longest_seconds)
        self._address: _Address | None = None

    @property
    def held_until(self) -> float | None:
        """When the pause ends, or has ended; None where the mail server was reached."""
        return self._hold_off.until

    def check(self, destination: Destination) -> None:
        """
        The mail server may be tried.

        Raises:
            UpstreamError: it was not reached a short while ago.
        """
        self._turn_to(destination)
        self._hold_off.check()

    @property
    def held_off(self) -> bool:
        """Whether the mail server is left alone at the moment."""
        return self._hold_off.active

    def enter(self, destination: Destination, who: object) -> None:
        """
        `who` tries it; `leave` must follow.

        Raises:
            UpstreamError: as `check`.
        """
        self._turn_to(destination)
        self._hold_off.enter(who)

    def leave(self, destination: Destination, who: object, error: BaseException | None, *, late: bool = False) -> None:
        """The attempt is over; None is success.  `late` says that the mail server used up the time for it."""
        if _address(destination) != self._address:
            return
        if isinstance(error, MailProxyError) and (late or isinstance(error, _NOT_REACHED)):
            self._hold_off.fail(who, error)
        elif error is None or isinstance(error, UpstreamError):
            self._hold_off.clear()
        else:
            self._hold_off.leave(who)

    def _turn_to(self, destination: Destination) -> None:
        address = _address(destination)
        if address != self._address:
            self._address = address
            self._hold_off.clear()


def _address(destination: Destination) -> _Address:
    return _Address(destination.host, destination.port, destination.tls)
