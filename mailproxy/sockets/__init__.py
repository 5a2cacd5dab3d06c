"""
Stream transports of our own, for TCP: they send in `write` itself, and have OpenSSL read and write the socket.

`connecting` and `serving` are the two places that decide whether a connection gets one.
"""

from mailproxy.sockets.choice import OURS, TWISTED, Sockets
from mailproxy.sockets.connect import Client, connecting
from mailproxy.sockets.listen import Server, serving

__all__ = ["OURS", "TWISTED", "Client", "Server", "Sockets", "connecting", "serving"]
