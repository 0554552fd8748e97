"""kickstart's records, as jobs and the machinery around them leave them in output files."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panorama_driver.sources import kickstart
from panorama_driver.sources.kickstart import Records

JOBS = Path(__file__).parents[1] / "data" / "captures" / "submitdirs"
PAYLOAD = (JOBS / "mini-events/00/00/payload_ID0000001.out.000").read_bytes()
KILLED = (JOBS / "slurm-timeout/00/00/step_ID0000001.out.000").read_bytes()


def read(text: bytes | str) -> Records:
    return kickstart.read(io.BytesIO(text.encode() if isinstance(text, str) else text))


def test_a_record_of_pegasuslite_with_what_came_after_it() -> None:
    records = read(PAYLOAD)
    [program] = records.invocations
    assert (program.transformation, program.derivation, program.resource) == (
        "demo::payload:1.0",
        "ID0000001",
        "condorpool",
    )
    assert (program.start, program.duration, program.status) == (1795347589.566, 0.003, 0)
    assert (program.utime, program.stime, program.maxrss) == (0.002, 0.001, 1888)
    assert (program.condor_id, program.nodename, program.hostaddr) == ("35.0", "vm", "192.0.2.2")
    assert (program.stderr, program.complete) == ("err\n", True)
    assert program.stdout is not None
    assert program.stdout.startswith("before\n@@@MONITORING_PAYLOAD - START@@@{")
    assert program.stdout.endswith("\nafter\n")
    [output] = program.outputs
    assert (output.lfn, output.size, output.checksum_timing) == ("out.txt", "100000", "0.0")
    assert records.multipart[1] == {"integrity_summary": {"succeeded": 2, "failed": 0, "duration": 0.03}}
    assert records.problems == ()


def test_a_record_of_a_program_that_slurm_stopped() -> None:
    [program] = read(KILLED).invocations
    assert (program.status, program.duration, program.time_limit) == (15, 81.54, 1795350310)


def test_nothing_of_the_environment_is_kept() -> None:
    secret = KILLED.replace(b'"HOME": "/home/wf"', b'"TOKEN": "hunter2"')
    assert b"hunter2" in secret
    assert "hunter2" not in repr(read(secret))


@pytest.mark.parametrize("text", ["", "\n", "Killed\n", "slurmstepd: error\n" * 1000])
def test_a_file_without_a_record_has_none(text: str) -> None:
    assert read(text) == Records()


def test_records_of_a_clustered_job_are_kept_apart() -> None:
    task = '[cluster-task id={0}, start="2026-11-22", duration=1.0, status=0]\n'
    two = b"noise without an end" + PAYLOAD.split(b"\n-----")[0] + b"\n" + task.format(1).encode() + KILLED
    records = read(two + b'[cluster-summary stat="ok", tasks=2, duration=82.5]\n')
    assert [program.derivation for program in records.invocations] == ["ID0000001", "ID0000001"]
    assert [program.status for program in records.invocations] == [0, 15]
    assert records.cluster is not None
    assert (records.cluster["tasks"], records.cluster["duration"], records.cluster["stat"]) == ("2", "82.5", "ok")


def test_records_that_follow_each_other_without_a_summary_between_are_both_read() -> None:
    # monitord reads the first only.
    assert len(read(KILLED + PAYLOAD).invocations) == 2


@pytest.mark.parametrize("place", [b"    utime: ", b"        before", b"    status:", b"  derivation"])
def test_a_record_that_begins_behind_half_a_line_of_a_killed_one_is_another(place: bytes) -> None:
    half = PAYLOAD[: PAYLOAD.index(place) + len(place) - 2]
    killed, whole = read(half + KILLED).invocations
    assert (killed.transformation, whole.transformation) == ("demo::payload:1.0", "demo::step:1.0")
    assert (killed.status in (None, 0), whole.status, whole.start) == (True, 15, 1795350250.4)


def test_documents_of_yaml_may_stand_between_marks() -> None:
    marked = b"---\n" + KILLED + b"\n...\n---\n" + PAYLOAD.replace(b"multipart\n", b"multipart\n---\n")
    records = read(marked)
    assert ([program.status for program in records.invocations], records.problems) == ([15, 0], ())
    assert len(records.multipart) == len(read(PAYLOAD).multipart) > 0


def test_lines_of_the_batch_system_within_a_record_are_left_out() -> None:
    lines = KILLED.splitlines(keepends=True)
    mixed = b"".join([*lines[:30], b"slurmstepd: error: *** JOB 9 CANCELLED\n", *lines[30:]])
    assert read(mixed) == read(KILLED)


def test_a_job_id_that_looks_like_a_number_stays_a_name() -> None:
    [program] = read(KILLED.replace(b"condor: 179.0", b"condor: 179.10")).invocations
    assert program.condor_id == "179.10"


def test_output_that_looks_like_a_record_is_output() -> None:
    text = "        - invocation: True\n          status: 1\n        ---------------pegasus-multipart\n"
    records = read(PAYLOAD.replace(b"        before\n", text.encode()))
    [program] = records.invocations
    assert program.stdout is not None
    assert program.stdout.startswith("- invocation: True\n  status: 1\n---------------pegasus-multipart\n")


def test_bytes_that_yaml_refuses_do_not_spoil_a_record() -> None:
    odd = KILLED.replace(b"step.sh", b"st\xff\x00\x1bep.sh").replace(b"step 600 in.txt", b"\xe2\x98\x83 \x07 \xff")
    [program] = read(odd).invocations
    assert program.status == 15
    assert program.stdout is not None
    assert program.stdout.startswith("☃ � �\n")


@settings(max_examples=60)
@given(st.floats(0, 1))
def test_a_record_cut_off_anywhere_tells_what_it_still_holds(place: float) -> None:
    cut = KILLED[: int(place * len(KILLED))]
    records = read(cut)
    assert len(records.invocations) <= 1
    assert records.problems == ()
    for program in records.invocations:
        if program.complete:
            assert (program.status in (1, 15), program.start) == (True, 1795350250.4)


@pytest.mark.measures
def test_a_payload_of_the_probe_is_read_fast_and_whole() -> None:
    carried = {"format": 1, "records": [{"seq": n, "words": "x" * 90} for n in range(20_000)]}
    text = PAYLOAD + b"- panorama: " + json.dumps(carried).encode() + b"\n"
    assert len(text) > 2_000_000
    begin = time.process_time()
    records = read(text)
    spent = time.process_time() - begin
    assert {"panorama": carried} in records.multipart
    assert spent < 1, f"measured {spent:.2f} s"  # YAML takes seconds


def test_of_an_output_beyond_all_measure_the_end_is_kept() -> None:
    line = b"        " + b"x" * 992 + b"\n"
    begin, end = PAYLOAD.split(b"        before\n")
    [program] = read(begin + line * 20_000 + end).invocations
    assert program.stdout is not None
    assert len(program.stdout) <= kickstart.OUTPUT_LIMIT
    assert program.stdout.endswith("\nafter\n")
    assert program.status == 0


def test_yaml_that_is_none_is_told() -> None:
    records = read("- invocation: True\n  start: [\n  mainjob: }\n---------------pegasus-multipart\n- {a\n")
    assert [problem.split(":")[0] for problem in records.problems] == [
        "invocation record is no YAML",
        "multipart section is no YAML",
    ]


@pytest.mark.parametrize("nested", ["- " * 200_000, "- " + "[" * 200_000, "- a: " + "{x: " * 200_000])
def test_yaml_nested_deeper_than_any_stack_is_told_and_does_not_end_the_process(nested: str) -> None:
    records = read(f"---------------pegasus-multipart\n{nested}\n")
    assert records.problems == ("multipart section is no YAML: it is nested too deep",)
