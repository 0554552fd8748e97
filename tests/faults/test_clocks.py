"""R20: clocks that jump, summer time, leap seconds, names that are no UTF-8 and odd paths change no result."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from panorama_driver.collector import RunFollower, SubmitDirFollower
from panorama_driver.collector._records import events_of
from panorama_driver.collector.reconcile import reconcile
from panorama_driver.events import Event
from panorama_driver.metrics import WorkflowMetrics, correlate
from panorama_driver.store import Store, Via, open_store

from .captures import RUNS, bodies, copied, delivered, metrics, rows, submit_dir, uuid_of

ZONES = ["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Pacific/Kiritimati"]
InZone = Callable[[str], None]


@pytest.fixture
def in_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[InZone]:
    """Moves this process to another time zone."""

    def move(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield move
    monkeypatch.undo()
    time.tzset()


def from_disk(place: Path, run: str, to: Path) -> tuple[dict[str, Event], WorkflowMetrics]:
    with open_store(to) as store:
        reconcile(store, uuid_of(run), place)
        return rows(store), metrics(store, run)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("run", RUNS)
def test_it_makes_no_difference_in_which_zone_a_submit_directory_is_read(
    run: str, zone: str, in_zone: InZone, tmp_path: Path
) -> None:
    expected = from_disk(submit_dir(run), run, tmp_path / "here.db")
    in_zone(zone)
    assert from_disk(submit_dir(run), run, tmp_path / "there.db") == expected


_STAMP = re.compile(r"\b(\d\d)/(\d\d)/(\d\d) (\d\d):(\d\d):(\d\d)\b")
_BEGIN = datetime(2026, 11, 22, 11, 39, tzinfo=UTC)


def moved_to(place: Path, begin: datetime) -> Path:
    """The logs of a run as they would be, had it begun then in this process's zone: DAGMan writes local times."""
    later = begin - _BEGIN

    def local(match: re.Match[str]) -> str:
        month, day, year, *clock = map(int, match.groups())
        moment = datetime(2000 + year, month, day, *clock, tzinfo=UTC) + later  # type: ignore[misc,arg-type] # 3 of them
        return time.strftime("%m/%d/%y %H:%M:%S", time.localtime(moment.timestamp()))

    [log] = place.glob("*.dagman.out")
    log.write_text(_STAMP.sub(local, log.read_text()))
    plan = place / "braindump.yml"
    planned = (datetime(2026, 11, 22, 11, 40, 20, tzinfo=UTC) + later).timestamp()
    offset = time.strftime("%Y%m%dT%H%M%S%z", time.localtime(planned))
    plan.write_text(re.sub(r"^timestamp:.*$", f'timestamp: "{offset}"', plan.read_text(), flags=re.MULTILINE))
    for name in ("jobstate.log", "mini-fail-0.dag.nodes.log"):
        (place / name).unlink(missing_ok=True)
    return place


def dagman_times(place: Path, home: Path) -> dict[tuple[str, str | None, int | None], float]:
    home.mkdir()
    (home / "submitdir").write_text(f"{place}\n")
    with open_store(home / "store.db") as store:
        SubmitDirFollower(home, store).finish()
        told = [event for event in rows(store).values() if event.ts is not None]
    own = ("job_inst.submit", "job_inst.main.start", "job_inst.main.term", "job_inst.post", "xwf.")
    return {
        (event.kind, event.job_id, event.attempt): event.ts
        for event in told
        if event.ts is not None and event.kind.removeprefix("stampede.").startswith(own)
    }


@pytest.mark.parametrize(
    "switch",
    [datetime(2027, 3, 28, 1, 0, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)],
    ids=["in-the-hour-that-is-skipped", "summer", "winter"],
)
def test_a_run_across_the_beginning_of_summer_time_keeps_its_durations(
    switch: datetime, in_zone: InZone, tmp_path: Path
) -> None:
    expected = dagman_times(moved_to(copied("mini-fail", tmp_path / "utc"), _BEGIN), tmp_path / "a")
    in_zone("Europe/Berlin")
    begin = switch - timedelta(seconds=110)  # DAGMan runs from the 96th to the 120th second
    place = moved_to(copied("mini-fail", tmp_path / "berlin"), begin)
    [log] = place.glob("*.dagman.out")
    assert len({match[4] for match in _STAMP.finditer(log.read_text())}) == 2  # hours
    found = dagman_times(place, tmp_path / "b")
    later = (begin - _BEGIN).total_seconds()
    assert len(expected) > 20
    assert {key: ts - later for key, ts in found.items()} == expected


def replaced(place: Path, pattern: str, old: str, new: str) -> int:
    """Write other words into files; how often they stood there."""
    number = 0
    for path in place.rglob(pattern):
        text = path.read_text(errors="surrogateescape")
        number += text.count(old)
        path.write_text(text.replace(old, new), errors="surrogateescape")
    return number


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_a_leap_second_is_the_second_after_the_59th(zone: str, in_zone: InZone, tmp_path: Path) -> None:
    # The run's stamps at 11:41:00 are told as 11:40:60, which is the same second.
    in_zone(zone)
    plain, leaping = copied("mini-fail", tmp_path / "plain"), copied("mini-fail", tmp_path / "leaping")
    for place in (plain, leaping):  # something in every log in that second
        [found] = re.findall(r"start: (2026-11-22T11:4\d:\d\d)\.", (place / NAP).read_text())[:1]
        replaced(place, NAP.name, found, "2026-11-22T11:41:00")
        replaced(place, "*.dagman.out", "11/22/26 11:40:52", "11/22/26 11:41:00")
    assert replaced(leaping, NAP.name, "2026-11-22T11:41:00", "2026-11-22T11:40:60") > 0
    assert replaced(leaping, "*.dagman.out", "11/22/26 11:41:00", "11/22/26 11:40:60") > 0
    replaced(leaping, "*.nodes.log", "2026-11-22 11:41:00", "2026-11-22 11:40:60")
    expected = from_disk(plain, "mini-fail", tmp_path / "plain.db")
    assert from_disk(leaping, "mini-fail", tmp_path / "leaping.db") == expected


NAP = Path("00/00/nap_ID0000001.out.000")


def trace(jump: Callable[[int], float]) -> list[Event]:
    """A job of 20 s whose worker's clock is off by `jump` at each sample; what counts goes up evenly."""
    common = {"event": "kickstart.inv.online", "wf_uuid": "w", "dag_job_id": "a", "attempt": 1, "pid": 3}
    raws = [
        {
            **common,
            "hostname": "n",
            "ts": 1000.0 + seq + jump(seq),
            "seq": seq,
            "utime": 0.5 * seq,
            "stime": 0.25 * seq,
            "bread": 4096 * seq,
            "bwrite": 8192 * seq,
            "rss": 1000,
            "interval": 1.0,
            "final": seq == 20,
            **({"start_ts": 1000.0, "dur": 20.0, "exitcode_raw": 0} if seq == 20 else {}),
        }
        for seq in range(21)
    ]
    return [event for raw in raws for event in events_of(json.dumps(raw).encode())]


@pytest.mark.parametrize(
    "jump",
    [
        lambda seq: 3600.0 if seq > 10 else 0.0,
        lambda seq: -3600.0 if seq > 10 else 0.0,
        lambda seq: -3600.0 if seq % 2 else 3600.0,
        lambda seq: -1.0 if seq > 10 else 0.0,
    ],
    ids=["an-hour-on", "an-hour-back", "to-and-fro", "a-second-back"],
)
def test_a_workers_clock_that_jumps_changes_no_total(jump: Callable[[int], float]) -> None:
    steady, jumping = (correlate(trace(clock)).job("a") for clock in (lambda _: 0.0, jump))
    for name in ("cpu_time", "user_time", "system_time", "bytes_read", "bytes_written", "wall_time", "exit_code"):
        assert getattr(jumping, name) == getattr(steady, name), name
    assert {event.event_id for event in trace(jump)} == {event.event_id for event in trace(lambda _: 0.0)}


def test_the_collectors_clock_may_jump(tmp_path: Path) -> None:
    with open_store(tmp_path / "a.db") as steady, open_store(tmp_path / "b.db") as jumping:
        steady.put(delivered("mini-fail"), ingested=1795347600.0)
        for number, event in enumerate(delivered("mini-fail")):
            jumping.put([event], ingested=[0.0, 1795347600.0 - 3600, 4e9][number % 3])
        assert rows(jumping) == rows(steady)
        assert metrics(jumping, "mini-fail") == metrics(steady, "mini-fail")


def test_names_that_are_no_utf_8_come_through_every_way_alike(tmp_path: Path) -> None:
    name = b"/data/caf\xe9 \xff'\"\\\n\x1b[31m"
    escaped = name.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n").replace(b"\x1b", b"\\u001b")
    body = b'{"event": "kickstart.inv.online", "wf_uuid": "w", "ts": 1.5, "seq": 0, "pid": 3, "exe": "%s"}' % escaped
    [event] = events_of(body)
    assert event.fields["exe"].encode("utf-8", "surrogateescape") == name
    run = tmp_path / "run"
    run.mkdir()
    (run / "a.trace.001.jsonl").write_bytes(body + b"\n")
    with open_store(tmp_path / "disk.db") as disk, open_store(tmp_path / "live.db") as live:
        RunFollower(run, disk).finish()
        live.put([event], via=Via.BROKER)
        assert rows(disk) == rows(live) == {event.event_id: event}


@pytest.mark.parametrize(
    "name",
    ["with blanks", "it's", 'a "quoted" one', "caf\u00e9", b"caf\xe9".decode("utf-8", "surrogateescape"), "a\tb"],
)
@pytest.mark.parametrize("run", RUNS)
def test_a_submit_directory_may_have_any_name(run: str, name: str, tmp_path: Path) -> None:
    expected = from_disk(submit_dir(run), run, tmp_path / "plain.db")
    assert from_disk(copied(run, tmp_path / name), run, tmp_path / "odd.db") == expected


def test_words_that_are_no_utf_8_in_a_message_cost_only_their_own_letters(tmp_path: Path) -> None:
    with open_store(tmp_path / "a.db") as clean, open_store(tmp_path / "b.db") as odd:
        _put(clean, bodies("mini-fail"))
        _put(odd, [body.replace(b'"wf_user": "wf"', b'"wf_user": "w\xff"') for body in bodies("mini-fail")])
        assert rows(odd).keys() == rows(clean).keys()
        assert metrics(odd, "mini-fail") == metrics(clean, "mini-fail")
        assert any("w\udcff" in event.fields.values() for event in rows(odd).values())


def _put(store: Store, told: list[bytes]) -> None:
    store.put((event for body in told for event in events_of(body)), via=Via.BROKER)
