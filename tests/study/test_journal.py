"""The journal: what was written down is there after any crash."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panorama_driver.errors import StoreError
from panorama_driver.study.journal import Evaluation, Journal, Reader, in_order, read


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

    os.dup2(os.open(full, os.O_WRONLY), journal._lines._file)
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


def line(key: str, **changes: object) -> str:
    return json.dumps({"t": 1.0, "key": key, **changes}) + "\n"


def new(key: str, **changes: object) -> str:
    return line(key, eval_id="1", variables={"x": 0.5}, **changes)


def test_a_reader_gives_what_has_moved_and_reads_no_line_twice(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    assert reader.advance() == set()
    journal = Journal(tmp_path)
    journal.record("a", eval_id="1", variables={})
    journal.record("b", eval_id="2", variables={})
    assert reader.advance() == {"a", "b"}
    assert reader.advance() == set()
    journal.record("b", state="succeeded")
    assert reader.advance() == {"b"}
    journal.withdraw("a")
    assert reader.advance() == {"a"}
    assert reader.evaluations == journal.evaluations == read(tmp_path)
    journal.close()


def test_a_last_line_that_is_half_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    reader = Reader(tmp_path)
    whole = line("a", state="succeeded", message="ü")
    path.write_text(new("a"), encoding="utf-8")
    reader.advance()
    for cut in range(1, len(whole) - 1):
        path.write_text(new("a") + whole[:cut], encoding="utf-8")
        reader.advance()
        assert reader.evaluations["a"].state == "received"
    path.write_text(new("a") + whole.rstrip(), encoding="utf-8")
    assert reader.advance() == {"a"}
    assert reader.evaluations["a"].state == "succeeded"
    path.write_text(new("a") + whole + new("b"), encoding="utf-8")
    reader.advance()
    assert reader.evaluations == read(tmp_path)


@pytest.mark.parametrize("text", [new("c"), new("c") * 40, ""], ids=["shorter", "longer", "empty"])
@pytest.mark.parametrize("how", ["renamed", "in place"])
def test_a_journal_that_was_replaced_is_read_anew(tmp_path: Path, text: str, how: str) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text(new("a") + new("b") * 9)
    reader = Reader(tmp_path)
    reader.advance()
    if how == "renamed":
        (tmp_path / "other").write_text(text)
        (tmp_path / "other").rename(path)
    else:
        path.write_text(text)
    assert reader.advance() == {"a", "b", *(["c"] if text else [])}
    assert reader.evaluations == read(tmp_path)


def test_a_journal_that_was_removed_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text(new("a"))
    reader = Reader(tmp_path)
    reader.advance()
    path.unlink()
    assert reader.advance() == {"a"}
    assert reader.advance() == set()
    assert reader.evaluations == {}


@pytest.mark.parametrize(
    "rubbish",
    [
        "5",
        "[]",
        '{"key": []}',
        '{"key": "a", "t": 1, "responses": 7}',
        "\x00",
        "{}",
        '{"key": "a", "t": "now", "state": "failed"}',
        '{"key": 5, "t": 1, "state": "withdrawn"}',
        '{"key": "a", "t": NaN, "state": "failed"}',
        pytest.param("[" * 10**6, id="deep"),
        pytest.param("x" * (10 << 20), id="long"),
    ],
)
def test_a_line_that_is_no_step_is_passed_over(tmp_path: Path, rubbish: str) -> None:
    (tmp_path / "journal.jsonl").write_text(new("a") + rubbish + "\n" + new("b", directory="d"))
    assert list(read(tmp_path)) == ["a", "b"]
    assert read(tmp_path)["a"].responses == {}
    assert read(tmp_path)["a"].state == "received"


def test_a_long_line_that_grows_is_read_once_and_what_follows_is_found(tmp_path: Path) -> None:
    path, reader = tmp_path / "journal.jsonl", Reader(tmp_path)
    path.write_text(new("a"))
    for _ in range(5):
        with path.open("a") as file:
            file.write("x" * (3 << 20))
        reader.advance()
    with path.open("a") as file:
        file.write("\n" + new("b"))
    assert "b" in reader.advance()
    assert list(reader.evaluations) == ["a", "b"]


def test_a_journal_that_is_a_pipe_is_an_error_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "journal.jsonl")
    with pytest.raises(OSError, match="no file"):
        Reader(tmp_path).advance()


def test_evaluations_come_in_the_order_of_their_numbers_however_long_these_are() -> None:
    names = ["2", "10", "010:2", "10:10", "9" * 5000, "1" + "0" * 5000]
    mixed = {name: Evaluation(key=name, eval_id=name, variables={}) for name in reversed(names)}
    assert [evaluation.eval_id for evaluation in in_order(mixed)] == names


@pytest.mark.measures
def test_a_step_of_a_large_study_costs_no_reading_of_all_others(tmp_path: Path) -> None:
    with (tmp_path / "journal.jsonl").open("w") as file:
        file.writelines(new(f"k{number}", directory="d" * 40) for number in range(10_000))
    reader = Reader(tmp_path)
    whole = timed(reader.advance)
    one = []
    for number in range(20):
        with (tmp_path / "journal.jsonl").open("a") as file:
            file.write(line(f"k{number}", state="succeeded"))
        one.append(timed(reader.advance))
    assert len(reader.evaluations) == 10_000
    assert whole < 2.0, f"measured {whole:.3f} s for all"
    assert min(one) < 0.001, f"measured {min(one):.6f} s for a step"


def timed(function: Callable[[], object]) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin
