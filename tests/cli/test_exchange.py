"""`panorama export`, `import` and `merge` as people and programs meet them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.exchange.made import odd_store, panorama, rows
from tests.questions.studies import Made, Try, study

pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'panorama-driver[parquet]'")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = study(tmp_path / "studies" / "one", [Made({"x": 1}, [[Try(1, host="node-of-ada")]], {"y": 1.0})])
    (home / "study.yml").write_text("workflow: parabola\nsite: local\n")
    return home


def test_a_study_goes_out_comes_in_and_is_merged(home: Path, tmp_path: Path) -> None:
    who = "Ada Lovelace <ada@example.org> 0000-0002-1825-0097"
    words = ["--license", "cc-by-4.0", "--creator", who, "--title", "One", "--keyword", "made up"]
    told = panorama("export", home.parent, "-o", tmp_path / "a", *words, "--json")
    assert told.returncode == 0, told.stderr
    manifest = json.loads(told.stdout)["manifest"]
    assert manifest["license"] == "CC-BY-4.0"
    assert manifest["creators"] == [
        {"name": "Ada Lovelace", "email": "ada@example.org", "orcid": "0000-0002-1825-0097"}
    ]
    source = odd_store(tmp_path / "odd.db")
    told = panorama("export", source.store, "-o", tmp_path / "b")
    assert "without --license nobody else may use these data" in told.stderr
    assert "1 studies or stores, 24 events" in told.stdout
    told = panorama("merge", tmp_path / "a", tmp_path / "b", "-o", tmp_path / "both", "--json")
    assert [each["name"] for each in json.loads(told.stdout)["manifest"]["studies"]] == ["one", "odd.db"]
    told = panorama("import", tmp_path / "b", "--store", tmp_path / "again.db", "--json")
    counts = json.loads(told.stdout)
    assert [counts[name] for name in ("store", "read", "new", "letters")] == [str(tmp_path / "again.db"), 24, 24, 2]
    assert rows(tmp_path / "again.db") == rows(source.store)
    told = panorama("import", tmp_path / "both", "--to", tmp_path / "restored")
    made = [Path(line) for line in told.stdout.splitlines()]
    assert [path.parent for path in made] == [tmp_path / "restored"] * 2
    status = panorama("status", made[0], "--json")
    assert [each["evaluation"]["responses"] for each in json.loads(status.stdout)["evaluations"]] == [{"y": 1.0}]


def test_names_are_taken_out_by_a_key_that_is_made(home: Path, tmp_path: Path) -> None:
    key = tmp_path / "names.key"
    told = panorama("export", home, "-o", tmp_path / "a", "--anonymise", key, "--license", "CC0-1.0")
    assert told.returncode == 0, told.stderr
    assert key.stat().st_mode & 0o777 == 0o600
    panorama("import", tmp_path / "a", "--to", tmp_path / "restored")
    [again] = (tmp_path / "restored").glob("one-*")
    asked = panorama("ask", "SELECT host FROM attempts", again, "--json", XDG_CACHE_HOME=str(tmp_path / "cache"))
    [[host]] = json.loads(asked.stdout)["rows"]
    assert host.startswith("host-")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["export", "HOME", "-o", "HOME"], 2, "is there already"),
        (["export", "HOME", "-o", "NEW", "--license", "free"], 2, "no SPDX licence expression"),
        (["export", "HOME", "-o", "NEW", "--creator", "A 0000-0002-1825-0098"], 2, "is no ORCID iD"),
        (["export", "HOME", "-o", "NEW", "--creator", "<a@b.org>"], 2, "lacks a name"),
        (["export", "HOME", "-o", "NEW", "--format", "none"], 2, "no format 'none'"),
        (["export", "HOME/..", "-o", "NEW", "nowhere"], 2, "no such file or folder"),
        (["import", "nowhere", "--store", "NEW"], 2, "no such file or folder"),
        (["import", "HOME", "--to", "NEW"], 2, "is no repository"),
        (["import", "HOME", "--to", "NEW", "--store", "x"], 2, "neither --store nor --from"),
        (["import", "HOME/study.yml", "--store", "NEW"], 2, "say with --from what it is"),
        (["merge", "HOME", "HOME", "-o", "NEW"], 2, "is no repository"),
    ],
)
def test_what_is_wrong_is_told_with_what_to_do_next(
    words: list[str], code: int, said: str, home: Path, tmp_path: Path
) -> None:
    told = panorama(*(word.replace("HOME", str(home)).replace("NEW", str(tmp_path / "new")) for word in words))
    assert (told.returncode, said in told.stderr) == (code, True), told.stderr
    assert not (tmp_path / "new").is_dir()


def test_git_is_asked_for_a_name_only_if_told(home: Path, tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "user.name",
        "GIT_CONFIG_VALUE_0": "Grace Hopper",
    }
    config |= {"GIT_CONFIG_KEY_1": "user.email", "GIT_CONFIG_VALUE_1": "grace@example.org"}
    for number, words in enumerate(([], ["--git-creator"])):
        told = panorama("export", home, "-o", tmp_path / str(number), *words, "--json", **config)
        creators = json.loads(told.stdout)["manifest"]["creators"]
        assert creators == ([{"name": "Grace Hopper", "email": "grace@example.org"}] if number else [])


def test_without_pyarrow_it_is_told_what_to_install(home: Path, tmp_path: Path) -> None:
    program = "import sys; sys.modules['pyarrow'] = None; from panorama_driver.cli import main; main()"
    command = [sys.executable, "-c", program, "export", str(home), "-o", str(tmp_path / "a")]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert told.returncode == 3
    assert "pip install 'panorama-driver[parquet]'" in told.stderr


def test_formats_are_listed() -> None:
    assert panorama("export", "--list-formats").stdout.startswith("parquet ")
    assert panorama("import", "--list-formats").stdout.startswith("repository ")
