"""A run with clustered jobs: Pegasus 5.1.3's own planner, kickstart, clustering tool and monitord, under our DAGMan."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from panorama_driver.collector.submitdir import drain_submit_dir
from panorama_driver.events import Event
from panorama_driver.metrics import correlate
from panorama_driver.sources import expand
from panorama_driver.store import open_store
from tests.captured import CAPTURES

# what monitord adds to every event, and what we know of a host and it does not
_COMMON = {"dag", "dax", "wf_ts", "submit_dir", "submit_hostname", "wf_user", "pegasus_version", "root_xwf_id", "js_id"}
_BETTER = {"hostname", "uname", "level"}


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    """Events of the run, from its submit directory."""
    with open_store(str(tmp_path_factory.mktemp("store") / "store.db")) as store:
        assert drain_submit_dir(CAPTURES / "submitdirs" / "clusters", store).problems == ()
        [known] = store.workflows()
        return list(store.events(known.wf_uuid))


def told(events: list[Event], kind: str) -> list[Event]:
    return [event for event in events if event.kind == f"stampede.{kind}" and event.job_id == "merge_group0"]


def test_a_clustered_job_is_told_as_monitord_tells_it(collected: list[Event]) -> None:
    lines = gzip.decompress((CAPTURES / "clusters" / "events.json.gz").read_bytes()).splitlines()
    theirs = {event.event_id: event for line in lines for event in expand(json.loads(line))}
    ours = {event.event_id: event for event in collected}
    assert ours.keys() == theirs.keys()
    different: dict[str, Any] = {}
    for identity, event in theirs.items():
        if (event.job_id or "").startswith("merge_"):
            names = (event.fields.keys() | ours[identity].fields.keys()) - _COMMON - _BETTER
            different |= {f"{event.kind}: {n}": n for n in names if event.fields.get(n) != ours[identity].fields.get(n)}
    assert different == {}


def test_every_task_is_an_invocation_and_the_clustering_tools_summary_is_kept(collected: list[Event]) -> None:
    programs = [event for event in told(collected, "inv.end") if (event.invocation or 0) > 0]
    assert [event.fields["task_id"] for event in programs] == ["g0-2", "g0-1", "g0-0", "join0"]
    assert [event.invocation for event in programs] == [1, 2, 3, 4]
    [info], [end] = told(collected, "job.info"), told(collected, "job_inst.main.end")
    assert (info.fields["clustered"], info.fields["task_count"]) == (True, 4)
    assert (end.fields["cluster_dur"], end.fields["cluster_start"]) == (1.647, 1795388695)


def test_every_task_has_its_own_trace_and_the_job_their_sum(collected: list[Event]) -> None:
    job = correlate(collected).job("merge_group0")
    assert (job.state, job.sources["cpu_time"], job.cores) == ("succeeded", "probe", 2)
    assert [task.cpu_time for task in job.tasks] == pytest.approx([0.015623, 0.019264, 0.014792, 0.013626])
    assert job.cpu_time == pytest.approx(0.015623 + 0.019264 + 0.014792 + 0.013626)
    assert [task.bytes_written for task in job.tasks] == [8192, 8192, 8192, 4096]
    assert job.bytes_written == 28672
    assert job.peak_memory == max(task.peak_memory or 0 for task in job.tasks) == 9142272
