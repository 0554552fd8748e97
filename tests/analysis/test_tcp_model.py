"""A model's file: the same scores after it was read, and nothing but a model accepted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from panorama_driver.analysis.tcp import Parameters, judge_sights, learn, load
from panorama_driver.errors import FormatError, UsageError
from tests.analysis.tcp_flows import normals, sight

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.json"
    learn([*normals("receiver"), *normals("sender")], Parameters(trees=20, seed=3))[0].save(path)
    return path


def test_a_model_that_was_read_gives_the_same_scores(tmp_path: Path) -> None:
    flows = [sight("receiver", c_pkts_ooo=count) for count in (0, 3, 50)]
    model, left_out = learn([*normals("receiver"), *normals("sender", number=5)], Parameters(trees=20))
    model.save(tmp_path / "model.json")
    assert judge_sights(flows, load(tmp_path / "model.json")) == judge_sights(flows, model)
    assert list(left_out.values()) == [5]
    assert [path.name for path in tmp_path.iterdir()] == ["model.json"], "nothing unfinished stays"


def test_another_seed_gives_other_scores() -> None:
    one, two = (judge_sights([sight()], learn(normals(), Parameters(seed=seed))[0])[0] for seed in (0, 1))
    assert one.score != two.score


def test_variants_that_were_not_learnt_are_held_against_all() -> None:
    several = [*normals(number=40), *(sight(variant="bbr", c_pkts_data=50_000 + n) for n in range(40))]
    (found,) = judge_sights([sight(variant="reno", c_pkts_dup=100)], learn(several)[0])
    assert found.name == "duplication"
    assert "80 normal transfers (any" in found.evidence[0].basis


def test_too_few_transfers_are_no_model() -> None:
    with pytest.raises(UsageError, match="30 normal ones, the most has 29"):
        learn(normals(number=29))


def _set(path: list[Any], value: Any) -> Callable[[dict[str, Any]], None]:
    def change(whole: dict[str, Any]) -> None:
        at: Any = whole
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (_set(["format"], "panorama tcp model 9"), "learn it again"),
        (_set(["kinds"], []), "0 kinds"),
        (_set(["kinds", 0, "features"], ["data.__class__"]), "features are not those"),
        (_set(["kinds", 0, "features"], []), "features are not those"),
        (_set(["kinds", 0, "rows"], [[1.0, 2.0]]), "1 rows"),
        (_set(["kinds", 0, "rows", 3], [1.0]), "row 3 has 1 values"),
        (_set(["kinds", 0, "rows", 3, 0], 0.0), "row 3 has a value that is no count, or no segments"),
        (_set(["kinds", 0, "rows", 3, 5], -1.0), "row 3 has a value that is no count"),
        (_set(["kinds", 0, "rows", 3, 5], 1e300), "row 3 has a value that is no count"),
        (_set(["kinds", 0, "held_out"], [0.5]), "scores do not fit"),
        (_set(["kinds", 0, "place"], "moon"), "no model of transfers"),
        (_set(["parameters", "trees"], 10**9), "no model of transfers"),
        (_set(["parameters", "more"], 1), "no model of transfers"),
    ],
)
def test_a_file_that_is_no_model_is_refused(
    saved: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], complaint: str
) -> None:
    whole = json.loads(saved.read_text())
    change(whole)
    path = tmp_path / "model.json"
    path.write_text(json.dumps(whole))
    with pytest.raises(FormatError, match=complaint):
        load(path)


def test_a_forest_that_gives_other_scores_here_is_refused(saved: Path, tmp_path: Path) -> None:
    whole = json.loads(saved.read_text())
    for kind in whole["kinds"]:
        kind["checks"][0] += 0.01
    path = tmp_path / "model.json"
    path.write_text(json.dumps(whole))
    with pytest.raises(FormatError, match=r"other scores here .* scikit-learn"):
        judge_sights([sight()], load(path))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200) | st.integers(0, 4000).map(lambda at: at))
def test_damage_is_told_and_nothing_else_happens(saved: Path, tmp_path: Path, damage: bytes | int) -> None:
    path = tmp_path / "model.json"
    path.write_bytes(damage if isinstance(damage, bytes) else saved.read_bytes()[:damage])
    with pytest.raises(FormatError):
        load(path)
