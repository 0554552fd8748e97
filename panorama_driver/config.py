"""study.yml as typed records, and where workflow folders and sites are found.

A study file says what a study asks: which workflow at which site, how it is watched, and what goes back to Dakota.
"""

from __future__ import annotations

import math
import netrc
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec

from .errors import PanoramaError, StudyError, UsageError

Scalar = float | int | str | bool
_Record = TypeVar("_Record", bound=msgspec.Struct)
_UNITS = {"ms": 1e-3, "s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"\s*([0-9.]+(?:[eE][-+]?[0-9]+)?)\s*([a-z]*)\s*")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,60}")
_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_DEEPEST = 1000  # levels of YAML
_ONLINE = ("http", "https", "rabbitmq", "rabbitmqs", "file")
_BROKER = ("amqp", "amqps")
_BROKER_PATH = re.compile(r"[\w.\[\]:-]+/[\w.%~-]+/[\w.%~-]+", re.ASCII)

MAX_RUNNING, MAX_PLANNING = 4, 2
"""Limits of an ensemble that is made without any."""

BUNDLE = "${PANORAMA_BUNDLE}"
"""Stands for a bundle's own directory in its catalogs; plan.sh sets it, and the planner and our engine put it in."""


class Monitoring(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the jobs are watched.

    Attributes
    ----------
    interval : str or float
        Time between samples of the probe, such as `1 s`.
    darshan : str
        `auto`: where the site names Darshan's library, each job's I/O is recorded; `off`.
    tcp : str
        `auto`: the TCP connections of each job are watched where its kernel tells of them; `off`.
    trace : str
        With `engine: pegasus`, how samples come home. `summary`: as many as fit into the job's own record, totals
        exact; `full`: every one, as an output file of the job.
    online : str or None
        With `engine: pegasus`: where workers send each sample at once, `http(s)://`, `rabbitmq(s)://` (the broker's
        management interface) or `file://`; no user and password in it.
    broker : str or None
        `amqp(s)://HOST[:PORT]/VHOST/EXCHANGE` that all events are sent to, by Pegasus' monitord or by the server that
        runs the embedded engine; no user and password in it.
    credentials : str or None
        A netrc file on this machine, mode 0600, with user and password for `broker`.
    worker_credentials : str or None
        With `engine: pegasus`: a netrc file at the site, mode 0600, with user and password for `online`.
    anomalies : str
        `auto`: the study's server looks for anomalies while workflows run; `off`.
    """

    interval: str | float = "1 s"
    darshan: Literal["auto", "off"] = "auto"
    tcp: Literal["auto", "off"] = "auto"
    trace: Literal["summary", "full"] = "summary"
    online: str | None = None
    broker: str | None = None
    credentials: str | None = None
    worker_credentials: str | None = None
    anomalies: Literal["auto", "off"] = "auto"


class Adapt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the study's server may do about what it sees, while workflows run; nothing unless told.

    Each step is written down before it is taken, with its reason, and `panorama adapt undo` takes it back.

    Attributes
    ----------
    stop_hopeless : bool
        End an evaluation as soon as its objective, which only grows while the workflow runs (such as
        `workflow.makespan`), is above the best one so far; Dakota gets the bound that was reached.
    retry_stalled : bool
        End an attempt that is stalled, and try it again on another host.
    avoid_hosts : bool
        Start nothing more on a host that is slow or fails every job, for the rest of the study.
    tune_running : bool
        Let fewer jobs run at a time while they wait for input and output more than they compute, and more again after.
    """

    stop_hopeless: bool = False
    retry_stalled: bool = False
    avoid_hosts: bool = False
    tune_running: bool = False


class SlotGroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Cores that belong together, such as those of a socket, or the fast ones of a hybrid processor.

    Attributes
    ----------
    cores : int
        Cores that jobs may hold at a time.
    cpus : str or None
        Processors that its jobs are bound to, with all they start (sched_setaffinity(2)), such as `0-3,8`; all unless
        told.
    """

    cores: int
    cpus: str | None = None


class Ensemble(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How Pegasus' Ensemble Manager treats the study's workflows.

    Attributes
    ----------
    name : str or None
        Name of the ensemble, made if it is missing; the study directory's name unless told.
    max_running, max_planning : int or None
        Workflows of it that run, and that are planned, at the same time. None leaves the limits as they are; a
        new one gets 4 and 2.
    priority : int
        Of the study's workflows among those of the ensemble; larger first.
    url : str or None
        Where the manager answers; this user's own on this machine unless told.
    """

    name: str | None = None
    max_running: int | None = None
    max_planning: int | None = None
    priority: int = 0
    url: str | None = None


class OnFailure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What happens to an evaluation that failed.

    Attributes
    ----------
    retry : int
        How many more times the workflow is run, each time only what had not finished.
    then : str or float
        What Dakota gets in the end: `fail`, `nan`, or a number for every response.
    """

    retry: int = 0
    then: Literal["fail", "nan"] | float = "fail"


class Study(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A study.yml, checked.

    Attributes
    ----------
    workflow : str
        Name of a workflow that comes with the package, or path of a workflow folder.
    responses : dict
        Name of a response to an expression over metrics, or a place in an output file; at least one is needed.
    gradients, hessians : dict
        Name of a response to the place in an output file where the workflow writes its first, and its second
        derivatives.
    site : str
        Name of a site that comes with the package, or path of a site file.
    site_variables : dict
        Values for variables of the site file, such as `project`; the environment's where they are not here.
    engine : str
        What runs the jobs: `local`, the embedded engine; `pegasus`, Pegasus' Ensemble Manager and HTCondor.
    ensemble : Ensemble
        How the Ensemble Manager treats the study's workflows.
    parameters : dict
        Values for parameters of the workflow that Dakota does not vary.
    options : dict
        Values for options of the workflow.
    inputs : str or list of str
        Folder, or list of folders, with raw input files, which are used where they are.
    slots : int, str or dict
        Cores that all evaluations of the study share; `auto` is what the machine lets this process use. Or groups of
        slots by name, each a number of cores or a `SlotGroup`; a job runs in one group, which counts as its host.
    monitoring : Monitoring
        How the jobs are watched.
    adapt : Adapt
        What may be done about what is seen.
    on_failure : OnFailure
        What happens to an evaluation that failed.
    timeout : str or float
        Longest time of one evaluation, such as `30 min`; waiting for slots and queues counts.
    idle_timeout : str or float
        With Pegasus: a workflow in which nothing has moved for so long is reported, with HTCondor's reason.
    """

    workflow: str
    responses: dict[str, Any] = {}
    gradients: dict[str, Any] = {}
    hessians: dict[str, Any] = {}
    site: str = "local"
    site_variables: dict[str, Scalar] = {}
    engine: Literal["local", "pegasus"] = "local"
    ensemble: Ensemble = Ensemble()
    parameters: dict[str, Scalar] = {}
    options: dict[str, Scalar] = {}
    inputs: str | list[str] = []
    slots: int | Literal["auto"] | dict[str, int | SlotGroup] = "auto"
    monitoring: Monitoring = Monitoring()
    adapt: Adapt = Adapt()
    on_failure: OnFailure = OnFailure()
    timeout: str | float = "1 h"
    idle_timeout: str | float = "30 min"

    def input_folders(self, home: Path) -> list[Path]:
        """Folders with raw input files, as absolute paths; `home` is where study.yml is."""
        given = [self.inputs] if isinstance(self.inputs, str) else self.inputs
        return [Path(os.path.abspath(home / Path(folder).expanduser())) for folder in given]

    @property
    def timeout_seconds(self) -> float:
        """Longest time of one evaluation [s]."""
        return duration(self.timeout)

    @property
    def interval_seconds(self) -> float:
        """Time between two samples of the probe [s]."""
        return duration(self.monitoring.interval)


def load_study(path: Path) -> Study:
    """Read and check a study file.

    Raises
    ------
    StudyError
        The file is missing, is no YAML, or a key is unknown or of the wrong type.
    """
    study = convert(_with_words(read_yaml(path, StudyError)), Study, path, StudyError)
    durations = ("timeout", study.timeout), ("idle_timeout", study.idle_timeout)
    for key, value in (*durations, ("monitoring.interval", study.monitoring.interval)):
        try:
            duration(value)
        except ValueError as problem:
            raise StudyError(f"{path}: {key}: {problem}") from None
    _check_urls(study.monitoring, path)
    _check_ensemble(study.ensemble, path)
    if study.on_failure.retry < 0:
        raise StudyError(f"{path}: on_failure.retry: {study.on_failure.retry} is below 0")
    if isinstance(study.on_failure.then, float) and not math.isfinite(study.on_failure.then):
        raise StudyError(f"{path}: on_failure.then: {study.on_failure.then} is no finite number; write nan or fail")
    _check_slots(study.slots, path)
    _check_adapt(study, path)
    return study


def _check_slots(slots: int | str | dict[str, int | SlotGroup], path: Path) -> None:
    if isinstance(slots, int) and slots < 1:
        raise StudyError(f"{path}: slots: {slots} is not a number of cores; give 1 or more, or auto")
    if not isinstance(slots, dict):
        return
    if not slots:
        raise StudyError(f"{path}: slots: no group; name one with its cores, or write auto")
    for name, group in slots.items():
        cores = group if isinstance(group, int) else group.cores
        if not _NAME.fullmatch(name):
            raise StudyError(f"{path}: slots: {name!r}: letters, digits, _ and - only, at most 60")
        if cores < 1:
            raise StudyError(f"{path}: slots.{name}: {cores} is not a number of cores; give 1 or more")
        if isinstance(group, SlotGroup) and group.cpus is not None:
            try:
                processors(group.cpus)
            except ValueError as problem:
                raise StudyError(f"{path}: slots.{name}.cpus: {problem}") from None


def _check_adapt(study: Study, path: Path) -> None:
    if study.adapt != Adapt() and study.monitoring.anomalies == "off":
        raise StudyError(
            f"{path}: adapt: nothing can be done about what is not looked for; write monitoring: {{anomalies: auto}}"
        )


def processors(text: str) -> frozenset[int]:
    """Numbers of processors out of a list such as `0-3,8`, as in cpuset(7), "List format".

    Raises
    ------
    ValueError
        It is no such list.
    """
    ranges = [_RANGE.fullmatch(part.strip()) for part in text.split(",")]
    numbers = [(int(found[1]), int(found[2] or found[1])) for found in ranges if found]
    if len(numbers) < len(ranges) or any(first > last for first, last in numbers):
        raise ValueError(f"{text!r} is no list of processors; write numbers and ranges, such as 0-3,8")
    return frozenset(cpu for first, last in numbers for cpu in range(first, last + 1))


def _with_words(raw: Any) -> Any:
    """A study with the word `off` where YAML has read `off` as false."""
    monitoring = raw.get("monitoring") if isinstance(raw, dict) else None
    if not isinstance(monitoring, dict):
        return raw
    words = {key: "off" for key in ("darshan", "tcp", "anomalies") if monitoring.get(key) is False}
    return raw | {"monitoring": monitoring | words}


def _check_urls(monitoring: Monitoring, path: Path) -> None:
    """Refuse addresses that nobody could use, and secrets: they would travel with every bundle."""
    for key, value, schemes in (
        ("online", monitoring.online, _ONLINE),
        ("broker", monitoring.broker, _BROKER),
    ):
        if value is None:
            continue
        parts = urlsplit(value)
        where = f"{path}: monitoring.{key}"
        if parts.scheme not in schemes or not (parts.hostname or parts.scheme == "file"):
            raise StudyError(f"{where}: {parts.scheme or value!r} is none of {', '.join(s + '://' for s in schemes)}")
        if "@" in parts.netloc:
            raise StudyError(f"{where}: no user and password here; name a netrc file under monitoring.credentials")
        if key == "broker" and not _BROKER_PATH.fullmatch(parts.netloc + parts.path):
            raise StudyError(f"{where}: {value!r}: write it as amqp://localhost:5672/VHOST/EXCHANGE")
    if monitoring.broker and not monitoring.credentials:
        raise StudyError(f"{path}: monitoring.credentials: a broker needs user and password; name a netrc file (0600)")


def _check_ensemble(ensemble: Ensemble, path: Path) -> None:
    if ensemble.name is not None and not _NAME.fullmatch(ensemble.name):
        raise StudyError(f"{path}: ensemble.name: {ensemble.name!r}: letters, digits, _ and - only, at most 60")
    for key in ("max_running", "max_planning"):
        value = getattr(ensemble, key)
        if value is not None and value < 1:
            raise StudyError(f"{path}: ensemble.{key}: {value} is below 1")


def duration(value: str | float) -> float:
    """Seconds of a duration such as `30 min`, `1.5 h`, `500 ms` or a plain number [s].

    Raises
    ------
    ValueError
        It is no duration, or not above zero.
    """
    if isinstance(value, str):
        match = _DURATION.fullmatch(value)
        if match is None or (match[2] and match[2] not in _UNITS):
            raise ValueError(
                f"{value!r} is no duration; write a number and one of {', '.join(_UNITS)}, such as '30 min'"
            )
        value = float(match[1]) * _UNITS[match[2] or "s"]
    if not 0 < value < float("inf"):
        raise ValueError(f"{value!r} is no duration above zero")
    return float(value)


def netrc_login(path: Path, host: str) -> tuple[str, str]:
    """User and password for `host`, out of a netrc file that only its owner can read.

    Raises
    ------
    UsageError
        The file cannot be read, others can read it, or it has no such line.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise UsageError(f"{path}: others can read the password in it; chmod 600 {path}")
        found = netrc.netrc(path).authenticators(host)
    except netrc.NetrcParseError as problem:  # its own words may quote the password
        raise UsageError(f"{path}:{problem.lineno}: this is not as in a netrc file") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise UsageError(f"{path}: cannot be read: {getattr(problem, 'strerror', None) or problem}") from None
    if found is None or not found[0]:
        raise UsageError(f"{path}: has no line `machine {host} login USER password PASSWORD`")
    return found[0], found[2] or ""


def read_yaml(path: Path, error: type[PanoramaError]) -> Any:
    """Read a YAML (or JSON) file safely; `error` carries file and line of what is wrong."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        if not path.is_file():  # to open a pipe would wait for ever
            raise error(f"{path}: no such file")
        text = path.read_text(encoding="utf-8")
        if too_deep(text, loader):
            raise error(f"{path}: is nested too deep")
        return yaml.load(text, loader)
    except (OSError, UnicodeDecodeError) as problem:
        raise error(f"{path}: cannot be read: {problem}") from None
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise error(f"{where}: not YAML: {getattr(problem, 'problem', problem)}") from None


def too_deep(text: str, loader: Any) -> bool:
    """Whether YAML is nested so deep that reading it could end the process: libyaml goes down by recursion."""
    import yaml

    most = text.count("[") + text.count("{") + 2 * max(map(len, text.splitlines()), default=0)
    depth = 0
    for event in yaml.parse(text, loader) if most > _DEEPEST else ():
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            return True
    return False


def load_yaml(text: str, loader: Any) -> Any:
    """Read YAML that anybody may have written.

    Raises
    ------
    yaml.YAMLError
        It is none, or nested too deep.
    """
    import yaml

    if too_deep(text, loader):
        raise yaml.YAMLError("it is nested too deep")
    return yaml.load(text, loader)


def convert(raw: Any, kind: type[_Record], path: Path, error: type[PanoramaError]) -> _Record:
    """Check what was read from `path` against a record; `error` names the file, the key and what was expected."""
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as problem:
        names = ", ".join(kind.__struct_fields__)
        hint = (
            f"; the keys are {names}" if "unknown field" in str(problem) or "missing required" in str(problem) else ""
        )
        raise error(f"{path}: {str(problem).replace('`', chr(39))}{hint}") from None


def spell(values: Mapping[str, Scalar]) -> str:
    """Names and values as people read them: `q_h = 0.42, n = 3`."""
    return ", ".join(f"{name} = {_number(value)}" for name, value in values.items())


def _number(value: Scalar) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def shared_folder(name: str) -> Path:
    """Folder of what comes with the package: `workflows` or `sites`, installed or in a checkout."""
    package = Path(__file__).parent
    installed = package / "share" / name
    return installed if installed.is_dir() else package.parent / name
