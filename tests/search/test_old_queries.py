"""What was made for Panorama's indices finds its data: the queries of its Kibana plugin and of its Grafana dashboards,
as they are in their sources, answered from recorded runs.

What is right is told by the raw messages, as they came off the broker, in a few lines of Python.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any, NamedTuple

import pytest

from panorama_driver.sources import expand, globus
from panorama_driver.store import open_store
from panorama_driver.testing.globus import FakeTask, Step
from panorama_driver.testing.opensearch import Node

from ..captured import CAPTURES, LIVE, raw_records

Raw = dict[str, Any]
Query = dict[str, Any]

DEMO = "11111111-2222-3333-4444-555555555555"
MINI, FAILED = "f6eff249-7020-4ed5-86d6-ffbf4ca46b9d", "632d40da-c133-448b-82b4-5394126f0208"
_MOVED = [Step(1, "STARTED"), Step(5, "PROGRESS", 4000, 4), Step(10, "SUCCEEDED")]
_TASKS = [
    FakeTask(f"{DEMO} - stage_in_local", _MOVED, task_id="11111111-aaaa-4bbb-8ccc-000000000000"),
    FakeTask(f"{DEMO} - stage_out_local", _MOVED, task_id="22222222-aaaa-4bbb-8ccc-000000000000"),
    FakeTask(f"{DEMO} - stage_in_local", [Step(4, "CANCELED")], task_id="33333333-aaaa-4bbb-8ccc-000000000000"),
    FakeTask(f"{MINI} - stage_in_local", _MOVED, task_id="44444444-aaaa-4bbb-8ccc-000000000000"),
]
_ENDPOINTS = ("gsiftp://casa-dtn1.example.edu:2811/data/a.nc", "file:///scratch/a.nc", "scp://not-casa.example.edu/dtn")
_WORKERS = ("exogeni-worker-3", "chameleon2.example.edu", "host-192-168-90-17", "host-192-168-89-4", "submit-exogeni")
_DAGS = ("casa_hail_wf-20190410-0.dag", "casa_wind_wf-1-0.dag", "nowcast-0.dag")


class Published(NamedTuple):
    """A store in the engine, and every message that is in it."""

    node: Node
    prefix: str
    messages: list[Raw]

    def search(self, family: str, query: Query, **more: Any) -> dict[str, Any]:
        """Ask the index that Panorama called so."""
        answer: dict[str, Any] = self.node.ask(
            "POST", f"/{self.prefix}_{family}/_search", {"query": query, "size": 1000, **more}
        )
        return answer

    def found(self, family: str, query: Query) -> list[Raw]:
        """Documents, in the order in which the plugin asks for them."""
        hits = self.search(family, query, sort={"@timestamp": "asc"})["hits"]["hits"]
        return [hit["_source"] for hit in hits]

    def right(self, wanted: Callable[[Raw], bool]) -> Counter[tuple[str, ...]]:
        """What should be found, each message once."""
        told = {json.dumps(raw, sort_keys=True): raw for raw in self.messages if wanted(raw)}
        return Counter(map(_key, told.values()))


@pytest.fixture(scope="module")
def published(search_node: Node, tmp_path_factory: pytest.TempPathFactory) -> Published:
    """All recorded runs, traces and transfers, with some of DyNamo's names for Grafana."""
    folder = tmp_path_factory.mktemp("runs")
    messages = [raw for run in LIVE for raw in raw_records(run, folder)]
    for name in ("kickstart-online.jsonl", "transfer-events.jsonl"):
        messages += [json.loads(line)["body"] for line in (CAPTURES / name).read_text().splitlines()]
    messages += [globus.published(task.document(2e9), task.events(2e9)) for task in _TASKS]
    messages += _of_dynamo(messages)
    prefix = f"test-{uuid.uuid4().hex[:12]}"
    with open_store(f"{search_node.url}/{prefix}") as store:
        store.put(event for raw in messages for event in expand(raw))
    search_node.ask("POST", f"/{prefix}_*/_refresh")
    return Published(search_node, prefix, messages)


def _of_dynamo(messages: list[Raw]) -> Iterator[Raw]:
    """Recorded messages with the names that Panorama's Grafana looks for."""
    single, host, start = (
        next(raw for raw in messages if raw["event"] == kind)
        for kind in ("transfer.inv.local.single", "stampede.job_inst.host.info", "stampede.xwf.start")
    )
    ends = [(source, destination) for source in _ENDPOINTS for destination in _ENDPOINTS if source != destination]
    for number, (source, destination) in enumerate(ends):
        names = {"source_url": source, "destination_url": destination, "hostname": _WORKERS[number % len(_WORKERS)]}
        yield single | names | {"bytes_transferred": 1000 << number, "ts": single["ts"] + 60 * number}
    for number, hostname in enumerate(_WORKERS):
        yield host | {"hostname": hostname, "ip": f"192.168.90.{number}"}
    for number, dag in enumerate(_DAGS):
        yield start | {"dag": dag, "xwf_id": str(uuid.UUID(int=number))}


def _key(record: Raw) -> tuple[str, ...]:
    """What tells records apart, and what the plugin reads of them, in one spelling of numbers."""
    static = record["event"] in ("stampede.job.info", "stampede.job.edge")  # whose times are no times
    names = ("event", "xwf_id", "wf_uuid", "job_id", "dag_job_id", "job_inst_id", "sched_id", "inv_id", "status")
    more = ("exitcode", "dur", "remote_cpu_time", "executable", "parent_job_id", "child_job_id", "type_desc", "reason")
    traced = ("utime", "stime", "rchar", "wchar", "iowait", "threads", "bytes_transferred", "transfer_events")
    told = {name: record.get(name) for name in (*names, *more, *traced)}
    if record["event"].startswith("stampede."):
        told["wf_uuid"] = None
    return (*map(_plain, told.values()), "" if static else _plain(record.get("ts")))


def _plain(value: Any) -> str:
    if value in (None, "None"):
        return ""
    try:
        return str(round(float(value), 6))
    except (TypeError, ValueError):
        return str(value)


def should(minimum: int, *clauses: tuple[str, str]) -> Query:
    """The only form of query that the plugin has, but for its first."""
    return {"bool": {"should": [{"match": {name: value}} for name, value in clauses], "minimum_should_match": minimum}}


def fits(raw: Raw, minimum: int, clauses: Collection[tuple[str, str]]) -> bool:
    """The same, of a message."""
    return sum(str(raw.get(name)) == value for name, value in clauses) >= minimum


@pytest.fixture(params=["_", "__"])
def spelled(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """The names of fields as they are now, and as they were in the plugin's first years."""
    return lambda name: name.replace("_", request.param)


def test_1_the_list_of_workflows_newest_first(published: Published) -> None:
    query = {"bool": {"must": {"term": {"event": "stampede.wf.plan"}}}}
    hits = published.search("stampede", query, size=100, sort={"@timestamp": "desc"})["hits"]["hits"]
    plans = sorted(
        (raw for raw in published.messages if raw["event"] == "stampede.wf.plan"), key=lambda raw: -float(raw["ts"])
    )
    assert [hit["_source"]["xwf_id"] for hit in hits] == [raw["xwf_id"] for raw in plans]
    roots = dict.fromkeys(hit["_source"]["root_xwf_id"] for hit in hits)
    assert list(roots) == list(dict.fromkeys(raw["root_xwf_id"] for raw in plans))
    assert [hit["_source"]["dax_label"] for hit in hits] == [raw["dax_label"] for raw in plans]


@pytest.mark.parametrize("wf_uuid", [MINI, FAILED])
def test_2_a_workflow_with_its_jobs_and_what_became_of_them(
    published: Published, wf_uuid: str, spelled: Callable[[str], str]
) -> None:
    kinds = ("job.edge", "job.info", "job_inst.main.start", "inv.end", "job_inst.submit.end", "xwf.start", "xwf.end")
    events = [("event", f"stampede.{kind}") for kind in kinds]
    query = should(2, ("xwf.id", wf_uuid), (spelled("xwf_id"), wf_uuid), *events)
    found = published.found("stampede", query)
    right = published.right(lambda raw: fits(raw, 2, [("xwf_id", wf_uuid), *events]))
    assert Counter(map(_key, found)) == right
    assert right.total() >= 25
    [end] = [each for each in found if each["event"] == "stampede.xwf.end"]
    assert (end["status"] == 0) == (wf_uuid == MINI)


@pytest.mark.parametrize("wf_uuid", [DEMO, MINI])
def test_3a_traces_of_a_workflow_in_the_order_of_their_time(published: Published, wf_uuid: str) -> None:
    clauses = ("wf_uuid", wf_uuid), ("event", "kickstart.inv.online")
    found = published.found("kickstart", should(2, *clauses))
    assert Counter(map(_key, found)) == published.right(lambda raw: fits(raw, 2, clauses))
    times = [each["ts"] for each in found]
    assert times == sorted(times)
    assert len(times) >= 14


def test_3b_transfers_of_a_workflow_by_globus(published: Published) -> None:
    clauses = ("wf_uuid", DEMO), ("event", "transfer.inv.go"), ("status", "SUCCEEDED")
    found = published.found("transfer", should(3, *clauses))
    assert [each["task_id"] for each in found] == [_TASKS[0].task_id, _TASKS[1].task_id]
    progress = [json.loads(one["details"]) for one in found[0]["transfer_events"] if one["code"] == "PROGRESS"]
    assert progress == [{"bytes_transferred": 4000, "duration": 4, "mbps": 0.008}]


@pytest.mark.parametrize(("wf_uuid", "job_id", "sched_id"), [(MINI, "payload_ID0000001", "35.0"), (FAILED, "", "")])
def test_4_a_job_with_its_programs_and_what_they_told(
    published: Published, wf_uuid: str, job_id: str, sched_id: str, spelled: Callable[[str], str]
) -> None:
    if not job_id:
        ended = [raw for raw in published.messages if fits(raw, 2, [("xwf_id", wf_uuid), ("exitcode", "768")])]
        job_id, sched_id = ended[-1]["job_id"], ended[-1]["sched_id"]
    ids = ("xwf_id", wf_uuid), ("job_id", job_id), ("sched_id", sched_id)
    events = ("event", "stampede.inv.end"), ("event", "stampede.task.monitoring")
    query = should(3, *events, *((spelled(name), value) for name, value in ids))
    found = published.found("stampede", query)
    right = published.right(lambda raw: fits(raw, 3, [*events, *ids]))
    assert Counter(map(_key, found)) == right
    own = [each for each in found if each["event"] == "stampede.inv.end" and each["inv_id"] >= 0]
    assert {each["job_id"] for each in own} == {job_id}


def test_5_traces_of_a_job(published: Published) -> None:
    clauses = ("wf_uuid", MINI), ("dag_job_id", "shm_ID0000003"), ("event", "kickstart.inv.online")
    found = published.found("kickstart", should(3, *clauses))
    right = published.right(lambda raw: fits(raw, 3, clauses))
    assert Counter(map(_key, found)) == right
    assert right.total() == 4


def test_6_transfers_of_a_job_by_globus(published: Published) -> None:
    ids = ("wf_uuid", DEMO), ("dag_job_id", "stage_in_local")
    found = published.found("transfer", should(4, *ids, ("event", "transfer.inv.go"), ("status", "SUCCEEDED")))
    assert [(each["task_id"], each["files"]) for each in found] == [(_TASKS[0].task_id, 1)]
    assert found[0]["source_endpoint_display_name"] == "source collection"


def test_7_what_scripts_ask_for_by_name(published: Published) -> None:
    for kind in ("inv.start", "inv.end", "job_inst.composite"):
        name = f"stampede.{kind}".replace(".", r"\.")  # as FlowBench's scripts write it
        query = {"query_string": {"query": f'xwf_id:"{MINI}" AND event:"{name}"'}}
        clauses = ("xwf_id", MINI), ("event", f"stampede.{kind}")
        right = published.right(partial(fits, minimum=2, clauses=clauses))
        assert Counter(map(_key, published.found("stampede", query))) == right
        assert right


_SINGLE = 'event:"transfer.inv.local.single" AND '
_AT_DTN = '(source_url:"*casa-dtn*" OR destination_url:"*casa-dtn*")'
_ON_CHAMELEON = '( hostname:"chameleon*" OR hostname:"host-192-168-90*" OR hostname:"host-192-168-89*" )'
_INV_END = 'event:"stampede.inv.end" AND inv_id: [0 TO *] AND '


def _is(kind: str) -> Callable[[Raw], bool]:
    return lambda raw: raw["event"] == kind


def _single(wanted: Callable[[Raw], bool]) -> Callable[[Raw], bool]:
    return lambda raw: raw["event"] == "transfer.inv.local.single" and wanted(raw)


def _from_dtn(raw: Raw) -> bool:
    return "casa-dtn" in raw["source_url"]


def _to_dtn(raw: Raw) -> bool:
    return "casa-dtn" in raw["destination_url"]


def _starts(*starts: str) -> Callable[[Raw], bool]:
    """Whether words of the host's name begin so; a quoted pattern asks no more, in Panorama's own indices neither."""
    return lambda raw: any(f"-{start}" in f"-{raw.get('hostname')}" for start in starts)


def _ended(well: bool) -> Callable[[Raw], bool]:
    return lambda raw: (
        raw["event"] == "stampede.inv.end" and int(raw["inv_id"]) >= 0 and (int(raw["exitcode"]) == 0) is well
    )


_chameleon = _starts("chameleon", "host-192-168-90", "host-192-168-89")


@pytest.mark.parametrize(
    ("family", "query", "wanted", "summed"),
    [
        ("stampede", 'event:"stampede.xwf.start"', _is("stampede.xwf.start"), None),
        ("stampede", f"{_INV_END}exitcode:0", _ended(True), None),
        ("stampede", f"{_INV_END}(NOT exitcode: 0)", _ended(False), None),
        ("transfer", _SINGLE + _AT_DTN, _single(lambda raw: _from_dtn(raw) or _to_dtn(raw)), "bytes_transferred"),
        ("transfer", f'{_SINGLE}source_url:"*casa-dtn*"', _single(_from_dtn), "bytes_transferred"),
        ("transfer", f'{_SINGLE}destination_url:"*casa-dtn*"', _single(_to_dtn), "bytes_transferred"),
        (
            "stampede",
            'event:"stampede.xwf.start" AND dag:*casa_hail_*',
            lambda raw: _is("stampede.xwf.start")(raw) and "casa_hail_" in raw["dag"],
            None,
        ),
        (
            "stampede",
            'event:"stampede.xwf.start" AND dag:*casa_wind_*',
            lambda raw: _is("stampede.xwf.start")(raw) and "casa_wind_" in raw["dag"],
            None,
        ),
        ("stampede", 'event:"stampede.job_inst.main.end"', _is("stampede.job_inst.main.end"), "local_dur"),
        (
            "stampede",
            'event:"stampede.inv.start" AND inv_id: [0 TO *]',
            lambda raw: _is("stampede.inv.start")(raw) and int(raw["inv_id"]) >= 0,
            None,
        ),
        (
            "stampede",
            'event:"stampede.job_inst.host.info" AND hostname:"exogeni*"',
            lambda raw: _is("stampede.job_inst.host.info")(raw) and _starts("exogeni")(raw),
            None,
        ),
        (
            "stampede",
            f'event:"stampede.job_inst.host.info" AND {_ON_CHAMELEON}',
            lambda raw: _is("stampede.job_inst.host.info")(raw) and _chameleon(raw),
            None,
        ),
        (
            "transfer",
            f'{_SINGLE}source_url:"*casa-dtn*" AND hostname:"exogeni*"',
            _single(lambda raw: _from_dtn(raw) and _starts("exogeni")(raw)),
            "bytes_transferred",
        ),
        (
            "transfer",
            f'{_SINGLE}source_url:"*casa-dtn*" AND {_ON_CHAMELEON}',
            _single(lambda raw: _from_dtn(raw) and _chameleon(raw)),
            "bytes_transferred",
        ),
    ],
)
def test_panels_of_grafana_show_the_right_numbers(
    published: Published, family: str, query: str, wanted: Callable[[Raw], bool], summed: str | None
) -> None:
    over_time = {"field": "@timestamp", "fixed_interval": "1m", "min_doc_count": 1}
    sums = {"sum": {"sum": {"field": summed or "inv_id"}}}
    answer = published.search(
        family,
        {"bool": {"filter": [{"query_string": {"analyze_wildcard": True, "query": query}}]}},
        size=0,
        aggs={"time": {"date_histogram": over_time, "aggs": sums}},
    )
    buckets = answer["aggregations"]["time"]["buckets"]
    right = {json.dumps(raw, sort_keys=True): raw for raw in published.messages if wanted(raw)}.values()
    assert sum(bucket["doc_count"] for bucket in buckets) == len(right) > 0
    minutes = Counter(float(raw["ts"]) // 60 * 60 for raw in right)
    assert {bucket["key"] / 1000: bucket["doc_count"] for bucket in buckets} == minutes
    if summed:
        total = sum(float(raw.get(summed) or 0) for raw in right)
        assert sum(bucket["sum"]["value"] for bucket in buckets) == pytest.approx(total, rel=1e-12) != 0
