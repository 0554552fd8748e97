"""Made-up attempts, as events: a sample each second, of what a job does from one to the next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from panorama_driver.events import Event
from panorama_driver.sources.traces import TRACE

WORKFLOW = "11111111-2222-3333-4444-555555555555"
START = 1795347000.0
MIB = 1 << 20


@dataclass(frozen=True)
class Second:
    """What a job does in a second: cores used, share of it without one, bytes moved and written, memory, state."""

    cpu: float = 1.0
    delay: float = 0.0
    moved: int = 0
    written: int = 0
    memory: int = 50 * MIB
    state: str = "R"


BUSY = Second()
ASLEEP = Second(cpu=0.0, state="S")
STOPPED = Second(cpu=0.0, state="T")
HALF = Second(cpu=0.5, delay=0.5)
WRITES = Second(cpu=0.5, moved=50_000_000, written=50_000_000, state="D")  # 100 MB/s of the time that it waits
SLOWLY = Second(cpu=0.1, moved=9_000_000, written=9_000_000, state="D")  # 10 MB/s


def attempt(
    number: int, seconds: Iterable[Second], start: float, *, host: str = "vm", name: str = "md", **more: Any
) -> list[Event]:
    """Its events from submission to end; `status` of the end is 0 unless told."""
    status = more.pop("status", 0)
    events = [
        told(number, "submit.start", start - 0.5),
        told(number, "main.start", start),
        told(number, "host.info", start, hostname=host),
        *samples(number, seconds, start, host=host, name=name, **more),
    ]
    end = max(event.ts for event in events if event.ts is not None)
    return [*events, *ending(number, end, status, name)]


def ending(number: int, end: float, status: int = 0, name: str = "md") -> list[Event]:
    code = 256 if status else 0
    return [
        Event(kind="stampede.inv.end", wf_uuid=WORKFLOW, ts=end, job_id=f"j{number}", attempt=number, invocation=1,
              fields={"transformation": name, "exitcode": code}),
        told(number, "main.end", end, exitcode=str(code), status=status),
        told(number, "post.end", end, exitcode=str(code), status=status),
    ]  # fmt: skip


def told(number: int, kind: str, ts: float, **fields: Any) -> Event:
    kind = f"stampede.job_inst.{kind}"
    return Event(kind=kind, wf_uuid=WORKFLOW, ts=ts, job_id=f"j{number}", attempt=number, fields=fields)


def samples(
    number: int, seconds: Iterable[Second], start: float, *, host: str = "vm", name: str = "md", **more: Any
) -> Iterator[Event]:
    """A sample at the start, and one after each second."""
    total = {"utime": 0.0, "stime": 0.0, "runtime": 0.0, "rundelay": 0.0, "bread": 0, "bwrite": 0, "wchar": 0}
    own = {"hostname": host, "xformation": name, "interval": 1.0, "pid": 1000 + number, "rank": 0, "final": False}
    for seq, second in enumerate([Second(cpu=0.0), *seconds]):
        total["utime"] += second.cpu
        total["runtime"] += second.cpu
        total["rundelay"] += second.delay
        total["bwrite"] += second.moved
        total["wchar"] += second.written
        states = {name: int(second.state == letter) for name, letter in (("running", "R"), ("blocked", "D"))}
        levels = {**states, "stopped": int(second.state == "T"), "rss": second.memory // 1024, "procs": 1}
        fields = {**own, **total, **levels, "seq": seq, **more}
        yield Event(kind=TRACE, wf_uuid=WORKFLOW, ts=start + seq, job_id=f"j{number}", attempt=number, fields=fields)
