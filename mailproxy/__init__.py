"""mailproxy: an SMTP and POP3 proxy that logs in for the applications behind it."""
