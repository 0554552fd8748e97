"""How a store's indices are made, and brought up to date: templates with real mappings, and a version.

The version is in a document of the registry, `store`, which whoever may read the indices may read, and in the
templates. A store of an older version is brought up to date by the first that opens it for writing; one of a newer
version is left alone.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..errors import StoreError
from ._documents import MAPPINGS, SETTINGS, VERSION, aliases
from ._search_bulk import OK
from ._search_http import Answer, Client

_MARKED = "store"
_EXISTS = "resource_already_exists_exception"
_TOP = 500  # above what others set for all indices; priorities of templates that match must differ
_KEYWORD = {"type": "keyword", "ignore_above": 8191}
_SMALL = {"number_of_shards": 1, "auto_expand_replicas": "0-1"}
_EVENTS = {"settings": SETTINGS, "mappings": MAPPINGS}
_WAYS = {
    "settings": SETTINGS,
    "mappings": {
        "dynamic": False,
        "properties": {
            "event_id": {"type": "keyword"},
            "wf_uuid": {"type": "keyword"},
            "event": {"type": "keyword"},
            "first": {"type": "byte"},  # Via: on which it came first
            "way": {"type": "byte"},  # Via: on which it came as well
        },
    },
}
_WORKFLOWS = {
    "settings": _SMALL,
    "mappings": {
        "dynamic": False,
        "properties": {
            "wf_uuid": _KEYWORD,
            "label": _KEYWORD,
            "root": _KEYWORD,
            "generation": {"type": "integer"},
            "registered": {"type": "double"},  # [s since 1970, UTC]
        },
    },
}
_LETTERS = {
    "settings": _SMALL,
    "mappings": {
        "dynamic": False,
        "properties": {
            "reason": {"type": "text"},
            "source": _KEYWORD,
            "offset": {"type": "long"},  # [bytes]
            "size": {"type": "long"},  # [bytes]
            "head": {"type": "binary"},
            "buried": {"type": "double"},  # [s since 1970, UTC]
        },
    },
}
_GENERATIONS = {"events": _EVENTS, "ways": _WAYS}
_SINGLE = {"workflows": _WORKFLOWS, "letters": _LETTERS}


class _Version(msgspec.Struct):
    version: int


class _Mark(msgspec.Struct):
    source: _Version = msgspec.field(name="_source")


class Schema:
    """The indices of one store.

    Parameters
    ----------
    client : Client
        The engine.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._prefix = client.address.prefix

    def check(self) -> None:
        """See that there is a store of this version, to be read.

        Raises
        ------
        StoreError
            There is none, or it is of another version.
        """
        version = self._version()
        if version is None:
            raise StoreError(f"{self._client.address}: there is no store yet; `panorama collect` makes it")
        if version < VERSION:
            raise StoreError(
                f"{self._client.address}: schema version {version} is older than {VERSION}, which this program reads; "
                "open it once for writing (`panorama collect` does) and it is brought up to date"
            )

    def prepare(self) -> None:
        """Make what is missing, and bring up to date what is older.

        Raises
        ------
        StoreError
            The store is of a newer version, or the engine refuses.
        """
        version = self._version()
        if version == VERSION:
            return
        for name, body in {**_GENERATIONS, **_SINGLE}.items():
            self._put_template(name, body)
        if version is not None:
            self._update()
        self.make_generation(1)
        for name in _SINGLE:
            self._make(f"{self._prefix}-{name}")
        self._client.do("PUT", f"/{self._prefix}-workflows/_doc/{_MARKED}", {"version": VERSION})

    def make_generation(self, number: int) -> None:
        """Make the indices of a generation, unless somebody else just has."""
        for name in reversed(_GENERATIONS):  # events last: who finds these finds all
            self._make(f"{self._prefix}-{name}-{number:06}")

    def _version(self) -> int | None:
        """Version of the store that is there.

        Raises
        ------
        StoreError
            It is newer.
        """
        answer = self._client.ask("GET", f"/{self._prefix}-workflows/_doc/{_MARKED}")
        if answer.status == 404 and isinstance(answer.body, dict):
            return None
        version = self._client.read(answer, _Mark).source.version
        if version > VERSION:
            raise StoreError(
                f"{self._client.address}: written by a newer panorama-driver (schema version {version}, this one "
                f"knows {VERSION}); update with 'pip install -U panorama-driver', nothing was changed"
            )
        return version

    def _put_template(self, name: str, body: dict[str, Any]) -> None:
        pattern = f"{self._prefix}-{name}"
        template = body | ({"aliases": aliases(self._prefix)} if name == "events" else {})
        told = {
            "index_patterns": [f"{pattern}-0*" if name in _GENERATIONS else pattern],
            "priority": _TOP + len(self._prefix),
            "version": VERSION,
            "template": template,
        }
        self._client.do("PUT", f"/_index_template/{pattern}", told)

    def _update(self) -> None:
        """Tell the indices that are there of fields that are new; what is stored stays as it is."""
        for name, body in {**_GENERATIONS, **_SINGLE}.items():
            pattern = f"{self._prefix}-{name}" + ("-0*" if name in _GENERATIONS else "")
            self._client.do("PUT", f"/{pattern}/_mapping", body["mappings"])

    def _make(self, index: str) -> None:
        answer: Answer = self._client.ask("PUT", f"/{index}")
        if answer.status != OK and not (answer.status == 400 and _EXISTS in answer.reason):
            raise self._client.problem(answer)
