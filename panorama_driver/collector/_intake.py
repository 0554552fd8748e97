"""Records brought into the store together: events are committed, and what is no event becomes a dead letter."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from ..errors import FormatError, StoreError
from ..events import Event
from ..store import DeadLetter, Store, Via
from ._records import events_of


@dataclass(frozen=True)
class Drained:
    """What one look at a source brought.

    Attributes
    ----------
    stored : int
        Events that the store did not have.
    duplicates : int
        Events that it had.
    dead : int
        Records that could not be made an event; they are among the store's dead letters.
    problems : tuple of str
        What could not be read, and why; the rest was.
    """

    stored: int = 0
    duplicates: int = 0
    dead: int = 0
    problems: tuple[str, ...] = ()

    def __add__(self, other: Drained) -> Drained:
        return Drained(
            self.stored + other.stored,
            self.duplicates + other.duplicates,
            self.dead + other.dead,
            self.problems + other.problems,
        )


class Record(NamedTuple):
    """Something that came in: its body, or as much of it as was read, and where it is from.

    `size` [bytes] is None where the body is whole; `flaw` says why it can be no event, or may not be one.
    """

    body: bytes
    source: str
    offset: int | None = None
    size: int | None = None
    flaw: str = ""

    @property
    def whole(self) -> bool:
        return self.size is None

    def events(self) -> list[Event]:
        """Its events.

        Raises
        ------
        FormatError
            It holds none.
        """
        if not self.whole:
            raise FormatError(self.flaw)
        try:
            return events_of(self.body)
        except FormatError as error:
            if not self.flaw:
                raise
            raise FormatError(f"{self.flaw}: {error}") from error
        except Exception as error:  # a defect of ours in one record must not hold up all behind it
            raise _defect("reading", error) from error

    def letter(self, error: FormatError) -> DeadLetter:
        """It, for those who want to know what became of it."""
        size = len(self.body) if self.size is None else self.size
        return DeadLetter(reason=str(error), source=self.source, offset=self.offset, size=size, head=self.body)


def keep(store: Store, records: Iterable[Record], via: Via = Via.DISK) -> Drained:
    """Bring records into the store; it has them, as events or as dead letters, when this returns.

    Raises
    ------
    StoreError
        The store could not be written; what it has taken of them it takes again without harm.
    """
    events: list[tuple[Record, Event]] = []
    letters: list[DeadLetter] = []
    for record in records:
        try:
            events += [(record, event) for event in record.events()]
        except FormatError as error:
            letters.append(record.letter(error))
    new, misfits = _put(store, events, via)
    store.bury(letters + misfits)
    return Drained(stored=new, duplicates=len(events) - len(misfits) - new, dead=len(letters) + len(misfits))


def _put(store: Store, events: list[tuple[Record, Event]], via: Via) -> tuple[int, list[DeadLetter]]:
    """Store them together or, where one of them does not fit, one by one."""
    try:
        return store.put((event for _, event in events), via=via), []
    except StoreError:
        raise
    except Exception:  # noqa: BLE001 - told below, of the one event whose fault it is
        new, misfits = 0, list[DeadLetter]()
    for record, event in events:
        try:
            new += store.put([event], via=via)
        except StoreError:
            raise
        except FormatError as error:
            misfits.append(record.letter(error))
        except Exception as error:  # noqa: BLE001 - as of reading
            misfits.append(record.letter(_defect("storing", error)))
    return new, misfits


def _defect(doing: str, error: Exception) -> FormatError:
    return FormatError(f"{doing} it failed, which is a defect of this program: {type(error).__name__}: {error}")
