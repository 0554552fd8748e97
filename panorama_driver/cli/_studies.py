"""The studies of a workflow folder: their files, and their study.yml as text, changed without losing its comments."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import Scalar, load_study, shared_folder
from ..errors import WorkflowError

if TYPE_CHECKING:
    from ..render import WorkflowFolder
    from ..render.published import Demands

_QUEUES = 24  # hours that all jobs of an evaluation may wait, together
_SOME = 3  # names of files that a comment shows


def study_names(folder: Path) -> list[str]:
    """Names of the studies below studies/; the one beside workflow.yml has none."""
    found = [*(folder / "studies").glob("*.in"), *(folder / "studies").glob("*.yml")]
    return sorted({path.stem for path in found})


def study_path(folder: Path, study: str, suffix: str) -> Path:
    """Where `study.in` (suffix `.in`) or `study.yml` (`.yml`) of a study lies in the workflow's folder."""
    return folder / "studies" / f"{study}{suffix}" if study else folder / f"study{suffix}"


def study_text(folder: WorkflowFolder, study: str = "") -> str:
    """The study.yml of a workflow as it goes into another directory: there it names the folder itself.

    A workflow that comes with the package keeps its name. Folders under `inputs` are named with their whole path.

    Raises
    ------
    WorkflowError
        The workflow has no such study.
    StudyError
        Its study.yml is not as it should be.
    """
    path = study_path(folder.path, study, ".yml")
    if not path.is_file():
        raise WorkflowError(_no_study(folder.path, study, path))
    load_study(path)
    ours = folder.path.parent == shared_folder("workflows")
    text = _put(
        path.read_text(encoding="utf-8"), "workflow", folder.path.name if ours else json.dumps(str(folder.path))
    )
    return _whole_paths(text, path.parent)


def _no_study(folder: Path, study: str, path: Path) -> str:
    names = study_names(folder)
    if not study:
        also = f"; or choose a study with --study: {', '.join(names)}" if names else ""
        return f"{path}: no such file; write there what a study asks for{also}"
    known = f"the studies are {', '.join(names)}, and study.yml without a name" if names else "it has no named studies"
    return f"{path}: no such file; {known}"


def _whole_paths(text: str, base: Path) -> str:
    entries = _entries(text)
    if "inputs" not in entries:
        return text
    node = entries["inputs"][1]
    scalars = node.value if isinstance(node.value, list) else [node]
    for scalar in reversed(scalars):
        whole = json.dumps(str((base / Path(str(scalar.value)).expanduser()).resolve()))
        text = _replaced(text, scalar, whole)
    return text


def for_site(text: str, site: str, engine: str, needs: Demands) -> str:
    """A study.yml for another site: its name, engine, published values, and a timeout that their run times allow.

    Parameters
    ----------
    text : str
        study.yml.
    site : str
        What to write under `site`.
    engine : str
        What to write under `engine`.
    needs : Demands
        What the workflow asks for there.
    """
    text = _in_lines(text)
    if needs.missing:
        shown = ", ".join(needs.missing[:_SOME]) + (" ..." if len(needs.missing) > _SOME else "")
        text = _after_workflow(text, f"# inputs: FOLDER    needed: where {shown} is; {len(needs.missing)} files in all")
    if needs.unset:
        sources = ", ".join(names[0] for names in needs.unset.values())
        wanted = ", ".join(f"{name}: ..." for name in needs.unset)
        text = _after_workflow(
            text, f"# site_variables: {{{wanted}}}    needed: here, or in the environment as {sources}"
        )
    text = _put(text, "engine", engine)
    text = _put(text, "site", site)
    if engine == "pegasus":
        hours = math.ceil(needs.path_time / 3600)
        about = f"# {hours} h if each job of the longest chain takes all its run time, and a day for their queues"
        text = _put(text, "timeout", f"{hours + _QUEUES} h", about)
    return text


def with_values(text: str, key: str, values: Mapping[str, Scalar], about: str) -> str:
    """A study.yml with values under `parameters` or `options`; those there that are not named stay as they are."""
    if not values:
        return text
    found = _entries(text).get(key)
    if found is None or not found[1].value:
        lines = "".join(f"  {name}: {_spelt(value)}\n" for name, value in values.items())
        text = text if found is None else _without(text, *found)
        return f"{_ended(text)}{about}\n{key}:\n{lines}"
    for name, value in values.items():
        text = _with_value(text, key, name, _spelt(value))
    return _above(text, key, about)


def _with_value(text: str, key: str, name: str, value: str) -> str:
    mapping = _entries(text)[key][1]
    for known, node in mapping.value:
        if known.value == name:
            return _replaced(text, node, value)
    if mapping.flow_style:
        end = mapping.end_mark.index - 1
        return f"{text[:end].rstrip()}, {name}: {value}{text[end:]}"
    first, last = mapping.value[0][0], mapping.value[-1][1]
    end = _line_end(text, last.end_mark.index)
    return f"{text[:end]}\n{' ' * first.start_mark.column}{name}: {value}{text[end:]}"


def _entries(text: str) -> dict[str, tuple[Any, Any]]:
    """Top-level keys of a YAML text, with the nodes of key and value."""
    import yaml

    node: Any = yaml.compose(text, yaml.SafeLoader)
    return {str(key.value): (key, value) for key, value in node.value}


def _in_lines(text: str) -> str:
    """A YAML text with a line a key: to a mapping in braces, as JSON has it, no line can be added."""
    import yaml

    node: Any = yaml.compose(text, yaml.SafeLoader)
    return yaml.safe_dump(yaml.safe_load(text), sort_keys=False) if node.flow_style else text


def _put(text: str, key: str, value: str, about: str = "") -> str:
    """Give a top-level key a value, where it is or below `workflow`; `about` goes above it."""
    found = _entries(text).get(key)
    text = _after_workflow(text, f"{key}: {value}") if found is None else _replaced(text, found[1], value)
    return _above(text, key, about) if about else text


def _replaced(text: str, node: Any, value: str) -> str:
    return f"{text[: node.start_mark.index]}{value}{text[node.end_mark.index :]}"


def _without(text: str, key: Any, value: Any) -> str:
    return f"{text[: key.start_mark.index]}{text[_line_end(text, value.end_mark.index) :].lstrip()}"


def _above(text: str, key: str, line: str) -> str:
    start = _entries(text)[key][0].start_mark.index
    return f"{text[:start]}{line}\n{text[start:]}"


def _after_workflow(text: str, line: str) -> str:
    end = _line_end(text, _entries(text)["workflow"][1].end_mark.index)
    return f"{_ended(text[:end])}{line}{text[end:] or chr(10)}"


def _line_end(text: str, start: int) -> int:
    """Where the line ends on which something ends; a value that takes lines of its own ends at the next one's start."""
    if text[start - 1 : start] == "\n":
        return start - 1
    end = text.find("\n", start)
    return len(text) if end < 0 else end


def _ended(text: str) -> str:
    return text if text.endswith("\n") or not text else f"{text}\n"


def _spelt(value: Scalar) -> str:
    """A value as YAML reads it again; 1e-05 would be a text."""
    import yaml

    return str(yaml.safe_dump(value, default_flow_style=True, width=math.inf)).partition("\n")[0]
