"""`kickstart.*` events: traces of our probe and of Panorama's kickstart, and what GPUs did."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from panorama_driver.errors import FormatError
from panorama_driver.metrics import correlate
from panorama_driver.sources import parse
from panorama_driver.sources.traces import KINDS, Trace
from tests.captured import CAPTURES

WHO = {
    "hostname": "nid1",
    "site": "cori",
    "wf_uuid": "w",
    "wf_label": "demo",
    "dag_job_id": "md_ID1",
    "condor_job_id": "12.0",
    "xformation": "md",
    "task_id": "ID1",
}
# The device of the documentation of the tool that sends these, with the names of its code.
STATS = {
    "event": "kickstart.inv.gpu.stats",
    "timestamp": 1621975518,
    "id": 0,
    "name": "GeForce GTX 1080",
    "pci_bus_id": "00000000:01:00.0",
    "sampling_duration": 0.043,
    "temp": 43,
    "power_usage": 38882,
    "mem_usage": 5835259904,
    "gpu_utilization": 0,
    "proc_samples": [{"pid": 2116725, "sm_util": 0, "sample_ts": 5}],
    **WHO,
}
# The same with the names of its README.
TOLD = {
    **{key: value for key, value in STATS.items() if key not in ("timestamp", "proc_samples")},
    "event": "kickstart.inv.online.gpu.stats",
    "ts": 1621975518,
    "proc_samples": [{"pid": 2116725, "smUtil": 0, "timeStamp": 5}],
}


def recorded() -> list[dict[str, Any]]:
    return [json.loads(line)["body"] for line in (CAPTURES / "kickstart-online.jsonl").read_text().splitlines()]


def test_all_fields_of_recorded_traces_are_known_and_stay_as_they_came() -> None:
    for raw in recorded():
        event = parse(raw)
        own = {"event", "ts", "wf_uuid", "dag_job_id"}
        assert event.fields == {key: value for key, value in raw.items() if key not in own}
        typed = msgspec.convert({**event.fields, "wf_uuid": event.wf_uuid}, Trace)
        assert (typed.bread, typed.utime, typed.brecv) == (raw["bread"], raw["utime"], raw["brecv"])


def test_counters_of_processors_are_kept() -> None:
    counters = dict.fromkeys(["totins", "ldins", "srins", "fpins", "fpops", "l1misses", "l2misses", "l3misses"], "7")
    event = parse({"event": "kickstart.inv.online", "ts": 1.5, **counters, **WHO})
    assert {key: event.fields[key] for key in counters} == dict.fromkeys(counters, 7)


def test_what_the_probe_could_not_see_stays_null_and_numbers_stay_exact() -> None:
    raw = {"event": "kickstart.inv.online", "ts": "1.123456789", "seq": 1, "iowait": None, "utime": 0.1 + 0.2, **WHO}
    event = parse({**raw, "attempt": "3", "final": True, "problems": ["no delay accounting"]})
    assert (event.ts, event.attempt, event.fields["iowait"], event.fields["utime"]) == (1.123456789, 3, None, 0.1 + 0.2)


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["kickstart.inv.gpu.environment", "kickstart.inv.online.gpu.env"], "kickstart.inv.online.gpu.env"),
        (["kickstart.inv.gpu.stats.max", "kickstart.inv.online.gpu.stats.max"], "kickstart.inv.online.gpu.stats.max"),
    ],
)
def test_an_event_of_a_gpu_has_one_name(names: list[str], kind: str) -> None:
    one, other = (parse({"event": name, "ts": 5, "devices": [{"id": 1, "max_temp": 43}], **WHO}) for name in names)
    assert one == other
    assert (one.kind, one.job_id, one.fields["devices"]) == (kind, "md_ID1", [{"gpu_id": 1, "max_temp": 43}])


def test_what_a_gpu_did_is_one_event_by_the_names_of_the_code_and_of_its_documentation() -> None:
    one, other = parse(STATS), parse(TOLD)
    assert one == other
    assert (one.event_id, one.ts, one.fields["gpu_id"]) == (other.event_id, 1621975518, 0)
    assert one.fields["proc_samples"] == [{"pid": 2116725, "sm_util": 0, "sample_ts": 5}]
    typed = msgspec.convert({**one.fields, "wf_uuid": "w"}, KINDS[one.kind])
    assert msgspec.to_builtins(typed)["mem_usage"] == 5835259904


def test_gpus_of_one_worker_are_told_apart() -> None:
    assert parse({**STATS, "id": 0}).event_id != parse({**STATS, "id": 1, "pci_bus_id": "x"}).event_id
    assert parse({**STATS, "id": 0}).event_id != parse({**STATS, "id": 1}).event_id


def test_metrics_of_a_job_do_not_change_with_what_its_gpu_did() -> None:
    raws = [raw for raw in recorded() if raw["wf_uuid"] == recorded()[0]["wf_uuid"]]
    alone = [parse(raw) for raw in raws]
    with_gpu = [*alone, parse({**STATS, **{key: raws[0][key] for key in WHO}})]
    assert correlate(with_gpu).jobs == correlate(alone).jobs


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"event": "kickstart.inv.offline", **WHO}, "'kickstart.inv.offline' is not one of kickstart.inv.online, "),
        ({"event": "kickstart.inv.online"}, "without its field 'wf_uuid'"),
        ({**STATS, "id": None}, "without its field 'gpu_id'"),
        ({"event": "kickstart.inv.online", **WHO, "utime": "nan"}, "field 'utime' is 'nan', not a finite number"),
    ],
)
def test_what_is_no_trace_is_refused_in_words(raw: dict[str, Any], words: str) -> None:
    with pytest.raises(FormatError, match=words):
        parse(raw)
