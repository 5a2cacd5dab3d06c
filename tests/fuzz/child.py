"""
One target in the hands of atheris, in a process of its own, until its time is over or it has found something.

`tests.fuzz.run` starts it.  Only here atheris is needed: coverage of what the octets reach is what leads it on.
"""

from __future__ import annotations

import random
import sys

import atheris

from tests.fuzz.lines import mutate_lines

with atheris.instrument_imports(include=["mailproxy", "tomllib"]):
    from tests.fuzz.targets import TARGETS


def main(name, *arguments):
    """Does not return: the fuzzer ends the process."""
    chosen = TARGETS[name]
    settings = {"custom_mutator": _mutator(chosen)} if chosen.by_line else {}
    atheris.Setup([sys.argv[0], *arguments], chosen.check, **settings)
    atheris.Fuzz()


def _mutator(chosen):
    """Half of the time whole lines are moved about, since few changes of single octets leave a conversation sound."""

    def mutate(octets, most, seed):
        chance = random.Random(seed)
        if chance.random() < 0.5:
            return atheris.Mutate(octets, most)
        return mutate_lines(octets, chosen.words, chance)[:most]

    return mutate


if __name__ == "__main__":
    main(*sys.argv[1:])
