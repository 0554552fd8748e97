"""What a `Watch` says of traces whose every number is known."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from panorama_driver.analysis import Anomaly, online
from panorama_driver.analysis.history import WARM, History, Portrait, confidence
from panorama_driver.analysis.online import Watch
from panorama_driver.events import Event
from tests.analysis.traces import (
    ASLEEP,
    BUSY,
    HALF,
    MIB,
    SLOWLY,
    START,
    STOPPED,
    WORKFLOW,
    WRITES,
    Second,
    attempt,
    ending,
    samples,
    told,
)  # fmt: skip

PHASES = [*[BUSY] * 4, *[ASLEEP] * 3, *[BUSY] * 4]


def fed(watch: Watch, events: Iterable[Event]) -> list[Anomaly]:
    return [anomaly for event in events for anomaly in watch.see(event)]


def warm(seconds: list[Second], number: int = WARM, **more: Any) -> tuple[Watch, list[Anomaly]]:
    """A watch that knows so many attempts like this."""
    watch = Watch()
    found = []
    for i in range(number):
        found += fed(watch, attempt(i, seconds, START + 100 * i, **more))
    found += watch.tick(START + 100 * number) + watch.tick(START + 100 * number)
    return watch, found


def running(watch: Watch, seconds: list[Second], number: int = 50, **more: Any) -> list[Anomaly]:
    """What is found in an attempt that still runs; it began at START + 5000."""
    start = START + 5000
    return fed(watch, [told(number, "main.start", start), *samples(number, seconds, start, **more)])


def kinds(found: Iterable[Anomaly]) -> list[tuple[str, str]]:
    return [(anomaly.kind, anomaly.phase) for anomaly in found]


@pytest.mark.parametrize(
    ("healthy", "fault", "kind"),
    [
        (BUSY, HALF, "throttled"),
        (BUSY, Second(cpu=0.5, state="T"), "throttled"),  # stopped and continued, as cpulimit does it
        (BUSY, STOPPED, "stalled"),
        (BUSY, ASLEEP, "stalled"),
        (WRITES, SLOWLY, "slow_disk"),
    ],
)
def test_a_fault_is_told_by_the_second_interval_that_it_fills(healthy: Second, fault: Second, kind: str) -> None:
    watch, before = warm([healthy] * 12)
    assert before == []
    (anomaly,) = running(watch, [*[healthy] * 6, fault, fault])
    assert (anomaly.kind, anomaly.phase, anomaly.attempt, anomaly.host) == (kind, "found", 50, "vm")
    assert anomaly.found == START + 5008
    assert anomaly.since == pytest.approx(START + 5006, abs=1e-6)
    assert anomaly.confidence >= 0.9
    assert anomaly.transformation == "md"


def test_output_beyond_all_is_told_with_its_rate() -> None:
    watch, _ = warm([Second(written=MIB)] * 12)
    (anomaly,) = running(watch, [*[Second(written=MIB)] * 6, Second(written=80 * MIB)])
    assert (anomaly.kind, anomaly.since, anomaly.found) == ("runaway_output", START + 5006, START + 5007)
    assert (anomaly.evidence[0].observed, anomaly.evidence[0].expected) == (40.5 * MIB, MIB)  # of two intervals


def test_an_onset_within_an_interval_is_estimated_from_what_is_missing_in_it() -> None:
    watch, _ = warm([BUSY] * 12)
    partly = Second(cpu=0.8, delay=0.2)  # half of a core for 0.4 s: starved for 0.2 of 1 s, where it is 0.5 later
    (anomaly,) = running(watch, [*[BUSY] * 6, partly, HALF, HALF])
    assert anomaly.since == pytest.approx(START + 5007 - 0.4)
    starved, stretch = anomaly.evidence
    assert (starved.metric, starved.observed, starved.expected) == ("starved", 0.5, 0.0)
    assert (stretch.observed, stretch.expected, stretch.unit) == (2.0, 0.0, "s")
    assert "10 attempts of md" in stretch.basis


def test_a_leak_is_told_with_its_onset_and_its_growth() -> None:
    watch, _ = warm([BUSY] * 12)
    grows = [Second(memory=(50 + grown) * MIB) for grown in (5, 15, 25)]  # 10 MiB/s since the middle of the first
    (anomaly,) = running(watch, [*[BUSY] * 6, *grows])
    assert (anomaly.kind, anomaly.found) == ("leaking", START + 5008)  # 65 MiB: beyond 50 MiB
    assert anomaly.since == pytest.approx(START + 5006.5)
    assert anomaly.evidence[0].observed == 65 * MIB
    assert anomaly.evidence[0].expected == 50 * MIB


def test_it_is_over_after_three_intervals_as_it_should_be_and_the_next_is_another_episode() -> None:
    watch, _ = warm([BUSY] * 30)
    found = running(watch, [*[BUSY] * 4, *[HALF] * 4, *[BUSY] * 4, *[HALF] * 4, *[BUSY] * 4])
    assert kinds(found) == [("throttled", "found"), ("throttled", "over")] * 2
    assert [anomaly.episode for anomaly in found] == [0, 0, 1, 1]
    assert found[1].found - found[0].since == 4 + 3
    assert len({anomaly.anomaly_id for anomaly in found}) == 4


def test_what_still_holds_at_the_end_is_over_with_the_attempt() -> None:
    watch, _ = warm([BUSY] * 12)
    found = running(watch, [*[BUSY] * 6, *[STOPPED] * 3])
    assert watch.goes_on(found[0])
    found += fed(watch, ending(50, START + 5009))
    assert not watch.goes_on(found[0])
    found += watch.tick(START + 5010) + watch.tick(START + 5011)
    assert kinds(found) == [("stalled", "found"), ("stalled", "over")]


def test_phases_that_the_history_knows_are_no_anomaly() -> None:
    watch, before = warm(PHASES)
    assert before == []
    assert running(watch, PHASES) == []
    (anomaly,) = running(watch, [*PHASES[:4], *[ASLEEP] * 5], number=51)
    assert (anomaly.kind, anomaly.found) == ("stalled", START + 5009)  # 5 s: beyond 1.25 x 3 s and an interval
    assert anomaly.evidence[0].expected == 3.0


def test_a_job_that_is_always_starved_is_not_told_of_again() -> None:
    watch, _ = warm([HALF] * 12, number=25)  # found of the first ones, and how it is from then on
    assert running(watch, [HALF] * 12) == []


def test_before_ten_attempts_only_what_speaks_for_itself_is_told_with_little_confidence() -> None:
    watch, _ = warm([BUSY] * 12, number=WARM - 1)
    assert running(watch, [*[BUSY] * 4, *[ASLEEP] * 20]) == []
    (stopped,) = running(watch, [*[BUSY] * 4, *[STOPPED] * 3], number=51)
    assert (stopped.kind, stopped.confidence) == ("stalled", 0.75)
    found = running(Watch(), [*[BUSY] * 4, *[ASLEEP] * 61], number=52)
    assert [(anomaly.kind, anomaly.confidence) for anomaly in found] == [("stalled", 0.5)]


@pytest.mark.parametrize("traces_first", [True, False])
def test_what_has_ended_for_certain_is_history_at_once(traces_first: bool) -> None:
    """A server that is started again reads all that there was before it looks at the clock once."""
    watch = Watch()
    for i in range(WARM):
        start = START + 100 * i
        trace, ends = list(samples(i, [BUSY] * 8, start)), ending(i, start + 8)
        trace[-1] = msgspec.structs.replace(trace[-1], fields=trace[-1].fields | {"final": True})
        fed(watch, [told(i, "main.start", start), *(trace + ends if traces_first else ends + trace)])
    assert watch.history.limits("md").shaped == WARM
    assert len(watch) == 0
    [stalled] = running(watch, [*[BUSY] * 4, *[STOPPED] * 2])
    assert stalled.confidence > 0.9
    fed(watch, ending(50, START + 5006))
    watch.tick(START + 5100), watch.tick(START + 5101)
    assert watch.history.limits("md").shaped == WARM, "none is in it twice, nor one in which something was found"


def test_of_two_programs_the_second_is_waited_for() -> None:
    watch = Watch()
    first, second = ([*samples(1, [BUSY] * 4, START + 10 * k, pid=7 + k, task_id=f"t{k}")] for k in range(2))
    for trace in (first, second):
        trace[-1] = msgspec.structs.replace(trace[-1], fields=trace[-1].fields | {"final": True})
    ends = ending(1, START + 14)
    both = msgspec.structs.replace(ends[0], invocation=2)
    fed(watch, [told(1, "main.start", START), ends[0], both, *ends[1:], *first])
    assert watch.history.limits("md").shaped == 0
    fed(watch, second)
    assert watch.history.limits("md").shaped == 1


def test_a_trace_without_states_is_judged_by_its_rates() -> None:
    unknown: dict[str, Any] = dict.fromkeys(("running", "blocked", "stopped", "runtime", "rundelay"))
    watch, _ = warm([BUSY] * 12, **unknown)
    (anomaly,) = running(watch, [*[BUSY] * 6, Second(cpu=0.5), Second(cpu=0.5)], **unknown)
    assert anomaly.kind == "throttled"
    assert anomaly.confidence == round(1 - 1 / 11, 3)


def test_a_clock_that_is_set_and_a_machine_that_slept_are_no_anomaly() -> None:
    watch, _ = warm([BUSY] * 40)
    events = list(samples(50, [BUSY] * 30, START + 5000))
    jumps = [msgspec.structs.replace(event, ts=(event.ts or 0) + (3600 if i > 10 else 0) - (7200 if i > 20 else 0))
             for i, event in enumerate(events)]  # fmt: skip
    assert fed(watch, [told(50, "main.start", START + 5000), *jumps]) == []


def test_counters_that_fall_and_samples_that_come_late_or_again_tell_nothing() -> None:
    watch, _ = warm([BUSY] * 40)
    one, other = list(samples(50, [BUSY] * 8, START + 5000)), list(samples(50, [BUSY] * 8, START + 5009))
    again = [msgspec.structs.replace(event, fields=event.fields | {"seq": event.fields["seq"] + 9}) for event in other]
    late = [one[0], *one[3:5], *one[1:3], *one[5:], *one[2:4], *again]
    assert fed(watch, [told(50, "main.start", START + 5000), *late]) == []


def test_what_is_missing_is_unknown_and_no_zero() -> None:
    watch, _ = warm([BUSY] * 12)
    for number, names in enumerate([("utime",), ("stime",), ("rss",), ("bwrite", "wchar"), ("rundelay", "runtime")]):
        assert running(watch, [BUSY] * 10, number=50 + number, **dict.fromkeys(names)) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, "x", "", [1], {"a": 1}, True, 1e300, b"1"])
def test_hostile_fields_neither_raise_nor_tell(value: object) -> None:
    watch, _ = warm([BUSY] * 12)
    names = ("utime", "rundelay", "bwrite", "wchar", "rss", "running", "seq", "interval", "pid", "hostname", "rank",
             "xformation", "final", "condor_job_id", "task_id")  # fmt: skip
    for number, name in enumerate(names):
        found = running(watch, [BUSY] * 6, number=50 + number, **{name: value})
        assert {anomaly.kind for anomaly in found} <= {"stalled"}, name  # a counter that stands still
    odd = {"hostname": value, "slot_group": value, "status": value, "exitcode": value, "transformation": value}
    for kind in ("submit.start", "main.start", "host.info", "main.end", "post.end", "abort.info"):
        fed(watch, [told(99, kind, START, **odd)])
    fed(watch, [Event(kind=kind, wf_uuid="w", fields={"task_id": value, "transformation": value}, job_id="j")
                for kind in ("stampede.task.info", "stampede.wf.map.task_job", "stampede.xwf.end")])  # fmt: skip


def test_each_rank_is_compared_by_itself() -> None:
    watch, _ = warm([BUSY] * 12)
    ranks = [[BUSY] * 10, [*[BUSY] * 6, *[STOPPED] * 4]]
    streams = [samples(50, seconds, START + 5000, rank=rank) for rank, seconds in enumerate(ranks)]
    found = fed(watch, itertools.chain.from_iterable(zip(*streams, strict=True)))
    assert kinds(found) == [("stalled", "found")]


def test_a_job_that_takes_longer_than_any_is_slow_where_nothing_else_is_wrong() -> None:
    watch, _ = warm([BUSY] * 12)
    (anomaly,) = running(watch, [BUSY] * 20)
    assert (anomaly.kind, anomaly.found) == ("slow_job", START + 5018)  # after 1.25 x 12 s and two intervals
    assert (anomaly.evidence[0].observed, anomaly.evidence[0].expected) == (18.0, 12.0)


def test_a_job_that_waits_longer_for_a_slot_than_any_is_told_of_and_over_when_it_starts() -> None:
    watch, _ = warm([BUSY] * 12)
    plan = {"task_id": "t", "transformation": "md"}
    fed(watch, [
        Event(kind="stampede.task.info", wf_uuid=WORKFLOW, fields=plan),
        Event(kind="stampede.wf.map.task_job", wf_uuid=WORKFLOW, job_id="j50", fields={"task_id": "t"}),
        told(50, "submit.start", START + 5000),
    ])  # fmt: skip
    assert watch.tick(START + 5061) == []  # 2 x 0.5 s and a minute
    (anomaly,) = watch.tick(START + 5061.5)
    assert (anomaly.kind, anomaly.since) == ("idle_in_queue", START + 5061)
    assert watch.tick(START + 5062) == []
    assert kinds(watch.see(told(50, "main.start", START + 5070))) == [("idle_in_queue", "over")]


def test_a_probe_that_falls_silent_while_others_tell_is_told_of() -> None:
    watch = Watch()
    running(watch, [BUSY] * 3, number=50)
    assert watch.tick(START + 5004) == []
    assert watch.tick(START + 5030) == []  # nobody tells anything: it may be the collector
    fed(watch, samples(51, [BUSY] * 30, START + 5000))
    (anomaly,) = watch.tick(START + 5030)
    assert (anomaly.kind, anomaly.attempt, anomaly.since) == ("stalled", 50, START + 5003)


def jobs(host: str, numbers: Iterable[int], status: int = 0, seconds: int = 5) -> list[Event]:
    return [event for i in numbers for event in attempt(i, [BUSY] * seconds, START + 10 * i, host=host, status=status)]


def test_a_host_on_which_every_job_fails_is_told_of_and_over_after_two_that_do_not() -> None:
    watch = Watch()
    assert fed(watch, [*jobs("a", range(6)), *jobs("b", range(6, 12))]) == []
    found = fed(watch, jobs("b", range(12, 15), status=-1))
    assert kinds(found) == [("failing_host", "found")]
    assert (found[0].host, found[0].since) == ("b", START + 120)
    assert found[0].job_id is None
    assert "p = 0.0022" in found[0].message  # 1 / C(15, 3) of drawing the three failures among fifteen
    assert watch.goes_on(found[0])
    assert kinds(fed(watch, jobs("b", range(15, 17)))) == [("failing_host", "over")]
    assert not watch.goes_on(found[0])


def test_attempts_that_were_cancelled_say_nothing_of_their_host() -> None:
    watch = Watch()
    fed(watch, [*jobs("a", range(6)), *jobs("b", range(6, 12))])
    ended = jobs("b", range(12, 16), status=-1)
    aborts = [
        msgspec.structs.replace(event, kind="stampede.job_inst.abort.info", fields={})
        for event in ended
        if event.kind == "stampede.job_inst.main.end"
    ]
    assert len(aborts) == 4
    assert fed(watch, sorted([*aborts, *ended], key=lambda event: event.ts or 0.0)) == []


def test_a_job_that_fails_everywhere_says_nothing_of_hosts() -> None:
    watch = Watch()
    assert fed(watch, jobs("a", range(12))) == []
    ones = itertools.chain.from_iterable([jobs(host, [i], status=-1) for i in range(12, 24) for host in "ab"[i % 2]])
    assert fed(watch, ones) == []
    again = [msgspec.structs.replace(event, job_id="j99") for event in jobs("c", range(30, 40), status=-1)]
    assert fed(watch, again) == []  # the same job time and again


def test_a_host_on_which_jobs_take_longer_is_told_of() -> None:
    watch = Watch()
    fed(watch, jobs("a", range(WARM)))
    watch.tick(START)
    watch.tick(START)
    found = fed(watch, jobs("b", range(20, 23), seconds=9))
    slow = [anomaly for anomaly in found if anomaly.kind == "slow_host"]
    assert [(anomaly.host, anomaly.phase) for anomaly in slow] == [("b", "found")]
    assert slow[0].evidence[0].observed == pytest.approx(9 / 5)


def test_the_same_events_give_the_same_findings() -> None:
    events = [event for i in range(WARM) for event in attempt(i, PHASES, START + 100 * i)]
    events += samples(50, [*PHASES[:4], *[STOPPED] * 4, *[HALF] * 5], START + 5000)
    assert fed(Watch(), events) == fed(Watch(), events) != []


def test_memory_is_bounded_whatever_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(online, "MOST_ATTEMPTS", 1000)
    watch = Watch()
    for i in range(1500):
        fed(watch, [told(i, "main.start", START), told(i, "host.info", START, hostname=f"h{i}")])
        fed(watch, samples(i, [BUSY], START, host=f"h{i}", name=f"t{i}"))
    assert len(watch) == 1000
    for i in range(5000):
        fed(watch, attempt(i, [], START, host=f"h{i}", name=f"t{i}"))
    watch.tick(START)
    watch.tick(START)
    assert len(watch.history) <= 2000
    assert len(watch._hosts) <= 4096


def test_confidence_is_that_of_the_largest_of_so_many() -> None:
    assert confidence(19) == 0.95  # 1 of 20 that are alike is the largest
    assert confidence(19, seen=True) == 0.975
    assert confidence(WARM - 1) == 0.5


def test_a_history_leaves_out_what_was_found_of_until_it_is_how_things_are() -> None:
    history = History()
    for _ in range(WARM):
        history.add("md", Portrait(readings=5, idle=1.0))
    for _ in range(WARM - 1):
        history.add("md", Portrait(readings=5, idle=9.0), flagged=True)
    assert history.limits("md").idle == 1.0
    history.add("md", Portrait(readings=5, idle=9.0), flagged=True)
    assert history.limits("md").idle == 9.0
    assert history.limits("md").shaped == 2 * WARM
    assert not history.limits("other").warm
