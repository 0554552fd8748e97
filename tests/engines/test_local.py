"""The embedded engine on real processes: order, slots, retries, rescue, cancellation, and Pegasus' own words."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.engines.local import Slots, Watch, run_bundle
from panorama_driver.engines.outcome import Outcome
from panorama_driver.errors import WorkflowError
from panorama_driver.render import find_site, find_workflow, render
from tests.conftest import PARABOLA, whole_lines

HERE = Path()


def bundle(path: Path, **values: Any) -> Path:
    folder = find_workflow(str(PARABOLA), HERE)
    parameters, options = folder.split(values)
    render(folder, find_site("local", HERE), parameters, options, path)
    return path


def run(path: Path, cores: int = 2) -> Outcome:
    return asyncio.run(run_bundle(path, "local", "11111111-0000", Slots(cores, 4096), watch=Watch(interval=0.1)))


def events(path: Path, name: str = "") -> list[dict[str, Any]]:
    lines = whole_lines(path / "run/events.jsonl")
    return [raw for raw in map(json.loads, lines) if raw["event"].startswith(name)]


def attempts(path: Path, job: str) -> list[int]:
    return [raw["job_inst_id"] for raw in events(path, "stampede.job_inst.main.start") if raw["job_id"] == job]


def test_a_bundle_runs_to_its_result(tmp_path: Path) -> None:
    path = bundle(tmp_path / "b", x=0.5)
    assert run(path).succeeded
    assert json.loads((path / "output/result.json").read_text())["y"] == pytest.approx(0.04)
    assert not (path / "run/scratch").exists()


def test_jobs_run_in_the_order_of_their_dependencies(tmp_path: Path) -> None:
    path = bundle(tmp_path / "b")
    run(path)
    order = [raw["job_id"] for raw in events(path, "stampede.job_inst.main.start")]
    assert order[:3] == ["create_dir_parabola_0_local", "stage_in_local_local_0_0", "sh_split"]
    assert set(order[3:5]) == {"sh_left", "sh_right"}
    assert order[5:] == ["square_last", "stage_out_local_local_0_0", "cleanup_parabola_0_local"]


def overlap(path: Path) -> float:
    ends = {raw["job_id"]: raw for raw in events(path, "stampede.inv.end")}
    left, right = ends["sh_left"], ends["sh_right"]
    return float(min(left["ts"], right["ts"]) - max(left["start_time"], right["start_time"]))


def test_two_slots_run_two_jobs_at_once_and_one_slot_runs_one(tmp_path: Path) -> None:
    two, one = bundle(tmp_path / "two", pause=0.3), bundle(tmp_path / "one", pause=0.3)
    run(two, cores=2)
    run(one, cores=1)
    assert overlap(two) > 0.1
    assert overlap(one) <= 0.0


def test_slots_are_shared_by_all_runs(tmp_path: Path) -> None:
    paths = [bundle(tmp_path / str(n), pause=0.2) for n in range(3)]

    async def together() -> None:
        slots = Slots(1, 4096)
        await asyncio.gather(*(run_bundle(path, "local", f"u{n}", slots) for n, path in enumerate(paths)))

    asyncio.run(together())
    ends = [raw for path in paths for raw in events(path, "stampede.inv.end")]
    compute = sorted((raw["start_time"], raw["ts"]) for raw in ends if raw["job_id"].startswith(("sh_", "square_")))
    assert len(compute) == 12
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(compute))


def test_a_job_that_needs_more_than_there_is_is_refused_before_anything_runs(tmp_path: Path) -> None:
    path = bundle(tmp_path / "b")
    with pytest.raises(WorkflowError, match="needs 1 cores and 64 MB; the study has 2 cores and 32 MB"):
        asyncio.run(run_bundle(path, "local", "u", Slots(2, 32)))
    assert not (path / "run").exists()


def test_a_failing_job_is_tried_again_as_often_as_the_bundle_says(tmp_path: Path) -> None:
    path = bundle(tmp_path / "b", trouble="fail")
    outcome = run(path)
    assert not outcome.succeeded
    assert "square_last failed with exit code 1: square.py: asked to fail" in outcome.reason
    assert len(attempts(path, "square_last")) == 2
    assert [raw["exitcode"] for raw in events(path, "stampede.inv.end") if raw["job_id"] == "square_last"] == [256, 256]


def test_a_job_that_fails_once_succeeds_on_its_second_try(tmp_path: Path) -> None:
    path = bundle(tmp_path / "b", trouble="once")
    assert run(path).succeeded
    assert len(attempts(path, "square_last")) == 2


def test_a_signal_is_kept_as_the_raw_wait_status(tmp_path: Path) -> None:
    path = bundle(tmp_path / "b", trouble="crash")
    assert "killed by SIGSEGV" in run(path).reason
    last = [raw for raw in events(path, "stampede.inv.end") if raw["job_id"] == "square_last"][-1]
    assert os.WTERMSIG(last["exitcode"]) == signal.SIGSEGV


def test_a_job_that_exits_0_without_its_output_has_failed(tmp_path: Path) -> None:
    path = bundle(tmp_path / "b", trouble="no-output")
    assert "exited 0 but left no result.json" in run(path).reason


def test_a_rerun_repeats_only_what_had_not_finished(tmp_path: Path) -> None:
    path = bundle(tmp_path / "b", trouble="fail")
    run(path)
    workflow = path / "workflow.yml"
    workflow.write_text(workflow.read_text().replace('"fail"', '"none"'))
    assert run(path).succeeded
    assert len(attempts(path, "sh_split")) == 1
    assert len(attempts(path, "square_last")) == 3
    assert len({raw["job_inst_id"] for raw in events(path, "stampede.job_inst.submit.start")}) == 7 + 3
    assert [raw["restart_count"] for raw in events(path, "stampede.xwf.start")] == [0, 1]


def test_a_job_that_outruns_its_limit_is_ended_and_has_failed(tmp_path: Path) -> None:
    path = bundle(tmp_path / "b", pause=30.0)
    workflow = json.loads((path / "workflow.yml").read_text())
    for job in workflow["jobs"]:
        job["profiles"]["pegasus"]["runtime"] = 1
    (path / "workflow.yml").write_text(json.dumps(workflow))
    assert "ran longer than its 1 s and was ended" in run(path).reason
    [status] = {raw["exitcode"] for raw in events(path, "stampede.inv.end") if raw["job_id"] == "sh_left"}
    assert os.WTERMSIG(status) == signal.SIGTERM
    assert not processes_in(path)


def test_a_program_that_is_not_there_fails_its_job_and_not_the_engine(tmp_path: Path) -> None:
    path = bundle(tmp_path / "b")
    (path / "bin/square").unlink()
    assert "square_last failed with exit code 127" in run(path).reason


def test_the_probe_measures_every_compute_job(tmp_path: Path) -> None:
    path = bundle(tmp_path / "b", pause=0.3)
    run(path)
    trace = [json.loads(line) for line in (path / "run/sh_left.trace.000.jsonl").read_text().splitlines()]
    assert len(trace) >= 3
    assert trace[0]["seq"] == 0
    assert trace[-1]["final"]
    assert {record["wf_uuid"] for record in trace} == {"11111111-0000"}
    assert {record["attempt"] for record in trace} == {attempts(path, "sh_left")[0]}


def test_staging_tells_of_every_file_with_its_size(tmp_path: Path) -> None:
    path = bundle(tmp_path / "b", x=0.5)
    run(path)
    singles = {raw["filename"]: raw["size"] for raw in events(path, "transfer.inv.local.single")}
    assert singles == {
        "settings.txt": 4,
        "constants/offset.txt": 4,
        "result.json": (path / "output/result.json").stat().st_size,
    }


def test_cancelling_a_run_leaves_no_process_and_can_be_taken_up(tmp_path: Path) -> None:
    path = bundle(tmp_path / "b", pause=30.0)

    async def cancel_in_the_middle() -> None:
        task = asyncio.create_task(run_bundle(path, "local", "u", Slots(2, 4096)))
        while len(events_so_far(path, "stampede.inv.start", "sh_")) < 3:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel_in_the_middle())
    assert not processes_in(path)
    assert events(path, "stampede.xwf.end")[-1]["status"] == -1
    aborted = {raw["job_inst_id"] for raw in events(path, "stampede.job_inst.abort.info")}
    assert {raw["job_inst_id"] for raw in events(path, "stampede.job_inst.post.end") if raw["status"]} <= aborted
    workflow = path / "workflow.yml"
    workflow.write_text(workflow.read_text().replace("sleep 30.0", "sleep 0"))
    assert run(path).succeeded
    assert len(attempts(path, "sh_split")) == 1


def test_an_engine_that_is_killed_leaves_no_process_and_is_taken_up(tmp_path: Path) -> None:
    path = bundle(tmp_path / "b", pause=30.0)
    code = (
        "import asyncio, sys; from pathlib import Path; from panorama_driver.engines.local import *;"
        "asyncio.run(run_bundle(Path(sys.argv[1]), 'local', 'u', Slots(2, 4096)))"
    )
    engine = subprocess.Popen([sys.executable, "-c", code, str(path)])
    wait_for(lambda: len(events_so_far(path, "stampede.inv.start", "sh_")) == 3)
    engine.kill()
    engine.wait()
    wait_for(lambda: not processes_in(path))
    workflow = path / "workflow.yml"
    workflow.write_text(workflow.read_text().replace("sleep 30.0", "sleep 0"))
    assert run(path).succeeded
    assert len(attempts(path, "sh_split")) == 1
    aborted = {raw["job_id"] for raw in events(path, "stampede.job_inst.abort.info")}
    assert aborted == {"sh_left", "sh_right"}


def test_a_working_directory_that_others_may_use_is_neither_used_nor_removed(tmp_path: Path) -> None:
    path, shared = bundle(tmp_path / "b"), tmp_path / "shared"
    shared.mkdir()
    (path / "sites.yml").write_text(
        (path / "sites.yml").read_text().replace("${PANORAMA_BUNDLE}/run/scratch", str(shared))
    )
    with pytest.raises(WorkflowError, match=r"sharedScratch is .*shared, which .* write \{\{ bundle \}\}"):
        run(path)
    assert shared.is_dir()


def test_two_jobs_of_one_name_are_refused_and_none_is_lost(tmp_path: Path) -> None:
    path = bundle(tmp_path / "b")
    workflow = json.loads((path / "workflow.yml").read_text())
    workflow["jobs"][0] |= {"name": "sh_left", "id": "x"}
    workflow["jobs"][1] |= {"name": "sh", "id": "left_x"}
    workflow["jobDependencies"] = []
    (path / "workflow.yml").write_text(json.dumps(workflow))
    programs = json.loads((path / "transformations.yml").read_text())
    programs["transformations"].append({**programs["transformations"][0], "name": "sh_left"})
    (path / "transformations.yml").write_text(json.dumps(programs))
    with pytest.raises(WorkflowError, match="two jobs are called 'sh_left_x'"):
        run(path)


@pytest.mark.parametrize("target", ["kept", "$PWD/kept"])
def test_a_result_that_is_a_symbolic_link_is_published_with_its_content(tmp_path: Path, target: str) -> None:
    path = bundle(tmp_path / "b")
    workflow = json.loads((path / "workflow.yml").read_text())
    split = workflow["jobs"][0]
    split["arguments"][1] = split["arguments"][1].removesuffix("'") + f"; echo word > kept; ln -s {target} link.txt'"
    split["uses"].append({"lfn": "link.txt", "type": "output", "stageOut": True, "registerReplica": False})
    (path / "workflow.yml").write_text(json.dumps(workflow))
    assert run(path).succeeded
    assert (path / "output/link.txt").read_text() == "word\n"
    assert not (path / "output/link.txt").is_symlink()


@pytest.mark.parametrize("name", ["a b", "a#b", "a?b", "a%41b", "ü"])
def test_a_bundle_runs_wherever_it_lies(tmp_path: Path, name: str) -> None:
    assert run(bundle(tmp_path / name)).succeeded


def events_so_far(path: Path, name: str, job: str) -> list[dict[str, Any]]:
    if not (path / "run/events.jsonl").exists():
        return []
    return [raw for raw in events(path, name) if raw["job_id"].startswith(job)]


def processes_in(path: Path) -> list[str]:
    """Command lines of processes whose working directory is the scratch of this bundle."""
    return list(_processes_in(str(path / "run/scratch")))


def _processes_in(directory: str) -> Iterator[str]:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "cwd").startswith(directory):
                yield (process / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue


def wait_for(condition: Any, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_arguments_become_the_words_that_they_are_under_pegasus(tmp_path: Path) -> None:
    from panorama_driver.engines.local.plan import _words

    assert _words(["-n 3", "'two words'", 'a"b', "c\\d", "#e", 5]) == ["-n", "3", "two words", 'a"b', "c\\d", "#e", "5"]
