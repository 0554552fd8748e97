"""Ready-made questions on studies whose answers one can work out by hand."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.errors import UsageError
from panorama_driver.questions import READY, Answer, Questions
from tests.questions.studies import Made, Try, asked, study

scipy_stats = pytest.importorskip("scipy.stats")


def rows(answer: Answer) -> list[dict[str, Any]]:
    return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]


def test_each_question_answers_with_the_sql_it_says(tmp_path: Path) -> None:
    home = study(tmp_path / "one", [Made({"x": x}, [[Try(1 + x)]], {"y": float(x)}) for x in range(4)])
    with asked(home, cache=tmp_path) as questions:
        for each in READY:
            answer = questions.ready(each.name)
            assert answer.sql
            for sql in answer.sql:
                questions.sql(sql)


@pytest.mark.parametrize("name", [each.name for each in READY])
def test_an_empty_study_has_no_answers_and_no_faults(tmp_path: Path, name: str) -> None:
    (tmp_path / "one").mkdir()
    with asked(tmp_path / "one") as questions:
        assert questions.ready(name).rows == []


def _failing(x: int, mode: str, host: str) -> Made:
    fails = x >= 16
    return Made({"x": x, "mode": mode}, [[Try(2, host, fails=fails)]], {}, "md failed" if fails else "")


def test_what_failed_evaluations_share_is_told_with_its_chance(tmp_path: Path) -> None:
    made = [_failing(x, "ab"[x % 2], "bad" if x >= 15 else "good") for x in range(20)]
    home = study(tmp_path / "one", [*made, Made({"x": 99}, [[Try(1, fails=True)]], definition="one")])
    with asked(home, cache=tmp_path) as questions:
        answer = questions.ready("failed")
    found = {(row["what"], row["value"]): row for row in rows(answer)}
    assert "5 of 21 evaluations failed: 17, 18, 19, 20, 21" in answer.notes
    bad = found["host", "bad"]  # 4 of 5 that failed, and x = 15
    assert (bad["failed_with"], bad["failed"], bad["others_with"], bad["others"]) == (4, 5, 1, 16)
    assert bad["lift"] == pytest.approx((4 / 5) / (5 / 21))
    assert bad["odds_ratio"] == pytest.approx(4 * 15 / (1 * 1))
    assert bad["p"] == pytest.approx(scipy_stats.fisher_exact([[4, 1], [1, 15]]).pvalue)
    assert bad["p_holm"] >= bad["p"]
    [ranged] = [row for row in rows(answer) if row["what"] == "range of x"]
    assert ranged["value"].startswith("> ")
    assert ranged["failed_with"] == 5
    assert found["failed attempt of", "md"]["odds_ratio"] is None  # no other has one
    assert ("parameter mode", "a") not in found or found["parameter mode", "a"]["p_holm"] > 0.5


def test_what_is_an_accident_is_told_as_one(tmp_path: Path) -> None:
    """Failures that have to do with nothing: of 20 studies one may blame a parameter or a host at 5 %, by chance."""
    blamed = 0
    for seed in range(20):
        chance = random.Random(seed)
        made = [
            Made(
                {"a": chance.random(), "b": chance.choice([1, 2, 3])},
                [[Try(1, chance.choice(["n1", "n2", "n3"]), fails=chance.random() < 0.2)]],
            )
            for _ in range(60)
        ]
        home = study(tmp_path / str(seed), made)
        with asked(home) as questions:
            answer = rows(questions.ready("failed"))
        told = ("parameter", "range", "host")
        blamed += any(row["p_holm"] <= 0.05 and row["what"].startswith(told) for row in answer)
    assert blamed <= 1


def test_a_host_is_slow_by_its_attempts_over_those_elsewhere(tmp_path: Path) -> None:
    chance = random.Random(4)
    made = []
    for number in range(60):
        host = f"n{number % 3}"
        slow = 1.5 if host == "n2" else 1.0
        jobs = [[Try(slow * wall * chance.uniform(0.95, 1.05), host, name)] for name, wall in (("md", 4), ("fit", 40))]
        made.append(Made({"x": number}, jobs))
    with asked(study(tmp_path / "one", made), cache=tmp_path) as questions:
        found = {row["host"]: row for row in rows(questions.ready("slow-host"))}
    assert list(found) == ["n2", *sorted(found.keys() - {"n2"}, key=lambda host: -found[host]["ratio"])]
    assert {host: row["verdict"] for host, row in found.items()} == {"n2": "slow", "n0": "", "n1": ""}
    assert found["n2"]["from"] <= 1.5 <= found["n2"]["to"]
    assert (found["n2"]["attempts"], found["n2"]["transformations"]) == (40, 2)


def test_hosts_that_are_alike_are_not_called_slow(tmp_path: Path) -> None:
    chance = random.Random(5)
    made = [
        Made({"x": n}, [[Try(chance.lognormvariate(1, 0.3), f"n{chance.randrange(10)}")] for _ in range(3)])
        for n in range(150)
    ]
    with asked(study(tmp_path / "one", made), cache=tmp_path) as questions:
        assert {row["verdict"] for row in rows(questions.ready("slow-host"))} == {""}


def test_a_host_by_hand(tmp_path: Path) -> None:
    walls = {"a": [1.0, 2.0, 3.0], "b": [2.0, 4.0]}
    made = [Made({}, [[Try(wall, host)]]) for host, own in walls.items() for wall in own]
    with asked(study(tmp_path / "one", [*made, Made({}, [[Try(9, "c", "alone")]])])) as questions:
        answer = questions.ready("slow-host")
    assert [(row["host"], row["ratio"], row["verdict"]) for row in rows(answer)] == [
        ("b", 1.5, "too few"),  # 2 / 2 and 4 / 2
        ("a", pytest.approx(2 / 3), "too few"),  # of 1 / 3, 2 / 3 and 3 / 3
    ]
    assert answer.notes == ["2 hosts compared; 1 others ran nothing that ran elsewhere"]


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve evaluations whose makespan grows with x alone; one failed, one answered nothing."""
    chance = random.Random(6)
    made = [
        Made({"x": x, "noise": chance.random(), "mode": "fast"}, [[Try(10 + x)]], {"y": -float(x) if x != 3 else 7.0})
        for x in range(12)
    ]
    made.append(Made({"x": 50, "noise": 0.0, "mode": "fast"}, [[Try(1, fails=True)]]))
    return study(tmp_path_factory.mktemp("driven") / "driven", made)


def test_what_drives_the_makespan_is_ranked_with_its_chance(driven: Path) -> None:
    with asked(driven) as questions:
        answer = questions.ready("drives-makespan")
        table = questions.sql(
            "SELECT x_x, x_noise, workflow_makespan FROM evaluations WHERE workflow_state = 'succeeded'"
        ).rows
    found = {(row["kind"], row["name"]): row for row in rows(answer)}
    assert found["parameter", "x"]["rho"] == pytest.approx(1)
    assert found["parameter", "x"]["n"] == 12
    theirs = scipy_stats.spearmanr([row[1] for row in table], [row[2] for row in table])
    assert found["parameter", "noise"]["rho"] == pytest.approx(theirs.statistic)
    assert found["parameter", "noise"]["p"] == pytest.approx(theirs.pvalue)
    assert found["transformation", "wall_time of md"]["rho"] == pytest.approx(1)
    assert ("workflow", "active_time") not in found  # the same thing
    assert ("workflow", "jobs_total") not in found  # it does not vary
    assert "without order, and so left out: mode" in answer.notes


def test_what_drives_a_response_is_asked_by_its_name(driven: Path) -> None:
    with asked(driven) as questions:
        answer = questions.ready("drives-makespan", "y")
        [x] = [row for row in rows(answer) if row["name"] == "x"]
        values = [-float(n) if n != 3 else 7.0 for n in range(12)]
        assert x["rho"] == pytest.approx(scipy_stats.spearmanr(range(12), values).statistic)
        with pytest.raises(UsageError, match=r"--of peak_memry: .* do you mean peak_memory"):
            questions.ready("drives-makespan", "peak_memry")


@pytest.fixture
def mixed(tmp_path: Path) -> Questions:
    """Retries, waits and costs with numbers to add up."""
    made = [
        Made({"x": 1}, [[Try(3600, fails=True, waits=10), Try(7200, waits=30, memory=2048)], [Try(1800, "n2", "fit")]]),
        Made({"x": 2}, [[Try(3600, fails=True, waits=20)]], message="gave up"),
        Made({"x": 3}, [[Try(99999)]], definition="of before"),
        Made({"x": 4}, [[Try(3600, waits=40, memory=4096)]]),
    ]
    return asked(study(tmp_path / "mixed", made), cache=tmp_path)


def test_retries_waits_memory_and_cost_add_up(mixed: Questions) -> None:
    with mixed as questions:
        [retried, *_] = rows(questions.ready("retries"))
        assert (retried["transformation"], retried["jobs"], retried["jobs_retried"], retried["retries"]) == (
            "md", 3, 1, 1,
        )  # fmt: skip
        assert retried["jobs_failed"] == 1
        assert retried["lost [h]"] == pytest.approx(1)
        assert retried["share_lost"] == pytest.approx(1 / 5)
        waits = {row["transformation"]: row for row in rows(questions.ready("waits"))}
        assert (waits["md"]["n"], waits["md"]["median [s]"], waits["md"]["max [s]"]) == (4, 25, 40)
        assert waits["md"]["share_of_time"] == pytest.approx(100 / (100 + 5 * 3600))
        [memory] = [row for row in rows(questions.ready("memory")) if row["transformation"] == "md"]
        assert (memory["n"], memory["median [MiB]"], memory["max [MiB]"], memory["asked [MiB]"]) == (2, 3, 4, None)
        cost = {row["transformation"]: row for row in rows(questions.ready("cost"))}
        assert cost["md"]["core time [h]"] == pytest.approx(5)
        assert cost["md"]["of it failed [h]"] == pytest.approx(2)
        assert cost["fit"]["share"] == pytest.approx(0.5 / 5.5)


def test_failures_name_the_job_that_failed(mixed: Questions) -> None:
    with mixed as questions:
        [failure] = rows(questions.ready("failures"))
    assert (failure["evaluation"], failure["job_id"], failure["message"]) == ("2", "job0", "gave up")


def test_outliers_are_those_far_from_the_median_in_its_own_measure(tmp_path: Path) -> None:
    walls = [10.0, 10.1, 9.9, 10.2, 9.8, 10.3, 9.7, 10.4, 9.6, 30.0]
    with asked(study(tmp_path / "one", [Made({"x": n}, [[Try(wall)]]) for n, wall in enumerate(walls)])) as questions:
        [found] = rows(questions.ready("outliers"))
    assert found["evaluation"] == "10"
    assert found["z"] == pytest.approx(0.6745 * (30 - 10.05) / 0.25)
