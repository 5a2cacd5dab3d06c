"""
A development tool: throw-away mail servers, token service and destination service on loopback, with a throw-away CA.

Nothing in here is used by a running mailproxy; its secrets are known to everybody.
"""
