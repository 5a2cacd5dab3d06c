"""
Inputs that are conversations: one event a line, and what a mutation does to them.
"""

from __future__ import annotations


def mutate_lines(octets, words, chance):
    """The octets with a few of their lines doubled, dropped, moved, or joined by others."""
    lines = octets.split(b"\n")
    for _ in range(chance.randint(1, 4)):
        chance.choice((_double, _drop, _move, _insert, _insert))(lines, words, chance)
    return b"\n".join(lines)


def _double(lines, _words, chance):
    lines.insert(chance.randint(0, len(lines)), _any(lines, chance))


def _drop(lines, _words, chance):
    if lines:
        del lines[chance.randrange(len(lines))]


def _move(lines, words, chance):
    if lines:
        line = lines.pop(chance.randrange(len(lines)))
        lines.insert(chance.randint(0, len(lines)), line)


def _insert(lines, words, chance):
    lines.insert(chance.randint(0, len(lines)), chance.choice(words))


def _any(lines, chance):
    return chance.choice(lines) if lines else b""
