"""Much waits for the collector, or much of it is rubbish: it keeps up, stays small, and loses no event."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from panorama_driver.metrics import correlate
from panorama_driver.store import DeadLetter, open_store

from .brokers import STREAM, Message, Queue, check_whole, cpu_time, memory, messages, starved, stored, until
from .studies import wait_for

QUEUED = 100_000
RATE = 5000  # events a second
MEMORY = 200 * 10**6  # bytes
ANSWER = 1.0  # seconds
SEED = 6


# R5


class Drained(NamedTuple):
    """How a full queue was emptied: time, CPU time, time without a processor, times to answer [s]; memory [bytes]."""

    wall: float
    cpu: float
    starved: float
    memory: int
    answers: list[float]


def look(path: Path) -> float:
    """How long a store takes to say which workflows it has, and all about the newest, as a dashboard asks [s]."""
    began = time.perf_counter()
    with open_store(path, readonly=True) as store:
        workflows = store.workflows()
        if workflows:
            correlate(store.events(workflows[-1].wf_uuid))
    return time.perf_counter() - began


def drain(queue: Queue, path: Path, number: int) -> Drained:
    collector = queue.consuming(path)
    at, began, cpu, waited = stored(path), time.monotonic(), cpu_time(collector.pid), starved(collector.pid)
    answers = []
    while stored(path) < number:
        assert collector.running, collector.complaints
        answers.append(look(path))
        time.sleep(0.1)
    wall = (time.monotonic() - began) * number / (number - at)
    drained = Drained(
        wall,
        (cpu_time(collector.pid) - cpu) * number / (number - at),
        starved(collector.pid) - waited,
        memory(collector.pid, "VmHWM"),
        answers,
    )
    queue.finish(collector, path, number)
    return drained


@pytest.mark.measures
@pytest.mark.parametrize("number", [QUEUED, pytest.param(3 * QUEUED, marks=pytest.mark.long)])
def test_r5_a_long_queue_is_emptied_fast_in_little_memory_while_the_store_answers(
    number: int, queue: Queue, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    sent, store = list(messages(number)), tmp_path / "store.db"
    queue.publish(sent)
    drained = drain(queue, store, number)
    rate, per_cpu = number / drained.wall, number / drained.cpu
    unhindered = number / (drained.wall - drained.starved)
    lost, doubled = check_whole(sent, store)
    figure(
        f"R5: {number} queued: {rate:.0f} events/s, {per_cpu:.0f} events/CPU-s, at most {drained.memory / 1e6:.0f} MB; "
        f"the collector was without a processor for {drained.starved:.1f} of {drained.wall:.1f} s; the store answered "
        f"{len(drained.answers)} times within {max(drained.answers):.2f} s; lost {lost}, duplicated {doubled}"
    )
    assert (lost, doubled) == (0, 0)
    assert per_cpu > RATE, f"measured {per_cpu:.0f} events/CPU-s"
    assert unhindered > RATE, f"measured {unhindered:.0f} events/s"
    assert drained.memory < MEMORY
    assert max(drained.answers) < ANSWER, f"measured {max(drained.answers):.2f} s"


# R6


def malformed(dice: random.Random, number: int) -> Iterator[bytes]:
    """What is no event, each different."""
    kinds: list[Callable[[int], bytes]] = [
        lambda n: b"%d no JSON at all" % n,
        lambda n: b'{"event": "stampede.inv.end", "n": %d}' % n,  # without what an event needs
        lambda n: b"[%d]" % n,
        lambda n: b'"%d"' % n,
        lambda n: b'{"n": %d, "event": null}' % n,
        lambda n: b'{"n": %d, "event": ["stampede.inv.end"]}' % n,
        lambda n: b'{"event": "stampede.inv.end", "xwf_id": {"n": %d}}' % n,
        lambda n: b"\x00\xff" * (n % 50 + 1) + b"%d" % n,
    ]
    for n in range(number):
        yield dice.choice(kinds)(n)


def sample(**more: Any) -> dict[str, Any]:
    event = {"event": "kickstart.inv.online", "wf_uuid": "hostile", "dag_job_id": "a", "ts": 1795345908.5, "seq": 0}
    return event | more


HOSTILE: dict[str, bytes] = {
    "a type that nobody knows": b'{"event": "weather.report", "wf_uuid": "w"}',
    "a name that is no UTF-8": b'{"event": "stampede.\xff\xfe", "xwf_id": "w"}',
    "10 MB": json.dumps(sample(seq=1, pad="x" * 10_000_000)).encode(),
    "deep arrays": b"[" * 200_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "depth in an event": json.dumps(sample(seq=2))[:-1].encode() + b', "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "an attempt beyond 64 bits": json.dumps(sample(seq=3, attempt=2**64 + 5)).encode(),
    "an attempt of 5000 digits": json.dumps(sample(seq=4))[:-1].encode() + b', "attempt": ' + b"9" * 5000 + b"}",
    "an infinite attempt": json.dumps(sample(seq=5))[:-1].encode() + b', "attempt": 1e999}',
    "an empty body": b"",
    "a second document": json.dumps(sample(seq=6)).encode() * 2,
}
"""Each must become a dead letter."""
ODD: dict[str, bytes] = {
    "a time of NaN": json.dumps(sample(seq=10, ts=float("nan"))).encode(),
    "a time of infinity": json.dumps(sample(seq=11, ts=float("inf"))).encode(),
    "a lone surrogate": json.dumps(sample(seq=12, exe="\ud800")).encode(),
    "a value that is no UTF-8": b'{"exe": "\xff\xfe", ' + json.dumps(sample(seq=13))[1:].encode(),
    "a number beyond 64 bits": json.dumps(sample(seq=14, utime=2**70)).encode(),
    "a number beyond a double": json.dumps(sample(seq=15))[:-1].encode() + b', "utime": 1e400}',
    "a null character": json.dumps(sample(seq=16, exe="a\0b")).encode(),
    "a key twice": b'{"event": "weather.report", ' + json.dumps(sample(seq=17))[1:].encode(),
    "SQL": json.dumps(sample(seq=18, exe="'); DROP TABLE events; --")).encode(),
}
"""Each may be an event or a dead letter, but one of them."""


def rubbish(valid: list[Message], dice: random.Random) -> list[Message]:
    """Of STREAM messages 1 % malformed and 0.1 % truncated, and each of the hostile ones."""
    truncated = [body[: dice.randrange(1, len(body))] for _, body in dice.sample(valid, STREAM // 1000)]
    bodies = [*malformed(dice, STREAM // 100), *truncated, *HOSTILE.values(), *ODD.values()]
    return [("stampede.x", body) for body in bodies]


@pytest.mark.measures
def test_r6_rubbish_among_events_becomes_dead_letters_and_stops_nothing(
    queue: Queue, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    dice, store = random.Random(SEED), tmp_path / "store.db"
    valid = list(messages(STREAM))
    bad = rubbish(valid, dice)
    valid = valid[: STREAM - len(bad)]
    mixed = valid + bad
    dice.shuffle(mixed)
    collector = queue.consuming(store)
    queue.publish(mixed)
    until(store, len(valid))
    wait_for(lambda: accounted(store) == len(mixed), "all of them")
    took = collector.stopped()
    with open_store(store, readonly=True) as opened:
        letters = list(opened.dead_letters())
        hostile = list(opened.events("hostile"))
    lost, more = check_whole(valid, store)
    dead = {letter.head for letter in letters}
    figure(
        f"R6: {len(valid)} of {len(mixed)} messages are events: lost {lost}; of {len(bad)} others {len(letters)} dead "
        f"letters for {reasons(letters)} reasons, {len(hostile)} taken as events ({describe(hostile)}); 0 stops"
    )
    assert lost == 0
    assert more == len(hostile)
    assert took < 5, f"measured {took:.2f} s"
    assert (collector.complaints, queue.left()) == ("", 0)
    assert all(letter.reason for letter in letters)
    survivors = [name for name, body in HOSTILE.items() if body[:4096] not in {head[:4096] for head in dead}]
    assert survivors == []
    assert len(letters) + len(hostile) == len({body for _, body in bad})
    assert collector.counts["stored"] == len(valid) + len(hostile)


def accounted(store: Path) -> int:
    """Events and dead letters."""
    with open_store(store, readonly=True) as opened:
        return opened.count() + sum(1 for _ in opened.dead_letters())


def describe(events: list[Any]) -> str:
    names = {10 + number: name for number, name in enumerate(ODD)}
    return ", ".join(names.get(event.fields["seq"], "?") for event in events)


def reasons(letters: list[DeadLetter]) -> int:
    return len({letter.reason.partition(":")[0] for letter in letters})
