"""Events as documents of a search engine, and documents as events again, exactly.

A document has an event's fields where Panorama published them, in its spelling, so that a dashboard or a notebook made
for Panorama's indices finds them: `xwf_id`, `job_id` of `stampede.*`, `wf_uuid`, `dag_job_id` of the others. Types are
declared, none is guessed: they are those of the records in `sources`. A value that is not of its field's type, and a
field that nobody knows, stand in the object `rest`, which the engine keeps and does not look into.
"""

from __future__ import annotations

import json
import math
import re
import types
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Union, get_args, get_origin

import msgspec

from ..errors import FormatError, StoreError
from ..events import Event
from ..sources import catalogue, globus, traces, tstat
from ._base import Via
from ._rows import Key

VERSION = 1
"""Of mappings and settings: whoever changes one raises it, and indices of an older one are brought up to date."""
TIMELESS = -1e300
"""What the field `at` is in an event without a time: before all others."""
FAMILIES = ("stampede", "kickstart", "transfer")
"""What Panorama had an index each for, by the first word of an event's name."""

_LONGEST_WORD = 8191  # characters, of 4 bytes at most: Lucene takes no word of more than 32766 bytes
_LATEST = 253402300800.0  # s since 1970: the year 10000, which a date does not tell
_DATE = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d{1,6})?| \d\d:\d\d:\d\d)(Z|[+-]\d\d:\d\d)?")

_KEYWORD: dict[str, Any] = {"type": "keyword", "ignore_above": _LONGEST_WORD}
_OBJECT: dict[str, Any] = {"type": "object", "enabled": False}
_WORDS, _STARTS = "panorama_words", "panorama_starts"
_NAME = {
    "type": "text",
    "analyzer": _STARTS,
    "search_analyzer": _WORDS,
    "norms": False,
    "fields": {"keyword": _KEYWORD},
}
"""Hosts and URLs: Panorama's Grafana asks for `hostname:"exogeni*"`, quoted, which is a phrase and no pattern. So words
are indexed with their beginnings of 3 to 12 letters, which makes a trace a twelfth larger on disk. Whoever wants a
whole name asks `hostname.keyword`, as of Panorama's indices."""
_TYPES: dict[str, dict[str, Any]] = {
    "keyword": _KEYWORD,
    "name": _NAME,
    "text": {"type": "text", "norms": False},
    "long": {"type": "long"},
    "double": {"type": "double"},
    "boolean": {"type": "boolean"},
    "date": {"type": "date", "format": "strict_date_optional_time||yyyy-MM-dd HH:mm:ssXXX||yyyy-MM-dd HH:mm:ss"},
    "object": _OBJECT,
}
_OWN: dict[str, dict[str, Any]] = {
    "event": {"type": "keyword"},  # and the next two: one that is too long is refused, as nobody would find it
    "wf_uuid": {"type": "keyword"},
    "xwf_id": {"type": "keyword"},
    "ts": {"type": "double"},
    "@timestamp": {"type": "date"},
    "at": {"type": "double"},
    "ingested": {"type": "double"},
    "via": {"type": "byte"},
    "job_id": _KEYWORD,
    "dag_job_id": _KEYWORD,
    "job_inst_id": {"type": "long"},
    "inv_id": {"type": "long"},
    "rest": _OBJECT,
}
"""What is not out of an event's `fields`."""
_OTHER = {
    **dict.fromkeys(("status", "type", "value", "jobid"), "keyword"),  # numbers here and words there
    **dict.fromkeys(("stdout_text", "stderr_text", "message"), "text"),
    **dict.fromkeys(("request_time", "completion_time", "deadline"), "date"),
    **dict.fromkeys(("hostname", "source_url", "destination_url"), "name"),
    **dict.fromkeys(("filename", "source_site_name", "destination_site_name"), "keyword"),
    **dict.fromkeys(("method", "told_by", "transfer_id"), "keyword"),
    **dict.fromkeys(("source", "vantage", "join", "host", "phase", "detector"), "keyword"),
    **dict.fromkeys(("transfer_start_time", "transfer_completion_time", "transfer_duration", "size"), "double"),
    **dict.fromkeys(("size_rounding", "first", "last", "durat", "confidence", "since"), "double"),
    **dict.fromkeys(("run_time", "end_time"), "double"),
    **dict.fromkeys(("total_files", "uid", "nprocs", "episode"), "long"),
    **dict.fromkeys(("transfer_events", "evidence", "metadata"), "object"),
    **dict.fromkeys(("POSIX_module_data", "STDIO_module_data"), "object"),
    "retried": "boolean",
}
"""Fields that no record declares, or that records declare differently: of transfers, TCP flows, Darshan, anomalies."""


def _type(annotation: Any) -> str:
    """Type for the engine of what a record declares."""
    union = get_origin(annotation) in (Union, types.UnionType)
    told = [each for each in (get_args(annotation) if union else [annotation]) if each is not types.NoneType]
    if len(told) > 1:
        return "keyword"
    plain = {str: "keyword", int: "long", float: "double", bool: "boolean"}
    return plain.get(told[0], "object")


def _declared() -> Iterator[tuple[str, str]]:
    records: list[type[msgspec.Struct]] = [*catalogue.KINDS.values(), *traces.KINDS.values(), globus.Task]
    for record in records:
        for field in msgspec.structs.fields(record):
            yield field.name, _type(field.type)
    for field in msgspec.structs.fields(tstat.End):
        yield from ((prefix + field.name, _type(field.type)) for prefix in ("c_", "s_"))


def _known() -> dict[str, str]:
    """The type of each field of an event; a number that is whole in one record only is none in the index."""
    found: dict[str, str] = {}
    for name, kind in _declared():
        if {found.setdefault(name, kind), kind} == {"long", "double"}:
            found[name] = "double"
        elif found[name] != kind and name not in _OTHER:
            raise TypeError(f"field {name!r} is declared as {found[name]} and {kind}: say which in _OTHER")
    return dict(sorted((found | _OTHER).items()))


_KNOWN = _known()
_EARLIER = {
    name.replace("_", "__"): {"type": "alias", "path": name} for name in ("xwf_id", "job_id", "sched_id", "inv_id")
}
"""As Panorama's first dashboards ask for them: then `.` had become `__`."""

MAPPINGS: dict[str, Any] = {
    "dynamic": False,
    "properties": {name: _TYPES[kind] for name, kind in _KNOWN.items()} | _OWN | _EARLIER,
}
"""Of an index of events."""
SETTINGS: dict[str, Any] = {
    "number_of_shards": 1,  # so that sequence numbers are in the order of arrival
    "auto_expand_replicas": "0-1",
    "codec": "best_compression",
    "analysis": {
        "tokenizer": {_WORDS: {"type": "char_group", "tokenize_on_chars": ["whitespace", "punctuation", "symbol"]}},
        "filter": {_STARTS: {"type": "edge_ngram", "min_gram": 3, "max_gram": 12, "preserve_original": True}},
        "analyzer": {
            _WORDS: {"type": "custom", "tokenizer": _WORDS, "filter": ["lowercase"]},
            _STARTS: {"type": "custom", "tokenizer": _WORDS, "filter": ["lowercase", _STARTS]},
        },
    },
}
"""Of an index of events."""


def aliases(prefix: str) -> dict[str, Any]:
    """Panorama's names for the events of a family, such as `panorama_stampede`, as an index template takes them."""
    return {f"{prefix}_{family}": {"filter": {"prefix": {"event": f"{family}."}}} for family in FAMILIES}


_SHARED = frozenset({"event", "wf_uuid", "ts", "@timestamp", "at", "ingested", "via", "job_inst_id", "inv_id", "rest"})
_STAMPEDE = _SHARED | {"xwf_id", "job_id"}
_WORKER = _SHARED | {"dag_job_id"}


def _is_stampede(kind: str) -> bool:
    return kind.startswith("stampede.")


def document(event: Event, ingested: float, via: Via) -> bytes:
    """An event as the JSON of a document, on one line; its `_id` is the event's `event_id`.

    Parameters
    ----------
    event : Event
        What happened.
    ingested : float
        Ingest time [s since 1970, UTC].
    via : Via
        The way on which it came first.

    Raises
    ------
    FormatError
        Its key is no text or number of 64 bits, or a field cannot be told in JSON.
    """
    try:
        key = msgspec.convert(event, Key, from_attributes=True)
        return _encoded({**_head(key), "ingested": ingested, "via": int(via), **_body(event)}, key)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise FormatError(f"event {event.kind!r} of workflow {event.wf_uuid!r} cannot be stored: {error}") from error


def event(source: Mapping[str, Any]) -> Event:
    """The event that a document was made of.

    Raises
    ------
    StoreError
        It is no such document.
    """
    told = _is_stampede(str(source.get("event")))
    own, job = (_STAMPEDE, "job_id") if told else (_WORKER, "dag_job_id")
    fields = {name: value for name, value in source.items() if name not in own}
    try:
        return msgspec.convert(
            {
                "kind": source.get("event"),
                "wf_uuid": source.get("wf_uuid"),
                "ts": source.get("ts"),
                "job_id": source.get(job),
                "attempt": source.get("job_inst_id"),
                "invocation": source.get("inv_id"),
                "fields": fields | source.get("rest", {}),
            },
            Event,
        )
    except (msgspec.ValidationError, TypeError) as error:
        raise StoreError(f"a document of the index is no event of Panorama's: {error}: {str(source)[:200]}") from error


def _head(key: Key) -> dict[str, Any]:
    """The event's key in the spelling of its family; what is not known is left out."""
    told = _is_stampede(key.kind)
    timed = key.ts is not None and math.isfinite(key.ts)
    own = {
        "event": key.kind,
        "wf_uuid": key.wf_uuid,
        "xwf_id": key.wf_uuid if told else None,
        "ts": key.ts if timed else None,
        "@timestamp": _date(key.ts) if timed else None,
        "job_id" if told else "dag_job_id": key.job_id,
        "job_inst_id": key.attempt,
        "inv_id": key.invocation,
    }
    return {"at": key.ts if timed else TIMELESS} | {name: value for name, value in own.items() if value is not None}


def _date(ts: float | None) -> str | None:
    """Event time as Kibana's and Grafana's time field; in the index to the millisecond, exact is only `ts`."""
    return datetime.fromtimestamp(ts, UTC).isoformat() if ts is not None and 0 <= ts < _LATEST else None


def _body(event: Event) -> dict[str, Any]:
    """The event's fields, with those that have no place of their own in `rest`."""
    own = _STAMPEDE if _is_stampede(event.kind) else _WORKER
    placed: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for name, value in event.fields.items():
        fits = _FITS.get(name)
        (placed if fits is not None and name not in own and fits(value) else rest)[name] = value
    if rest:
        placed["rest"] = rest
    return placed


def _is_word(value: Any) -> bool:
    return value is None or value.__class__ is str or _is_whole(value)


def _is_text(value: Any) -> bool:
    return value is None or value.__class__ is str


def _is_whole(value: Any) -> bool:
    if value.__class__ is float:
        return bool(value.is_integer()) and abs(value) < 2**53
    return value is None or (value.__class__ is int and -(2**63) <= value < 2**63)


def _is_number(value: Any) -> bool:
    return (value.__class__ is float and math.isfinite(value)) or _is_whole(value)


def _is_flag(value: Any) -> bool:
    return value is None or value.__class__ is bool


def _is_date(value: Any) -> bool:
    if value.__class__ is not str or not _DATE.fullmatch(value):
        return value is None
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _is_anything(_: Any) -> bool:
    return True


_TESTS: dict[str, Callable[[Any], bool]] = {
    "keyword": _is_word,
    "name": _is_text,
    "text": _is_text,
    "long": _is_whole,
    "double": _is_number,
    "boolean": _is_flag,
    "date": _is_date,
    "object": _is_anything,
}
_FITS = {name: _TESTS[kind] for name, kind in _KNOWN.items()}


def _encoded(told: dict[str, Any], key: Key) -> bytes:
    """JSON, a NaN as null; names that are no UTF-8 (surrogates, PEP 383) need the slower way."""
    try:
        return msgspec.json.encode(told)
    except UnicodeEncodeError:
        msgspec.json.encode(key)  # which has to be found again
    without_nan = json.loads(json.dumps(told), parse_constant=lambda _: None)
    return json.dumps(without_nan).encode()
