"""Dead letters tried again: what an older version could not read may be an event to this one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..errors import FormatError
from ..store import DeadLetter, Store, Via
from ._intake import Record
from .http import SOURCE as HTTP


class Requeued(NamedTuple):
    """What became of a letter: the number of events that it holds and of those that were new, or why it stays."""

    letter: DeadLetter
    events: int = 0
    stored: int = 0
    reason: str = ""

    @property
    def gone(self) -> bool:
        """Whether it is no dead letter any more."""
        return not self.reason


def requeue(store: Store, letters: Iterable[DeadLetter]) -> Iterator[Requeued]:
    """Try letters again, each by itself as the iterator reaches it; one whose events are in the store is taken out.

    A death in between leaves a letter whose events are there: another `requeue` takes it out.

    Raises
    ------
    StoreError
        The store could not be written; the letters that were not reached are still there.
    """
    return (_requeued(store, letter) for letter in letters)


def via(source: str) -> Via:
    """On which way something from that source came: the word for HTTP, an exchange and a routing key, or a place."""
    if source == HTTP:
        return Via.HTTP
    return Via.BROKER if ": " in source and not source.startswith("/") else Via.DISK


def _requeued(store: Store, letter: DeadLetter) -> Requeued:
    if not letter.whole:
        kept = f"only {len(letter.head)} of {letter.size} bytes were kept" if letter.head else "no text of it was kept"
        return Requeued(letter, reason=f"{kept}, so it cannot be tried again")
    try:
        events = Record(letter.head, letter.source).events()
        stored = store.put(events, via=via(letter.source))
    except FormatError as error:
        return Requeued(letter, reason=str(error))
    refused = sum(store.ingested(event) is None for event in events)
    if refused:
        return Requeued(letter, reason=f"the store does not take {refused} of its {len(events)} events")
    store.exhume([letter.letter_id])
    return Requeued(letter, len(events), stored)
