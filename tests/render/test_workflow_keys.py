"""workflow.yml's published values and properties, programs that scripts need, and input files of the study's own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from panorama_driver.config import BUNDLE, Monitoring
from panorama_driver.engines.local.plan import plan_bundle
from panorama_driver.errors import EnvironmentMissingError, WorkflowError
from panorama_driver.render import Site, WorkflowFolder, find_site, render
from tests.conftest import PARABOLA

HERE = Path()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the parabola workflow that a test may spoil."""
    return Path(shutil.copytree(PARABOLA, tmp_path / "parabola"))


def edit(folder: Path, **keys: Any) -> WorkflowFolder:
    path = folder / "workflow.yml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | keys))
    return WorkflowFolder(folder)


def properties(folder: WorkflowFolder, target: Path, **values: Any) -> dict[str, str]:
    render(folder, find_site("local", HERE), *folder.split(values), target)
    lines = (target / "pegasus.properties").read_text().splitlines()
    return dict(line.split(" = ", 1) for line in lines)


def test_published_values_are_kept_with_the_workflow(folder: Path) -> None:
    assert edit(folder, published={"x": 0.3, "pause": 2}).spec.published == {"x": 0.3, "pause": 2}


@pytest.mark.parametrize(
    ("published", "told"),
    [
        ({"y": 1.0}, "published: no parameter or option 'y'; "),
        ({"x": 99.0}, "published 'x' is 99.0, out of its bounds -10 to 10"),
        ({"trouble": "some"}, "published 'trouble' is 'some'; it must be one of none, "),
        ({"x": "much"}, "published 'x' is 'much'; it must be of type float"),
    ],
)
def test_a_published_value_that_nobody_could_use_is_refused(folder: Path, published: object, told: str) -> None:
    with pytest.raises(WorkflowError, match=rf"workflow\.yml: {re.escape(told)}"):
        edit(folder, published=published)


def test_properties_are_rendered_with_parameters_and_options_and_empty_ones_are_left_out(
    folder: Path, tmp_path: Path
) -> None:
    written = edit(
        folder,
        properties={
            "dagman.maxjobs": "{{ 4 if x > 0 else '' }}",
            "pegasus.clusterer.job.aggregator.seqexec.log": True,
            "pegasus.note": "{{ trouble }} {{ x }}",
        },
    )
    found = properties(written, tmp_path / "b", x=0.5)
    assert found["dagman.maxjobs"] == "4"
    assert found["pegasus.clusterer.job.aggregator.seqexec.log"] == "True"
    assert found["pegasus.note"] == "none 0.5"
    assert "dagman.maxjobs" not in properties(written, tmp_path / "c", x=-0.5)


@pytest.mark.parametrize("site", ["local", "condorpool"])
def test_no_property_overrides_one_of_the_bundles_own(folder: Path, tmp_path: Path, site: str) -> None:
    where = find_site(site, HERE)
    watched = Monitoring(broker="amqp://localhost:5672/v/e", credentials="netrc")
    render(WorkflowFolder(folder), where, {}, {}, tmp_path / "b", watched)
    own = [line.split(" = ")[0] for line in (tmp_path / "b/pegasus.properties").read_text().splitlines()]
    assert len(own) >= 6
    for key in [*own, "pegasus.catalog.workflow.amqp.url", "pegasus.gridstart.kickstart.set.xbit"]:
        with pytest.raises(WorkflowError, match=f"properties: '{re.escape(key)}' is the bundle's own"):
            edit(folder, properties={key: "1"})


@pytest.mark.parametrize("key", ["maxjobs", "condor.request_cpus", "pegasus.", "dagman.a b", "dagman.a\nb"])
def test_what_is_no_property_of_pegasus_or_dagman_is_refused(folder: Path, key: str) -> None:
    with pytest.raises(WorkflowError, match=r"is no property pegasus\.NAME or dagman\.NAME"):
        edit(folder, properties={key: "1"})


@pytest.mark.parametrize(
    ("template", "told"),
    [("{{ nobody }}", "'nobody' is undefined"), ("a{{ '\\n' }}b", "a value is one line"), ("{{", "unexpected")],
)
def test_a_property_that_cannot_be_rendered_names_itself(
    folder: Path, tmp_path: Path, template: str, told: str
) -> None:
    with pytest.raises(WorkflowError, match=f"workflow.yml: properties: dagman.maxjobs.*{re.escape(told)}"):
        properties(edit(folder, properties={"dagman.maxjobs": template}), tmp_path / "b")


def needing(folder: Path, *names: str) -> WorkflowFolder:
    written = yaml.safe_load((folder / "workflow.yml").read_text())["transformations"]
    written["square"]["candidates"] = [{"script": "bin/square.py", "needs": list(names)}]
    return edit(folder, transformations=written)


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_script_is_had_only_with_the_programs_that_it_needs(folder: Path, tmp_path: Path) -> None:
    told = r"'square': .*bin/square\.py \(needs no-such-program, not on PATH nor in the site file\)"
    with pytest.raises(EnvironmentMissingError, match=told):
        render(needing(folder, "sh", "no-such-program"), find_site("local", HERE), {}, {}, tmp_path / "b")
    render(needing(folder, "sh"), find_site("local", HERE), {}, {}, tmp_path / "b")


def test_a_script_finds_the_programs_that_it_needs_first_on_its_path(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = '#!/usr/bin/env python3\n"""Docs."""\nfrom __future__ import annotations\nimport subprocess\n'
    (folder / "bin/square.py").write_text(f"{script}subprocess.run(['mcvine'], check=True)\n")
    program(tmp_path / "odd $HOME \"'` place" / "mcvine", "echo found")
    monkeypatch.setenv("PATH", str(tmp_path / "odd $HOME \"'` place"), prepend=os.pathsep)
    render(needing(folder, "mcvine"), find_site("local", HERE), {}, {}, tmp_path / "b")
    done = subprocess.run(
        [tmp_path / "b/bin/square"], capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"}
    )
    assert done.stdout == "found\n"


def elsewhere(tmp_path: Path, software: dict[str, str]) -> Site:
    raw = yaml.safe_load("sites: [{name: far}, {name: local}]\nx-panorama: {execution: far}")
    raw["x-panorama"] |= {"software": {"sh": "/bin/sh", **software}, "python": "/far/python"}
    (tmp_path / "far.yml").write_text(yaml.safe_dump(raw))
    return Site(tmp_path / "far.yml")


def test_at_another_site_a_needed_program_is_where_the_site_file_says(folder: Path, tmp_path: Path) -> None:
    needed = needing(folder, "mcvine")
    with pytest.raises(EnvironmentMissingError, match="needs mcvine"):
        render(needed, elsewhere(tmp_path, {}), {}, {}, tmp_path / "b")
    with pytest.raises(EnvironmentMissingError, match="the site file has another name for mcvine"):
        render(needed, elsewhere(tmp_path, {"mcvine": "/far/bin/mcvine-1.4"}), {}, {}, tmp_path / "b")
    render(needed, elsewhere(tmp_path, {"mcvine": "/far/bin/mcvine"}), {}, {}, tmp_path / "b")
    assert 'export" PATH=/far/bin${PATH:+:$PATH}; exec "/far/python"' in (tmp_path / "b/bin/square").read_text()


def with_inputs(folder: Path, target: Path, *inputs: Path) -> str:
    """Place of settings' seed, constants/offset.txt, in the replica catalog."""
    render(WorkflowFolder(folder), find_site("local", HERE), {}, {}, target, inputs=inputs)
    entries = json.loads((target / "replicas.yml").read_text())["replicas"]
    return str(next(entry["pfns"][0]["pfn"] for entry in entries if entry["lfn"] == "constants/offset.txt"))


def given(path: Path, text: str = "0.7\n") -> Path:
    (path / "constants").mkdir(parents=True)
    (path / "constants/offset.txt").write_text(text)
    return path


def staged(path: Path) -> list[Path]:
    """Files that the embedded engine would stage in."""
    [stage_in] = [job for job in plan_bundle(path, "local").jobs.values() if "stage_in" in job.job_id]
    return [copy.source for copy in stage_in.copies]


def test_a_file_of_the_studys_own_folder_is_used_where_it_is(folder: Path, tmp_path: Path) -> None:
    own = given(tmp_path / "a-b+c,d:e@f=g~h_1.2") / "constants/offset.txt"
    assert with_inputs(folder, tmp_path / "b", own.parent.parent) == f"file://{own}"
    assert not (tmp_path / "b/inputs/constants").exists()
    assert own in staged(tmp_path / "b")


@pytest.mark.parametrize("name", ["a b", "$HOME", "${HOME}", "a%41b", "ü", "a#b?c", "it's", 'say "x"'])
def test_a_file_whose_path_pegasus_would_misread_is_linked_to(folder: Path, tmp_path: Path, name: str) -> None:
    own = given(tmp_path / name) / "constants/offset.txt"
    assert with_inputs(folder, tmp_path / "b", own.parent.parent) == f"file://{BUNDLE}/inputs/constants/offset.txt"
    link = tmp_path / "b/inputs/constants/offset.txt"
    assert (link.is_symlink(), link.readlink()) == (True, own)
    assert link in staged(tmp_path / "b")


def test_to_render_again_changes_no_file_that_an_earlier_rendering_linked_to(folder: Path, tmp_path: Path) -> None:
    own = given(tmp_path / "a b") / "constants/offset.txt"
    with_inputs(folder, tmp_path / "b", own.parent.parent)
    with_inputs(folder, tmp_path / "b", own.parent.parent)
    with_inputs(folder, tmp_path / "b")
    assert own.read_text() == "0.7\n"
    assert (tmp_path / "b/inputs/constants/offset.txt").read_text() == "0.3\n"


def test_templates_come_before_the_studys_folders_and_these_before_the_workflows_data(
    folder: Path, tmp_path: Path
) -> None:
    first, second = given(tmp_path / "first"), given(tmp_path / "second")
    (first / "settings.txt").write_text("mine")
    assert with_inputs(folder, tmp_path / "b", first, second).endswith("/first/constants/offset.txt")
    assert (tmp_path / "b/inputs/settings.txt").read_text() != "mine"
    assert with_inputs(folder, tmp_path / "c", tmp_path) == f"file://{BUNDLE}/inputs/constants/offset.txt"
    (folder / "data/constants/offset.txt").unlink()
    with pytest.raises(WorkflowError, match=rf"none of {folder}/templates, {tmp_path}, {first.parent}, {folder}/data$"):
        with_inputs(folder, tmp_path / "d", tmp_path, tmp_path)


def test_a_globus_endpoint_names_files_of_the_studys_folders_too(folder: Path, tmp_path: Path) -> None:
    site = find_site("local", HERE)
    raw = yaml.safe_load(site.path.read_text().replace("{{ bundle }}", "BUNDLE").replace("{{", "{").replace("}}", "}"))
    raw["x-panorama"] |= {"globus": "a-b-c", "darshan": ""}
    (tmp_path / "g.yml").write_text(yaml.safe_dump(raw))
    render(WorkflowFolder(folder), Site(tmp_path / "g.yml"), {}, {}, tmp_path / "b", inputs=[given(tmp_path / "xy")])
    text = (tmp_path / "b/replicas.yml").read_text()
    assert f'"go://a-b-c{tmp_path}/xy/constants/offset.txt"' in text
