"""A dead letter is kept whole and can be tried again; a death in between costs nothing."""

from __future__ import annotations

import json

import pytest

from panorama_driver.collector._intake import Drained, Record, keep
from panorama_driver.collector.deadletters import requeue, via
from panorama_driver.collector.files import LINE_LIMIT
from panorama_driver.errors import StoreError
from panorama_driver.store import DeadLetter, Store, Via


def body(seq: int = 0, **more: object) -> bytes:
    raw = {"event": "kickstart.inv.online", "wf_uuid": "w", "ts": 1.0 + seq, "seq": seq, **more}
    return json.dumps(raw).encode()


def buried(store: Store, *letters: DeadLetter) -> list[DeadLetter]:
    store.bury(letters)
    return list(store.dead_letters())


def letter(head: bytes, source: str = "monitoring: kickstart.inv.online", size: int | None = None) -> DeadLetter:
    return DeadLetter(reason="not known to an older version", source=source, head=head, size=size or len(head))


def test_what_is_an_event_now_is_stored_and_no_dead_letter_any_more(store: Store) -> None:
    [done] = requeue(store, buried(store, letter(body())))
    assert (done.gone, done.events, done.stored) == (True, 1, 1)
    assert list(store.dead_letters()) == []
    assert [(row.kind, row.via) for row in store.arrivals("w")] == [("kickstart.inv.online", Via.BROKER)]


def test_what_is_none_stays_and_says_why(store: Store) -> None:
    [done] = requeue(store, buried(store, letter(b'{"event": "weather.report"}')))
    assert not done.gone
    assert "family 'weather'" in done.reason
    assert len(list(store.dead_letters())) == 1


@pytest.mark.parametrize(
    ("head", "size", "reason"), [(b"xx", 9, "only 2 of 9 bytes were kept"), (b"", 9, "no text of it was kept")]
)
def test_what_was_not_kept_whole_cannot_be_tried_again(store: Store, head: bytes, size: int, reason: str) -> None:
    [done] = requeue(store, buried(store, letter(head, size=size)))
    assert done.reason.startswith(reason)
    assert len(list(store.dead_letters())) == 1


def test_one_that_cannot_be_stored_stays(store: Store) -> None:
    [done] = requeue(store, buried(store, letter(body(wf_uuid="\ud800"))))
    assert "cannot be stored" in done.reason
    assert (store.count(), len(list(store.dead_letters()))) == (0, 1)


def test_a_death_between_storing_and_taking_out_costs_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> int:
        raise StoreError("killed")

    letters = buried(store, letter(body()))
    with monkeypatch.context() as patch:
        patch.setattr(type(store), "exhume", die)
        with pytest.raises(StoreError, match="killed"):
            list(requeue(store, letters))
    assert (store.count(), len(list(store.dead_letters()))) == (1, 1)
    [done] = requeue(store, letters)
    assert (done.gone, done.stored) == (True, 0)
    assert (store.count(), list(store.dead_letters())) == (1, [])


def test_a_record_up_to_the_limit_is_kept_whole(store: Store) -> None:
    giant = body(exe="x" * (LINE_LIMIT - 1000))[:-1]
    assert keep(store, [Record(giant, "http")], Via.HTTP) == Drained(dead=1)
    [kept] = store.dead_letters()
    assert (kept.head, kept.size, kept.whole) == (giant, len(giant), True)


@pytest.mark.parametrize(
    ("source", "way"),
    [
        ("/a/run/events.jsonl", Via.DISK),
        ("/a: b/events.jsonl", Via.DISK),
        ("Globus task 0a1b", Via.DISK),
        ("http", Via.HTTP),
        ("monitoring: stampede.inv.end", Via.BROKER),
    ],
)
def test_the_source_tells_the_way(source: str, way: Via) -> None:
    assert via(source) == way
