"""What is decided, by hands that only note it: once a finding, if sure enough, never the last host, undone for good."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.adapt import Action, Actions, Adapter, Candidate, Pressure, read
from panorama_driver.adapt.policies import hopeless
from panorama_driver.adapt.tuning import REST, WINDOWS, Tuner
from panorama_driver.analysis import Anomaly
from panorama_driver.config import Adapt
from panorama_driver.errors import ServerError, UsageError

ALL = Adapt(stop_hopeless=True, retry_stalled=True, avoid_hosts=True, tune_running=True)
STORAGE, COMPUTE = Pressure(blocked=0.8, busy=0.1, seconds=10.0), Pressure(blocked=0.05, busy=0.9, seconds=10.0)


class Notes:
    """Hands that note what they are told; they refuse to avoid `last`."""

    def __init__(self, last: str = "m/last", runs: bool = True) -> None:
        self.done: list[tuple[Any, ...]] = []
        self._last = last
        self._runs = runs

    async def stop(self, key: str, reason: str, bounds: Mapping[str, float]) -> bool:
        self.done.append(("stop", key, dict(bounds)))
        return self._runs

    async def revive(self, key: str) -> None:
        self.done.append(("revive", key))

    async def retry(self, wf_uuid: str, job_id: str, attempt: int, host: str) -> bool:
        if host == "m/gone":
            raise ServerError("nobody there")
        self.done.append(("retry", wf_uuid, job_id, attempt, host))
        return self._runs

    async def avoid(self, hosts: frozenset[str]) -> frozenset[str]:
        self.done.append(("avoid", *sorted(hosts)))
        return hosts - {self._last}

    async def limit(self, running: int | None) -> None:
        self.done.append(("limit", running))


@contextmanager
def adapter(folder: Path, hands: Notes, adapt: Adapt = ALL) -> Iterator[Adapter]:
    actions = Actions(folder)
    try:
        yield Adapter(adapt, actions, hands)
    finally:
        actions.close()


def anomaly(kind: str, host: str | None = "m/slow", confidence: float = 0.95, **more: Any) -> Anomaly:
    about = {"wf_uuid": "w", "since": 1.0, "found": 2.0, "message": f"{kind} of {host}", "detector": "test 1"}
    return Anomaly(kind=kind, host=host, confidence=confidence, **(about | more))  # type: ignore[arg-type]


STALLED: dict[str, Any] = {"job_id": "j", "attempt": 3}


def states(folder: Path) -> list[tuple[str, str]]:
    return [(action.what, action.state) for action in read(folder)]


def test_a_slow_host_and_one_that_fails_are_avoided_from_then_on_together(tmp_path: Path) -> None:
    hands = Notes()
    with adapter(tmp_path, hands) as policies:
        asyncio.run(policies.see([anomaly("slow_host", "m/a"), anomaly("failing_host", "m/b")], 12.0))
    assert hands.done == [("avoid", "m/a"), ("avoid", "m/a", "m/b")]
    first, second = read(tmp_path)
    assert (first.reason, first.anomaly) == ("slow_host of m/a", anomaly("slow_host", "m/a").anomaly_id)
    assert {first.state, second.state} == {"done"}


def test_two_findings_of_one_host_are_one_action_also_after_a_restart(tmp_path: Path) -> None:
    hands = Notes()
    for _ in range(2):
        with adapter(tmp_path, hands) as policies:
            asyncio.run(
                policies.see([anomaly("slow_host"), anomaly("failing_host"), anomaly("slow_host", episode=1)], 12.0)
            )
    assert hands.done == [("avoid", "m/slow")]
    assert states(tmp_path) == [("avoid_host", "done")]


@pytest.mark.parametrize(
    "found",
    [
        anomaly("slow_host", confidence=0.89),
        anomaly("slow_host", phase="over"),
        anomaly("slow_host", host=None),
        anomaly("stalled", host=None, **STALLED),
        anomaly("slow_job", **STALLED),
        anomaly("throttled", **STALLED),
    ],
)
def test_what_is_not_sure_or_over_or_of_another_kind_leads_to_nothing(found: Anomaly, tmp_path: Path) -> None:
    hands = Notes()
    with adapter(tmp_path, hands) as policies:
        asyncio.run(policies.see([found], 12.0))
    assert hands.done == []
    assert states(tmp_path) == []


def test_nothing_is_done_unless_study_yml_says_so(tmp_path: Path) -> None:
    hands = Notes()
    with adapter(tmp_path, hands, Adapt()) as policies:
        asyncio.run(policies.see([anomaly("slow_host"), anomaly("stalled", **STALLED)], 12.0))
        asyncio.run(policies.weigh([Candidate("k", "2", {"t": 9.0})], [Candidate("b", "1", {"t": 1.0})]))
        for now in range(0, 1000, 5):
            asyncio.run(policies.tune(STORAGE, 4, now))
    assert hands.done == []


def test_the_last_host_is_not_avoided_and_that_is_told(tmp_path: Path) -> None:
    with adapter(tmp_path, Notes()) as policies:
        asyncio.run(policies.see([anomaly("slow_host", "m/a"), anomaly("slow_host", "m/last")], 12.0))
        assert policies.avoided == {"m/a"}
    last = read(tmp_path)[1]
    assert (last.state, last.message) == ("failed", "it is the last host that jobs can run on")


def test_a_server_killed_before_the_last_host_was_refused_avoids_the_others_again(tmp_path: Path) -> None:
    class Fresh(Notes):
        async def avoid(self, hosts: frozenset[str]) -> frozenset[str]:
            await super().avoid(hosts)
            return hosts if hosts < {"m/a", "m/b"} else frozenset()  # as the slots of a runner that has just been made

    actions = Actions(tmp_path)
    for host, state in (("m/a", "done"), ("m/b", "intended")):
        actions.record(Action(action_id=host, what="avoid_host", reason="", host=host, state=state))  # type: ignore[arg-type]
    actions.close()
    hands = Fresh()
    with adapter(tmp_path, hands) as policies:
        asyncio.run(policies.restore())
        assert policies.avoided == {"m/a"}
    assert hands.done == [("avoid", "m/a", "m/b"), ("avoid", "m/a")]


def test_an_attempt_that_stalls_is_tried_again_once_a_job_and_host(tmp_path: Path) -> None:
    hands = Notes()
    again = anomaly("stalled", job_id="j", attempt=5)
    elsewhere = anomaly("stalled", host="m/b", job_id="j", attempt=4)
    with adapter(tmp_path, hands) as policies:
        asyncio.run(policies.see([anomaly("stalled", **STALLED), again, elsewhere], 12.0))
        asyncio.run(policies.see([], 21.0))
    assert hands.done == [("retry", "w", "j", 3, "m/slow"), ("retry", "w", "j", 4, "m/b")]


def test_an_attempt_is_given_time_to_go_on_by_itself(tmp_path: Path) -> None:
    hands = Notes()
    over = anomaly("stalled", phase="over", **STALLED)
    with adapter(tmp_path, hands) as policies:
        asyncio.run(policies.see([anomaly("stalled", **STALLED)], 10.9))
        asyncio.run(policies.see([over], 10.9))
        asyncio.run(policies.see([], 100.0))
        an_hour_ahead = anomaly("stalled", episode=1, since=3701.0, found=3702.0, **STALLED)
        asyncio.run(policies.see([an_hour_ahead], 102.0))
        assert hands.done == []
        asyncio.run(policies.see([], 111.0))
    assert hands.done == [("retry", "w", "j", 3, "m/slow")]


def test_what_could_not_be_done_is_told(tmp_path: Path) -> None:
    with adapter(tmp_path, Notes(runs=False)) as policies:
        asyncio.run(
            policies.see([anomaly("stalled", **STALLED), anomaly("stalled", "m/gone", job_id="k", attempt=4)], 12.0)
        )
        asyncio.run(policies.see([], 21.0))
    assert [(each.state, each.message) for each in read(tmp_path)] == [
        ("failed", "the attempt had ended"),
        ("failed", "nobody there"),
    ]


def test_what_holds_is_had_again_after_a_restart_and_what_was_only_intended_is_done(tmp_path: Path) -> None:
    with adapter(tmp_path, Notes()) as policies:
        asyncio.run(policies.see([anomaly("slow_host", "m/a")], 12.0))
    actions = Actions(tmp_path)
    actions.record(Action(action_id="1", what="avoid_host", reason="r", host="m/b"))
    actions.record(
        Action(action_id="2", what="retry_attempt", reason="r", wf_uuid="w", job_id="j", attempt=1, host="h")
    )
    actions.record(Action(action_id="3", what="set_running", reason="r", value=3, before=4))
    actions.close()
    hands = Notes()
    with adapter(tmp_path, hands) as policies:
        asyncio.run(policies.restore())
    assert hands.done == [("avoid", "m/a", "m/b"), ("limit", 3), ("retry", "w", "j", 1, "h")]
    assert {state for _, state in states(tmp_path)} == {"done"}


@pytest.mark.parametrize(
    ("bounds", "answer", "expected"),
    [
        ({"t": 10.6}, {"t": 10.0}, True),
        ({"t": 10.4}, {"t": 10.0}, False),
        ({"t": 10.6, "cpu": 1.0}, {"t": 10.0, "cpu": 2.0}, False),
        ({"t": 10.6, "cpu": 2.2}, {"t": 10.0, "cpu": 2.0}, True),
        ({"t": 10.6}, {"cpu": 2.0}, False),
        ({}, {"t": 10.0}, False),
        ({"t": 0.1}, {"t": 0.0}, True),
    ],
)
def test_an_evaluation_is_hopeless_if_it_is_worse_in_every_response_by_the_margin(
    bounds: dict[str, float], answer: dict[str, float], expected: bool
) -> None:
    assert hopeless(bounds, answer) is expected


def test_a_hopeless_evaluation_is_stopped_once_and_after_an_undo_never_again(tmp_path: Path) -> None:
    hands, running, best = Notes(), [Candidate("k", "2", {"t": 9.0})], [Candidate("b", "1", {"t": 1.0})]
    with adapter(tmp_path, hands) as policies:
        for _ in range(2):
            asyncio.run(policies.weigh(running, best))
        [action] = read(tmp_path)
        assert action.reason == ("evaluation 2 cannot beat evaluation 1 any more: t is at least 9, and 1 there")
        asyncio.run(policies.undo(action.action_id))
        asyncio.run(policies.weigh(running, best))
    assert hands.done == [("stop", "k", {"t": 9.0}), ("revive", "k")]


def test_a_stop_that_a_killed_server_did_not_see_through_is_taken_again(tmp_path: Path) -> None:
    hands, running, best = Notes(), [Candidate("k", "2", {"t": 9.0})], [Candidate("b", "1", {"t": 1.0})]
    for _ in range(2):
        with adapter(tmp_path, hands) as policies:
            asyncio.run(policies.weigh(running, best))
    assert hands.done == [("stop", "k", {"t": 9.0})] * 2
    assert states(tmp_path) == [("stop_evaluation", "done")]


def test_a_host_is_used_again_after_an_undo_and_not_avoided_for_the_same_reason(tmp_path: Path) -> None:
    hands = Notes()
    with adapter(tmp_path, hands) as policies:
        asyncio.run(policies.see([anomaly("slow_host", "m/a"), anomaly("slow_host", "m/b")], 12.0))
        undone = asyncio.run(policies.undo(read(tmp_path)[0].action_id))
        asyncio.run(policies.see([anomaly("slow_host", "m/a")], 12.0))
        assert (undone.host, undone.state) == ("m/a", "undone")
        with pytest.raises(UsageError, match="it is undone"):
            asyncio.run(policies.undo(undone.action_id))
    assert hands.done[-1] == ("avoid", "m/b")


def test_a_retried_attempt_stays_as_it_is(tmp_path: Path) -> None:
    with adapter(tmp_path, Notes()) as policies:
        asyncio.run(policies.see([anomaly("stalled", **STALLED)], 12.0))
        asyncio.run(policies.see([], 21.0))
        with pytest.raises(UsageError, match="a retried attempt stays as it is"):
            asyncio.run(policies.undo(read(tmp_path)[0].action_id))


def tuned(policies: Adapter, pressure: Pressure | None, begin: float, seconds: float) -> float:
    now = begin
    while now < begin + seconds:
        asyncio.run(policies.tune(pressure, 4, now))
        now += 0.5
    return now


def test_fewer_run_while_jobs_wait_for_storage_and_more_again_when_they_do_not(tmp_path: Path) -> None:
    hands = Notes()
    with adapter(tmp_path, hands) as policies:
        now = tuned(policies, STORAGE, 0.0, 12.0)
        assert hands.done == [("limit", 3)]
        now = tuned(policies, STORAGE, now, 2 * REST)
        assert hands.done == [("limit", 3), ("limit", 2), ("limit", 1)][: len(hands.done)]
        low = policies.limit
        assert low is not None
        tuned(policies, COMPUTE, now, 8 * REST)
        assert hands.done[-1] == ("limit", None)
        assert policies.limit is None
    steps = [(action.before, action.value) for action in read(tmp_path)]
    assert all(abs((before or 0) - (value or 0)) == 1 for before, value in steps)
    assert "jobs wait for storage 80% of their time and compute 10% of it" in read(tmp_path)[0].reason


def test_a_limit_holds_across_a_restart_and_goes_for_good_when_it_is_undone(tmp_path: Path) -> None:
    with adapter(tmp_path, Notes()) as policies:
        now = tuned(policies, STORAGE, 0.0, 12.0)
    hands = Notes()
    with adapter(tmp_path, hands) as policies:
        asyncio.run(policies.restore())
        assert hands.done == [("limit", 3)]
        asyncio.run(policies.undo(read(tmp_path)[0].action_id))
        tuned(policies, STORAGE, now, 3 * REST)
    assert hands.done == [("limit", 3), ("limit", None)]


def test_a_pressure_that_comes_and_goes_or_is_not_known_changes_nothing() -> None:
    tuner = Tuner()
    said = [None, STORAGE, STORAGE, COMPUTE, STORAGE, STORAGE, None, Pressure(blocked=0.9, busy=0.5, seconds=9.0)] * 9
    assert {tuner.next(each, 4, 4, 5.0 * n) for n, each in enumerate(said)} == {None}


def test_the_number_stays_between_one_and_what_study_yml_says() -> None:
    for pressure, running in ((STORAGE, 1), (COMPUTE, 4)):
        tuner = Tuner()
        assert {tuner.next(pressure, running, 4, 5.0 * n) for n in range(WINDOWS * 20)} == {None}
