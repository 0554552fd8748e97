"""What the planner left in a submit directory: braindump.yml, `*.static.bp`, `*.dag` and the jobs' `*.sub` files.

Formats: Pegasus 5.1 as planned, NetLogger's "best practices" lines for `*.static.bp`, and the HTCondor manual for the
others. Only what events need is read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import msgspec
import yaml

from ..config import load_yaml
from ..errors import FormatError

_PAIR = re.compile(r'([\w.]+)=(?:"((?:[^"\\]|\\.)*)"|(\S*))')
_ESCAPED = re.compile(r"\\(.)")
_CLASSAD = re.compile(
    r"\s*\+?(pegasus_(?:site|cores|gpus|memory_mb|diskspace_mb|job_class|wf_xformation|wf_dax_job_id))\s*=\s*(.*?)\s*$"
)
_COMMAND = re.compile(r"\s*(executable|arguments|input|output|error)\s*=\s*(.*?)\s*$")
_JOB = re.compile(r"(?:JOB|FINAL)\s+(\S+)\s+(\S+)", re.IGNORECASE)
_SCRIPT = re.compile(r"SCRIPT\s+(?:DEFER\s+\S+\s+\S+\s+)?(PRE|POST)\s+(\S+)\s+(\S+)\s*(.*)", re.IGNORECASE)


class Braindump(msgspec.Struct, frozen=True, kw_only=True):
    """A planned workflow, in Pegasus' words; texts as they stand there."""

    wf_uuid: str
    dag: str
    root_wf_uuid: str | None = None
    dax: str | None = None
    dax_label: str | None = None
    dax_index: str | None = None
    dax_version: str | None = None
    timestamp: str | None = None
    submit_dir: str | None = None
    submit_hostname: str | None = None
    planner_arguments: str | None = None
    planner_version: str | None = None
    user: str | None = None
    app: str | None = None

    @property
    def stem(self) -> str:
        """What the names of the workflow's own files begin with, such as `diamond-0`."""
        return self.dag.removesuffix(".dag")


class Script(msgspec.Struct, frozen=True):
    """A pre or post script of a node."""

    executable: str
    arguments: str


class Dag(msgspec.Struct, frozen=True):
    """A DAG file: by node, the path of its submit file as seen from the submit directory, and its scripts."""

    submit_files: dict[str, str] = {}
    pre: dict[str, Script] = {}
    post: dict[str, Script] = {}


class SubmitFile(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it is submitted; paths as they stand there.

    `classads` are those that Pegasus set to say what the job is, without quotes around them.
    """

    executable: str | None = None
    arguments: str | None = None
    input: str | None = None
    output: str | None = None
    error: str | None = None
    classads: dict[str, str] = {}


def braindump(text: str) -> Braindump:
    """Read braindump.yml.

    Raises
    ------
    FormatError
        It is no YAML, or names no workflow or DAG; it may be half written.
    """
    try:
        found = load_yaml(text, yaml.CBaseLoader)  # all values stay text
    except yaml.YAMLError as error:
        raise FormatError(f"braindump.yml is no YAML: {' '.join(str(error).split())[:200]}") from error
    known = found if isinstance(found, dict) else {}
    told = {key: known[key] for key in Braindump.__struct_fields__ if isinstance(known.get(key), str) and known[key]}
    lacking = sorted({"wf_uuid", "dag"} - told.keys())
    if lacking:
        raise FormatError(f"braindump.yml does not tell {' and '.join(lacking)}")
    return Braindump(**told)


def wf_plan(plan: Braindump) -> dict[str, Any]:
    """The raw `stampede.wf.plan` event of a planned workflow."""
    told = {
        "dax_label": plan.dax_label,
        "dax_version": plan.dax_version,
        "dax_index": plan.dax_index,
        "dax_file": plan.dax,
        "dag_file_name": plan.dag,
        "ts": _planned(plan.timestamp),
        "submit_hostname": plan.submit_hostname,
        "submit_dir": plan.submit_dir,
        "argv": (plan.planner_arguments or "").strip('" \t\n\r') or None,
        "user": plan.user,
        "planner_version": plan.planner_version,
        "root_xwf_id": plan.root_wf_uuid,
    }
    known = {key: value for key, value in told.items() if value is not None}
    return {"event": "stampede.wf.plan", "xwf_id": plan.wf_uuid, **known}


def static_event(line: str) -> dict[str, Any] | None:
    """The raw event of one line of `*.static.bp`, None where it is none; its time is the planner's uptime and left."""
    raw = {key: _unescaped(quoted) or bare for key, quoted, bare in _PAIR.findall(line)}
    name = raw.pop("event", "")
    raw.pop("ts", None)
    return {"event": f"stampede.{name}", **raw} if name and "xwf.id" in raw else None


def dag(lines: Iterable[str]) -> Dag:
    """Read a DAG file."""
    found: dict[str, dict[str, Script]] = {"PRE": {}, "POST": {}}
    submit_files: dict[str, str] = {}
    for line in lines:
        if match := _JOB.match(line):
            submit_files[match[1]] = match[2]
        elif match := _SCRIPT.match(line):
            kind, job_id, executable, arguments = match.groups()
            found[kind.upper()][job_id] = Script(executable, f" {arguments}" if arguments else "")
    return Dag(submit_files, found["PRE"], found["POST"])


def submit_file(lines: Iterable[str]) -> SubmitFile:
    """Read a job's submit file."""
    classads: dict[str, str] = {}
    commands: dict[str, str] = {}
    for line in lines:
        if match := _CLASSAD.match(line):
            classads[match[1]] = match[2].strip('"')
        elif match := _COMMAND.match(line):
            commands[match[1]] = match[2].strip('"')
    return SubmitFile(**commands, classads=classads)


def within(submit_dir: str | None, path: str | None) -> str | None:
    """A path of a submit file as seen from the submit directory, as monitord gives it."""
    if path is None:
        return None
    if submit_dir and path.startswith(f"{submit_dir.rstrip('/')}/"):
        path = path[len(submit_dir.rstrip("/")) :].lstrip("/")
    return os.path.normpath(path)


def _planned(timestamp: str | None) -> int | None:
    try:
        return int(datetime.strptime(timestamp or "", "%Y%m%dT%H%M%S%z").timestamp())
    except ValueError:
        return None


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text


def static_events(lines: Iterable[str], wf_uuid: str) -> Iterator[dict[str, Any]]:
    """All raw events of `*.static.bp`, between the two that monitord puts around them."""
    yield {"event": "stampede.static.start", "xwf_id": wf_uuid}
    yield from filter(None, map(static_event, lines))
    yield {"event": "stampede.static.end", "xwf_id": wf_uuid}
