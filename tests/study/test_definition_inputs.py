"""The study's own input files: part of what an evaluation is, and used where they are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from panorama_driver.errors import StudyError
from panorama_driver.study.definition import Definition, Request

REQUEST = Request(variables={"x": 0.5})


def given(path: Path, text: str = "0.7\n") -> Path:
    (path / "constants").mkdir(parents=True)
    (path / "constants/offset.txt").write_text(text)
    return path


def key(home: Path) -> str:
    return Definition(home / "study.yml").key(REQUEST)


def test_folders_are_found_from_where_the_study_is(make_study: Callable[..., Path], tmp_path: Path) -> None:
    given(tmp_path / "inputs")
    given(tmp_path / "more")
    home = make_study(inputs=["../inputs", str(tmp_path / "more")])
    assert Definition(home / "study.yml").inputs == [tmp_path / "inputs", tmp_path / "more"]
    (home / "study.yml").write_text((home / "study.yml").read_text().replace("../inputs", "nowhere"))
    with pytest.raises(StudyError, match=r"study\.yml: inputs: .*nowhere: no such folder"):
        Definition(home / "study.yml")


@pytest.mark.parametrize("folder", [".", "..", ""])
def test_a_folder_with_the_study_in_it_is_refused_since_every_evaluation_would_change_it(
    make_study: Callable[..., Path], folder: str
) -> None:
    home = make_study(inputs=[folder])
    with pytest.raises(StudyError, match=r"study\.yml: inputs: .*: the study itself is in it"):
        Definition(home / "study.yml")


def test_a_file_that_changed_makes_another_evaluation_and_one_that_did_not_the_same(
    make_study: Callable[..., Path], tmp_path: Path
) -> None:
    own = given(tmp_path / "inputs") / "constants/offset.txt"
    home = make_study(inputs="../inputs")
    first, stamp = key(home), own.stat()
    assert key(home) == first
    os.utime(own, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
    touched = key(home)
    os.utime(own, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert key(home) == first
    own.write_text("0.71\n")
    os.utime(own, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    longer = key(home)
    (own.parent / "more.txt").write_text("")
    assert len({first, touched, longer, key(home)}) == 4


def test_a_definition_is_stale_once_an_input_file_has_changed(make_study: Callable[..., Path], tmp_path: Path) -> None:
    own = given(tmp_path / "inputs") / "constants/offset.txt"
    definition = Definition(make_study(inputs="../inputs") / "study.yml")
    assert not definition.stale
    os.utime(own, ns=(1, 1))
    assert definition.stale


def test_a_study_without_inputs_has_the_key_that_it_always_had(make_study: Callable[..., Path]) -> None:
    assert key(make_study("one")) == key(make_study("two", inputs=[]))


def test_links_are_followed_and_one_that_leads_back_or_nowhere_does_no_harm(
    make_study: Callable[..., Path], tmp_path: Path
) -> None:
    own = given(tmp_path / "elsewhere") / "constants/offset.txt"
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs/data").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "inputs/loop").symlink_to(tmp_path / "inputs")
    (tmp_path / "inputs/gone").symlink_to(tmp_path / "gone")
    home = make_study(inputs="../inputs")
    before = key(home)
    os.utime(own, ns=(1, 1))
    assert key(home) != before


def test_a_folder_of_more_files_than_can_be_looked_at_each_time_is_refused(
    make_study: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(tmp_path / "inputs")
    home = make_study(inputs="../inputs")
    monkeypatch.setattr("panorama_driver.study.definition._MOST_INPUTS", 3)
    key(home)  # two folders, one file
    (tmp_path / "inputs/more.txt").write_text("")
    with pytest.raises(StudyError, match="inputs: has more than 3 files and folders below it; name one"):
        key(home)


def test_an_evaluation_reads_the_file_where_it_is(make_study: Callable[..., Path], tmp_path: Path) -> None:
    from panorama_driver.study import client

    given(tmp_path / "my $HOME inputs")
    home = make_study(inputs=["../my $HOME inputs"], responses={"y": {"output": "result.json", "value": "y"}})
    [reply] = client.evaluate(str(home / "study.yml"), [{"variables": {"x": 0.5}, "asv": {"y": 1}}], lambda _: None)
    assert reply["responses"]["y"] == pytest.approx((0.5 - 0.7) ** 2)
    [bundle] = (home / "evaluations").iterdir()
    assert (bundle / "inputs/constants/offset.txt").readlink() == tmp_path / "my $HOME inputs/constants/offset.txt"
