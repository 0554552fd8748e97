"""What several verbs share: finding the study, reading `--set`, writing JSON."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from ..config import Scalar
from ..errors import EvaluationError, ParameterError, StoreError, StudyError
from ..study.client import find_study
from ._studies import study_text

if TYPE_CHECKING:
    from ..render import WorkflowFolder
    from ..store import Store

study_option = click.option(
    "--study",
    "study",
    metavar="DIR",
    default=".",
    type=click.Path(path_type=Path),
    help="Study directory; default: this.",
)
store_option = click.option(
    "--store", "store", metavar="PATH|URL", help="Store, such as opensearch://HOST; default: that of the study."
)
inputs_option = click.option(
    "--inputs",
    multiple=True,
    metavar="DIR",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder with raw input files, used where they are; may be repeated.",
)
_INTERRUPTED = 4

json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")


def study_home(directory: Path) -> Path:
    """Directory that holds study.yml: the one given, or one above it.

    Raises
    ------
    StudyError
        There is none.
    """
    return Path(find_study(str(directory))).parent


def study_or_store(directory: Path) -> Path:
    """As `study_home`, where a store may be named instead.

    Raises
    ------
    StudyError
        There is none.
    """
    try:
        return study_home(directory)
    except StudyError as problem:
        raise StudyError(f"{problem}; or name a store with --store") from None


def open_chosen(study: Path, store: str | None, readonly: bool = False) -> Store:
    """Open the store that is named, or else that of a study.

    Raises
    ------
    StudyError
        None is named, and there is no study either.
    StoreError
        It is not there, or cannot be opened.
    """
    from ..store import open_store
    from ..study.client import FOLDER

    path = store or str(study_or_store(study) / FOLDER / "store.db")
    if not readonly:
        return open_existing(path)
    if store:
        _check_there(path)
    return open_store(path, readonly=True)


def open_existing(path: str) -> Store:
    """Open to be written a store that is there, by its path or URL; none is made where a name is wrong.

    Raises
    ------
    StoreError
        It is not there, or cannot be opened.
    """
    from ..store import open_store

    _check_there(path)
    if "://" in path:
        open_store(path, readonly=True).close()
    return open_store(path)


def _check_there(path: str) -> None:
    if "://" not in path and not Path(path).is_file():
        raise StoreError(f"{path}: there is no store there; give its path with --store, or its study with --study")


def open_named(path: str) -> Store:
    """Open to be read what a PATH names: a store, or that of the study in a directory.

    Raises
    ------
    StudyError
        It leads nowhere, or to no study.
    StoreError
        It cannot be opened.
    """
    from ..store import open_store
    from ..study.client import FOLDER

    if "://" not in path and not Path(path).exists():
        raise StudyError(f"{path}: no such file or folder; give a study's directory, or a store")
    store = str(study_home(Path(path)) / FOLDER / "store.db") if Path(path).is_dir() else path
    return open_store(store, readonly=True)


def chosen(paths: tuple[str, ...]) -> list[str]:
    """Paths of studies and stores as they were named; unless they were, the study of this directory, or those below it.

    Raises
    ------
    StudyError
        A path leads nowhere.
    """
    for path in paths:
        if "://" not in path and not Path(path).expanduser().exists():
            raise StudyError(f"{path}: no such file or folder; give a study's directory, a folder of some, or a store")
    if paths:
        return list(paths)
    try:
        return [str(study_home(Path()))]
    except StudyError:
        return ["."]


def safe(text: str) -> str:
    """Text from outside as a terminal may be given it: what is not printable as an escape, line ends included."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def assignments(pairs: Iterable[str]) -> dict[str, Scalar]:
    """`name=value` texts as values; numbers and true or false are read as in YAML, and 1e-3 is a number too.

    Raises
    ------
    ParameterError
        A text has no `=`, or its value is a list or a mapping.
    """
    values: dict[str, Scalar] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        value = _value(text) if equals else None
        if not isinstance(value, float | int | str | bool):
            raise ParameterError(f"{pair!r}: write NAME=VALUE, such as q_h=0.42")
        values[name.strip()] = value
    return values


def _value(text: str) -> Any:
    import yaml

    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return None
    try:
        return float(text) if isinstance(value, str) else value  # to YAML 1.1, 1e-3 is a text
    except ValueError:
        return value


def program() -> str:
    """How this program is called, for hints that can be pasted."""
    called = Path(sys.argv[0])
    if shutil.which(called.name) or not called.is_file():
        return called.name
    return os.path.relpath(called)


def absolute(paths: Iterable[Path]) -> list[Path]:
    """Paths as they are whatever the working directory; links stay as they are named."""
    return [Path(os.path.abspath(path.expanduser())) for path in paths]


def site_name(given: str) -> str:
    """A path stays right when study.yml is elsewhere."""
    path = Path(given).expanduser()
    return str(path.resolve()) if path.is_file() else given


def prepare_study(folder: WorkflowFolder, home: Path, settings: Mapping[str, Any]) -> None:
    """Make a study directory from the workflow's study.yml with `settings`, or see that the one there is asks for them.

    Raises
    ------
    StudyError
        The directory has another study.
    WorkflowError
        The workflow has no study.yml.
    """
    import yaml

    from ..config import load_study
    from ..render import find_workflow

    path = home / "study.yml"
    if not path.exists():
        text = study_text(folder)
        if settings:
            text = yaml.safe_dump(yaml.safe_load(text) | settings, sort_keys=False)
        home.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return
    there = load_study(path)
    asked = {name: getattr(there, name) for name in ("engine", "site", "site_variables")}
    asked |= {"ensemble": {"name": there.ensemble.name}, "inputs": list(map(str, there.input_folders(home)))}
    other = [name for name, value in settings.items() if asked[name] != value]
    if find_workflow(there.workflow, home).path != folder.path:
        other.append("workflow")
    if other:
        raise StudyError(f"{path}: has another {', '.join(other)}; choose another directory with -o")


def tell_reply(reply: dict[str, Any], as_json: bool, **more: Any) -> None:
    """Print what became of an evaluation: as JSON with `more` in it, or its responses a line each.

    Raises
    ------
    EvaluationError
        It has failed.
    """
    if as_json:
        write_json(reply | more)
    if reply["state"] not in ("ok", "handed"):
        raise EvaluationError(reply["message"])
    if not as_json:
        for name, value in reply.get("responses", {}).items():
            click.echo(f"{name} = {value:.6g}")


@contextmanager
def until_told() -> Iterator[threading.Event]:
    """An event that the first signal sets; the second ends the process at once."""
    ended = threading.Event()

    def receive(number: int, frame: FrameType | None) -> None:
        if ended.is_set():
            os._exit(_INTERRUPTED)
        ended.set()

    before = {number: signal.signal(number, receive) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def write_json(value: Any) -> None:
    """Write JSON on standard output."""
    json.dump(value, sys.stdout, indent=1, sort_keys=False)
    sys.stdout.write("\n")
