"""mailproxy: an SMTP and POP3 proxy that logs in for the applications behind it."""

__version__ = "0.1.0"
