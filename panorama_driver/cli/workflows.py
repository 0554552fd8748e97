"""`panorama workflows`: what there is to run, what is wrong with a workflow folder, and a new one to begin with."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..config import Scalar, shared_folder
from ..errors import WorkflowError
from ._common import json_option, program, safe, write_json
from ._studies import study_names, study_path

if TYPE_CHECKING:
    from ..render import Site, WorkflowFolder
    from ..render.workflow import Parameter, Transformation

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,59}")
_EXAMPLE = "cooling"  # what the scaffold calls itself


@click.group("workflows", invoke_without_command=True)
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """List the workflows that come with the package, check a folder of yours, or begin a new one.

    \b
    Examples:
      panorama workflows
      panorama workflows show sns_nanodiamond
      panorama workflows new cooling
      panorama workflows check cooling
    """
    if context.invoked_subcommand is None:
        _list(as_json)


def _list(as_json: bool) -> None:
    from ..render import find_workflow, workflow_names

    # A name is looked for below this directory first, and here the package's own are meant.
    described = [_described(find_workflow(str(shared_folder("workflows") / name), Path())) for name in workflow_names()]
    if as_json:
        write_json({"workflows": described})
        return
    for workflow in described:
        click.echo(f"{workflow['name']:<20} {workflow['title']}")
        parts = [f"{len(workflow[key])} {key}" for key in ("parameters", "options")]
        parts.append(f"{len(workflow['studies'])} {'study' if len(workflow['studies']) == 1 else 'studies'}")
        lacking = [name for name, found in workflow["transformations"].items() if found["program"] is None]
        parts.append(f"cannot run here: nothing does {', '.join(lacking)}" if lacking else "runs here")
        click.echo(f"{'':<20} {', '.join(parts)}")
    click.echo(f"next:  {program()} workflows show NAME")


@command.command("show", short_help="All about one: parameters, options, programs, studies.")
@click.argument("workflow")
@json_option
def _show(workflow: str, as_json: bool) -> None:
    """Tell parameters, options, studies and programs of WORKFLOW, a name or a path.

    \b
    Example:
      panorama workflows show sns_nanodiamond
    """
    from ..render import find_workflow

    folder = find_workflow(workflow, Path())
    described = _described(folder)
    if as_json:
        write_json(described)
        return
    for line in _told(folder, described):
        click.echo(safe(line))
    click.echo(f"next:  {program()} init {workflow} mystudy")


def _described(folder: WorkflowFolder) -> dict[str, Any]:
    """All that is to be known of a workflow before it runs, as plain data."""
    import msgspec

    from ..render import find_site

    here = find_site("local", shared_folder("sites"))
    spec = folder.spec
    return {
        "name": spec.name,
        "title": spec.title,
        "path": str(folder.path),
        "parameters": {name: msgspec.to_builtins(each) for name, each in spec.parameters.items()},
        "options": {name: msgspec.to_builtins(each) for name, each in spec.options.items()},
        "published": dict(spec.published),
        "transformations": {name: _done_by(here, each) for name, each in spec.transformations.items()},
        "studies": [
            {"name": name or None, "about": _about(study_path(folder.path, name, ".in"))}
            for name in ["", *study_names(folder.path)]
            if study_path(folder.path, name, ".in").is_file()
        ],
    }


def _done_by(here: Site, transformation: Transformation) -> dict[str, Any]:
    """Which program does a transformation's work on this machine, and what those before it lack."""
    lacking: dict[str, str] = {}
    for candidate in transformation.candidates:
        lack = here.lacking(candidate)
        if not lack:
            return {"program": candidate.name, "lacking": lacking}
        lacking[candidate.name] = lack
    return {"program": None, "lacking": lacking}


def _about(study_in: Path) -> str:
    """What a study asks: the comment that its study.in begins with."""
    lines = study_in.read_text(encoding="utf-8", errors="replace").splitlines()
    first = next((line for line in lines if line.strip()), "")
    return first.lstrip("# ").strip() if first.startswith("#") else ""


def _told(folder: WorkflowFolder, described: Mapping[str, Any]) -> Iterator[str]:
    spec = folder.spec
    yield f"{spec.name}: {spec.title}"
    yield f"folder: {folder.path}"
    for title, group in (("parameters", spec.parameters), ("options", spec.options)):
        if group:
            yield from ("", f"{title}:", *_table([_row(name, each) for name, each in group.items()]))
    if spec.published:
        rows = [[name, _spelt(value)] for name, value in spec.published.items()]
        yield from ("", "published scale:", *_table(rows))
    rows = [[name, _words(found)] for name, found in described["transformations"].items()]
    yield from ("", "programs on this machine:", *_table(rows))
    if described["studies"]:
        rows = [[study["name"] or "(default)", study["about"]] for study in described["studies"]]
        yield from ("", "studies:", *_table(rows))
    yield ""


def _row(name: str, parameter: Parameter) -> list[str]:
    allowed = ""
    if parameter.choices is not None:
        allowed = " | ".join(map(_spelt, parameter.choices))
    elif parameter.bounds is not None:
        allowed = f"{parameter.bounds[0]:g} to {parameter.bounds[1]:g}"
    return [name, parameter.type, f"{_spelt(parameter.default)} {parameter.unit}".strip(), allowed, parameter.about]


def _spelt(value: Scalar) -> str:
    """A value as workflow.yml and `--set` have it."""
    return str(value).lower() if isinstance(value, bool) else str(value) or "''"


def _words(found: Mapping[str, Any]) -> str:
    before = "; ".join(f"{name} {lack}" for name, lack in found["lacking"].items())
    if found["program"] is None:
        return f"none: {before}"
    return f"{found['program']} ({before})" if before else str(found["program"])


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  " + "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()


@command.command("check", short_help="What is wrong with a workflow folder.")
@click.argument("folder")
@json_option
def _check(folder: str, as_json: bool) -> int:
    """Check the workflow in FOLDER, a path or a name: its files, its graph at many values, its programs, its studies.

    No job is run and nothing is written, but build() is called: check what you would run. Exit code 2 if some
    evaluation could not run.

    \b
    Example:
      panorama workflows check ./cooling
    """
    from ..render import find_workflow
    from ._folder import look

    findings = look(Path(folder) if Path(folder).is_dir() else find_workflow(folder, Path()).path)
    if as_json:
        write_json([dataclasses.asdict(finding) | {"path": str(finding.path)} for finding in findings])
    else:
        for finding in findings:
            click.echo(safe(str(dataclasses.replace(finding, path=_short(finding.path)))))
        if not findings:
            click.echo(f"{Path(folder)}: nothing wrong found")
    return 2 if any(finding.level == "error" for finding in findings) else 0


def _short(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


@command.command("new", short_help="A small workflow that works, to be changed.")
@click.argument("name")
@click.argument("directory", required=False, type=click.Path(path_type=Path))
def _new(name: str, directory: Path | None) -> None:
    """Write a small workflow folder that works, called NAME, into DIRECTORY (./NAME unless told).

    \b
    Example:
      panorama workflows new cooling
    """
    from ..render import workflow_names

    if not _NAME.fullmatch(name):
        raise WorkflowError(f"{name!r} is no name for a workflow: a letter, then letters, digits, _ and -, at most 60")
    if name in workflow_names():
        raise WorkflowError(f"{name!r} comes with the package: choose another name")
    home = directory or Path(name)
    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise WorkflowError(f"{home}: is there already; choose another directory, or remove it")
    written = sorted(_copied(shared_folder("scaffold"), home, name))
    for path in written:
        click.echo(f"  {path}")
    here = home if home.is_absolute() else f"./{home}"
    click.echo(f"next:  {program()} workflows check {here}, {program()} run {here}, {program()} init {here} fit")


def _copied(scaffold: Path, home: Path, name: str) -> Iterable[Path]:
    """Copy the scaffold, with another name where it says its own."""
    for source in scaffold.rglob("*"):
        if not source.is_file() or "__pycache__" in source.parts:
            continue
        target = home / source.relative_to(scaffold)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        if source.name in ("workflow.yml", "workflow.py"):
            text = source.read_text(encoding="utf-8")
            for old in (f"name: {_EXAMPLE}\n", f'Workflow("{_EXAMPLE}")'):
                text = text.replace(old, old.replace(_EXAMPLE, name))
            target.write_text(text, encoding="utf-8")
        yield target
