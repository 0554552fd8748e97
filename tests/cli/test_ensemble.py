"""`panorama ensemble` as a person and as a program meet it, with the released Ensemble Manager."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from panorama_driver.cli.ensemble import command
from panorama_driver.engines.pegasus import service
from tests.released import ROOT, Released


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Released]:
    """A user with a manager that `panorama ensemble up` has started."""
    user = Released(tmp_path_factory.mktemp("user"))
    assert "start one with `panorama ensemble up`" in user.panorama("ensemble", "status").stderr
    started = user.panorama("ensemble", "up", "--interval", "0.2 s")
    assert started.returncode == 0, started.stderr
    assert f"{user.account.url}: a manager answers, and looks at its workflows every 0.2 s" in started.stdout
    assert "a password of its own" in started.stderr
    yield user
    assert "the manager has ended" in user.panorama("ensemble", "down").stdout
    assert "no manager runs" in user.panorama("ensemble", "down").stdout


def test_up_again_says_that_one_runs_already(user: Released) -> None:
    assert "runs already" in user.panorama("ensemble", "up").stdout
    told = json.loads(user.panorama("ensemble", "up", "--json").stdout)
    assert (told["url"], told["fresh"], told["interval"]) == (user.account.url, False, 0.2)


def test_ensembles_are_made_paused_and_activated(user: Released) -> None:
    made = user.panorama("ensemble", "create", "nightly", "--max-running", "3")
    assert made.stdout == "nightly: ACTIVE, at most 3 running and 2 being planned\n"
    assert "PAUSED" in user.panorama("ensemble", "pause", "nightly").stdout
    told = json.loads(user.panorama("ensemble", "activate", "nightly", "--json").stdout)
    assert (told["state"], told["max_running"], told["max_planning"]) == ("ACTIVE", 3, 2)


def test_status_tells_states_and_what_they_mean(user: Released) -> None:
    user.panorama("ensemble", "create", "weekly")
    client = service.connect(user.account.url, user.account)
    client.submit("weekly", "broken", 4, user.home, "echo no plan")
    client.submit("weekly", "good", 7, user.home, user.planned())
    end = time.monotonic() + 30
    while {one.state for one in client.workflows("weekly")} != {"PLAN_FAILED", "RUNNING"}:
        assert time.monotonic() < end
        time.sleep(0.05)
    lines = user.panorama("ensemble", "status", "weekly").stdout.splitlines()
    assert lines[0] == "weekly: ACTIVE, at most 4 running and 2 being planned"
    assert re.match(r" +good +RUNNING +7 +\d+ s +runs in HTCondor", lines[2])
    assert re.match(r" +broken +PLAN_FAILED +4 +\d+ s +the plan script found no plan", lines[3])
    told = json.loads(user.panorama("ensemble", "status", "weekly", "--json").stdout)
    [weekly] = told["ensembles"]
    assert {one["name"]: (one["state"], one["priority"]) for one in weekly["workflows"]} == {
        "broken": ("PLAN_FAILED", 4),
        "good": ("RUNNING", 7),
    }


def test_the_address_comes_from_the_command_line(user: Released) -> None:
    done = user.panorama("ensemble", "status", "--url", "http://127.0.0.1:1")
    assert done.returncode == 3
    assert "no manager answers at http://127.0.0.1:1 (Connection refused)" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("status", "nowhere"), 2, "has no ensemble 'nowhere'; it has "),
        (("pause", "nowhere"), 3, "No such ensemble: nowhere"),
        (("create", "a b"), 2, "is no name for the manager"),
        (("create", "x", "--max-running", "0"), 2, "is not in the range"),
        (("up", "--interval", "often"), 2, "is no duration"),
        (("dance",), 2, "No such command 'dance'"),
        ((), 2, "Usage:"),
    ],
)
def test_wrong_input_exits_with_its_code_and_words(
    user: Released, words: tuple[str, ...], code: int, said: str
) -> None:
    done = user.panorama("ensemble", *words)
    assert said in done.stderr
    assert done.returncode == code


def _commands() -> dict[str, click.Command]:
    return dict(command.commands)


@pytest.mark.parametrize("verb", sorted(_commands()))
def test_every_verb_has_help_with_an_example(verb: str) -> None:
    text = _commands()[verb].get_help(click.Context(_commands()[verb]))
    assert f"panorama ensemble {verb}" in text


def test_the_reference_lists_every_variable_that_finds_the_manager() -> None:
    sources = Path(service.__file__).read_text(encoding="utf-8")
    read = set(re.findall(r"PANORAMA_ENSEMBLE_[A-Z]+", sources))
    text = (ROOT / "docs" / "reference" / "environment.md").read_text(encoding="utf-8")
    assert {name for name in read if f"`{name}`" not in text} == set()
