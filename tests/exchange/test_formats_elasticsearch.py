"""Documents of Panorama's Elasticsearch become the events that the broker had brought, each once."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.events import Event
from panorama_driver.exchange.formats import detected, elasticsearch
from panorama_driver.metrics import correlate
from panorama_driver.sources import expand, sink
from panorama_driver.store import Via, _documents, open_store
from tests.captured import CAPTURES, raw_records
from tests.exchange.runs import clusters, imported, told

Document = dict[str, Any]
FAMILIES = ("stampede", "kickstart", "transfer")
STATIC = ("job_id", "job_inst_id", "parent_job_id", "child_job_id", "task_id", "parent_task_id", "xwf_id", "subwf_id")


def messages(folder: Path) -> list[Document]:
    """What went over a real broker: of monitord, of Panorama's kickstart and of its pegasus-transfer."""
    found = list(raw_records("mini-events", folder))
    for name in ("kickstart-online", "transfer-events"):
        found += [raw["body"] for raw in sink.read(CAPTURES / f"{name}.jsonl")]
    return found


def indexed(message: Document) -> Document:
    """A message as Logstash put it into the index: it adds a field only where there is none of that name."""
    family = message["event"].partition(".")[0]
    return {"type": family} | message | {"@timestamp": "2026-11-22T11:40:00.000Z", "@version": "1"}


def dotted(document: Document) -> Document:
    """The spelling of static events of Pegasus 4.9."""
    return {key.replace("_id", ".id") if key in STATIC else key: value for key, value in document.items()}


def hits(documents: list[Document]) -> list[Document]:
    """Hits, whose ids Elasticsearch made up."""
    return [
        {"_index": f"panorama_{source['event'].partition('.')[0]}", "_type": "doc", "_id": f"AW{n}", "_source": source}
        for n, source in enumerate(documents)
    ]


def answer(documents: list[Document]) -> Document:
    counted = {"value": len(documents), "relation": "eq"}
    return {"took": 3, "timed_out": False, "hits": {"total": counted, "max_score": 1.0, "hits": hits(documents)}}


def lines(documents: list[Document]) -> str:
    return "".join(json.dumps(document) + "\n" for document in documents)


SHAPES: dict[str, Callable[[list[Document]], str]] = {
    "elasticdump": lambda documents: lines(hits(documents)),
    "search": lambda documents: json.dumps(answer(documents)),
    "search, pretty": lambda documents: json.dumps(answer(documents), indent=2),
    "pages of a scroll": lambda documents: lines([answer(documents[:40]), answer(documents[40:])]),
    "several searches": lambda documents: json.dumps({"took": 1, "responses": [answer(documents), answer([])]}),
    "a list of sources": lambda documents: json.dumps(documents, indent=2),
    "a list of hits": lambda documents: json.dumps(hits(documents)),
    "a body of _bulk": lambda documents: "".join(
        lines([{"index": {"_index": "panorama_stampede"}}, document]) for document in documents
    ),
}


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "documents"
    path.write_text(text, encoding="utf-8")
    return path


def live(folder: Path) -> dict[str, Event]:
    return {event.event_id: event for raw in messages(folder) for event in expand(raw)}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_file_of_any_shape_gives_what_the_broker_gave(tmp_path: Path, shape: str) -> None:
    path = written(tmp_path, SHAPES[shape]([indexed(message) for message in messages(tmp_path)]))
    assert detected(path).name == "elasticsearch"
    events, letters = told(elasticsearch.read, path)
    assert letters == []
    assert events == live(tmp_path)
    assert Counter(event.kind.partition(".")[0] for event in events.values()).keys() >= set(FAMILIES)


def test_both_spellings_are_one(tmp_path: Path) -> None:
    documents = [indexed(message) for message in messages(tmp_path)]
    old = written(tmp_path, lines(hits([dotted(document) for document in documents])))
    assert b'"job.id"' in old.read_bytes()
    assert told(elasticsearch.read, old) == (live(tmp_path), [])


def test_what_is_compressed_is_read_as_well(tmp_path: Path) -> None:
    path = tmp_path / "dump.json.gz"
    path.write_bytes(gzip.compress(lines(hits([indexed(each) for each in messages(tmp_path)])).encode()))
    assert detected(path).name == "elasticsearch"
    assert told(elasticsearch.read, path) == (live(tmp_path), [])


def test_a_live_import_and_its_old_documents_are_one_row_each(tmp_path: Path) -> None:
    documents = [indexed(message) for message in messages(tmp_path)]
    twice = written(tmp_path, lines(hits(documents + documents)))  # the index kept every copy
    with open_store(tmp_path / "store.db") as store:
        rows = store.put(live(tmp_path).values(), via=Via.BROKER)
        assert imported(elasticsearch.read, twice, store) == (0, 0)
        assert imported(elasticsearch.read, twice, store) == (0, 0)
        assert store.count() == rows == len(live(tmp_path))
        runs = [run.wf_uuid for run in store.workflows()]
        assert correlate(store.events(runs[0])).makespan == 26.0  # as the jobstate.log of the run tells


def test_documents_of_old_are_found_again_in_ours_field_by_field(tmp_path: Path) -> None:
    sent = messages(tmp_path)
    events, _ = told(elasticsearch.read, written(tmp_path, json.dumps(answer([indexed(each) for each in sent]))))
    for message in sent:
        event = events[expand(message)[0].event_id]
        new, old = json.loads(_documents.document(event, 0.0, Via.DISK)), indexed(message)
        ours = {name for name in old if name not in ("@version", "@timestamp", "type", "level")}
        assert ours - _told(new, old) == set()


def _told(new: Document, old: Document) -> set[str]:
    """Names of fields of an old document whose value is in the new one, or that say nothing."""
    fields = new | new.get("rest", {})
    return {
        name
        for name, value in old.items()
        if value is None or (name == "ts" and "ts" not in fields) or _same(fields.get(name), value)
    }


def _same(new: object, old: object) -> bool:
    """Numbers of text are numbers now."""
    if isinstance(new, bool):
        return new == bool(int(str(old)))
    if isinstance(new, int | float) and isinstance(old, int | float | str):
        return new == pytest.approx(float(old), abs=1e-6)
    return new == old or (new is None and old in ("None", ""))


def test_documents_of_our_own_index_are_the_events_they_were_made_of(tmp_path: Path) -> None:
    events = clusters(tmp_path)
    sources = [json.loads(_documents.document(event, 1.5, Via.BROKER)) for event in events.values()]
    path = written(tmp_path, lines([{"_index": "panorama-events-000001", "_source": source} for source in sources]))
    assert told(elasticsearch.read, path) == (events, [])


def test_a_field_of_the_event_itself_called_type_stays(tmp_path: Path) -> None:
    told_by = {"event": "stampede.int.metric", "xwf_id": "w", "job_id": "j", "job_inst_id": 1, "type": "check", "ts": 1}
    globus = {"event": "transfer.inv.go", "wf_uuid": "w", "dag_job_id": "j", "type": "TRANSFER", "status": "SUCCEEDED"}
    events, _ = told(elasticsearch.read, written(tmp_path, lines([indexed(told_by), indexed(globus)])))
    assert sorted(event.fields["type"] for event in events.values()) == ["TRANSFER", "check"]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ('{"_index": "panorama_stampede", "_source": {"event": "stampede.inv.end", "xwf_\n', "does not end"),
        ('{"_source": {"tags": ["_jsonparsefailure"], "message": "??"}}\n', "without a name in its field 'event'"),
        ('{"_source": {"event": "stampede.inv.end", "xwf_id": "w"}}\n', "without its field"),
        ('{"_source": {"event": "stampede.xwf.end", "xwf_id": "w", "restart_count": "many"}}\n', "whole number"),
        ('{"_source": 7}\n', "something else"),
        ("<html>502 Bad Gateway</html>\n", "no JSON object"),
    ],
)
def test_a_damaged_line_is_a_dead_letter_and_the_rest_is_read(tmp_path: Path, damage: str, reason: str) -> None:
    documents = hits([indexed(message) for message in messages(tmp_path)])
    path = written(tmp_path, lines(documents[:50]) + damage + lines(documents[50:]))
    events, [letter] = told(elasticsearch.read, path)
    assert events == live(tmp_path)
    assert reason in letter.reason
    assert letter.source == str(path)
    with open_store(tmp_path / "store.db") as store:
        assert imported(elasticsearch.read, path, store) == (len(events), 1)
        assert imported(elasticsearch.read, path, store) == (0, 0)


def test_a_file_that_was_cut_tells_what_is_whole(tmp_path: Path) -> None:
    data = gzip.compress(lines(hits([indexed(each) for each in messages(tmp_path)])).encode())
    path = tmp_path / "cut.gz"
    path.write_bytes(data[: len(data) // 2])
    events, letters = told(elasticsearch.read, path)
    assert 0 < len(events) < len(live(tmp_path))
    assert "cannot be read to its end" in letters[-1].reason


def test_an_answer_without_end_takes_no_memory_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elasticsearch, "ANSWER_LIMIT", 1 << 16)
    path = written(tmp_path, '{"took": 1, "hits": {"hits": [' + '{"_source": {"event": "x"}}, ' * 10_000)
    _, letters = told(elasticsearch.read, path)
    assert letters
    assert all("bytes are passed over" in letter.reason or "no JSON" in letter.reason for letter in letters[:1])
