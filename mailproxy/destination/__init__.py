"""Where to log in, and as whom: destinations, tokens, and the services that know them."""
