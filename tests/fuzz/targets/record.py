"""One message of a broker, one body of a POST, one line of a file."""

from __future__ import annotations

from panorama_driver.collector._records import events_of
from panorama_driver.errors import FormatError

SEEDS = [
    b'{"event":"kickstart.inv.online","ts":1795345908.18,"wf_uuid":"1111","dag_job_id":"load_ID1","utime":0.34,"seq":3}',
    b'{"event":"stampede.inv.end","ts":"1331642164","xwf.id":"ea17","job.id":"a","job_inst.id":1,"inv.id":1,"dur":0}',
    b'{"event":"stampede.job_inst.composite","xwf_id":"w","job_id":"a","job_inst_id":2,"panorama":{"format":1,'
    b'"identity":{"wf_uuid":"w"},"records":[{"event":"kickstart.inv.online","seq":1}],"darshan":[{"name":"x"}]}}',
]


def one(data: bytes) -> None:
    """Events, or a reason why there are none."""
    try:
        events = events_of(data)
    except FormatError:
        return
    for event in events:
        assert len(event.event_id) == 32
