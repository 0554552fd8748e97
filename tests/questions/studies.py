"""Made-up studies with arithmetic one can follow, as their server leaves them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from panorama_driver.config import Scalar
from panorama_driver.events import Event
from panorama_driver.questions import Place, Questions
from panorama_driver.store import open_store
from panorama_driver.study.client import FOLDER
from panorama_driver.study.journal import Journal
from tests.metrics.runs import Run
from tests.web.defects import renamed

BEGIN = 1_800_000_000.0


class Try(NamedTuple):
    """One attempt of a job."""

    wall: float
    host: str = "node1"
    transformation: str = "md"
    fails: bool = False
    waits: float = 1.0
    memory: int = 1000  # kB


class Made(NamedTuple):
    """One evaluation, whose jobs run one after the other; a job is its attempts."""

    variables: Mapping[str, Scalar]
    jobs: list[list[Try]]
    responses: Mapping[str, float] = MappingProxyType({})
    message: str = ""
    definition: str = "one"

    @property
    def fails(self) -> bool:
        return any(job[-1].fails for job in self.jobs)


def study(home: Path, evaluations: Iterable[Made]) -> Path:
    """Write a study."""
    folder = home / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    journal = Journal(folder)
    with open_store(folder / "store.db") as store:
        for number, each in enumerate(evaluations, 1):
            key, wf_uuid = f"{number:032x}", run_of(home, number)
            asked = {"eval_id": str(number), "variables": dict(each.variables), "definition": each.definition}
            journal.record(key, state="received", durably=False, **asked)
            journal.record(key, state="submitted", wf_uuid=wf_uuid, durably=False)
            store.put(events(each, wf_uuid))
            state = "failed" if each.fails else "succeeded"
            journal.record(key, durably=False, state=state, message=each.message, responses=dict(each.responses))
    journal.close()
    return home


def run_of(home: Path, number: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{home.name} {number}"))


def events(made: Made, wf_uuid: str) -> list[Event]:
    """Of its run, which begins at `BEGIN`."""
    run = Run().start(BEGIN).jobs(*(f"job{at}" for at in range(len(made.jobs))))
    now, number = BEGIN, 0
    for at, job in enumerate(made.jobs):
        for each in job:
            number += 1
            before = len(run.raw)
            status = 256 if each.fails else 0
            run.attempt(f"job{at}", number, now, now + each.waits, each.wall, raw_status=status, maxrss=each.memory)
            for record in run.raw[before:]:
                record.update({k: getattr(each, v) for k, v in _SAID.items() if k in record})
            now += each.waits + each.wall
    return list(renamed(run.end(now, status=-int(made.fails)), wf_uuid, "made"))


_SAID = {"hostname": "host", "transformation": "transformation"}


def asked(*homes: Path, cache: Path | None = None) -> Questions:
    """Questions to studies."""
    return Questions([Place(home.name, str(home / FOLDER / "store.db"), home / FOLDER) for home in homes], cache)
