"""Many documents created or deleted at once, each with its own outcome; what is refused for now is tried again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple

import msgspec
from urllib3.exceptions import MaxRetryError

from ..errors import StoreError
from ._search_http import LINES, Client, retries

OK, CREATED, MISSING, KNOWN, TOO_LARGE = 200, 201, 404, 409, 413
_MOST = 5000  # documents of a request
_LARGEST = 5 << 20  # bytes of one
_BUSY = (429, 502, 503, 504)
_ONLY = "filter_path=items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by.reason"
_OF_DOCUMENT = frozenset({"mapper_parsing_exception", "document_parsing_exception", "illegal_argument_exception"})


class Item(NamedTuple):
    """One document: its name, and the lines of the request."""

    key: str
    lines: bytes


class Outcome(NamedTuple):
    """What became of an item.

    Attributes
    ----------
    key : str
        Its name.
    status : int
        As of HTTP: 201 it is new, 409 it was there, 400 it cannot be kept.
    reason : str
        The engine's words.
    again : bool
        It had been sent before, so that what is there may have come of that.
    """

    key: str
    status: int
    reason: str = ""
    again: bool = False

    @property
    def refused(self) -> bool:
        """Whether the engine will never take it."""
        return self.status in (400, TOO_LARGE)


class _Error(msgspec.Struct):
    type: str | None = None
    reason: str | None = None
    caused_by: _Error | None = None


class _Result(msgspec.Struct):
    status: int
    error: _Error | None = None


class _Told(msgspec.Struct):
    items: list[dict[str, _Result]]


def creation(key: str, document: bytes) -> Item:
    """A document that is to be kept, unless one of its name is there."""
    return Item(key, b'{"create":{"_id":"%b"}}\n%b\n' % (key.encode(), document))


def deletion(key: str) -> Item:
    """A document that is to be taken out."""
    return Item(key, b'{"delete":{"_id":"%b"}}\n' % key.encode())


def replacement(key: str, document: bytes, seq_no: int, primary_term: int) -> Item:
    """A document in place of the one of its name that has these numbers, and of no other."""
    action = {"index": {"_id": key, "if_seq_no": seq_no, "if_primary_term": primary_term}}
    return Item(key, b"%b\n%b\n" % (msgspec.json.encode(action), document))


def bulk(client: Client, index: str, items: Iterable[Item]) -> Iterator[Outcome]:
    """Send items to one index, in their order, and tell what became of each.

    Raises
    ------
    StoreError
        The engine cannot take them now. What it has taken it tells of when the same is sent again.
    """
    for chunk in _chunks(items):
        yield from _sent(client, index, chunk)


def _chunks(items: Iterable[Item]) -> Iterator[list[Item]]:
    chunk: list[Item] = []
    size = 0
    for item in items:
        if chunk and (len(chunk) == _MOST or size + len(item.lines) > _LARGEST):
            yield chunk
            chunk, size = [], 0
        chunk.append(item)
        size += len(item.lines)
    if chunk:
        yield chunk


def _sent(client: Client, index: str, waiting: Sequence[Item]) -> Iterator[Outcome]:
    patience, again = retries(), False
    while waiting:
        answer = client.ask("POST", f"/{index}/_bulk?{_ONLY}", b"".join(item.lines for item in waiting), kind=LINES)
        if answer.status == TOO_LARGE:
            yield from _halved(client, index, waiting, answer.reason)
            return
        outcomes = list(_outcomes(waiting, client.read(answer, _Told).items, again or answer.again))
        yield from (outcome for outcome in outcomes if _is_settled(client, index, outcome))
        waiting = [item for item, outcome in zip(waiting, outcomes, strict=True) if outcome.status in _BUSY]
        if waiting:
            again = True
            try:
                patience = patience.increment("POST", index)
            except MaxRetryError:
                reason = next(outcome.reason for outcome in outcomes if outcome.status in _BUSY)
                raise StoreError(
                    f"{client.address}: {index} takes {len(waiting)} documents not now: {reason}; "
                    "what it has taken stays, put the same again when it has less to do"
                ) from None
            patience.sleep()


def _halved(client: Client, index: str, items: Sequence[Item], reason: str) -> Iterator[Outcome]:
    """Send in two parts what is too large for one request; what is too large by itself is refused."""
    if len(items) == 1:
        yield Outcome(items[0].key, TOO_LARGE, f"too large for a request: {reason}")
        return
    middle = len(items) // 2
    yield from _sent(client, index, items[:middle])
    yield from _sent(client, index, items[middle:])


def _outcomes(sent: Sequence[Item], told: Sequence[dict[str, _Result]], again: bool) -> Iterator[Outcome]:
    for item, one in zip_longest(sent, told):
        if item is None or one is None:
            raise StoreError(f"a bulk request of {len(sent)} items was answered with {len(told)}; try again")
        [result] = one.values()
        yield Outcome(item.key, result.status, _words(result.error), again)


def _words(error: _Error | None) -> str:
    if error is None:
        return ""
    cause = error.caused_by.reason if error.caused_by else ""
    return ": ".join(word for word in (error.type, error.reason, cause) if word)


def _is_settled(client: Client, index: str, outcome: Outcome) -> bool:
    """Whether nothing more is to be done for an item; False if it is to be sent again.

    Raises
    ------
    StoreError
        It could not be taken, by no fault of its own.
    """
    kind = outcome.reason.partition(":")[0]
    if outcome.status in (CREATED, OK, KNOWN, TOO_LARGE) or (outcome.status == 400 and kind in _OF_DOCUMENT):
        return True
    if outcome.status == MISSING and not outcome.reason:
        return True  # nothing to delete
    if outcome.status in _BUSY:
        return False
    raise StoreError(
        f"{client.address}: {index} takes no documents: {outcome.reason or outcome.status}; see that its disk has room "
        "and that the index is there, open and not blocked, then put the same again"
    )
