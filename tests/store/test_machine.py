"""The SQLite store against a model of it."""

from __future__ import annotations

from hypothesis import settings

from tests.store_machine import StoreMachine

TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
