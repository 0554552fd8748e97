"""A study in whose runs anomalies were found, and whose server acted on some: made up, with times one can follow."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from panorama_driver.adapt import Action, Actions
from panorama_driver.adapt.journal import NAME, action_id
from panorama_driver.analysis import Anomaly, Evidence, as_event
from panorama_driver.analysis.following import StoreWatch
from panorama_driver.analysis.history import WARM
from panorama_driver.events import Event
from panorama_driver.store import open_store
from panorama_driver.study import client
from panorama_driver.study.journal import Journal
from tests.analysis.traces import BUSY, START, STOPPED, attempt, samples, told
from tests.metrics.runs import Run
from tests.web.defects import renamed
from tests.web.studies import write_study

BEGIN = 1795400000.0
"""When the first run started [s since 1970]; the others follow an hour apart."""
MIB = 2**20


def wf_uuid(number: int) -> str:
    """Workflow run of an evaluation."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"found workflow {number}"))


def begun(number: int) -> float:
    """When the run of an evaluation started [s since 1970]."""
    return BEGIN + 3600 * (number - 1)


def run(number: int) -> Run:
    """Three jobs after one another, of 20 s each; the one in the middle is tried twice."""
    begin = begun(number)
    made = Run().start(begin).jobs("prepare", "simulate", "analyse")
    made.edges(("prepare", "simulate"), ("simulate", "analyse"))
    made.attempt("prepare", 1, begin, begin + 2, 20, user=18, system=1)
    made.attempt("simulate", 2, begin + 22, begin + 24, 20, raw_status=256, user=9, system=1)
    made.attempt("simulate", 3, begin + 44, begin + 46, 20, user=18, system=1)
    made.attempt("analyse", 4, begin + 66, begin + 68, 20, user=18, system=1)
    seconds = range(1, 21)
    for number_of_try, start, busy in ((2, 24, 0.5), (3, 46, 0.9)):
        made.trace(
            "simulate",
            number_of_try,
            begin + start,
            utime=[min(second, 6) + busy * max(0, second - 6) for second in seconds],
            stime=[0.05 * second for second in seconds],
            rss=[(64 + 8 * second) * 1024 for second in seconds],
            rchar=[MIB * second for second in seconds],
            wchar=[MIB * second // 2 for second in seconds],
            procs=[1] * 20,
            threads=[2] * 20,
        )
    return made.end(begin + 90)


def throttled(number: int = 1) -> Anomaly:
    """Of the first try of `simulate`: from 6 s after its start, found 3 s later."""
    begin = begun(number)
    return Anomaly(
        kind="throttled",
        wf_uuid=wf_uuid(number),
        job_id="simulate",
        attempt=2,
        host="node7",
        transformation="md",
        since=begin + 30,
        found=begin + 33,
        confidence=0.93,
        message="simulate gets 0.5 of a core since 3 s, where it had 1.0",
        evidence=(
            Evidence(metric="cpu_rate", observed=0.5, expected=1.0, unit="1", basis="its own first 6 samples"),
            Evidence(metric="throttled_time", observed=1.5, unit="s", basis="cpu.stat of its control group"),
        ),
        detector="online 1",
    )


def leaking(number: int = 1) -> Anomaly:
    """Of the second try of `simulate`; nobody told that it was over."""
    begin = begun(number)
    return Anomaly(
        kind="leaking",
        wf_uuid=wf_uuid(number),
        job_id="simulate",
        attempt=3,
        host="node7",
        transformation="md",
        since=begin + 50,
        found=begin + 60,
        confidence=0.81,
        message="memory of simulate grows by 8.0 MiB/s",
        evidence=(
            Evidence(metric="rss", observed=176.0 * MIB, expected=64.0 * MIB, unit="bytes", basis="12 attempts of md"),
        ),
        detector="online 1",
    )


def slow_host(number: int = 1) -> Anomaly:
    """Of the worker that all jobs ran on."""
    begin = begun(number)
    return Anomaly(
        kind="slow_host",
        wf_uuid=wf_uuid(number),
        host="node7",
        since=begin + 2,
        found=begin + 88,
        confidence=0.97,
        message="jobs take 1.8 times as long on node7 as elsewhere",
        evidence=(
            Evidence(metric="wall_time", observed=20.0, expected=11.1, unit="s", basis="9 attempts on other hosts"),
        ),
        detector="online 1",
    )


def over(anomaly: Anomaly, after: float) -> Event:
    """The event that ends an anomaly, so long after it was found [s]."""
    return as_event(msgspec.structs.replace(anomaly, phase="over", found=anomaly.found + after))


def found(home: Path) -> Path:
    """A study of three evaluations: one with anomalies, a second without, a third that was ended early.

    The host was avoided because of the first run's anomaly, the throttled attempt was tried again, and the third
    evaluation was ended without any anomaly.
    """
    write_study(home, {"y": "{output: result.json, value: y}"}, (0.1, 0.2, 0.3))
    folder = home / client.FOLDER
    folder.mkdir(mode=0o700)
    with open_store(folder / "store.db") as store:
        for number in (1, 2, 3):
            store.put(renamed(run(number), wf_uuid(number), f"found-{number}"))
        store.put(map(as_event, (throttled(), leaking(), slow_host())))
        store.put([over(throttled(), 9)])
    _answer(folder)
    _act(folder)
    return home


def _answer(folder: Path) -> None:
    journal = Journal(folder)
    for number, state in ((1, "succeeded"), (2, "succeeded"), (3, "stopped")):
        why = "its makespan was above 90.0 s, the best so far, while it ran" if state == "stopped" else ""
        given: dict[str, Any] = {
            "eval_id": str(number),
            "variables": {"x": number / 10},
            "state": state,
            "message": why,
        }
        journal.record(f"found-{number}", wf_uuid=wf_uuid(number), responses={"y": 10.0 * number}, **given)
    journal.close()


def _act(folder: Path) -> None:
    actions = Actions(folder)
    for place, action in enumerate(acted()):
        intended = actions.record(msgspec.structs.replace(action, t=begun(1) + 100 + place))
        if action.what != "set_running":
            actions.record(intended, state="done", message="it was so")
    actions.record(actions.known[acted()[3].action_id], state="failed", message="the engine has no such limit")
    actions.close()


def acted() -> list[Action]:
    """What was done."""
    host, slow = slow_host(), throttled()
    return [
        Action(
            action_id=action_id("avoid_host", host.host),
            what="avoid_host",
            reason="jobs take 1.8 times as long on node7",
            anomaly=host.anomaly_id,
            host=host.host,
        ),
        Action(
            action_id=action_id("retry_attempt", slow.wf_uuid, slow.job_id, slow.attempt),
            what="retry_attempt",
            reason="simulate gets half of a core",
            wf_uuid=slow.wf_uuid,
            job_id=slow.job_id,
            attempt=slow.attempt,
            host=slow.host,
        ),
        Action(
            action_id=action_id("stop_evaluation", "found-3"),
            what="stop_evaluation",
            reason="makespan is above 90.0 s, the best so far",
            evaluation="found-3",
            wf_uuid=wf_uuid(3),
        ),
        Action(
            action_id=action_id("set_running", 1),
            what="set_running",
            reason="jobs wait for input and output more than they compute",
            value=1,
            before=2,
        ),
    ]


def detected(path: Path) -> tuple[Path, Anomaly]:
    """A store of many alike attempts and of one that was stopped by a signal, which the detector has found in it."""
    past = [event for number in range(WARM) for event in attempt(number, [BUSY] * 12, START + 100 * number)]
    stopped = [told(50, "main.start", START + 5000), *samples(50, [BUSY] * 6 + [STOPPED] * 4, START + 5000)]
    with open_store(path) as store:
        store.put([*past, *stopped])
        [anomaly] = StoreWatch(store, clock=lambda: START + 5010).poll()
    return path, anomaly


# --- what an enemy would write ---------------------------------------------------------------------------------------


def hostile_anomalies(wf_uuid: str, text: str) -> list[Event]:
    """Of a job and of a host that bear the text for a name; and events that tell of none, whatever they say."""
    evidence = (Evidence(metric=text, observed=1.5, expected=2.5, unit=text, basis=text),)
    said: dict[str, Any] = {
        "wf_uuid": wf_uuid,
        "since": 3.5,
        "found": 4.5,
        "confidence": 0.5,
        "message": text,
        "detector": text,
    }
    of_job = Anomaly(
        **said, kind="stalled", job_id=f"{text}-runs", attempt=3, host=text, transformation=text, evidence=evidence
    )
    of_host = Anomaly(**said, kind="failing_host", host=text, evidence=evidence)
    fields = {"since": 1e300, "confidence": 0.5, "message": text, "detector": text}
    return [
        as_event(of_job),
        as_event(of_host),
        Event(kind="anomalies.leaking", wf_uuid=wf_uuid, ts=5.0, fields=fields),
        Event(kind="anomalies.leaking", wf_uuid=wf_uuid, ts=5.0, fields={"episode": 1, "message": text}),
    ]


def hostile_actions(folder: Path, texts: Iterable[str]) -> None:
    """What was done, in the words of an enemy, and lines that tell of nothing."""
    actions = Actions(folder)
    for text in texts:
        actions.record(
            Action(action_id=text, what="avoid_host", reason=text, host=text, evaluation=text, message=text, t=1e300)
        )
    actions.close()
    with (folder / NAME).open("ab") as file:
        file.write(b'{"action_id": 1}\nno step\n')
