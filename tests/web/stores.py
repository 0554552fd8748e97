"""Stores and studies that the dashboard is tried on, by tests and by people.

    python -m tests.web.stores DIR

writes all of them into DIR: `captures.db`, `defects.db`, and the studies `embedded`, `front`, `hostile`, `found` and
`growing`.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from panorama_driver import sources
from panorama_driver.analysis import Anomaly, as_event
from panorama_driver.collector import SubmitDirFollower
from panorama_driver.collector.darshan import summarise
from panorama_driver.config import Scalar
from panorama_driver.events import Event
from panorama_driver.store import Store, Via, open_store
from panorama_driver.study import client
from panorama_driver.study.journal import Journal
from tests.captured import CAPTURES, LIVE, told_live
from tests.metrics.runs import Run, captured
from tests.web.defects import DEFECTS, renamed
from tests.web.found import found, hostile_actions, hostile_anomalies
from tests.web.studies import write_study

DARSHAN = "darshan-logs"
"""Label of the run of the captures store that the recorded Darshan logs were given to."""
EMBEDDED_X = (0.0, 0.2, 0.3, 0.5, 1.3)
FAILING_X = 0.9
FRONT_X = (-0.5, 0.0, 0.3, 0.6, 1.0)
"""Of the two objectives (x - 0.3) squared and x, both made small, the front is where x is 0.3 or less."""


# --- recorded runs ---------------------------------------------------------------------------------------------------


def captures(path: Path) -> Path:
    """A store of all recorded runs: as the broker brought them, and what their submit directories add."""
    with tempfile.TemporaryDirectory() as folder, open_store(path) as store:
        for run in LIVE:
            store.put(told_live(run, Path(folder)).values(), via=Via.BROKER)
        for name in ("kickstart-online.jsonl", "transfer-events.jsonl"):
            store.put(captured(name), via=Via.BROKER)
        for submit_dir in sorted((CAPTURES / "submitdirs").iterdir()):
            _collect(submit_dir, Path(folder) / submit_dir.name, store)
        _darshan(store)
    return path


def _collect(submit_dir: Path, run_dir: Path, store: Store) -> None:
    run_dir.mkdir()
    (run_dir / "submitdir").write_text(f"{submit_dir}\n")
    SubmitDirFollower(run_dir, store).finish()


def _darshan(store: Store) -> None:
    """Recorded logs, of one process and of four, in a run of two jobs."""
    wf_uuid, run = str(uuid.uuid5(uuid.NAMESPACE_URL, DARSHAN)), Run()
    begin = 1795349017.0  # when the programs ran that left the logs
    run.start(begin).jobs("one", "four").edges(("one", "four"))
    run.attempt("one", 1, begin, begin + 0.45, 0.04)
    run.attempt("four", 2, begin + 0.49, begin + 0.49, 0.2, cores=4).end(begin + 1)
    store.put(renamed(run, wf_uuid, DARSHAN))
    store.put(_logs(wf_uuid, "one", 1, "A"))
    store.put(_logs(wf_uuid, "four", 2, "B"))
    summarise(store, wf_uuid)


def _logs(wf_uuid: str, job_id: str, attempt: int, folder: str) -> Iterator[Event]:
    for log in sorted((CAPTURES / "darshan" / folder).glob("*.darshan")):
        named = {"event": "darshan.log", "wf_uuid": wf_uuid, "dag_job_id": job_id, "attempt": attempt, "name": log.name}
        data = base64.b64encode(log.read_bytes()).decode()
        yield from sources.expand({**named, "size": log.stat().st_size, "data": data})


def defects(path: Path) -> Path:
    """A store with a run for each of the fourteen defects."""
    with open_store(path) as store:
        for defect in DEFECTS:
            store.put(defect.events())
    return path


# --- studies of the embedded engine ----------------------------------------------------------------------------------


def embedded(home: Path) -> Path:
    """A study of several evaluations, one of them failing, that the embedded engine has run."""
    write_study(home, {"y": "{output: result.json, value: y}"}, EMBEDDED_X)
    requests = [_request(number, ("y",), x=x) for number, x in enumerate(EMBEDDED_X, 1)]
    requests.append(_request(len(requests) + 1, ("y",), x=FAILING_X, trouble="fail"))
    _evaluate(home, requests)
    return home


def front(home: Path) -> Path:
    """A study with two objectives that the embedded engine has run."""
    responses = {"y": "{output: result.json, value: y}", "effort": "{output: result.json, value: 'inputs[0]'}"}
    write_study(home, responses, FRONT_X)
    _evaluate(home, [_request(number, tuple(responses), x=x) for number, x in enumerate(FRONT_X, 1)])
    return home


def begin_slow(home: Path, count: int, pause: float) -> Callable[[], None]:
    """Start a real study of `count` evaluations, each of which takes `pause` [s] and more; the answer ends it."""
    write_study(home, {"y": "{output: result.json, value: y}"}, range(count), f"options: {{pause: {pause}}}\n")
    requests = [_request(number, ("y",), x=float(number)) for number in range(1, count + 1)]
    client.evaluate(str(home / "study.yml"), requests, lambda words: None, until_handed=True)
    return partial(_stop, home)


def _request(number: int, asked: tuple[str, ...], **variables: Scalar) -> dict[str, Any]:
    return {
        "eval_id": str(number),
        "variables": variables,
        "asv": dict.fromkeys(asked, 1),
        "metadata": ["makespan"],
    }


def _evaluate(home: Path, requests: list[dict[str, Any]]) -> None:
    client.evaluate(str(home / "study.yml"), requests, lambda words: None)
    _stop(home)


def _stop(home: Path) -> None:
    client.request(str(home / "study.yml"), {"op": "stop"})


# --- a study that grows while a test looks ---------------------------------------------------------------------------


class Growing:
    """A study that takes a step whenever a test says so, in the real journal and the real store.

    Parameters
    ----------
    home : Path
        Its directory, which is made.
    """

    def __init__(self, home: Path) -> None:
        write_study(home, {"y": "{output: result.json, value: y}"}, ())
        self.home = home
        folder = home / client.FOLDER
        folder.mkdir(mode=0o700)
        self._journal = Journal(folder)
        self._store = open_store(folder / "store.db")
        self._socket = _listening(folder)
        self._clock = 1795400000.0

    def begin(self, number: int, **variables: Scalar) -> str:
        """Start an evaluation, of two jobs one after the other, the first of which runs; its key."""
        key = uuid.uuid5(uuid.NAMESPACE_URL, f"growing {number}").hex
        self._journal.record(key, eval_id=str(number), variables=variables, state="received")
        self._journal.record(key, state="submitted", wf_uuid=self.wf_uuid(number))
        now = self._tick()
        run = Run().start(now).jobs("first", "second").edges(("first", "second"))
        run.told("first", 1, "job_inst.submit.start", ts=now, sched_id="1.0")
        self.put(number, run.told("first", 1, "job_inst.main.start", ts=now + 1, sched_id="1.0", site="local"))
        return key

    def end_first(self, number: int) -> None:
        """End the first job of an evaluation."""
        now = self._tick()
        self.put(number, Run().attempt("first", 1, now - 20, now - 19, 10, user=5, system=1))

    def succeed(self, number: int, key: str, y: float) -> None:
        """End an evaluation with an answer."""
        self.end_first(number)
        now = self._tick()
        self.put(number, Run().attempt("second", 2, now - 20, now - 19, 10, user=5, system=1).end(now))
        self._journal.record(key, state="succeeded", responses={"y": y}, decided_by="engine")

    def fail(self, number: int, key: str, message: str) -> None:
        """End an evaluation without one."""
        now = self._tick()
        self.put(number, Run().attempt("first", 1, now - 20, now - 19, 10, raw_status=768).end(now, status=1))
        self._journal.record(key, state="failed", message=message, decided_by="engine")

    def put(self, number: int, run: Run) -> None:
        """Put what a run tells into the store, as events of an evaluation's workflow."""
        self._store.put(renamed(run, self.wf_uuid(number), f"growing-{number}"))

    def find(self, *anomalies: Anomaly) -> None:
        """Put anomalies into the store, as a detector does."""
        self._store.put(map(as_event, anomalies))

    @staticmethod
    def wf_uuid(number: int) -> str:
        """Workflow run of an evaluation."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"growing workflow {number}"))

    def _tick(self) -> float:
        self._clock += 20
        return self._clock

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._journal.close()
        self._store.close()
        self._socket.close()


def _listening(folder: Path) -> socket.socket:
    """The socket of a study's server: while somebody listens there, the study goes on."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    listener.bind(f"/proc/self/fd/{directory}/{client.SOCKET}")  # the path of a socket may have 107 bytes
    os.close(directory)
    listener.listen()
    return listener


# --- what an enemy would write ---------------------------------------------------------------------------------------

HOSTILE = {
    "script": "<script>window.pwned = 1</script>",
    "image": '<img src="/pwned" onerror="window.pwned = 2">',
    "quotes": "\"'><svg onload=window.pwned=3>",
    "end": "</script></title></style></textarea>--><script>window.pwned = 4</script>",
    "bidi": "safe\u202egpj.exe\u2066",
    "escapes": "\\u0000%00&#0;\\x00\\ud800 \x07\x1b[31m\r\n",
    "link": '<a href="https://evil.example/pwned">click me</a><b>bold</b><br><sup>2</sup>',
    "template": "{{constructor.constructor('window.pwned=6')()}}${window.pwned=7}%{y}",
    "formula": '=HYPERLINK("http://127.0.0.1:9/pwned","x")',
    "proto": "__proto__",
    "long": "<i>" + "long" * 2500,
}
"""Names that must stay text wherever they are shown."""
JAVASCRIPT = "javascript:window.pwned=8//"
MARK = "pwned"
"""What a page has of them if one of them came alive: a variable of that name, or a request to it."""


def hostile(home: Path) -> Path:
    """A study in which everything that a job or a user may name is hostile."""
    folder = home / client.FOLDER
    write_study(home, {"y": "{output: result.json, value: y}"}, ())
    folder.mkdir(mode=0o700)
    journal = Journal(folder)
    with open_store(folder / "store.db") as store:
        for number, (name, text) in enumerate(HOSTILE.items(), 1):
            wf_uuid = str(uuid.uuid5(uuid.NAMESPACE_URL, f"hostile {name}"))
            store.put(renamed(_hostile_run(text), wf_uuid, text))
            store.put(hostile_anomalies(wf_uuid, text))
            given: dict[str, Any] = {"eval_id": str(number), "variables": {"x": 0.1 * number, "name": text}}
            if number % 2:
                given |= {"state": "failed", "message": text}
            else:
                given |= {"state": "succeeded", "responses": {"y": float(number), HOSTILE["image"]: float(number)}}
            journal.record(f"hostile-{name}", wf_uuid=wf_uuid, **given)
    journal.close()
    hostile_actions(folder, HOSTILE.values())
    return home


def _hostile_run(text: str) -> Run:
    """Three jobs that bear the text for a name: one fails, one moves files, one is watched; and a child of each."""
    run, ids = Run().start(0), [f"{text}-{part}" for part in ("fails", "moves", "runs")]
    run.jobs(*ids).edges(*((ids[0], job_id) for job_id in ids[1:])).tell("task.info", task_id=text, argv=text, ts=0)
    for number, job_id in enumerate(ids, 1):
        run.attempt(job_id, number, 0, number, 3, raw_status=256 * (number == 1), user=1)
    for record in run.raw:
        if "attempt" in record or record["event"].startswith(("stampede.inv", "stampede.job_inst")):
            record.update(transformation=text, hostname=text, site=text, executable=text, argv=text)
        if record["event"].endswith("main.end"):
            record.update(stdout_text=text * 3, stderr_text=text * 3, work_dir=text)
    run.trace(ids[2], 3, 3, rchar=[1, 2, 3], utime=[0.1, 0.2, 0.3], stime=[0, 0, 0], procs=[1, 1, 1])
    run.raw[-1].update(exe=text)
    run.file(ids[1], 2, 3, 100, attempt=2, filename=text)
    run.file(ids[1], 3, 4, 100, attempt=2, filename=text, hostname=text)
    run.raw[-1].update(source_url=JAVASCRIPT, destination_url=f"{JAVASCRIPT}{text}")
    run.transfer(ids[1], "go", status="FAILED", bytes_transferred=25, files=1, attempt=2, fatal_error=json.dumps(text))
    return run.end(9, status=1)


def main() -> None:
    """Write all of them into the folder that is named."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    captures(folder / "captures.db")
    defects(folder / "defects.db")
    embedded(folder / "embedded")
    front(folder / "front")
    hostile(folder / "hostile")
    found(folder / "found")
    with Growing(folder / "growing") as study:
        for number in range(1, 4):
            key = study.begin(number, x=number / 10)
            if number < 3:
                study.succeed(number, key, (number / 10 - 0.3) ** 2)
    print(folder)


if __name__ == "__main__":
    main()
