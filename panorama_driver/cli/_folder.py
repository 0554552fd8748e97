"""All that is wrong with a workflow folder: the folder itself, and each of its studies as `panorama init` writes it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..config import Study, load_study
from ..dakota import lint as of_study
from ..errors import EnvironmentMissingError, PanoramaError, SiteError, StudyError
from ..render import WorkflowFolder
from ..render.lint import Finding, Point, Report, check, key_lines, line_of
from ..render.published import unset_variable
from ..study.definition import Definition
from ._studies import study_names, study_path, study_text
from .check import look as look_at_study


def look(path: Path) -> list[Finding]:
    """Findings about the folder and its studies; no job is run, and nothing is written into it."""
    path = path.resolve()
    studies, findings = {}, []
    for name in ["", *study_names(path)]:
        try:
            studies[name] = load_study(study_path(path, name, ".yml"))
        except StudyError as problem:
            findings.append(_unreadable(path, name, problem))
    report = check(path, [_values(path, name, study) for name, study in studies.items()])
    findings += report.findings
    if (path / "workflow.yml").is_file() and not any(f.keyword == "workflow.yml" for f in report.findings):
        folder = WorkflowFolder(path)
        for name, study in studies.items():
            findings += _outputs(path, name, study, report)
            findings += _as_made(folder, name, study)
    return list(dict.fromkeys(findings))


def _unreadable(path: Path, name: str, problem: StudyError) -> Finding:
    file = study_path(path, name, ".yml")
    if file.is_file():
        return Finding(file, None, "error", file.name, _without(str(problem), file))
    words = "no such file: write it, with what a study asks for; run and init need it"
    return Finding(file, None, "error", file.name, words)


def _values(path: Path, name: str, study: Study) -> Point:
    file = study_path(path, name, ".yml")
    inputs = tuple(study.input_folders(file.parent))
    return Point("study", str(file.relative_to(path)), study.parameters | study.options, inputs)


def _outputs(path: Path, name: str, study: Study, report: Report) -> Iterator[Finding]:
    """Responses that read a file which no job leaves in output/."""
    file = study_path(path, name, ".yml")
    staged = report.staged(str(file.relative_to(path)))
    if staged is None:
        return
    lines = key_lines(file)
    for kind in ("responses", "gradients", "hessians"):
        for response, wanted in getattr(study, kind).items():
            output = wanted.get("output") if isinstance(wanted, dict) else None
            if not isinstance(output, str) or staged.get(output):
                continue
            words = f"reads {output}, which no job makes: declare it as an output in build()"
            if output in staged:
                words = f"reads {output}, which stays among the jobs: leave out stage_out=False in build()"
            yield Finding(file, line_of(lines, (kind, response)), "error", f"{kind}.{response}", words)


def _as_made(folder: WorkflowFolder, name: str, study: Study) -> Iterator[Finding]:
    """What `panorama check` says of the directory that `panorama init` makes."""
    study_in, study_yml = (study_path(folder.path, name, suffix) for suffix in (".in", ".yml"))
    with tempfile.TemporaryDirectory() as made:
        home = Path(made).resolve()
        (home / "study.yml").write_text(study_text(folder, name), encoding="utf-8")
        problem = _definition(home / "study.yml")
        if problem is not None and (problem[0] != "note" or study.site != "local"):  # else the folder's check told it
            level, words = problem
            yield Finding(study_yml, None, level, study_yml.name, _without(words, home / "study.yml"))
        if not study_in.is_file():
            words = "no such file: write Dakota's input, and init makes a study that Dakota can run"
            yield Finding(study_in, None, "error" if name else "warning", study_in.name, words)
            return
        (home / "study.in").write_bytes(study_in.read_bytes())
        look_at = of_study.check if problem is not None else look_at_study
        for found in look_at(home / "study.in"):
            if found.keyword in ("engine", "directory"):  # what the directory and the machine are like
                continue
            place = study_in if found.path.name == "study.in" else study_yml
            words = found.message.replace(str(home), str(place.parent))
            yield Finding(place, found.line, found.level, found.keyword, words)


def _definition(study_yml: Path) -> tuple[of_study.Level, str] | None:
    """Whether the study means something; what its site lacks is another matter."""
    try:
        Definition(study_yml)
    except EnvironmentMissingError as problem:
        return "note", f"cannot run here: {problem}"
    except SiteError as problem:
        return ("note" if unset_variable(str(problem)) else "error"), str(problem)
    except PanoramaError as problem:
        return "error", str(problem)
    return None


def _without(words: str, path: Path) -> str:
    """A message without the path it begins with, which stands before it already."""
    return words.removeprefix(f"{path}").lstrip(": ")
