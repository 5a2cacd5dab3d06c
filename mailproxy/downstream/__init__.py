"""The side on which mailproxy is the server: listeners, and the protocols that run sessions."""
