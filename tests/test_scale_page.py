"""docs/how-to/scale.md is true: its snippets are read by the real reader of study.yml and fit the real site files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from panorama_driver.cli import collect
from panorama_driver.collector.broker import Address
from panorama_driver.config import Study, load_study
from panorama_driver.render import find_site
from panorama_driver.render.site import CONVENTIONS

PAGE = (Path(__file__).parent.parent / "docs" / "how-to" / "scale.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
BASE = "workflow: sns_nanodiamond\nresponses: {makespan: workflow.makespan}\n"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment that says nothing of sites, but where Pegasus is."""
    for names in CONVENTIONS.values():
        for name in names:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PANORAMA_PEGASUS_HOME", "/opt/pegasus")
    monkeypatch.chdir(tmp_path)


def steps() -> list[dict[str, Any]]:
    """study.yml as it is after each snippet of the page."""
    found, keys = [], dict[str, Any](yaml.safe_load(BASE))
    for snippet in SNIPPETS:
        keys = keys | yaml.safe_load(snippet)
        if "site" in yaml.safe_load(snippet) and "site_variables" not in yaml.safe_load(snippet):
            keys.pop("site_variables", None)
        found.append(dict(keys))
    return found


def loaded(keys: dict[str, Any], folder: Path) -> Study:
    path = folder / "study.yml"
    path.write_text(yaml.safe_dump(keys), encoding="utf-8")
    return load_study(path)


def test_every_step_is_a_study_whose_engine_can_run_at_its_site(tmp_path: Path) -> None:
    studies = [loaded(keys, tmp_path) for keys in steps()]
    for study in studies:
        find_site(study.site, tmp_path, study.site_variables).check_engine(study.engine)
    ways = [(study.engine, study.site) for study in studies]
    assert list(dict.fromkeys(ways)) == [
        ("local", "local"),
        ("pegasus", "condorpool"),
        ("pegasus", "slurm"),
        ("pegasus", "summit"),
    ]
    assert (studies[-1].ensemble.max_running, studies[-1].ensemble.max_planning) == (500, 8)


def test_a_step_changes_two_lines_at_most() -> None:
    assert len(SNIPPETS) == 6
    assert all(len(snippet.splitlines()) <= 2 for snippet in SNIPPETS)


def test_the_batch_systems_are_those_that_the_page_says(tmp_path: Path) -> None:
    systems = {keys["site"]: keys for keys in steps()}
    found = {
        name: find_site(name, tmp_path, systems[name]["site_variables"]).batch_system for name in ("slurm", "summit")
    }
    assert found == {"slurm": "slurm", "summit": "lsf"}


def test_the_broker_of_the_page_is_one_that_both_ends_take(tmp_path: Path) -> None:
    study = loaded(steps()[-1], tmp_path)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine broker.example.org login collector password x\n")
    netrc.chmod(0o600)
    assert study.monitoring.broker is not None
    sender = Address.read(study.monitoring.broker, netrc)
    [told] = set(re.findall(r"panorama collect --broker (\S+)", PAGE))
    receiver = Address.read(told, netrc)
    assert (sender.host, sender.vhost, sender.exchange) == (receiver.host, receiver.vhost, receiver.exchange)


def test_the_commands_of_the_page_have_the_options_that_they_are_given() -> None:
    told = CliRunner().invoke(collect.command, ["--help"]).output
    for line in re.findall(r"^panorama collect .*$", PAGE, re.MULTILINE):
        assert all(option in told for option in re.findall(r"--[\w-]+", line))
