"""What the planner leaves in a submit directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from panorama_driver.errors import FormatError
from panorama_driver.sources import plan

SUBMIT_DIR = Path(__file__).parents[1] / "data" / "captures" / "submitdirs" / "slurm-ok"


def lines(name: str) -> list[str]:
    return (SUBMIT_DIR / name).read_text().splitlines()


def test_a_braindump_is_a_plan() -> None:
    found = plan.braindump((SUBMIT_DIR / "braindump.yml").read_text())
    assert (found.stem, found.dax_index, found.timestamp) == ("st-ok-0", "0", "20261122T121935+0000")
    raw = plan.wf_plan(found)
    assert (raw["ts"], raw["dax_label"], raw["user"]) == (1795349975, "st-ok", "wf")
    assert raw["argv"].startswith("--conf pegasus.properties --dir submit")


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "dag and wf_uuid"), ("wf_uuid: u\n", "tell dag$"), ("a: [", "no YAML"), ("- 1\n", "dag and wf_uuid")],
)
def test_a_braindump_half_written_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        plan.braindump(text)


@pytest.mark.parametrize(
    ("line", "raw"),
    [
        (
            'ts=1970-01-01T01:34:11.743217Z event=task.info xwf.id=u task.id="ID1" argv="5 in.txt a.txt" ',
            {"event": "stampede.task.info", "xwf.id": "u", "task.id": "ID1", "argv": "5 in.txt a.txt"},
        ),
        (
            r'event=xwf.meta xwf.id=u key="title" value="a \"quoted\" one = two"',
            {"event": "stampede.xwf.meta", "xwf.id": "u", "key": "title", "value": 'a "quoted" one = two'},
        ),
        ('event=task.info xwf.id=u argv="" ', {"event": "stampede.task.info", "xwf.id": "u", "argv": ""}),
        ("", None),
        ("event=task.info", None),
    ],
)
def test_lines_of_static_events(line: str, raw: dict[str, Any] | None) -> None:
    assert plan.static_event(line) == raw


def test_a_dag_names_submit_files_and_scripts() -> None:
    dag = plan.dag([*lines("st-ok-0.dag"), "SCRIPT PRE x /bin/true", "SCRIPT DEFER 4 300 POST y /bin/false -a b"])
    assert dag.submit_files["step_ID0000001"] == "00/00/step_ID0000001.sub"
    assert dag.post["step_ID0000001"].executable == "/opt/pegasus/bin/pegasus-exitcode"
    assert dag.post["step_ID0000001"].arguments.endswith("   .//00/00/step_ID0000001.out")
    assert dag.pre == {"x": plan.Script("/bin/true", "")}
    assert dag.post["y"] == plan.Script("/bin/false", " -a b")


def test_a_submit_file_says_what_the_job_is() -> None:
    found = plan.submit_file(lines("00/00/step_ID0000001.sub"))
    assert found.executable == "/opt/pegasus/bin/pegasus-kickstart"
    assert (found.classads["pegasus_site"], found.classads["pegasus_cores"]) == ("slurmtest", "1")
    assert found.output is not None
    directory = found.output.partition("//")[0]
    assert plan.within(directory, found.output) == "00/00/step_ID0000001.out"
    assert plan.within("/elsewhere", found.output) == found.output.replace("//", "/")
    assert plan.within(directory, None) is None
