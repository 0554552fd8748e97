"""A Darshan log, and a report or payload of one that came off a broker.

A log costs a process: of those that look like one, one in 40 goes through PyDarshan, the same ones each time.
"""

from __future__ import annotations

import atexit
import functools
import zlib
from pathlib import Path

from panorama_driver.collector._records import events_of
from panorama_driver.errors import FormatError
from panorama_driver.metrics._darshan import found, merged
from panorama_driver.sources.darshan import LogReader, unreadable

_LOGS = Path(__file__).parents[2] / "data" / "captures" / "darshan"
_HEAD = b'{"event":"darshan.report","wf_uuid":"w","dag_job_id":"a","attempt":1,"ts":5.5,"name":"a.darshan","log":"1",'
SEEDS = [
    _HEAD + b'"digest":"d","nprocs":4,"start":1.5,"end":5.5,"modules":{"POSIX":{"counters":{"BYTES_READ":7,"OPENS":2},'
    b'"times":{"F_READ_TIME":0.5,"F_WRITE_TIME":0,"F_META_TIME":1e-6},"common_sizes":[[4096,3]],"agg_time":0.5,'
    b'"files":{"00ab":1,"00cd":7},"files_total":2}},"lustre":{"files":1,"stripe_sizes":[1048576],"osts":[1,2]},'
    b'"heatmaps":{"POSIX":{"width":0.1,"read":[1,2],"written":[0]}},"largest":[{"id":"00ab","name":"/x","bytes_read":7}]}',
    b'{"event":"stampede.task.monitoring","xwf_id":"w","job_id":"a","job_inst_id":1,"ts":1,"monitoring_event":'
    b'"darshan.perf","uid":7,"nprocs":"4","start_time":10,"POSIX_OPENS":12,"POSIX_F_READ_TIME":0.25,'
    b'"STDIO_module_data":{"total_bytes":3145728,"agg_perf_by_slowest":"1.5"}}',
    *(path.read_bytes() for path in sorted(_LOGS.rglob("*.darshan"))),
]
_ONE_IN = 40


def one(data: bytes) -> None:
    """A report, or a reason why there is none; and a summary of it."""
    if data.startswith(b"{"):
        _event(data)
    elif not unreadable(data) and zlib.crc32(data) % _ONE_IN == 0:
        report = _reader().read(data)
        assert report.reason is None or report.modules == {}
        merged([report])


def _event(data: bytes) -> None:
    try:
        events = events_of(data)
    except FormatError:
        return
    reports = found(events, []).reports
    assert merged([*reports, *reports]) == merged(reports)


@functools.cache
def _reader() -> LogReader:
    reader = LogReader()
    atexit.register(reader.close)
    return reader
