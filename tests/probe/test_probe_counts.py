"""The probe's numbers against getrusage and known bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.probe import PROBE
from panorama_driver.probe.panorama_probe import json as written
from panorama_driver.sources import parse
from tests.conftest import whole_lines

MIB = 1 << 20
MEASURED = "measured CPU time or pace"
COUNTERS = ("utime", "stime", "rchar", "wchar", "syscr", "syscw", "bread", "bwrite")

BURN = """
import os, resource, sys, time
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
def used(*who):
    usages = [resource.getrusage(one) for one in who or (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
"""
TELL = "\nos.write(1, repr(used()).encode()); os._exit(0)"


def cpu(record: dict[str, Any]) -> float:
    return float(record["utime"] + record["stime"])


@pytest.mark.measures
def test_cpu_time_is_getrusages_to_one_percent(probe: Any) -> None:
    truth = float(probe.run(*probe.python(BURN + "burn(0.6)" + TELL)).stdout)
    assert cpu(probe.last()) == pytest.approx(truth, rel=0.01), MEASURED


@pytest.mark.measures
def test_a_job_of_20_ms_has_a_first_and_a_last_record_with_its_cpu_time(probe: Any) -> None:
    truth = float(probe.run(*probe.python(BURN + "burn(max(0, 0.02 - time.process_time()))" + TELL)).stdout)
    first, *_, last = probe.records()
    assert (first["seq"], first["final"], first["procs"]) == (0, False, 1)
    assert (last["seq"] >= 1, last["final"], last["procs"]) == (True, True, 0)
    assert cpu(last) == pytest.approx(truth, abs=0.002), MEASURED
    assert 0.01 < last["dur"] < 5, MEASURED


@pytest.mark.measures
def test_short_lived_children_are_counted_once_each(probe: Any) -> None:
    source = BURN + "for _ in range(30):\n if os.fork() == 0: burn(0.01); os._exit(0)\n os.wait()" + TELL
    truth = float(probe.run(*probe.python(source), options=("--interval", "0.02")).stdout)
    assert cpu(probe.last()) == pytest.approx(truth, rel=0.01), MEASURED


def test_written_bytes_and_calls_are_exact(probe: Any, tmp_path: Path) -> None:
    source = """
import os, sys
file = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
for _ in range(128): os.write(file, bytes(65536))
os.fsync(file)
counters = dict(line.split(": ") for line in open("/proc/self/io").read().splitlines())
os.write(1, counters["write_bytes"].encode())
"""
    on_disk = int(probe.run(*probe.python(source, str(tmp_path / "out"))).stdout)
    last = probe.last()
    assert last["wchar"] == 8 * MIB + len(str(on_disk))
    assert last["syscw"] == 129
    assert last["bwrite"] >= on_disk
    assert last["bwrite"] <= on_disk + 64 * 1024


def test_read_bytes_and_calls_are_exact(probe: Any) -> None:
    source = """
import os
text = os.read(os.open("/proc/self/io", os.O_RDONLY), 4096)
counters = dict(line.split(b": ") for line in text.splitlines())
os.write(1, b"%d %d" % (int(counters[b"rchar"]) + len(text), int(counters[b"syscr"]) + 1))
os._exit(0)
"""
    rchar, syscr = map(int, probe.run(*probe.python(source)).stdout.split())
    assert (probe.last()["rchar"], probe.last()["syscr"]) == (rchar, syscr)


def test_bytes_of_children_of_every_kind_are_exact(probe: Any, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(bytes(3 * MIB))
    write = "head -c 1048576 /dev/zero > {0}/{1}"
    script = "; ".join(write.format(tmp_path, name) for name in "abc")
    orphan = f"(setsid sh -c '{write.format(tmp_path, 'orphan')}' &) | cat"
    assert probe.run("sh", "-c", f"{script}; {orphan}").returncode == 0
    assert probe.last()["wchar"] == 4 * MIB
    assert probe.last()["rchar"] == pytest.approx(4 * MIB, rel=0.05)  # the loader reads as well


@pytest.mark.measures
def test_an_orphan_in_its_own_session_is_counted(probe: Any) -> None:
    source = (
        BURN
        + """
told, tell = os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        os.setsid(); burn(0.4); os.write(tell, repr(used()).encode())
    os._exit(0)
os.wait()
spent = float(os.read(told, 100))
os.write(1, repr(spent + used()).encode())
"""
    )
    truth = float(probe.run(*probe.python(source)).stdout)
    assert cpu(probe.last()) == pytest.approx(truth, abs=0.025), MEASURED  # it may still live, in ticks of 10 ms


@pytest.mark.measures
def test_children_of_a_parent_that_ignores_sigchld_count_up_to_when_they_were_seen(probe: Any) -> None:
    source = (
        BURN
        + """
import _signal
_signal.signal(_signal.SIGCHLD, _signal.SIG_IGN)
if os.fork() == 0: burn(0.5); os._exit(0)
try: os.wait()
except ChildProcessError: pass
burn(0.1)
"""
    )
    probe.run(*probe.python(source), options=("--interval", "0.05"))
    assert 0.5 < cpu(probe.last()) < 0.68, MEASURED
    assert any("SIGCHLD" in problem for problem in probe.last()["problems"])


def test_counters_never_go_back_and_samples_keep_the_interval(probe: Any) -> None:
    script = "for i in 1 2 3 4 5 6 7 8 9 10; do head -c 20000000 /dev/zero | md5sum >&2; done"
    probe.run("sh", "-c", script, options=("--interval", "0.02"))
    records = probe.records()
    assert len(records) > 5
    assert [record["seq"] for record in records] == list(range(len(records)))
    assert [record["final"] for record in records] == [False] * (len(records) - 1) + [True]
    for before, after in pairwise(records):
        assert all(before[name] <= after[name] for name in COUNTERS)


@pytest.mark.measures
def test_the_probe_counts_neither_itself_nor_its_records(probe: Any) -> None:
    probe.run("sleep", "0.3", options=("--interval", "0.01"))
    last = probe.last()
    assert last["seq"] > 10, MEASURED
    assert (last["wchar"], last["syscw"]) == (0, 0)
    assert cpu(last) < 0.01, MEASURED  # loading `sleep` with cold caches; the samples of the probe cost more
    assert max(record["procs"] for record in probe.records()) == 1


def test_levels_are_of_the_whole_tree(probe: Any, started: Any) -> None:
    source = "import os, _thread, time; held = bytearray(60 << 20)\n"
    source += "if os.fork() == 0: os.setsid(); os.read(0, 1); os._exit(0)\n"
    source += "_thread.start_new_thread(os.read, (0, 1)); time.sleep(0.1); os.write(1, b'ready'); os.wait()"
    job = started(probe.start(*probe.python(source), options=("--interval", "0.02")))
    assert job.stdout.read(5) == b"ready"
    seen = 0
    while not seen:
        lines = probe.trace.read_text().splitlines()[:-1]
        seen = sum(json.loads(line)["threads"] == 3 for line in lines)
    job.communicate(b"end")
    busiest = max(probe.records(), key=lambda record: record["threads"])
    assert (busiest["procs"], busiest["threads"]) == (2, 3)
    assert busiest["rss"] > 60 * 1024
    assert probe.last()["maxrss"] > 60 * 1024


def test_a_stopped_process_is_told_from_a_sleeping_one(probe: Any, started: Any) -> None:
    process = started(probe.start("sh", "-c", "kill -STOP $$; exec sleep 60", options=("--interval", "0.02")))
    stopped = next_with(probe, stopped=1)
    assert (stopped["procs"], stopped["running"], stopped["blocked"]) == (1, 0, 0)
    os.kill(stopped["pid"], signal.SIGCONT)
    asleep = next_with(probe, stopped=0, running=0, exe=stopped["exe"])
    assert asleep["procs"] == 1
    process.terminate()
    process.wait()


def next_with(probe: Any, **fields: object) -> dict[str, Any]:
    """The next record that has these fields, of a job that still runs."""
    known = len(whole_lines(probe.trace)) if probe.trace.exists() else 0
    while True:
        records = [json.loads(line) for line in whole_lines(probe.trace)[known:]] if probe.trace.exists() else []
        for record in records:
            if fields.items() <= record.items():
                return dict(record)


def test_two_that_share_a_core_wait_for_it_half_of_the_time(probe: Any) -> None:
    cpu = min(os.sched_getaffinity(0))
    burn = "import os, time; end = time.time() + 1.5\nwhile time.time() < end: pass"
    source = f"import os; os.sched_setaffinity(0, [{cpu}]); os.fork(); exec({burn!r})"
    probe.run(*probe.python(source), options=("--interval", "0.25"))
    last = [record for record in probe.records() if record["running"]][-1]
    waited, ran = last["rundelay"], last["runtime"]
    assert ran == pytest.approx(last["utime"] + last["stime"], abs=0.15)
    assert waited / (waited + ran) > 0.4  # more where others want the core as well


def test_a_job_smaller_than_the_interpreter_has_a_bound_for_maxrss(probe: Any) -> None:
    probe.run("true")
    assert probe.last()["maxrss"] is None
    assert 1024 < probe.last()["maxrss_below"] < 60 * 1024


def test_a_record_says_whose_it_is_and_is_an_event(probe: Any) -> None:
    names = {
        "PEGASUS_WF_UUID": "7c0e", "PEGASUS_WF_LABEL": "nd", "PEGASUS_DAG_JOB_ID": "md_ID1", "CONDOR_JOBID": "12.0",
        "PEGASUS_SITE": "local", "PEGASUS_XFORMATION": "md", "PEGASUS_TASK_ID": "ID1", "PANORAMA_ATTEMPT": "2",
        "OMPI_COMM_WORLD_RANK": "3",
    }  # fmt: skip
    probe.run("true", env={**os.environ, **names})
    last = probe.last()
    assert [last[key] for key in ("wf_uuid", "wf_label", "dag_job_id", "condor_job_id", "site", "xformation")] == [
        "7c0e", "nd", "md_ID1", "12.0", "local", "md",
    ]  # fmt: skip
    assert (last["task_id"], last["attempt"], last["rank"], last["hostname"]) == ("ID1", 2, 3, os.uname().nodename)
    assert last["exe"].endswith("/true")
    event = parse(last)
    assert (event.wf_uuid, event.job_id, event.attempt) == ("7c0e", "md_ID1", 2)


def test_pegasus_can_set_everything_by_environment(probe: Any) -> None:
    names = {"KICKSTART_MON_URL": f"file://{probe.trace}", "KICKSTART_MON_INTERVAL": "7"}
    subprocess.run([sys.executable, PROBE, "true"], env={**os.environ, **names}, check=True)
    assert (probe.last()["interval"], probe.last()["final"]) == (7, True)
    names["PANORAMA_PROBE_INTERVAL"] = "0"
    subprocess.run([sys.executable, PROBE, "true"], env={**os.environ, **names}, check=True)
    assert probe.last()["interval"] == 0


def test_records_hold_any_text() -> None:
    value = {"text": 'a "quote" \\ \n Ω \udcff', "list": ["x", None, True], "numbers": [1, 0, 1.5, 0.1 + 0.2]}
    expected = {"text": 'a "quote" \\ \n Ω \ufffd', "list": ["x", None, True], "numbers": [1, 0, 1.5, 0.3]}
    assert json.loads(written(value)) == expected


def test_a_python_without_ctypes_runs_the_job_and_says_what_it_misses(probe: Any) -> None:
    source = "import sys, runpy; sys.modules['_ctypes'] = None; sys.argv = sys.argv[1:]; "
    source += "runpy.run_path(sys.argv[0], run_name='__main__')"
    words = [sys.executable, "-c", source, *probe.words("sh", "-c", "exit 4")[2:]]
    assert subprocess.run(words).returncode == 4
    assert any("prctl" in problem for problem in probe.last()["problems"])
