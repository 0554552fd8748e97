"""Dead letters in an index of their own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import msgspec

from ..errors import StoreError
from ._base import DeadLetter
from ._rows import as_buried
from ._search_bulk import CREATED, OK, bulk, creation, deletion
from ._search_http import Client
from ._search_reading import condition, pages


class Letters:
    """Documents of `PREFIX-letters`, each under its `letter_id`.

    Parameters
    ----------
    client : Client
        The engine.
    """

    def __init__(self, client: Client) -> None:
        self.index = f"{client.address.prefix}-letters"
        self._client = client

    def put(self, letters: Iterable[DeadLetter]) -> int:
        """Keep letters, each once; how many were new."""
        items = (creation(letter.letter_id, msgspec.json.encode(as_buried(letter))) for letter in letters)
        new = 0
        for outcome in bulk(self._client, self.index, items):
            if outcome.refused:
                raise StoreError(f"{self._client.address}: {self.index} refuses a dead letter: {outcome.reason}")
            new += outcome.status == CREATED
        return new

    def all(self) -> Iterator[DeadLetter]:
        """Every letter, in the order of arrival."""
        self._client.do("POST", f"/{self.index}/_refresh")
        for page in pages(self._client, self.index, condition(), [{"_seq_no": "asc"}]):
            for hit in page:
                try:
                    yield msgspec.convert(hit.source, DeadLetter)
                except msgspec.ValidationError as error:
                    raise StoreError(
                        f"{self._client.address}: {self.index}: {hit.key} is no dead letter: {error}"
                    ) from None

    def take(self, letter_ids: Collection[str]) -> int:
        """Take letters out; how many were there."""
        outcomes = bulk(self._client, self.index, (deletion(letter_id) for letter_id in letter_ids))
        return sum(outcome.status == OK for outcome in outcomes)
