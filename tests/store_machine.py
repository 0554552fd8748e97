"""The store against a model of it: puts, repetitions, reopening and reading in any order."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from panorama_driver.events import Event
from panorama_driver.store import Store, open_store

KINDS = ["stampede.inv.end", "kickstart.inv.online", "transfer.inv.local"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
EVENTS = st.builds(
    Event,
    kind=st.sampled_from(KINDS),
    wf_uuid=st.sampled_from(["w1", "w2", "w ü 3"]),
    ts=st.none() | st.floats(0, 4e9),
    job_id=st.none() | st.sampled_from(["a_ID1", "b_ID2"]),
    attempt=st.none() | st.integers(1, 3),
    invocation=st.none() | st.integers(-2, 2),
    fields=st.fixed_dictionaries({"seq": st.integers(0, 20)}, optional={"dax_label": st.text(), "x": JSON}),
)


class StoreMachine(RuleBasedStateMachine):
    """The model is a dict in the order of arrival."""

    def opened(self, readonly: bool = False) -> Store:
        return open_store(self.place / "store.db", readonly=readonly)

    @initialize()
    def make(self) -> None:
        self.place = Path(tempfile.mkdtemp())
        self.model: dict[str, Event] = {}
        self.followed: list[Event] = []
        self.cursor = 0
        self.store = self.opened()

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.place)

    @rule(events=st.lists(EVENTS, max_size=8))
    def put(self, events: list[Event]) -> None:
        before = len(self.model)
        for event in events:
            self.model.setdefault(event.event_id, event)
        assert self.store.put(events) == len(self.model) - before

    @rule(chance=st.randoms(use_true_random=False))
    def put_again(self, chance: object) -> None:
        events = list(self.model.values())
        chance.shuffle(events)  # type: ignore[attr-defined]  # hypothesis hands out a random.Random it has no type for
        assert self.store.put(events) == 0

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = self.opened()

    @rule(limit=st.integers(1, 5))
    def follow(self, limit: int) -> None:
        page = self.store.since(self.cursor, limit=limit)
        assert len(page.events) <= limit
        self.followed += page.events
        self.cursor = page.cursor
        self.check_order()
        assert len(page.events) == limit or len(self.followed) == len(self.model)

    def check_order(self) -> None:
        assert self.followed == list(self.model.values())[: len(self.followed)]

    @rule(wf_uuid=st.sampled_from(["w1", "w2", "w ü 3"]), kinds=st.none() | st.sets(st.sampled_from(KINDS)))
    def read(self, wf_uuid: str, kinds: set[str] | None) -> None:
        mine = [e for e in self.model.values() if e.wf_uuid == wf_uuid and (kinds is None or e.kind in kinds)]
        expected = sorted(mine, key=lambda event: -1.0 if event.ts is None else event.ts)
        with self.opened(readonly=True) as reader:
            assert list(reader.events(wf_uuid, kinds)) == expected

    @invariant()
    def tells_what_it_has(self) -> None:
        assert self.store.count() == len(self.model)
        workflows = {event.wf_uuid for event in self.model.values()}
        assert {workflow.wf_uuid for workflow in self.store.workflows()} == workflows
        for workflow in self.store.workflows():
            times = [e.ts for e in self.model.values() if e.wf_uuid == workflow.wf_uuid and e.ts is not None]
            assert (workflow.first, workflow.last) == (min(times, default=None), max(times, default=None))
