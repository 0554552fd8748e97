"""`panorama ask` as people and programs meet it."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.questions.studies import Made, Try, study


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = [Made({"x": x}, [[Try(1 + x, fails=x == 3)]], {"y": float(x)}) for x in range(4)]
    home = study(tmp_path_factory.mktemp("asked") / "studies" / "one", made)
    (home / "study.yml").write_text("workflow: parabola\n")
    return home


def panorama(home: Path, *words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from panorama_driver.cli import main; main()", "ask", *map(str, words)]
    environment = os.environ | {"XDG_CACHE_HOME": str(home.parent.parent / "cache")}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


def test_sql_is_answered_as_a_table_as_csv_and_as_json(home: Path) -> None:
    sql = "SELECT evaluation, x_x, r_y, workflow_makespan, message FROM evaluations WHERE x_x < 2 ORDER BY 1"
    table = panorama(home, sql, home)
    assert table.returncode == 0, table.stderr
    assert [line.split() for line in table.stdout.strip().splitlines()][2:] == [
        ["1", "0", "0", "2"],
        ["2", "1", "1", "3"],
    ]
    text = panorama(home, sql, home, "--csv").stdout
    assert list(csv.reader(io.StringIO(text)))[1] == ["1", "0", "0.0", "2.0", ""]
    told = json.loads(panorama(home, sql, home, "--json").stdout)
    assert told["rows"] == [["1", 0, 0.0, 2.0, ""], ["2", 1, 1.0, 3.0, ""]]
    assert told["columns"][1] == "x_x"


def test_values_are_those_that_show_tells(home: Path) -> None:
    command = [sys.executable, "-c", "from panorama_driver.cli import main; main()", "show", "2", "--json"]
    shown = json.loads(subprocess.run([*command, "--study", str(home)], capture_output=True, text=True).stdout)
    columns = ["makespan", "cumulative_time", "queue_time", "cpu_time", "jobs_total", "j_s", "t_s"]
    wanted = ", ".join(f"workflow_{name}" for name in columns)
    told = json.loads(panorama(home, f"SELECT {wanted} FROM evaluations WHERE evaluation = '2'", home, "--json").stdout)
    assert told["rows"] == [[shown["metrics"][name] for name in columns]]


def test_the_study_of_this_directory_is_asked_and_those_of_a_folder(home: Path) -> None:
    sql = "SELECT study, count(*) FROM evaluations GROUP BY study"
    assert panorama(home, sql, "--csv", cwd=home).stdout == "study,count(*)\none,4\n"
    assert panorama(home, sql, home.parent, "--csv").stdout == "study,count(*)\none,4\n"
    store = home / ".panorama" / "store.db"
    assert panorama(home, sql, store, "--csv").stdout == "study,count(*)\nstore.db,4\n"


def test_a_question_by_name_tells_its_notes_beside_the_table(home: Path) -> None:
    done = panorama(home, "failed", home, "--csv")
    assert done.stderr.splitlines()[0] == "1 of 4 evaluations failed: 4"
    done = panorama(home, "drives-makespan", home, "--of", "y", "--json")
    told = json.loads(done.stdout)
    assert ["parameter", "x", 4] in [row[:3] for row in told["rows"]]


def test_sql_of_a_question_can_be_asked_by_hand(home: Path) -> None:
    sql = panorama(home, "retries", home, "--sql").stdout
    assert panorama(home, sql, home).stdout == panorama(home, "retries", home).stdout


def test_what_may_be_asked_is_listed(home: Path) -> None:
    names = panorama(home, "--list").stdout
    assert all(name in names for name in ("failed", "slow-host", "drives-makespan", "outliers", "transfers"))
    schema = panorama(home, "--schema").stdout
    assert "attempts: one row a try" in schema
    assert "[bytes/s]" in schema
    told = json.loads(panorama(home, "--schema", "--json").stdout)
    assert told["tables"][0]["columns"][0]["name"] == "study"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["SELECT wal_time FROM attempts"], "do you mean wall_time"),
        (["faild"], "do you mean failed"),
        (["retries", "--of", "y"], "--of goes with drives-makespan only"),
        (["DROP TABLE _attempts"], "a question can only look"),
        (["failed", "--csv", "--json"], "not both"),
        (["failed", "nowhere"], "nowhere: no such file or folder"),
    ],
)
def test_what_is_wrong_is_told_with_what_to_do_next(home: Path, words: list[str], said: str) -> None:
    done = panorama(home, *words, cwd=home)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_without_studies_is_told_as_such(home: Path, tmp_path: Path) -> None:
    done = panorama(home, "failed", tmp_path)
    assert done.returncode == 2
    assert "no study has been run there" in done.stderr


def test_a_file_that_is_no_store_is_told_once_and_the_cache_is_not_blamed(home: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no store\n")
    done = panorama(home, "failed", tmp_path / "notes.txt")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "notes.txt" in done.stderr


def test_a_select_that_sqlite_cannot_be_stopped_in_ends_with_the_process(home: Path) -> None:
    slow = "SELECT instr(hex(zeroblob(2000000)), hex(zeroblob(1000000)) || '1')"
    done = panorama(home, f"{slow} + {slow[7:]}", home, "--timeout", "0.1")
    assert done.returncode in (0, 2)
    assert "Traceback" not in done.stderr


def test_names_from_outside_do_nothing_to_the_terminal(home: Path) -> None:
    done = panorama(home, "SELECT char(27) || '[31m', '[bold]x[/bold]', x'00ff' FROM evaluations LIMIT 1", home)
    assert "\x1b" not in done.stdout
    assert "\\x1b[31m" in done.stdout
    assert "[bold]x[/bold]" in done.stdout
    assert "00ff" in done.stdout


def test_rows_that_are_left_out_are_told(home: Path) -> None:
    done = panorama(home, "SELECT 1 FROM evaluations", home, "--rows", "2", "--csv")
    assert done.stdout == "1\n1\n1\n"
    assert "there are more than these 2 rows; see --rows" in done.stderr
