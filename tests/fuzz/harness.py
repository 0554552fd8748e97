"""What fuzzing needs: the parsers with their seeds, and damage.

A target is a module in `targets/` with `SEEDS`, real inputs [bytes], and `one(data)`, which gives a parser one input
and lets through only what must not happen.
"""

from __future__ import annotations

import importlib
import pkgutil
import random
from collections.abc import Callable, Sequence
from typing import Protocol, cast

from . import targets as _package

_HOSTILE = [
    b"\x00",
    b"\xff\xfe",
    b"\xed\xb3\xbf",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"9" * 40,
    b"-1",
    b"null",
    b"[" * 300,
    b'{"a":' * 200,
    b'"',
    b"\\u0000",
    b"\\ud800",
    b"\n",
    b"\r\n",
    b"---\n",
    b"&a [*a]",
    b"%00",
    b"@@@MONITORING_PAYLOAD - START@@@",
    b"../../../etc/passwd",
    b" " * 500,
]


class Target(Protocol):
    """A parser under test."""

    SEEDS: Sequence[bytes]
    one: Callable[[bytes], None]


def target_names() -> list[str]:
    """All targets."""
    return sorted(module.name for module in pkgutil.iter_modules(_package.__path__))


def target(name: str) -> Target:
    """The target of that name."""
    return cast(Target, importlib.import_module(f"{_package.__name__}.{name}"))


def mutated(seeds: Sequence[bytes], chance: random.Random) -> bytes:
    """A seed with some damage: cut, doubled, spliced with another, bytes changed, hostile pieces put in."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.choice((0, 1, 1, 2, 4, 8))):
        chance.choice(_DAMAGES)(data, seeds, chance)
    return bytes(data[: 1 << 16])


def _flip(data: bytearray, _: Sequence[bytes], chance: random.Random) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.randrange(256)


def _cut(data: bytearray, _: Sequence[bytes], chance: random.Random) -> None:
    del data[chance.randrange(len(data) + 1) :]


def _remove(data: bytearray, _: Sequence[bytes], chance: random.Random) -> None:
    start = chance.randrange(len(data) + 1)
    del data[start : start + chance.randrange(1, 40)]


def _repeat(data: bytearray, _: Sequence[bytes], chance: random.Random) -> None:
    start = chance.randrange(len(data) + 1)
    piece = data[start : start + chance.randrange(1, 80)]
    data[start:start] = piece * chance.randrange(1, 5)


def _splice(data: bytearray, seeds: Sequence[bytes], chance: random.Random) -> None:
    other = chance.choice(seeds)
    start = chance.randrange(len(other) + 1)
    data[chance.randrange(len(data) + 1) :] = other[start:]


def _poison(data: bytearray, _: Sequence[bytes], chance: random.Random) -> None:
    at = chance.randrange(len(data) + 1)
    data[at : at + chance.choice((0, 0, 1, 8))] = chance.choice(_HOSTILE)


_DAMAGES = (_flip, _cut, _remove, _repeat, _splice, _poison)
