"""What every store of events can do: the collector writes through it, metrics and dashboard read through it."""

from __future__ import annotations

import enum
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator
from types import TracebackType
from typing import NamedTuple, Self

import msgspec

from ..events import Event


class Via(enum.IntFlag):
    """The ways on which an event has come in; one that came on several has several.

    `BROKER` and `HTTP` are for what is sent, and may be lost on its way, `DISK` for what is fetched from where it lies.
    """

    DISK = 1
    BROKER = 2
    HTTP = 4


class Arrivals(NamedTuple):
    """The number of events of one kind that have come in on exactly these ways."""

    kind: str
    via: Via
    number: int


class WorkflowSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One workflow run that the store has events of.

    Attributes
    ----------
    wf_uuid : str
        The run.
    label : str or None
        Its name, as the first event that carried one told; None where none did.
    first, last : float or None
        Event time of its earliest and latest event [s since 1970, UTC]; None where no event has a time.
    root : str or None
        The run at the top of its hierarchy, itself unless it is a sub-workflow; None where no event told.
    """

    wf_uuid: str
    label: str | None = None
    first: float | None = None
    last: float | None = None
    root: str | None = None


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """Something that came in and could not be made an event, kept so that nothing vanishes without a word.

    Attributes
    ----------
    reason : str
        Why it is no event.
    source : str
        The file or queue it came from.
    offset : int or None
        Where it begins in the file [bytes]; None where the source has no positions.
    size : int
        Its whole length [bytes].
    head : bytes
        As it came; of something very long the beginning only.
    buried : float or None
        When it was put aside [s since 1970, UTC]; the store fills it in.
    """

    reason: str
    source: str
    offset: int | None = None
    size: int = 0
    head: bytes = b""
    buried: float | None = None

    @property
    def letter_id(self) -> str:
        """Deterministic identity, of what it is and where it came from: 32 hexadecimal digits."""
        key = repr((printable(self.source), self.offset, self.head)).encode()
        return hashlib.blake2b(key, digest_size=16).hexdigest()

    @property
    def whole(self) -> bool:
        """Whether all of it was kept, so that it can be tried again."""
        return bool(self.head) and len(self.head) >= self.size


def printable(text: str) -> str:
    """Text that can be stored: names that are no UTF-8 (surrogates, PEP 383) with backslashes."""
    return text.encode("utf-8", "backslashreplace").decode()


class Kept(NamedTuple):
    """An event as a store keeps it: with when it first came in [s since 1970, UTC], and on which ways."""

    event: Event
    ingested: float
    via: Via


class Page(NamedTuple):
    """What arrived after a cursor, and the cursor to ask with next."""

    events: list[Event]
    cursor: int


class Changes(NamedTuple):
    """The workflows that events arrived of after a cursor, each with the cursor of its newest, and the cursor to ask
    with next."""

    workflows: dict[str, int]
    cursor: int


class Store(ABC):
    """Events of many workflows, each kept once.

    Choose by the number of machines that write:

    - `panorama_driver.store.sqlite.SQLiteStore` (a path): one file and no service; one machine writes, any number of
      processes of that machine read at the same time. Right for a laptop, a login node, and any study whose server
      collects by itself.
    - `panorama_driver.store.opensearch.OpenSearchStore` (a URL): a search engine; many machines write and read, and
      others' dashboards find the events under Panorama's own names. Right for several submit hosts, and for many
      studies kept for long.

    A store may be shared by the threads of a process. It is a context manager that closes itself. Every method raises
    `panorama_driver.errors.StoreError` when the store cannot be read or written. A file has then changed nothing; a
    search engine keeps what it has taken of a `put`, and the same put again adds the rest.

    `panorama_driver.store.testing.StoreContract` holds what all engines promise, as tests: a new engine subclasses it.
    """

    @abstractmethod
    def put(self, events: Iterable[Event], *, ingested: float | None = None, via: Via = Via.DISK) -> int:
        """Keep `events`; they are committed when this returns.

        An event whose `event_id` is already there is left as it is, so that anything may be put again; only the way
        on which it came is added to those known.

        Parameters
        ----------
        events : iterable of Event
            In the order in which they should be found again where their times are equal.
        ingested : float, optional
            Ingest time [s since 1970, UTC], kept beside the event's own; now, unless told.
        via : Via
            The way on which they came.

        Returns
        -------
        int
            How many were new.

        Raises
        ------
        FormatError
            An event has a key that is no text or number of 64 bits; it names the event, and nothing was kept.
        """

    @abstractmethod
    def events(
        self, wf_uuid: str, kinds: Collection[str] | None = None, *, without: Collection[str] = ()
    ) -> Iterator[Event]:
        """Events of one workflow, in the order of event time, then of arrival; those without a time come first.

        The iterator sees the store as it was at its first step, whatever is written meanwhile.

        Parameters
        ----------
        wf_uuid : str
            The workflow run; one that is not known has no events.
        kinds : collection of str, optional
            Only these kinds, such as `{"stampede.inv.end"}`; all, unless told.
        without : collection of str
            None of these kinds. What is left out is not read.
        """

    @abstractmethod
    def workflows(self) -> list[WorkflowSummary]:
        """Every workflow that the store has events of, in the order of first arrival."""

    @abstractmethod
    def since(self, cursor: int = 0, kinds: Collection[str] | None = None, *, limit: int = 1000) -> Page:
        """Events in the order of arrival, for those who follow the store.

        Ask again with the cursor of the answer; an empty page means that nothing more has arrived yet. No event is
        skipped or seen twice, however many write.

        Parameters
        ----------
        cursor : int
            0 to begin with, then `Page.cursor`: a whole number of any size. It means nothing to another store.
        kinds : collection of str, optional
            Only these kinds; all, unless told.
        limit : int
            No more than this many events a page.
        """

    @abstractmethod
    def changed(self, cursor: int = 0) -> Changes:
        """Which workflows events have arrived of, for those who keep what they made of them.

        Costs next to nothing where nothing has arrived, and else grows with what has. Ask again with the cursor of the
        answer. A workflow whose newest event has the same cursor as before has the same events as before.

        Parameters
        ----------
        cursor : int
            0 for all workflows, then `Changes.cursor`; the same as of `since`. What `Changes.workflows` tells of each
            workflow has 63 bits at most.
        """

    @abstractmethod
    def ingested(self, event: Event) -> float | None:
        """When the event first came in [s since 1970, UTC]; None where it never did."""

    @abstractmethod
    def kept(self) -> Iterator[Kept]:
        """Everything, in the order of arrival, with all that `put` needs to make the same of it elsewhere.

        The iterator sees the store as it was at its first step, whatever is written meanwhile.
        """

    @abstractmethod
    def arrivals(self, wf_uuid: str) -> list[Arrivals]:
        """How the events of a workflow came in, by kind."""

    @abstractmethod
    def count(self, wf_uuid: str | None = None, kinds: Collection[str] | None = None) -> int:
        """Number of events: all, or those of a workflow, or of these kinds."""

    @abstractmethod
    def bury(self, letters: Iterable[DeadLetter]) -> int:
        """Keep what could not be made an event; the same letter put again is kept once.

        Returns
        -------
        int
            How many were new.
        """

    @abstractmethod
    def dead_letters(self) -> Iterator[DeadLetter]:
        """Everything buried, in the order in which it was."""

    @abstractmethod
    def exhume(self, letter_ids: Collection[str]) -> int:
        """Take dead letters out, by their `letter_id`.

        Returns
        -------
        int
            How many were there.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the store; a second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
