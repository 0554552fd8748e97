"""SQL that people write, mistype, or mean ill with."""

from __future__ import annotations

import contextlib
import math
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from panorama_driver.errors import UsageError
from panorama_driver.questions import Place, Questions
from panorama_driver.study.client import FOLDER
from tests.questions.studies import Made, Try, asked, study

WALLS = [1.0, 2.0, 4.0, 8.0, 100.0]


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Questions]:
    home = study(
        tmp_path_factory.mktemp("one") / "one", [Made({"x": n}, [[Try(wall)]]) for n, wall in enumerate(WALLS)]
    )
    place = Place("one", str(home / FOLDER / "store.db"), home / FOLDER)
    with Questions([place], None, timeout=1.0, rows=1000) as ready:
        yield ready


def one(questions: Questions, expression: str, rest: str = "FROM attempts") -> object:
    return questions.sql(f"SELECT {expression} {rest}").rows[0][0]


def test_functions_that_sqlite_lacks(questions: Questions) -> None:
    assert one(questions, "median(wall_time)") == 4
    assert one(questions, "quantile(wall_time, 0.25)") == 2
    assert one(questions, "quantile(wall_time, 0.9)") == pytest.approx(8 + 0.6 * 92)
    assert one(questions, "stddev(wall_time)") == pytest.approx(statistics.stdev(WALLS))
    assert one(questions, "corr(wall_time, x_x)") == pytest.approx(statistics.correlation(WALLS, [0, 1, 2, 3, 4]))
    assert one(questions, "spearman(wall_time, -x_x)") == pytest.approx(-1)


def test_they_pass_over_null_and_text_and_know_nothing_of_nothing(questions: Questions) -> None:
    some = "FROM (SELECT 1 AS v UNION ALL SELECT NULL UNION ALL SELECT 'text' UNION ALL SELECT 3)"
    assert one(questions, "median(v)", some) == 2
    for function in ("median(v)", "quantile(v, 0.5)", "stddev(v)", "corr(v, v)", "spearman(v, v)"):
        assert one(questions, function, "FROM (SELECT 1 AS v) WHERE v > 1") is None
    assert one(questions, "quantile(v, 2)", some) is None
    assert one(questions, "stddev(v)", "FROM (SELECT 1 AS v)") is None


def test_they_go_over_windows(questions: Questions) -> None:
    found = questions.sql(
        "SELECT median(wall_time) OVER (ORDER BY wall_time ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING) FROM attempts"
    ).rows
    assert [value for (value,) in found] == [1.5, 2, 4, 8, 54]


@pytest.mark.parametrize(
    "sql",
    [
        "ATTACH '/tmp/other.db' AS other",
        "PRAGMA user_version = 3",
        "PRAGMA query_only = OFF",
        "SELECT * FROM pragma_database_list",
        "INSERT INTO chosen VALUES (9, 'x')",
        "DELETE FROM _attempts",
        "DROP VIEW attempts",
        "CREATE TEMP TABLE t (x)",
        "UPDATE attempts SET wall_time = 0",
        "VACUUM INTO '/tmp/copy.db'",
        "SELECT load_extension('evil')",
        "SELECT fts3_tokenizer('simple')",
        "SELECT sql FROM sqlite_schema",
        "SELECT wall_time FROM _attempts",
        "COMMIT",
        "BEGIN",
    ],
)
def test_what_is_no_question_is_refused_and_changes_nothing(questions: Questions, sql: str) -> None:
    with pytest.raises(UsageError, match=r"a question can only look|cannot modify|cannot VACUUM"):
        questions.sql(sql)
    assert one(questions, "count(*)") == len(WALLS)


@pytest.mark.parametrize("sql", ["SELECT 1; DROP TABLE _attempts", "SELECT 1; SELECT 2"])
def test_one_statement_at_a_time(questions: Questions, sql: str) -> None:
    with pytest.raises(UsageError, match="one SELECT at a time"):
        questions.sql(sql)


@pytest.mark.parametrize("sql", ["", " \n", "-- only words"])
def test_nothing_is_no_question(questions: Questions, sql: str) -> None:
    with pytest.raises(UsageError, match="there is no SELECT in it"):
        questions.sql(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t) SELECT count(*) FROM t",
        "SELECT count(*) FROM attempts a, attempts b, attempts c, attempts d, attempts e, attempts f, attempts g, "
        "attempts h, attempts i, attempts j, attempts k, attempts l",
    ],
)
def test_what_never_ends_is_ended(questions: Questions, sql: str) -> None:
    before = time.monotonic()
    with pytest.raises(UsageError, match="no answer within 1 s"):
        questions.sql(sql)
    assert time.monotonic() - before < 20


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT zeroblob(1000000000)",
        "SELECT replace(hex(zeroblob(1000000)), '0', 'aaaaaaaaaaaaaaaaaaaaaaaa')",
        "SELECT median(x) FROM (WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t) SELECT x FROM t)",
    ],
)
def test_what_is_huge_is_refused(questions: Questions, sql: str) -> None:
    with pytest.raises(UsageError):
        questions.sql(sql)


def test_rows_beyond_those_that_are_wanted_are_left_out_and_it_says_so(questions: Questions) -> None:
    endless = "WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t) SELECT x FROM t"
    answer = questions.sql(endless)
    assert (len(answer.rows), answer.more) == (1000, True)
    assert not questions.sql(f"{endless} LIMIT 1000").more


def test_a_column_that_is_not_there_is_shown_with_the_nearest_that_is(questions: Questions) -> None:
    with pytest.raises(UsageError) as caught:
        questions.sql("SELECT 'wal_time',\n  wal_time FROM attempts")
    words = str(caught.value).splitlines()
    assert words[0].startswith("no such column: wal_time; do you mean wall_time")
    assert words[0].endswith("(line 2, column 3)")
    assert words[1:] == ["    wal_time FROM attempts", "    ^"]


def test_a_table_that_is_not_there_is_shown_with_the_nearest_that_is(questions: Questions) -> None:
    with pytest.raises(UsageError, match="no such table: atempts; do you mean attempts"):
        questions.sql("SELECT * FROM atempts")


def test_a_word_that_does_not_fit_is_shown_where_it_does_not(questions: Questions) -> None:
    with pytest.raises(UsageError) as caught:
        questions.sql("SELECT host AS o FROM attempts WHERE (host = 'FORM') FORM (host)")
    assert caught.value.args[0].splitlines()[0] == 'near "FORM": syntax error (line 1, column 54)'


@pytest.mark.parametrize(
    "sql", ["SELECT 'a\0b'", "SELECT \ud800", "SELECT (", "SELECT " + "(" * 5000, "SELECT 9e999 - 9e999"]
)
def test_odd_texts_are_refused_or_answered_and_never_end_in_a_fault(questions: Questions, sql: str) -> None:
    with contextlib.suppress(UsageError):
        questions.sql(sql)


def test_infinity_is_a_number_and_no_median_falls_over_it(questions: Questions) -> None:
    assert one(questions, "median(v)", "FROM (SELECT 9e999 AS v UNION ALL SELECT 1 UNION ALL SELECT 9e999)") == math.inf


def test_evidence_is_read_by_sqlites_json_functions(questions: Questions) -> None:
    assert questions.sql("SELECT value FROM json_each('[1, 2]')").rows == [(1,), (2,)]


def test_all_answers_are_of_one_moment(tmp_path: Path) -> None:
    home = study(tmp_path / "one", [Made({"x": 1}, [[Try(2)]])])
    with asked(home, cache=tmp_path) as first:
        before = first.sql("SELECT count(*) FROM evaluations").rows
        study(tmp_path / "two", [Made({"x": 1}, [[Try(2)]])]).rename(tmp_path / "aside")
        study(home, [Made({"x": 1}, [[Try(2)]]), Made({"x": 2}, [[Try(2)]])])
        with asked(home, cache=tmp_path) as second:
            assert second.sql("SELECT count(*) FROM evaluations").rows == [(2,)]
        assert first.sql("SELECT count(*) FROM evaluations").rows == before
