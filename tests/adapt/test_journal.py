"""Actions on disk: as they last stood, whatever killed the one that wrote them."""

from __future__ import annotations

from pathlib import Path

from panorama_driver.adapt import NAME, Action, Actions, read
from panorama_driver.adapt.journal import action_id

AVOID = Action(action_id=action_id("avoid_host", "vm/slow"), what="avoid_host", reason="slow", host="vm/slow")


def test_the_last_word_counts(tmp_path: Path) -> None:
    actions = Actions(tmp_path)
    intended = actions.record(AVOID)
    assert intended.t > 0
    done = actions.record(intended, state="done")
    actions.close()
    assert read(tmp_path) == [done]
    assert done.t == intended.t
    assert Actions(tmp_path).known == {AVOID.action_id: done}


def test_half_a_line_is_no_step(tmp_path: Path) -> None:
    actions = Actions(tmp_path)
    actions.record(AVOID)
    actions.close()
    with (tmp_path / NAME).open("ab") as file:
        file.write(b'{"action_id":"half')
    again = Actions(tmp_path)
    assert not again.record(AVOID, state="undone").holds
    assert [action.state for action in read(tmp_path)] == ["undone"]


def test_no_journal_no_actions(tmp_path: Path) -> None:
    assert read(tmp_path) == []


def test_one_identity_for_one_finding() -> None:
    assert action_id("avoid_host", "a") == action_id("avoid_host", "a")
    assert action_id("avoid_host", "a") != action_id("avoid_host", "b")
