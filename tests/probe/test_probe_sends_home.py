"""The records come home with the job: as a file for PegasusLite, or at the end of a stream."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from panorama_driver.probe import PROBE

START, END = b"@@@MONITORING_PAYLOAD - START@@@", b"@@@MONITORING_PAYLOAD - END@@@"
WORDS = [sys.executable, "-IS", str(PROBE)]
KICKSTART = shutil.which("pegasus-kickstart")


def settings(folder: Path | None = None, **more: str) -> dict[str, str]:
    names = {"PANORAMA_PROBE_PAYLOAD": "1", "PANORAMA_PROBE_INTERVAL": "0.02", **more}
    return {**os.environ, **names, **({"PEGASUS_MULTIPART_DIR": str(folder)} if folder else {})}


def run(*command: str, env: dict[str, str], **more: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*WORDS, "--", *command], env=env, capture_output=True, timeout=30, **more)


def cut(stream: bytes) -> tuple[bytes, dict[str, Any]]:
    """Take the one block out of a stream, as monitord does."""
    before, start, rest = stream.partition(START)
    text, end, after = rest.partition(END)
    assert start
    assert end
    told = json.loads(text)
    assert told["monitoring_event"] == "panorama"
    assert isinstance(told["ts"], int)
    [payload] = told["payload"]
    return before + after, payload["panorama"]


def delivered(folder: Path) -> list[dict[str, Any]]:
    """Read the files as PegasusLite takes them and monitord reads them: what `ls` shows, as YAML."""
    files = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    return [part["panorama"] for path in files for part in yaml.safe_load(path.read_text())]


def test_a_payload_holds_all_records_and_says_once_whose_they_are(tmp_path: Path) -> None:
    env = settings(tmp_path, CONDOR_JOBID="12.0", PEGASUS_WF_UUID="7c0e", PEGASUS_TASK_ID="ID1")
    env["PANORAMA_PROBE_TRACE"] = str(tmp_path / ".trace")
    done = run("sh", "-c", "echo out; sleep 0.1; exit 3", env=env)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"")
    [payload] = delivered(tmp_path)
    assert payload["format"] == 1
    assert payload["identity"]["condor_job_id"] == "12.0"
    assert not set(payload["identity"]) & set(payload["records"][0])
    assert "thinned" not in payload
    traced = [json.loads(line) for line in (tmp_path / ".trace").read_text().splitlines()]
    assert [{**record, **payload["identity"]} for record in payload["records"]] == traced
    assert payload["records"][-1]["final"]


@pytest.mark.parametrize("marker", ["stdout", "stderr"])
def test_elsewhere_it_is_a_block_at_the_end_of_the_stream_and_the_rest_is_the_jobs(marker: str) -> None:
    done = run("sh", "-c", "printf out; printf noise >&2; exit 4", env=settings(PANORAMA_PROBE_MARKER=marker))
    assert done.returncode == 4
    streams = {"stdout": done.stdout, "stderr": done.stderr}
    assert streams[marker].endswith(END)
    streams[marker], payload = cut(streams[marker])
    assert streams == {"stdout": b"out", "stderr": b"noise"}
    assert payload["records"][-1]["exitcode_raw"] == 4 << 8


def test_a_multipart_folder_that_is_not_there_leaves_the_stream(tmp_path: Path) -> None:
    done = run("echo", "hi", env=settings(tmp_path / "none", PANORAMA_PROBE_MARKER="stdout"))
    rest, payload = cut(done.stdout)
    assert rest == b"hi\n"
    assert "PEGASUS_MULTIPART_DIR" in payload["records"][-1]["problems"][0]


def test_several_probes_of_one_job_do_not_overwrite_each_other(tmp_path: Path) -> None:
    words = " ".join(f"'{word}'" for word in WORDS)
    subprocess.run(["sh", "-c", f"{words} true & {words} false; wait"], env=settings(tmp_path), check=True)
    ends = sorted(payload["records"][-1]["exitcode_raw"] for payload in delivered(tmp_path))
    assert ends == [0, 1 << 8]


def test_nowhere_to_send_a_payload_is_told_and_fails_no_job() -> None:
    done = run("sh", "-c", "exit 5", env=settings())
    assert (done.returncode, done.stdout) == (5, b"")
    assert b"payload: nowhere to send it" in done.stderr


@pytest.mark.parametrize("way", ["multipart", "stdout"])
def test_a_long_job_is_thinned_to_the_budget_and_its_totals_stay_exact(tmp_path: Path, way: str) -> None:
    env = settings(tmp_path if way == "multipart" else None, PANORAMA_PROBE_MARKER="stdout")
    env.update(PANORAMA_PROBE_BUDGET="6000", PANORAMA_PROBE_INTERVAL="0.002")
    done = run("sh", "-c", "head -c 1000000 /dev/zero >&2; sleep 0.5", env=env)
    payload = delivered(tmp_path)[0] if way == "multipart" else cut(done.stdout)[1]
    assert 1000 < len(json.dumps(payload, separators=(",", ":"))) <= 6000
    records = payload["records"]
    assert payload["thinned"] == {"kept": len(records), "of": records[-1]["seq"] + 1}
    assert payload["thinned"]["of"] > len(records) > 5
    assert records[0]["seq"] == 0
    steps = {after["seq"] - before["seq"] for before, after in pairwise(records[:-1])}
    assert len(steps) == 1
    assert (records[-1]["final"], records[-1]["wchar"]) == (True, 1000000)


def test_the_first_and_the_last_record_come_home_whatever_the_budget(tmp_path: Path) -> None:
    run("sleep", "0.1", env=settings(tmp_path, PANORAMA_PROBE_BUDGET="1"))
    [payload] = delivered(tmp_path)
    assert [record["final"] for record in payload["records"]] == [False, True]


def test_a_payload_is_read_as_yaml_and_never_looks_like_its_own_end(tmp_path: Path) -> None:
    names = settings(PEGASUS_XFORMATION="\x7f \x01 😀 Ω \udcff", PEGASUS_SITE=END.decode())
    run("true", env={**names, "PEGASUS_MULTIPART_DIR": str(tmp_path)})
    assert delivered(tmp_path)[0]["identity"]["xformation"] == "\x7f \x01 \ufffd Ω \ufffd"
    _, payload = cut(run("true", env={**names, "PANORAMA_PROBE_MARKER": "stdout"}).stdout)
    assert payload["identity"]["site"] == END.decode()


def test_a_job_told_to_end_still_sends_home(tmp_path: Path, started: Any) -> None:
    env = settings(PANORAMA_PROBE_MARKER="stdout")
    job = started(subprocess.Popen([*WORDS, "sh", "-c", "echo up; exec sleep 60"], env=env, stdout=subprocess.PIPE))
    assert job.stdout.readline() == b"up\n"
    job.terminate()
    rest, payload = cut(job.communicate(timeout=10)[0])
    assert (job.returncode, rest) == (-signal.SIGTERM, b"")
    assert payload["records"][-1]["exitcode_raw"] == signal.SIGTERM


def test_a_probe_that_is_killed_while_the_job_ignores_term_has_sent_home_what_it_knew(
    tmp_path: Path, started: Any
) -> None:
    words = [*WORDS, "sh", "-c", "trap '' TERM; echo up; exec sleep 60"]
    job = started(subprocess.Popen(words, env=settings(tmp_path), stdout=subprocess.PIPE))
    assert job.stdout.readline() == b"up\n"
    job.terminate()
    deadline = time.monotonic() + 10
    while not list(tmp_path.glob("*.yml")) and time.monotonic() < deadline:
        pass
    job.kill()
    job.wait()
    [payload] = delivered(tmp_path)
    assert [record["final"] for record in payload["records"][-2:]] == [False, False]


@pytest.mark.measures
def test_a_stdout_that_nobody_reads_holds_up_nothing(started: Any) -> None:
    env = settings(PANORAMA_PROBE_MARKER="stdout")
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while os.write(writing, bytes(65536)):
            pass
    except BlockingIOError:
        os.set_blocking(writing, True)
    begin = time.monotonic()
    job = started(subprocess.Popen([*WORDS, "sh", "-c", "exit 6"], env=env, stdout=writing, stderr=subprocess.PIPE))
    _, told = job.communicate(timeout=20)
    took = time.monotonic() - begin
    os.close(writing)
    os.close(reading)
    assert job.returncode == 6
    assert took < 5, f"measured {took:.1f} s"
    assert b"payload on stdout: not taken within" in told


def test_a_reader_that_has_gone_changes_no_exit_status() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    env = settings(PANORAMA_PROBE_MARKER="stdout")
    done = subprocess.run([*WORDS, "sh", "-c", "exit 6"], env=env, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert done.returncode == 6
    assert b"Broken pipe" in done.stderr


@pytest.mark.parametrize("closing", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_fail_no_job(tmp_path: Path, closing: str) -> None:
    words = " ".join(f"'{word}'" for word in [*WORDS, "--trace", str(tmp_path / "trace")])
    marker = "stderr" if closing == "2>&-" else "stdout"
    script = f"{words} sh -c 'exit 7' {closing}"
    done = subprocess.run(["sh", "-c", script], env=settings(PANORAMA_PROBE_MARKER=marker), capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (7, b"", b"")
    lines = [json.loads(line) for line in (tmp_path / "trace").read_text().splitlines()]
    assert any(f"no {marker} to write it to" in problem for problem in lines[-1]["problems"])


def test_a_full_disk_under_the_multipart_folder_is_told_and_leaves_no_half_a_file(tmp_path: Path) -> None:
    script = 'ulimit -f 1; exec "$@"'  # a file size limit gives the same short write and error
    env = settings(tmp_path, PANORAMA_PROBE_MARKER="stderr")
    words = ["sh", "-c", script, "sh", *WORDS, "sh", "-c", "sleep 0.2; exit 8"]
    done = subprocess.run(words, env=env, capture_output=True)
    assert done.returncode == 8
    assert list(tmp_path.iterdir()) == []
    assert b"File too large" in done.stderr
    assert cut(done.stderr)[1]["records"][-1]["final"]


def test_a_folder_that_takes_no_file_is_told_and_fails_no_job() -> None:
    done = run("sh", "-c", "exit 9", env=settings(Path("/proc")))
    assert done.returncode == 9
    assert b"payload /proc/panorama-" in done.stderr


def kickstart(*words: str, wrapper: str = "", **names: str) -> subprocess.CompletedProcess[bytes]:
    assert KICKSTART
    env = {**settings(None, **names), "KICKSTART_WRAPPER": wrapper or " ".join(WORDS)}
    return subprocess.run([KICKSTART, *words], env=env, capture_output=True, timeout=60)


def invocation(record: bytes) -> dict[str, Any]:
    [entry] = yaml.load(record, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return dict(entry)


needs_kickstart = pytest.mark.skipif(not KICKSTART, reason="no pegasus-kickstart on PATH")


@needs_kickstart
@pytest.mark.parametrize("marker", ["stdout", "stderr"])
def test_kickstart_records_the_payload_behind_the_jobs_output(marker: str) -> None:
    done = kickstart("sh", "-c", "echo out; exit 3", PANORAMA_PROBE_MARKER=marker)
    assert done.returncode == 3
    told = invocation(done.stdout)
    assert told["mainjob"]["status"]["regular_exitcode"] == 3
    assert cut(told["files"][marker]["data"].encode())[1]["records"][-1]["exitcode_raw"] == 3 << 8


@needs_kickstart
def test_kickstart_keeps_the_payload_of_a_job_that_prints_more_than_it_keeps() -> None:
    done = kickstart("sh", "-c", "head -c 600000 /dev/zero | tr '\\0' x", PANORAMA_PROBE_MARKER="stdout")
    assert cut(invocation(done.stdout)["files"]["stdout"]["data"].encode())[1]["records"][-1]["wchar"] >= 600000


@needs_kickstart
def test_kickstart_sends_the_stream_to_a_file_with_the_payload_at_its_end(tmp_path: Path) -> None:
    kickstart("-o", str(tmp_path / "out"), "echo", "hi", PANORAMA_PROBE_MARKER="stdout")
    assert cut((tmp_path / "out").read_bytes())[0] == b"hi\n"


@needs_kickstart
def test_kickstarts_timeout_leaves_no_process_and_the_payload_arrives(gone: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pid")
    script = tmp_path / "job.sh"  # kickstart itself would replace the $! of an argument
    script.write_text(f"trap '' TERM\nsleep 300 &\necho $! > {tmp_path / 'pid'}\nwait\n")
    env = settings(PANORAMA_PROBE_MARKER="stdout", PANORAMA_PROBE_KILL_AFTER="0.5")
    env["KICKSTART_WRAPPER"] = " ".join(WORDS)
    words = [str(KICKSTART), "-k", "1", "-K", "5", "/bin/sh", str(script)]
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as job:
        stray = gone.watch(int((tmp_path / "pid").read_text()))
        record, _ = job.communicate(timeout=30)
    assert gone.within(10, stray)
    assert job.returncode == 14
    told = invocation(record)
    assert told["mainjob"]["status"]["signalled_signal"] == signal.SIGKILL
    assert cut(told["files"]["stdout"]["data"].encode())[1]["records"][-1]["exitcode_raw"] == signal.SIGKILL
