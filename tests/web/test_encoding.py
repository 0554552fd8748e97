"""Texts that are no UTF-8, as names of files and words of jobs may be, cost no document."""

from __future__ import annotations

import json

import msgspec

from panorama_driver.web._encoding import packed, to_json


class Known(msgspec.Struct):
    """A record as documents are."""

    name: str
    more: dict[str, tuple[str, ...]]
    number: float | None
    data: bytes


ODD = Known("caf\udce9", {"\udcff": ("\ud800", "plain")}, None, b"\xff")


def test_what_is_no_utf8_is_told_with_backslashes() -> None:
    told = json.loads(to_json(ODD))
    assert told == {"name": r"caf\udce9", "more": {r"\udcff": [r"\ud800", "plain"]}, "number": None, "data": "/w=="}
    found = msgspec.msgpack.decode(packed(ODD), type=Known)
    assert found == Known(r"caf\udce9", {r"\udcff": (r"\ud800", "plain")}, None, b"\xff")


def test_others_are_as_they_are() -> None:
    plain = Known("ü", {}, 0.1, b"")
    assert to_json(plain) == msgspec.json.encode(plain)
    assert packed(plain) == msgspec.msgpack.encode(plain)
