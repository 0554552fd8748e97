"""Every engine keeps the contract of stores."""

from __future__ import annotations

from pathlib import Path

from panorama_driver.store import Store, open_store
from panorama_driver.store.testing import StoreContract


class TestSQLite(StoreContract):
    def reopen(self, place: Path, readonly: bool = False) -> Store:
        return open_store(place / "store.db", readonly=readonly)


class TestSQLiteByURL(StoreContract):
    def reopen(self, place: Path, readonly: bool = False) -> Store:
        return open_store(f"sqlite:///{place}/a folder's 100% odd #name?.db", readonly=readonly)
