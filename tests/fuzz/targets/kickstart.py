"""Output files of jobs with kickstart's records in them."""

from __future__ import annotations

import io

from panorama_driver.sources import kickstart

from ...captured import CAPTURES

_JOBS = CAPTURES / "submitdirs"
_CLUSTER = b'[cluster-task id=1, start="2026-11-22", duration=1.0, status=0]\n[cluster-summary stat="ok", tasks=2]\n'
SEEDS = [
    (_JOBS / "mini-events/00/00/payload_ID0000001.out.000").read_bytes(),
    (_JOBS / "slurm-timeout/00/00/step_ID0000001.out.000").read_bytes(),
    b"2026-11-22 11:40:45: PegasusLite: version 5.1.3\n- invocation: True\n  version: 3.0\n" + _CLUSTER,
]


def one(data: bytes) -> None:
    """Records, with what could not be read in words."""
    records = kickstart.read(io.BytesIO(data))
    for program in records.invocations:
        assert not program.complete or program.duration is not None
