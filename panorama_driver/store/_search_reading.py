"""Documents of an index in pages, and numbers of them: queries and their answers."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import msgspec

from ._search_http import Answer, Client, LargeAnswerError

_FIRST, _MOST = 500, 5000  # documents of a page
_LESS = 8  # times fewer, where a page has become too large
_PAGE = 8 << 20  # bytes that a page should have
_BUCKETS = 5000
_WHOLE = "allow_partial_search_results=false"

Query = dict[str, Any]


class Hit(msgspec.Struct, frozen=True):
    """A document that was found: its name, what is in it, where it is in the order asked for, and single fields."""

    key: str = msgspec.field(name="_id")
    source: dict[str, Any] = msgspec.field(name="_source", default_factory=dict)
    sort: list[Any] = msgspec.field(default_factory=list)
    fields: dict[str, list[Any]] = msgspec.field(default_factory=dict)


class Document(msgspec.Struct, frozen=True):
    """A document asked for by its name: what is in it, and the numbers that whoever replaces it must know."""

    key: str = msgspec.field(name="_id")
    found: bool = False
    source: dict[str, Any] = msgspec.field(name="_source", default_factory=dict)
    seq_no: int = msgspec.field(name="_seq_no", default=0)
    primary_term: int = msgspec.field(name="_primary_term", default=0)
    error: dict[str, Any] | None = None


class _Hits(msgspec.Struct):
    hits: list[Hit]


class _Found(msgspec.Struct):
    hits: _Hits


class _Number(msgspec.Struct):
    value: float | None


class Group(msgspec.Struct):
    """Documents that have these values in common: how many they are, and what was asked of them."""

    key: dict[str, Any]
    doc_count: int
    first: _Number = msgspec.field(default_factory=lambda: _Number(None))
    last: _Number = msgspec.field(default_factory=lambda: _Number(None))
    seq: _Number = msgspec.field(default_factory=lambda: _Number(None))


class _Buckets(msgspec.Struct):
    buckets: list[Group]
    after_key: dict[str, Any] | None = None


class _Aggregations(msgspec.Struct):
    groups: _Buckets


class _Aggregated(msgspec.Struct):
    aggregations: _Aggregations


class _Documents(msgspec.Struct):
    docs: list[Document]


class _Count(msgspec.Struct):
    count: int


def condition(
    *,
    wf_uuid: str | None = None,
    kinds: Collection[str] | None = None,
    without: Collection[str] = (),
    above: int = -1,
    upto: int | None = None,
) -> Query:
    """Query for the documents of a workflow, of some kinds, and with sequence numbers in a range."""
    wanted: list[Query] = []
    if wf_uuid is not None:
        wanted.append({"term": {"wf_uuid": wf_uuid}})
    if kinds is not None:
        wanted.append({"terms": {"event": sorted(kinds)}})
    if above >= 0 or upto is not None:
        wanted.append({"range": {"_seq_no": {"gt": above} | ({} if upto is None else {"lte": upto})}})
    left_out = [{"terms": {"event": sorted(without)}}] if without else []
    return {"bool": {"filter": wanted, "must_not": left_out}}


def count(client: Client, index: str, query: Query) -> int:
    """Number of documents."""
    return client.get("POST", f"/{index}/_count", _Count, {"query": query}).count


def pages(
    client: Client, index: str, query: Query, order: list[Any], *, limit: int | None = None, **more: Any
) -> Iterator[list[Hit]]:
    """What a query finds, in an order without ties, in pages whose size follows that of the documents.

    Parameters
    ----------
    client : Client
        The engine.
    index : str
        Index, or pattern of some.
    query : dict
        What is wanted.
    order : list
        As `sort` of a search.
    limit : int, optional
        No more than so many.
    **more
        Further parts of the request.
    """
    size, left = _FIRST, limit
    body = {"query": query, "sort": order, "track_total_hits": False, **more}
    while left is None or left > 0:
        body["size"] = size if left is None else min(size, left)
        try:
            answer = client.ask("POST", f"/{index}/_search?{_WHOLE}", body)
        except LargeAnswerError:
            if body["size"] == 1:
                raise
            size = max(1, body["size"] // _LESS)
            continue
        hits = client.read(answer, _Found).hits.hits
        if hits:
            yield hits
        if len(hits) < body["size"]:
            return
        left = None if left is None else left - len(hits)
        body["search_after"] = hits[-1].sort
        size = max(1, min(_MOST, size * 4, _PAGE * len(hits) // answer.size))


def groups(
    client: Client, index: str, query: Query, fields: Collection[str], numbers: dict[str, Query] | None = None
) -> Iterator[Group]:
    """Documents grouped by fields, which all of them have, each group with `numbers`: `first`, `last` or `seq`."""
    sources = [{field: {"terms": {"field": field}}} for field in fields]
    composite: dict[str, Any] = {"size": _BUCKETS, "sources": sources}
    while True:
        aggregation = {"composite": composite, "aggs": numbers or {}}
        asked = {"size": 0, "track_total_hits": False, "query": query, "aggs": {"groups": aggregation}}
        found = client.get("POST", f"/{index}/_search?{_WHOLE}", _Aggregated, asked).aggregations.groups
        yield from found.buckets
        if len(found.buckets) < _BUCKETS:
            return
        composite["after"] = found.after_key


def documents(client: Client, index: str, keys: Collection[str]) -> Iterator[Document]:
    """Documents by their names as they are now, refreshed or not; those that are not there are left out."""
    for some in _batches(keys):
        for document in client.get("POST", f"/{index}/_mget", _Documents, {"ids": some}).docs:
            if document.error is not None:
                raise client.problem(Answer(503, {"error": document.error}))
            if document.found:
                yield document


def columns(
    client: Client, index: str, keys: Collection[str], fields: Collection[str], upto: int | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Fields of documents by their names, faster than whole documents; those that cannot be found yet are left out."""
    for some in _batches(keys):
        query = condition(upto=upto)
        query["bool"]["filter"].append({"ids": {"values": some}})
        body = {"query": query, "size": len(some), "sort": ["_doc"], "track_total_hits": False}
        body |= {"_source": False, "docvalue_fields": list(fields)}
        for hit in client.get("POST", f"/{index}/_search?{_WHOLE}", _Found, body).hits.hits:
            yield hit.key, {field: values[0] for field, values in hit.fields.items()}


def _batches(keys: Collection[str]) -> Iterator[list[str]]:
    every = list(keys)
    return (every[start : start + _MOST] for start in range(0, len(every), _MOST))
