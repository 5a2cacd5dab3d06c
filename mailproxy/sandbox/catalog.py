"""
What the Destination service knows: destinations and fragments, per subaccount and level.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, field

from mailproxy.sandbox.oauth import Answer

Properties = Mapping[str, str]
_Key = tuple[str, str, str]  # subdomain, level, name

_FIND_ORDER = ("instance", "subaccount")
_LEVELS = frozenset({"subaccount", "instance", "provider_subaccount", "provider_instance"})


@define
class Catalog:
    """
    The destinations of every subaccount, and how they are handed out.

    `subaccounts` maps a subdomain to its id; `provider` is the subdomain of the provider.
    """

    subaccounts: Mapping[str, str]
    provider: str
    _destinations: dict[_Key, Properties] = field(factory=dict, repr=False)
    _fragments: dict[_Key, Properties] = field(factory=dict, repr=False)

    def add(self, subdomain: str, properties: Properties, level: str = "subaccount") -> None:
        """The destination exists, or is replaced; its `Name` is within the properties."""
        self._destinations[subdomain, level, properties["Name"]] = dict(properties)

    def add_fragment(self, subdomain: str, name: str, properties: Properties, level: str = "subaccount") -> None:
        """The fragment exists, or is replaced."""
        self._fragments[subdomain, level, name] = dict(properties)

    def find(self, subdomain: str, name: str, fragment: str = "") -> Answer:
        """The answer of version 1: the instance's destination, else the subaccount's."""
        for level in _FIND_ORDER:
            if (subdomain, level, name) in self._destinations:
                extra = (subdomain, level, fragment) if fragment else None
                return self._answer((subdomain, level, name), extra)
        return _not_found("Configuration")

    def consume(self, subdomain: str, name_at_level: str, fragment: str = "") -> Answer:
        """The answer of version 2: the destination at exactly this level."""
        name, _, level = name_at_level.rpartition("@")
        fragment_name, _, fragment_level = fragment.partition("@")
        if not name or not {level, fragment_level or level} <= _LEVELS:
            return 400, {"ErrorMessage": "Destinations and fragments are named as name@level"}
        key = self._key(subdomain, level, name)
        if key not in self._destinations:
            return _not_found("Configuration")
        extra = self._key(subdomain, fragment_level or level, fragment_name) if fragment else None
        return self._answer(key, extra)

    def _key(self, subdomain: str, level: str, name: str) -> _Key:
        own_level = level.removeprefix("provider_")
        return (subdomain if own_level == level else self.provider), own_level, name

    def _answer(self, key: _Key, fragment: _Key | None) -> Answer:
        properties = dict(self._destinations[key])
        if fragment is not None:
            if fragment not in self._fragments:
                return _not_found("Fragment")
            properties |= {**self._fragments[fragment], "FragmentName": fragment[2]}
        subdomain, level, _ = key
        instance = None if level == "subaccount" else f"{subdomain}-instance"
        owner = {"SubaccountId": self.subaccounts[subdomain], "InstanceId": instance}
        return 200, {"owner": owner, "destinationConfiguration": properties}


def _not_found(what: str) -> Answer:
    return 404, {"ErrorMessage": f"{what} with the specified name was not found"}
