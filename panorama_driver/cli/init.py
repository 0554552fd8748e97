"""`panorama init`: a study directory that runs as it is."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import StudyError
from ._common import program, site_name
from ._studies import for_site, study_names, study_path, study_text, with_values

if TYPE_CHECKING:
    from ..render import WorkflowFolder
    from ..render.published import Demands

_RUNNING = 4  # workflows that a new ensemble runs at once
_CONCURRENCY = re.compile(r"^[^#\n]*\bevaluation_concurrency\b[ =]*(\d+)", re.MULTILINE)


@click.command("init")
@click.argument("workflow")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--study", default="", metavar="NAME", help="One of the workflow's named studies; default: its study.in.")
@click.option("--site", default="", metavar="SITE", help="Where it shall run, a name or a path; default: this machine.")
def command(workflow: str, directory: Path, study: str, site: str) -> None:
    """Make DIRECTORY with the study.in and study.yml of WORKFLOW.

    With --site also what a study needs there: engine, a timeout, and at large machines the published scale; the
    workflow's study `hpc`, if it has one, is the one for these.

    \b
    Examples:
      panorama init sns_nanodiamond mystudy
      panorama init sns_nanodiamond published --site perlmutter
    """
    from ..render import find_workflow

    folder = find_workflow(workflow, Path())
    for name in ("study.yml", "study.in"):
        if (directory / name).exists():
            raise StudyError(f"{directory / name}: is there already; choose another directory, or remove it")
    study = study or _study_of_size(folder, site)
    text, needs = _at_site(folder, study, study_text(folder, study), site)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "study.yml").write_text(text, encoding="utf-8")
    study_in = study_path(folder.path, study, ".in")
    if study_in.is_file():
        shutil.copyfile(study_in, directory / "study.in")
    _tell(folder, study, directory, needs)


def _study_of_size(folder: WorkflowFolder, site: str) -> str:
    """The study that is named as the resources of the site are, such as `hpc`; the one without a name where none is."""
    from ..render.published import resources_at

    name = resources_at(site, Path()) if site else ""
    return name if name in study_names(folder.path) else ""


def _at_site(folder: WorkflowFolder, study: str, text: str, site: str) -> tuple[str, Demands | None]:
    """The study.yml for a site, and what the workflow asks for there; as it is if it is for that site already."""
    import msgspec
    import yaml

    from ..config import Study
    from ..dakota.lint import labels
    from ..render.published import demands

    given = msgspec.convert(yaml.safe_load(text), Study)
    if not site or site == given.site:
        return text, None
    needs = demands(folder, site, Path(), given.parameters | given.options, given.input_folders(Path()))
    engines = needs.site.notes.engines
    text = for_site(text, site_name(site), given.engine if given.engine in engines else engines[0], needs)
    study_in = study_path(folder.path, study, ".in")
    varied = {name for name, _ in labels(study_in, "variables")} if study_in.is_file() else set()
    parameters, options = folder.split({name: value for name, value in needs.values.items() if name not in varied})
    about = "# as published; the workflow's defaults are smaller"
    return with_values(with_values(text, "parameters", parameters, about), "options", options, about), needs


def _tell(folder: WorkflowFolder, study: str, directory: Path, needs: Demands | None) -> None:
    readme = folder.path / "README.md"
    click.echo(f"{directory}: {folder.spec.title}{f'; more about it in {readme}' if readme.is_file() else ''}")
    others = [name for name in study_names(folder.path) if name != study]
    if others and not study:
        click.echo(f"other studies of it, with --study: {', '.join(others)}")
    if needs is not None:
        _tell_needs(folder, directory, needs)
        _tell_how_many(directory, needs)
    plain = " (or, in that directory: dakota -i study.in)" if shutil.which("dakota") else ""
    if not (directory / "study.in").is_file():
        click.echo(f"next:  write {directory / 'study.in'}, Dakota's input: the workflow's folder has none")
    elif needs is not None:
        verbs = ("doctor", "check", "study")
        click.echo(f"next:  {', '.join(f'{program()} {verb} {directory}' for verb in verbs)}{plain}")
    else:
        click.echo(f"next:  {program()} study {directory}{plain}")


def _tell_needs(folder: WorkflowFolder, directory: Path, needs: Demands) -> None:
    """What runs there, and what site and scale still ask of the user."""
    from ..render.published import LARGE

    site = needs.site
    click.echo(f"programs at {site.name}; give the paths of others under `software` in a copy of {site.path}:")
    for transformation, name in needs.programs.items():
        click.echo(f"  {transformation}: {name or 'none'}")
    if needs.values:
        click.echo("scale: as published, but for what study.in varies")
    elif folder.spec.published:
        click.echo(f"scale: the workflow's defaults; published values are for sites with `resources: {LARGE}`")
    if needs.unset or needs.missing:
        click.echo(f"still needed in {directory / 'study.yml'}:")
    for name, sources in needs.unset.items():
        click.echo(f"  site_variables: {{{name}: ...}}, or {sources[0]} in the environment")
    if needs.missing:
        click.echo(f"  inputs: FOLDER, with {needs.missing[0]} and what else is raw, {len(needs.missing)} files in all")


def _tell_how_many(directory: Path, needs: Demands) -> None:
    """That the Ensemble Manager would run fewer workflows at once than Dakota asks for."""
    study_in = directory / "study.in"
    asked = _CONCURRENCY.search(study_in.read_text(encoding="utf-8", errors="replace")) if study_in.is_file() else None
    if asked and int(asked[1]) > _RUNNING and needs.site.notes.engines == ("pegasus",):
        told = f"ensemble: {{max_running: {asked[1]}}} in {directory / 'study.yml'} runs as many"
        click.echo(
            f"study.in asks for {asked[1]} evaluations at once, and {_RUNNING} workflows run unless told: {told}"
        )
