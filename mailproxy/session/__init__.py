"""Whose turn it is, and what follows.  Pure decisions; the owner of a session has the sockets and the clock."""
