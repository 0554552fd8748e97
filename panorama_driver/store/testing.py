"""What every store promises, as tests: a new engine subclasses `StoreContract` and lets pytest collect it."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import pytest

from ..errors import FormatError, StoreError
from ..events import Event
from ._base import Arrivals, DeadLetter, Kept, Store, Via


class StoreContract(ABC):
    """Tests of one engine; `reopen` is all that an engine has to say.

    Examples
    --------
    >>> class TestSQLite(StoreContract):
    ...     def reopen(self, place, readonly=False):
    ...         return open_store(place / "store.db", readonly=readonly)
    """

    @abstractmethod
    def reopen(self, place: Path, readonly: bool = False) -> Store:
        """Open the one store that belongs to the empty folder `place`."""

    def test_an_event_comes_back_as_it_was_put(self, tmp_path: Path) -> None:
        event = sample(
            ts=1795347562.123456, fields={"text": "naïve \udcff", "none": None, "list": [1, 2.5], "big": 2**70}
        )
        with self.reopen(tmp_path) as store:
            assert store.put([event]) == 1
            assert list(store.events(event.wf_uuid)) == [event]
        with self.reopen(tmp_path, readonly=True) as store:
            assert list(store.events(event.wf_uuid)) == [event]

    def test_an_event_put_again_is_the_same_row(self, tmp_path: Path) -> None:
        events = [sample(seq) for seq in range(10)]
        with self.reopen(tmp_path) as store:
            assert store.put([*events, *events]) == 10
            assert store.put(events[5:]) == 0
            assert store.put([*events, sample(10)]) == 1
            assert store.count() == 11

    def test_delivered_three_times_shuffled_and_with_a_skewed_clock_makes_the_same_rows(self, tmp_path: Path) -> None:
        events = [sample(seq, ts=1000.0 + seq) for seq in range(200)]
        chance = random.Random(7)
        disorder = events * 3
        chance.shuffle(disorder)
        with self.reopen(tmp_path) as store:
            for start in range(0, len(disorder), 37):
                now = 1000.0 + chance.uniform(-3600, 3600)
                store.put(disorder[start : start + 37], ingested=now)
            assert list(store.events("w1")) == events

    def test_events_are_in_the_order_of_their_own_time_and_then_of_arrival(self, tmp_path: Path) -> None:
        late, static, first, second = sample(1, ts=9.0), sample(2, ts=None), sample(3, ts=5.0), sample(4, ts=5.0)
        with self.reopen(tmp_path) as store:
            store.put([late, static, first])
            store.put([second])
            assert list(store.events("w1")) == [static, first, second, late]

    def test_only_the_workflow_and_kinds_asked_for_are_given(self, tmp_path: Path) -> None:
        start, end = sample(1, kind="stampede.xwf.start"), sample(2, kind="stampede.xwf.end")
        with self.reopen(tmp_path) as store:
            store.put([start, end, sample(1, wf_uuid="w2")])
            assert list(store.events("w1", kinds={"stampede.xwf.end"})) == [end]
            assert list(store.events("w1", kinds=set())) == []
            assert list(store.events("unknown")) == []

    def test_kinds_that_are_not_wanted_are_left_out(self, tmp_path: Path) -> None:
        start, end, trace = (sample(seq, kind=f"stampede.xwf.{seq}") for seq in range(3))
        with self.reopen(tmp_path) as store:
            store.put([start, end, trace, sample(1, wf_uuid="w2")])
            assert list(store.events("w1", without={trace.kind, "none such"})) == [start, end]
            assert list(store.events("w1", {start.kind, end.kind}, without={end.kind})) == [start]

    def test_events_of_a_workflow_or_of_kinds_can_be_counted(self, tmp_path: Path) -> None:
        start, end, other = sample(1, kind="a"), sample(2, kind="b"), sample(1, kind="a", wf_uuid="w2")
        with self.reopen(tmp_path) as store:
            store.put([start, end, other])
            assert (store.count(), store.count("w1"), store.count("w1", {"a"})) == (3, 2, 1)
            assert (store.count(kinds={"a"}), store.count("none"), store.count("w1", set())) == (2, 0, 0)

    def test_a_follower_learns_which_workflows_have_new_events(self, tmp_path: Path) -> None:
        with self.reopen(tmp_path) as store, self.reopen(tmp_path, readonly=True) as follower:
            assert follower.changed() == ({}, 0)
            store.put([sample(1), sample(1, wf_uuid="w2"), sample(2)])
            known, cursor = follower.changed()
            assert set(known) == {"w1", "w2"}
            assert follower.changed(cursor) == ({}, cursor)
            store.put([sample(2), sample(3)])
            moved, later = follower.changed(cursor)
            assert set(moved) == {"w1"}
            assert moved["w1"] > known["w1"]
            assert follower.changed() == ({**known, **moved}, later)
            assert follower.since(cursor).cursor == later

    def test_workflows_tell_name_and_times(self, tmp_path: Path) -> None:
        named = sample(1, ts=5.0, fields={"dax_label": "nanodiamond"})
        with self.reopen(tmp_path) as store:
            store.put([sample(2, ts=7.0), sample(3, ts=None)])
            store.put([sample(1, wf_uuid="w0", ts=None)])
            store.put([named])
            store.put([sample(4, ts=6.0)])
            assert [(w.wf_uuid, w.label, w.first, w.last) for w in store.workflows()] == [
                ("w1", "nanodiamond", 5.0, 7.0),
                ("w0", None, None, None),
            ]

    def test_a_follower_sees_every_event_once_in_the_order_of_arrival(self, tmp_path: Path) -> None:
        events = [sample(seq, ts=100.0 - seq) for seq in range(25)]
        with self.reopen(tmp_path) as store, self.reopen(tmp_path, readonly=True) as follower:
            store.put(events[:20])
            seen: list[Event] = []
            cursor = 0
            while (page := follower.since(cursor, limit=7)).events:
                seen, cursor = seen + page.events, page.cursor
            store.put(events[15:])
            page = follower.since(cursor, limit=7)
            assert seen + page.events == events
            assert follower.since(page.cursor) == ([], page.cursor)

    def test_a_follower_of_one_kind_is_not_held_up_by_the_others(self, tmp_path: Path) -> None:
        with self.reopen(tmp_path) as store:
            store.put([sample(seq) for seq in range(20)])
            wanted = sample(99, kind="stampede.xwf.end")
            page = store.since(0, kinds=["stampede.xwf.end"])
            assert page.events == []
            store.put([wanted])
            assert store.since(page.cursor, kinds=["stampede.xwf.end"]).events == [wanted]

    def test_ingest_time_is_kept_beside_event_time_and_is_that_of_the_first_arrival(self, tmp_path: Path) -> None:
        event = sample(ts=5.0)
        with self.reopen(tmp_path) as store:
            store.put([event], ingested=7.0)
            store.put([event], ingested=8.0)
            assert store.ingested(event) == 7.0
            assert store.ingested(sample(2)) is None

    def test_everything_is_given_in_the_order_of_arrival_with_when_and_how_it_came(self, tmp_path: Path) -> None:
        late, early, other = (
            sample(1, ts=9.0, fields={"x": "\ud800"}),
            sample(2, ts=1.0),
            sample(3, wf_uuid="w2", ts=None),
        )
        with self.reopen(tmp_path) as store:
            store.put([late], ingested=7.0, via=Via.BROKER)
            store.put([other, early], ingested=8.0)
            store.put([late], ingested=9.0, via=Via.HTTP)
            running = store.kept()
            first = next(running)
            store.put([sample(4)])
            assert [first, *running] == [
                Kept(late, 7.0, Via.BROKER | Via.HTTP),
                Kept(other, 8.0, Via.DISK),
                Kept(early, 8.0, Via.DISK),
            ]

    def test_an_event_that_does_not_fit_is_named_and_nothing_of_its_batch_is_kept(self, tmp_path: Path) -> None:
        misfits = [
            sample(2, attempt=2**63),
            sample(2, wf_uuid="\ud800"),
            sample(2, job_id=["x"]),
            sample(2, fields={"x": object()}),
        ]
        with self.reopen(tmp_path) as store:
            for misfit in misfits:
                with pytest.raises(FormatError, match=r"kickstart\.inv\.online"):
                    store.put([sample(1), misfit])
            assert store.count() == 0
            assert store.put([sample(1)]) == 1

    def test_an_iterator_sees_the_store_as_it_was_when_it_began(self, tmp_path: Path) -> None:
        with self.reopen(tmp_path) as store:
            store.put([sample(seq) for seq in range(1000)])
            running = store.events("w1")
            next(running)
            store.put([sample(seq) for seq in range(1000, 2000)])
            assert store.count() == 2000
            assert sum(1 for _ in running) == 999

    def test_dead_letters_are_kept_once(self, tmp_path: Path) -> None:
        letters = [
            DeadLetter(reason="no name", source="events.jsonl", offset=0, size=3, head=b"{}\n", buried=1.0),
            DeadLetter(reason="no name", source="events.jsonl", offset=3, size=3, head=b"{}\n", buried=2.0),
            DeadLetter(reason="no JSON", source="queue", size=1, head=b"\xff", buried=3.0),
        ]
        with self.reopen(tmp_path) as store:
            assert store.bury(letters) == 3
            assert store.bury(letters) == 0
        with self.reopen(tmp_path, readonly=True) as store:
            assert list(store.dead_letters()) == letters

    def test_a_dead_letter_can_be_taken_out_once(self, tmp_path: Path) -> None:
        letters = [DeadLetter(reason="no JSON", source=source, size=1, head=b"{", buried=1.0) for source in "ab"]
        with self.reopen(tmp_path) as store:
            store.bury(letters)
            assert store.exhume([letters[0].letter_id]) == 1
            assert store.exhume([letters[0].letter_id]) == 0
            assert list(store.dead_letters()) == letters[1:]

    def test_every_way_on_which_an_event_came_is_known_and_the_event_still_one_row(self, tmp_path: Path) -> None:
        events = [sample(seq) for seq in range(4)]
        with self.reopen(tmp_path) as store:
            assert store.put(events[:2], via=Via.BROKER) == 2
            assert store.put(events[:3], via=Via.DISK) == 1
            assert store.put(events[1:3], via=Via.BROKER) == 0
            assert store.put(events[3:], via=Via.HTTP) == 1
            assert store.put(events[3:], via=Via.HTTP) == 0
            assert store.arrivals("w1") == [
                Arrivals("kickstart.inv.online", Via.DISK | Via.BROKER, 3),
                Arrivals("kickstart.inv.online", Via.HTTP, 1),
            ]
            assert store.arrivals("unknown") == []

    def test_a_sub_workflow_knows_its_root(self, tmp_path: Path) -> None:
        with self.reopen(tmp_path) as store:
            store.put([sample(1), sample(2, wf_uuid="w2", fields={"root_xwf_id": "w1"})])
            store.put([sample(3, fields={"root_xwf_id": "w1"})])
            assert [(w.wf_uuid, w.root) for w in store.workflows()] == [("w1", "w1"), ("w2", "w1")]

    def test_a_readonly_store_refuses_to_be_written(self, tmp_path: Path) -> None:
        self.reopen(tmp_path).close()
        with self.reopen(tmp_path, readonly=True) as store, pytest.raises(StoreError, match="open it for writing"):
            store.put([sample()])

    def test_a_readonly_store_is_not_made_where_there_is_none(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="no store yet"):
            self.reopen(tmp_path, readonly=True)
        assert list(tmp_path.iterdir()) == []

    def test_a_closed_store_says_so(self, tmp_path: Path) -> None:
        store = self.reopen(tmp_path)
        store.close()
        store.close()
        with pytest.raises(StoreError, match="closed"):
            store.count()


def sample(seq: int = 0, **key: Any) -> Event:
    """An event that differs from others by `seq`; any part of it can be told."""
    fields = {"seq": seq, **key.pop("fields", {})}
    return Event(**{"kind": "kickstart.inv.online", "wf_uuid": "w1", "ts": 1000.0, **key}, fields=fields)
