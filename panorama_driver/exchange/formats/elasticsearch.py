"""Documents of Panorama's own Elasticsearch, and of ours: answers of `_search`, or what elasticdump wrote.

A file holds JSON objects one after another, in lines or not, or lists of them. Each is a document's source, a hit with
its `_source` (elasticdump, one a line), an answer with its `hits` (of `_search` and of each page of a scroll), or
several `responses`. Lines that tell `_bulk` what to do are passed over.

Panorama's documents are what monitord, kickstart and pegasus-transfer sent, with what Logstash added to it
(Panorama360/data-collection-arch, logstash.conf): the time of arrival as `@timestamp`, `@version`, and the name of the
input as `type` where the event had no field of that name. Without these an event has the identity that it had on the
broker. The index kept every copy of a message; here it is one event. The fields of static events are spelled `job.id`
or `job_id`, by the age of Pegasus: both are the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from ...errors import StoreError
from ...sources import sink
from ...store import _documents
from ._files import Damage, Raw, Told, beginning, encoded, events_of, letter, told

ANSWER_LIMIT = 256 << 20
"""A longer object is passed over [bytes]; an answer of `_search` has 10,000 hits unless an index was told otherwise."""

_KEY = re.compile(rb'"(?:_source|_index|hits|_scroll_id|took|responses|@timestamp)"\s*:')
_ADDED = frozenset({"@timestamp", "@version"})
_INPUTS = frozenset({"stampede", "kickstart", "transfer"})
_ACTIONS = frozenset({"index", "create"})
_OURS = frozenset({"at", "ingested", "via"})
_DEPTH = 8  # of answers in answers


def detect(path: Path, head: bytes) -> bool:
    """Whether this is one, as far as its first bytes tell."""
    text = beginning(head)
    return text[:1] in (b"{", b"[") and _KEY.search(text) is not None


def read(path: Path) -> Iterator[Told]:
    """Events of such a file; damaged places become dead letters, and what follows them is read.

    Raises
    ------
    StoreError
        It cannot be read.
    """

    def records(file: BinaryIO, damage: Damage) -> Iterator[Told]:
        for at, text in sink.objects(file, damage, ANSWER_LIMIT):
            for document in documents(text):
                try:
                    source = _source(sink.decoded(document))
                except (ValueError, RecursionError) as error:
                    damage(f"byte {at}: no JSON object: {str(error)[:200]}")
                    yield from damage.letters()
                    continue
                yield from _events(source, path)

    return told(path, records)


def documents(text: bytes, depth: int = _DEPTH) -> Iterator[bytes]:
    """The JSON of each document in an object, which is decoded no further than to find them."""
    parts = _parts(text, dict[str, msgspec.Raw]) or {}
    answer = _parts(parts.get("hits"), dict[str, msgspec.Raw]) or {}
    inner = _parts(answer.get("hits") or parts.get("responses"), list[msgspec.Raw])
    if inner is not None and depth:
        for part in inner:
            yield from documents(bytes(part), depth - 1)
    elif "_source" in parts:
        yield bytes(parts["_source"])
    elif not parts or not parts.keys() <= _ACTIONS:
        yield text


def _parts(text: bytes | msgspec.Raw | None, wanted: Any) -> Any:
    """The parts of an object or list as they stand; None where it is neither, or is not JSON to the letter."""
    try:
        return None if text is None else msgspec.json.decode(text, type=wanted)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _source(document: Raw) -> Raw:
    """Of a hit that was not JSON to the letter, its source."""
    inner = document.get("_source")
    return inner if isinstance(inner, dict) else document


def _events(source: Raw, path: Path) -> Iterator[Told]:
    if not source.keys() >= _OURS:
        yield from events_of(published(source), path)
        return
    try:
        yield _documents.event(source)
    except StoreError as error:
        yield letter(path, str(error), encoded(source))


def published(source: Raw) -> Raw:
    """A document of Panorama's as the record that was sent."""
    kept = {key: value for key, value in source.items() if key not in _ADDED}
    if kept.get("type") in _INPUTS:
        del kept["type"]
    return kept
