"""The journal: what was written down is there after any crash."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panorama_driver.errors import StoreError
from panorama_driver.study.journal import Journal, read


def test_steps_add_up_to_the_last_known_state(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.record("k", eval_id="3", variables={"x": 0.5}, directory="evaluations/0003-k")
    journal.record("k", state="submitted", wf_uuid="u")
    journal.record("k", state="succeeded")
    journal.record("k", responses={"y": 0.04})
    journal.close()
    [evaluation] = read(tmp_path).values()
    assert (evaluation.state, evaluation.wf_uuid, evaluation.responses) == ("succeeded", "u", {"y": 0.04})
    assert evaluation.started is not None
    assert evaluation.ended is not None
    assert evaluation.ended >= evaluation.started


def test_an_evaluation_that_goes_on_has_not_ended(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.record("k", eval_id="3", variables={}, directory="d")
    assert journal.record("k", state="cancelled").ended is not None
    assert journal.record("k", state="submitted").ended is None
    journal.close()


@given(cut=st.integers(min_value=0, max_value=400))
def test_a_journal_cut_anywhere_keeps_every_whole_step_and_goes_on(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    journal = Journal(folder)
    for number in range(3):
        journal.record(str(number), eval_id=str(number), variables={"x": 0.5}, directory="d")
    journal.close()
    path = folder / "journal.jsonl"
    whole = path.read_bytes()[:cut]
    path.write_bytes(whole)
    kept = sum(_is_step(line) for line in whole.splitlines())
    journal = Journal(folder)
    assert len(journal.evaluations) == kept
    journal.record("new", eval_id="9", variables={}, directory="d")
    journal.close()
    assert len(read(folder)) == kept + 1


def test_a_full_disk_is_an_error_that_says_where_and_what_to_do(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full on this system")
    import os

    os.dup2(os.open(full, os.O_WRONLY), journal._file)
    with pytest.raises(
        StoreError, match=r"journal\.jsonl: cannot be written: No space left on device; free some space"
    ):
        journal.record("k", eval_id="1", variables={}, directory="d")
    assert "k" not in journal.evaluations


def _is_step(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
