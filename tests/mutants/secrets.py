"""
Guards of secrets: whose they are, where they go, who reads them.
"""

from __future__ import annotations

from tests.mutants.guard import Guard

SECRETS = (
    Guard(
        "a line for programs shows only what its sentence says",
        "observe/logs.py",
        before="return {name: _plain(event[name]) for name in names if name in event and name not in _TOP}",
        after="return {name: _plain(event[name]) for name in event if name not in _TOP}",
        tests=("observe/test_logs.py",),
    ),
    Guard(
        "one waiter's renewal is not another key's",
        "destination/cache.py",
        before="""
entry = self._entries.get(key)
if entry is None:
    if len(self._entries) >= self._max_entries:
""",
        after="""
entry = next(iter(self._entries.values()), None)
key = next(iter(self._entries), key)
if entry is None:
    if len(self._entries) >= self._max_entries:
""",
        tests=("destination/test_destination_cache.py",),
    ),
    Guard(
        "the service token's key holds the service key",
        "destination/servicetoken.py",
        before="self._cache.get((self._tenant, binding), lambda: self._fetch(binding))",
        after="self._cache.get((self._tenant, None), lambda: self._fetch(binding))",
        tests=("destination/test_destination_service.py",),
    ),
    Guard(
        "the destination's key holds all that was asked for",
        "destination/sap.py",
        before="return self._tenant, binding.uri, binding.clientid, reference",
        after='return self._tenant, binding.uri, binding.clientid, Reference("any")',
        tests=("destination/test_destination_service.py",),
    ),
    Guard(
        "the token's key holds the question for it",
        "destination/directory.py",
        before="return self._tenant, reference.name, self._token_request(reference, found)",
        after="return self._tenant, reference.name, vars(self).setdefault('_', self._token_request(reference, found))",
        tests=("destination/test_destination_directory.py",),
    ),
    Guard(
        "a destination that has changed is understood anew",
        "destination/lookup.py",
        before="if self._parsed is None or self._parsed[0].properties != found.properties:",
        after="if self._parsed is None:",
        tests=("destination/test_destination_lookup.py",),
        seeds=300,
    ),
    Guard(
        "only the token that was refused is dropped",
        "destination/cache.py",
        before="if entry is not None and entry.held is not None and refused(entry.held.value):",
        after="if entry is not None and entry.held is not None:",
        tests=("destination/test_destination_cache.py",),
    ),
    Guard(
        "a password is never tried a second time",
        "destination/lookup.py",
        before="""
self._forget()
return None
""",
        after="""
self._forget()
return refused
""",
        tests=("destination/test_destination_lookup.py",),
    ),
    Guard(
        "a tenant's file comes before everybody's",
        "destination/directory.py",
        before="self._folders = ([path / folder] if folder else []) + [path]",
        after="self._folders = [path] + ([path / folder] if folder else [])",
        tests=("destination/test_destination_directory.py",),
    ),
    Guard(
        "a destination of another subaccount is refused",
        "destination/answer.py",
        before="if subaccount is not None and subaccount != tenant.id:",
        after="if False:",
        tests=("destination/test_destination_service.py",),
    ),
    Guard(
        "secrets go over https or stay on this machine",
        "destination/url.py",
        before="""
if parts.scheme == "http" and not is_loopback_host(host):
""",
        after="""
if False:
""",
        tests=("destination/test_destination_urls.py",),
    ),
    Guard(
        "a listener is on loopback unless somebody says otherwise",
        "config/endpoints.py",
        before='if kind in _LOOPBACK and "interface" not in settings:',
        after="if False:",
        tests=("test_endpoints.py",),
    ),
    Guard(
        "a token is one word",
        "destination/tokens.py",
        before=" and _B64TOKEN.fullmatch(value) is not None",
        after="",
        tests=("destination/test_destination_tokens.py",),
    ),
    Guard(
        "what a peer says is escaped before it is logged",
        "observe/text.py",
        before="chr(octet) if 0x20 <= octet < 0x7F and octet != 0x5C else",
        after="chr(octet) if octet < 0x7F else",
        tests=("observe/test_text.py",),
    ),
    Guard(
        "what a peer says is cut before it is logged",
        "observe/text.py",
        before="for octet in octets[:limit]",
        after="for octet in octets",
        tests=("observe/test_text.py",),
    ),
    Guard(
        "a secret that a peer quotes is not logged",
        "upstream/words.py",
        before='return lambda text: printable(secrets.taken_out_of(text.decode("utf-8", "replace")))',
        after='return lambda text: printable(text.decode("utf-8", "replace"))',
        tests=("upstream/test_words.py",),
        seeds=300,
    ),
    Guard(
        "a secret shows in no form of base64",
        "upstream/words.py",
        before="return [credentials.secret, *(core for core in cores if len(core) >= 4)]",
        after="return [credentials.secret]",
        tests=("upstream/test_words.py",),
        seeds=300,
    ),
    Guard(
        "a client is not told our secret",
        "upstream/words.py",
        before='    return lambda text: secrets.taken_out_of(text.decode("latin-1")).encode("latin-1")',
        after="    return bytes",
        tests=("upstream/test_words.py",),
    ),
)
