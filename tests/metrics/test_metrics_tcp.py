"""TCP connections of an attempt: each once, whoever told of it, the newest counters, other hosts only."""

from __future__ import annotations

from typing import Any

import pytest

from panorama_driver.metrics import TcpSummary, correlate

from .runs import WF, Run

MS = 1e-3


def connection(run: Run, seq: int | None = None, **fields: Any) -> None:
    """A connection on which the client fetched something."""
    known = {
        "event": "transfer.tcp",
        "wf_uuid": WF,
        "dag_job_id": "a",
        "attempt": 1,
        "ts": 120.0,
        "source": "tcp_info" if seq is not None else "tstat",
        "confidence": 1,
        "c_ip": "192.0.2.1",
        "c_port": 40000,
        "s_ip": "198.51.100.7",
        "s_port": 443,
        "c_bytes_uniq": 0,
        "first": 110.0,
        "last": 120.0,
        **fields,
    }
    run.raw.append(known if seq is None else {**known, "seq": seq, "hostname": "node7", "pid": 9})


def measured(run: Run) -> TcpSummary:
    [job] = correlate(run.events).jobs
    assert job.tcp is not None
    return job.tcp


@pytest.fixture
def run() -> Run:
    return Run().jobs("a").start(100).attempt("a", 1, submit=100, start=105, wall=30).end(140)


def test_the_newest_sample_of_a_connection_counts_once(run: Run) -> None:
    for seq, size in enumerate((1000, 5000, 9000)):
        connection(run, seq, socket_id=7, last=112.0 + seq, s_bytes_uniq=size, c_bytes_uniq=0, rtt=20.0 + seq)
    found = measured(run)
    assert (found.connections, found.bytes, found.active_time, found.throughput) == (1, 9000, 4.0, 2250.0)
    assert found.rtt == pytest.approx(22 * MS)


def test_two_observers_of_one_connection_count_once(run: Run) -> None:
    connection(run, 0, socket_id=7, c_bytes_uniq=100, s_bytes_uniq=5000)
    connection(run, first=110.4, last=120.4, c_bytes_uniq=100, s_bytes_uniq=5001, confidence=0.6)
    connection(run, first=119.0, last=130.0, c_port=40001, c_bytes_uniq=0, s_bytes_uniq=10, confidence=0.6)
    found = measured(run)
    assert (found.connections, found.bytes, found.confidence, found.active_time) == (2, 5110, 0.6, 20.0)


def test_two_observers_that_do_not_agree_who_opened_a_connection_count_once(run: Run) -> None:
    connection(run, 0, socket_id=7, c_bytes_uniq=100, s_bytes_uniq=5000)
    swapped: dict[str, Any] = {"s_ip": "192.0.2.1", "s_port": 40000, "c_ip": "198.51.100.7", "c_port": 443}
    connection(run, **swapped, c_bytes_uniq=5001, s_bytes_uniq=100)
    assert (measured(run).connections, measured(run).bytes) == (1, 5100)


def test_a_connection_of_which_the_probe_learns_who_opened_it_counts_once(run: Run) -> None:
    connection(run, 0, socket_id=7, last=112.0, c_bytes_uniq=100, s_bytes_uniq=5000)
    swapped: dict[str, Any] = {"s_ip": "192.0.2.1", "s_port": 40000, "c_ip": "198.51.100.7", "c_port": 443}
    connection(run, 1, socket_id=7, **swapped, c_bytes_uniq=9000, s_bytes_uniq=100)
    assert (measured(run).connections, measured(run).bytes) == (1, 9100)


def test_bytes_of_one_direction_are_not_taken_for_all(run: Run) -> None:
    connection(run, 0, socket_id=7, c_bytes_uniq=None, s_bytes_uniq=5000)
    assert measured(run).bytes is None
    assert measured(run).reasons["bytes"] == "the kernel of a worker does not count the bytes of a connection"


def test_what_the_probe_saw_for_a_moment_has_no_throughput(run: Run) -> None:
    connection(run, 0, socket_id=7, last=110.2, s_bytes_uniq=5000)
    assert (measured(run).bytes, measured(run).throughput) == (5000, None)
    assert "less than 1 s" in measured(run).reasons["throughput"]


def test_a_port_that_came_again_is_another_connection(run: Run) -> None:
    connection(run, last=111.0, ts=111.0, s_bytes_uniq=1)
    connection(run, first=125.0, last=126.0, ts=126.0, s_bytes_uniq=2)
    assert (measured(run).connections, measured(run).bytes) == (2, 3)


def test_what_was_sent_again_is_counted_where_both_numbers_are_known(run: Run) -> None:
    connection(run, s_bytes_uniq=1, s_pkts_data=1000, s_pkts_retx=7, c_pkts_data=1000)
    found = measured(run)
    assert found.retransmitted == pytest.approx(0.007)
    assert found.reasons == {"rtt": "no round trip of any connection was measured"}


def test_what_is_missing_has_its_reason(run: Run) -> None:
    connection(run, last=110.0, c_bytes_uniq=None)
    found = measured(run)
    assert (found.bytes, found.throughput, found.retransmitted, found.rtt) == (None, None, None, None)
    assert set(found.reasons) == {"bytes", "throughput", "retransmitted", "rtt"}


def test_a_connection_within_the_host_is_no_transfer(run: Run) -> None:
    connection(run, 0, socket_id=7, s_ip="192.0.2.1", s_bytes_uniq=5000)
    [job] = correlate(run.events).jobs
    assert job.tcp is None
    assert job.reasons["tcp"].startswith("no connection of it to another host was recorded")


def test_one_that_knows_no_attempt_is_given_to_the_one_of_its_time(run: Run) -> None:
    connection(run, attempt=None, s_bytes_uniq=5000)
    assert measured(run).bytes == 5000


def test_a_hostile_record_harms_nothing(run: Run) -> None:
    connection(run, c_ip=[1], s_port="x")
    connection(run, ts=121.0, first="never", last={})
    connection(run, ts=122.0, c_port=10**30, s_bytes_uniq=10**400, rtt="nan")
    connection(run, ts=123.0, s_bytes_uniq=-5, confidence=[], s_pkts_data=True)
    assert (measured(run).connections, measured(run).bytes) == (1, None)
