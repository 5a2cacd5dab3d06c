"""The side on which mailproxy is the client: connections to mail servers, up to and including the login."""
