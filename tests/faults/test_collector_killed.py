"""The collector is killed anywhere, or told to end: every event is in the store once, and what it says adds up."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.collector.broker import Consumer
from panorama_driver.collector.broker.consumer import COMMITTED
from panorama_driver.store import open_store

from .brokers import (
    STREAM,
    Collector,
    Queue,
    check_whole,
    consumers,
    feed,
    locked,
    messages,
    sound,
    stored,
    until,
    waiting,
)
from .studies import Kill, wait_for

SEED = 4
KILLS = 50
AHEAD = 1000  # messages that are published beyond the point of the next kill
LATEST = 0.05  # seconds


class Stream:
    """Events published as far as they are asked for."""

    def __init__(self, channel: Any, number: int = STREAM) -> None:
        self.messages = list(messages(number))
        self._channel = channel
        self._published = 0

    def up_to(self, count: int) -> None:
        feed(self._channel, self.messages[self._published : count])
        self._published = max(self._published, count)

    def all(self) -> None:
        self.up_to(len(self.messages))


def restarted(queue: Queue, channel: Any, store: Path) -> tuple[Collector, float]:
    """A collector that consumes, and how long that took [s]."""
    wait_for(lambda: consumers(channel) == 0, "the broker to see that the collector has gone")
    began = time.monotonic()
    collector = queue.collect(store)
    wait_for(lambda: consumers(channel) == 1, "the collector to consume")
    return collector, time.monotonic() - began


@pytest.mark.measures
def test_r1_a_collector_killed_at_fifty_points_of_a_stream_loses_and_doubles_nothing(
    queue: Queue, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    store, dice = tmp_path / "store.db", random.Random(SEED)
    starts, clean, halfway = [], 0, 0
    with queue.channel() as channel:
        stream = Stream(channel)
        for point in sorted(dice.sample(range(1, STREAM), KILLS)):
            stream.up_to(point + AHEAD)
            collector, took = restarted(queue, channel, store)
            starts.append(took)
            until(store, point)
            time.sleep(dice.uniform(0, LATEST))
            collector.kill()
            clean += sound(store)
            halfway += stored(store) < point + AHEAD
        stream.all()
        collector, took = restarted(queue, channel, store)
        starts.append(took)
        queue.finish(collector, store, STREAM)
    lost, doubled = check_whole(stream.messages, store)
    starts.sort()
    figure(
        f"R1: {KILLS} kills of the collector ({halfway} with work left) in {STREAM} events: lost {lost}, "
        f"duplicated {doubled}, store clean {clean}/{KILLS}; consuming {starts[KILLS // 2]:.2f} s after the start "
        f"(median), at most {starts[-1]:.2f} s"
    )
    assert (lost, doubled, clean) == (0, 0, KILLS)
    assert halfway > KILLS // 3
    assert starts[-1] < 5.0, f"measured {starts[-1]:.2f} s"


# R2

LOT = 1200
POINTS = [
    Kill("collector", COMMITTED),  # after the first commit
    Kill("collector", COMMITTED, nth=2),
    Kill("collector", "line", "_acknowledge"),
    Kill("collector", "line", "_acknowledge", nth=7),
    Kill("collector", "line", "_transaction", nth=4),
]


def die_and_recover(queue: Queue, store: Path, point: Kill, published: int) -> tuple[int, int]:
    """Let a collector die there; how many events are then committed and not acknowledged, and come as duplicates."""
    collector = queue.collect(store, kill=point)
    assert collector.ended() == -signal.SIGKILL, f"not killed at {point}: {collector.complaints}"
    left, committed = queue.left(), stored(store)
    unacknowledged = committed - (published - left)
    assert sound(store)
    with open_store(store, durable=True) as opened, Consumer(queue.address, opened) as consumer:
        wait_for(lambda: consumer.counts.acknowledged >= left, f"{left} messages after {point}")
        counts = consumer.counts
    assert counts.redelivered >= unacknowledged == counts.duplicates
    assert counts.stored == published - committed
    return unacknowledged, counts.redelivered


def recover_at(points: list[Kill], queue: Queue, store: Path, name: str, figure: Callable[[str], None]) -> None:
    sent = list(messages(LOT * len(points)))
    between, redelivered = [], 0
    for number, point in enumerate(points):
        queue.publish(sent[number * LOT : (number + 1) * LOT])
        doubtful, again = die_and_recover(queue, store, point, (number + 1) * LOT)
        between.append(doubtful)
        redelivered += again
    lost, doubled = check_whole(sent, store)
    figure(
        f"{name}: {len(points)} kills of the collector between commit and acknowledge: {sum(between)} events committed "
        f"and not acknowledged, {redelivered} redelivered, lost {lost}, duplicated {doubled}"
    )
    assert (lost, doubled, queue.left()) == (0, 0, 0)
    assert sum(between) > 0


def test_r2_a_collector_killed_between_commit_and_acknowledge_doubles_nothing(
    queue: Queue, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    recover_at(POINTS, queue, tmp_path / "store.db", "R2", figure)


@pytest.mark.long
def test_r2_at_every_line_from_the_queue_to_the_acknowledgement(
    queue: Queue, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    names = {"_write": 12, "_stored": 12, "_kept": 4, "keep": 12, "_put": 4, "put": 12, "_transaction": 8}
    points = [Kill("collector", "line", name, nth) for name, most in names.items() for nth in range(1, most + 1)]
    points += [Kill("collector", "line", "_acknowledge", nth) for nth in range(1, 13)]
    recover_at(points, queue, tmp_path / "store.db", "R2 long", figure)


# R14


def test_r14_of_two_collectors_into_one_store_one_is_killed(
    queue: Queue, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    store = tmp_path / "store.db"
    victim, heir = queue.consuming(store), queue.consuming(store)
    with queue.channel() as channel:
        stream = Stream(channel)
        for start, end in pairwise(range(0, STREAM // 2 + 1, 500)):
            stream.up_to(end)
            until(store, start)
        stream.up_to(STREAM // 2 + 3000)
        victim.kill()
        stream.all()
        queue.finish(heir, store, STREAM)
    lost, doubled = check_whole(stream.messages, store)
    share, again = heir.counts["stored"], heir.counts["redelivered"]
    figure(
        f"R14: two collectors, one store, one killed: lost {lost}, duplicated {doubled}; the other stored {share} of "
        f"{STREAM} and was given {again} again"
    )
    assert (lost, doubled) == (0, 0)
    assert 0 < share < STREAM
    assert again > 0


def test_r14_two_collectors_into_two_stores_have_everything_between_them(
    queue: Queue, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    stores = [tmp_path / "a.db", tmp_path / "b.db"]
    heir = queue.consuming(stores[1], "--exit-when-idle", "5")
    victim = queue.collect(stores[0], kill=Kill("collector", COMMITTED, nth=5))
    with queue.channel() as channel:
        wait_for(lambda: consumers(channel) == 2, "both")
    sent = list(messages(STREAM))
    queue.publish(sent)
    assert victim.ended() == -signal.SIGKILL
    assert heir.ended() == 0
    parts = [stored(store) for store in stores]
    lost, twice = check_whole(sent, *stores)
    figure(f"R14: two collectors, two stores, one killed: lost {lost}; {parts[0]} + {parts[1]}, {twice} in both")
    assert (lost, queue.left()) == (0, 0)
    assert 0 < twice <= heir.counts["redelivered"]
    assert all(sound(store) for store in stores)


# R15


@pytest.mark.measures
def test_r15_sigterm_under_load_stores_what_is_here_and_ends_well(
    queue: Queue, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    store = tmp_path / "store.db"
    sent = list(messages(STREAM))
    queue.publish(sent)
    collector = queue.consuming(store)
    until(store, STREAM // 10)
    took = collector.stopped()
    here, left = stored(store), queue.left()
    figure(f"R15: SIGTERM with {left} messages left in the broker: {here} stored, exit 0 after {took:.2f} s")
    assert took < 5, f"measured {took:.2f} s"
    assert 0 < left == len(sent) - here
    assert (collector.counts["stored"], collector.complaints) == (here, "")
    queue.finish(queue.consuming(store), store, len(sent))
    assert check_whole(sent, store) == (0, 0)


@pytest.mark.measures
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_r15_a_second_signal_ends_it_at_once(
    second: signal.Signals, queue: Queue, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    store = tmp_path / "store.db"
    sent = list(messages(3000))
    collector = queue.consuming(store)
    with locked(store):
        queue.publish(sent)
        with queue.channel() as channel:
            wait_for(lambda: waiting(channel) < len(sent), "the collector to hold some")
        collector.send(signal.SIGTERM)
        assert collector.running
        began = time.monotonic()
        while collector.running:
            collector.send(second)
            time.sleep(0.02)
        took = time.monotonic() - began
    figure(f"R15: SIGTERM, then {second.name} while the store is locked: ended after {took:.2f} s")
    assert took < 2, f"measured {took:.2f} s"
    assert collector.ended() == 4
    assert (stored(store), queue.left()) == (0, len(sent))
