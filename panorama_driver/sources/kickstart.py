"""kickstart's invocation records, as a job's output file holds them, with whatever else was written into that file.

A file holds one record for each program of the job (several, where jobs are clustered), noise of wrappers and of the
batch system around them, summaries of the clustering tool, and YAML of PegasusLite and others after a marker. It may
be empty, cut off anywhere, or huge. Format: Pegasus 5.1, packages/pegasus-kickstart, and kickstart_parser.py, which
monitord reads it with.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, BinaryIO

import msgspec
import yaml

from ..config import load_yaml

MULTIPART = "---------------pegasus-multipart"
OUTPUT_LIMIT = 8 << 20
"""Of a longer output of a program its end is kept, as kickstart does [characters]."""
RECORD_LIMIT = 8 << 20
"""Of a longer record, or part after the marker, the rest is left out [characters]."""

_LINE = 1 << 22  # bytes; a payload in one line may have 2,000,000
_BEGIN = "- invocation:"
_VERSION = "  version:"  # what follows it in every record
_SUMMARY = re.compile(r"\[(?:cluster|seqexec)-(task|summary)\b(.*?)\]")
_PAIR = re.compile(r'(\S+?)\s*=\s*(?:"([^"]*)"|([^",\s]+))')
_DATA = "      data: |"
_TEXT = " " * 8  # how far kickstart indents the text of an output
_KEY = re.compile(r"( *)([^\s:][^:]*):")
# Big, of no use here, and the first of them may hold secrets.
_SKIPPED = frozenset({"environment", "limits", "procs", "argument_vector"})
_UNUSED = re.compile(
    r" {6,}(?:mode|inode|nlink|blksize|blocks|mtime|atime|uid|gid|group|temporary_name|descriptor\w*|minflt|majflt"
    r"|nswap|inblock|outblock|msgsnd|msgrcv|nsignals|nvcsw|nivcsw):"
)
_CONDOR = re.compile(r"    condor: *\"?(\d+\.\d+)")
_TIME_LIMIT = re.compile(r' *"?SLURM_JOB_END_TIME"?: *"?(\d+)')


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file that the program wrote, as kickstart saw it; all text as it stands there."""

    lfn: str
    user: str | None = None
    size: str | None = None
    ctime: str | None = None
    sha256: str | None = None
    checksum_timing: str | None = None


class Invocation(msgspec.Struct, frozen=True, kw_only=True):
    """One program under kickstart; None where the record does not tell, for one because it was cut off.

    Attributes
    ----------
    transformation, derivation, resource, user, hostname, hostaddr, cwd, executable : str or None
        Names, in kickstart's words; `derivation` is the task, `resource` the site.
    nodename : str or None
        The worker's own name (uname), which inside a container is the container's.
    condor_id : str or None
        HTCondor's `cluster.process`.
    start, duration : float or None
        [s since 1970], [s].
    utime, stime : float or None
        [s] of processor time.
    maxrss : int or None
        [kB] of the largest process.
    status : int or None
        Raw wait status.
    machine : dict
        `system`, `release`, `machine`, `ram` [kB], `cpu_count`, `cpu_speed` [MHz], `cpu_vendor`, `cpu_model`.
    outputs : tuple of File
        Files written.
    read, written : int
        [bytes] sizes of the files read and written.
    stdout, stderr : str or None
        The program's output, payloads included.
    time_limit : float or None
        [s since 1970] when Slurm would end the job; told by the records of failed programs only.
    """

    transformation: str | None = None
    derivation: str | None = None
    resource: str | None = None
    user: str | None = None
    hostname: str | None = None
    hostaddr: str | None = None
    nodename: str | None = None
    cwd: str | None = None
    executable: str | None = None
    condor_id: str | None = None
    start: float | None = None
    duration: float | None = None
    utime: float | None = None
    stime: float | None = None
    maxrss: int | None = None
    status: int | None = None
    machine: dict[str, Any] = {}
    outputs: tuple[File, ...] = ()
    read: int = 0
    written: int = 0
    stdout: str | None = None
    stderr: str | None = None
    time_limit: float | None = None

    @property
    def complete(self) -> bool:
        """Whether it tells how the program ended."""
        return None not in (self.start, self.duration, self.status)


class Records(msgspec.Struct, frozen=True, kw_only=True):
    """What an output file holds.

    Attributes
    ----------
    invocations : tuple of Invocation
        In the order in which they ran.
    multipart : tuple of dict
        Items after the markers.
    cluster : dict or None
        Summary of the clustering tool: `duration` [s], `start`, `tasks`, `succeeded`, ..., as text.
    problems : tuple of str
        What could not be read, in words.
    """

    invocations: tuple[Invocation, ...] = ()
    multipart: tuple[dict[str, Any], ...] = ()
    cluster: dict[str, str] | None = None
    problems: tuple[str, ...] = ()


def read(file: BinaryIO) -> Records:
    """Read an output file from where it stands to its end, holding no more than the limits of this module."""
    invocations: list[Invocation] = []
    multipart: list[dict[str, Any]] = []
    cluster: dict[str, str] | None = None
    problems: list[str] = []
    part: _Part = _Noise()
    for line in _lines(file):
        begun = part.follower(line)
        if begun is not None:
            part.finish(invocations, multipart, problems)
            part = begun
        elif (summary := _SUMMARY.match(line)) is not None:
            part.finish(invocations, multipart, problems)
            part = _Noise()
            if summary[1] == "summary" and cluster is None:
                cluster = {key: quoted or bare for key, quoted, bare in _PAIR.findall(summary[2])}
        else:
            part.take(line)
    part.finish(invocations, multipart, problems)
    return Records(
        invocations=tuple(invocations), multipart=tuple(multipart), cluster=cluster, problems=tuple(problems)
    )


class _Part:
    """A part of an output file."""

    def follower(self, line: str) -> _Part | None:
        """The part that a line begins, if it begins one."""
        if line.startswith(MULTIPART):
            return _Multipart()
        return _Record() if line.startswith(_BEGIN) else None

    def take(self, line: str) -> None:
        """Read one more line."""

    def finish(self, invocations: list[Invocation], multipart: list[dict[str, Any]], problems: list[str]) -> None:
        """Hand over what it was."""


class _Noise(_Part):
    """What wrappers, programs without kickstart, and the batch system wrote."""

    def follower(self, line: str) -> _Part | None:
        # The last line of noise may lack its end.
        return _Record() if _BEGIN in line else super().follower(line)


class _Multipart(_Part):
    def __init__(self) -> None:
        self._lines: list[str] = []
        self._size = 0

    def take(self, line: str) -> None:
        self._size += len(line) + 1
        wanted = line[:1] in ("", " ", "-", "l") and line != "---"  # `location:` of AWS Batch is no list
        if wanted and self._size <= RECORD_LIMIT:
            self._lines.append(line)

    def finish(self, invocations: list[Invocation], multipart: list[dict[str, Any]], problems: list[str]) -> None:
        if self._size > RECORD_LIMIT:
            problems.append(f"a multipart section of {self._size} characters is longer than it may be")
        plain = []
        for line in self._lines:
            item = _json_item(line)
            if item is None:
                plain.append(line)
            else:
                multipart.append(item)
        try:
            found = _loaded(plain)
        except yaml.YAMLError as error:
            problems.append(f"multipart section is no YAML: {_short(error)}")
            return
        multipart += [item for item in (found if isinstance(found, list) else [found]) if isinstance(item, dict)]


class _Record(_Part):
    """One invocation record; what is large or unused is left out before YAML sees it.

    A kickstart that was killed leaves half a line, behind which the next one's record begins.
    """

    def __init__(self, versioned: bool = False) -> None:
        self._versioned = versioned
        self._lines = [f"{_BEGIN} true"]
        self._size = 0
        self._skipping: int | None = None
        self._stream = ""
        self._text: _Tail | None = None
        self._texts: dict[str, _Tail] = {}
        self._extra: dict[str, Any] = {}

    def follower(self, line: str) -> _Part | None:
        if self._versioned and line.startswith(_VERSION):
            return _Record(versioned=True)
        return super().follower(line)

    def take(self, line: str) -> None:
        if line.startswith(_VERSION):
            self._versioned = True
        if self._text is not None:
            if line.startswith(_TEXT) or not line.strip():
                self._text.add(line[len(_TEXT) :])
                return
            self._text = None
        if not line.startswith(" ") or self._is_skipped(line) or _UNUSED.match(line):
            return
        if line.startswith(_DATA):
            self._text = self._texts[self._stream] = _Tail()
        elif condor := _CONDOR.match(line):  # 164.10 must not become the number 164.1
            self._extra["condor_id"] = condor[1]
        else:
            self._keep(line)

    def _is_skipped(self, line: str) -> bool:
        indent = len(line) - len(line.lstrip())
        if self._skipping is not None and indent > self._skipping:
            if limit := _TIME_LIMIT.match(line):
                self._extra["time_limit"] = float(limit[1])
            return True
        self._skipping = None
        key = _KEY.match(line)
        if key is None:
            return False
        if key[2] in _SKIPPED and indent <= 4:
            self._skipping = indent
        elif indent == 4:
            self._stream = key[2]
        return self._skipping is not None

    def _keep(self, line: str) -> None:
        self._size += len(line) + 1
        if self._size <= RECORD_LIMIT:
            self._lines.append(line)

    def finish(self, invocations: list[Invocation], multipart: list[dict[str, Any]], problems: list[str]) -> None:
        if self._size > RECORD_LIMIT:
            problems.append(f"an invocation record of {self._size} characters is longer than it may be")
        try:
            record = _mapping(self._lines)
        except yaml.YAMLError as error:
            problems.append(f"invocation record is no YAML: {_short(error)}")
            return
        texts = {stream: tail.text() for stream, tail in self._texts.items() if stream in ("stdout", "stderr")}
        invocations.append(_invocation(record, self._extra | texts))


class _Tail:
    """The end of a text, by lines."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque()
        self._size = 0

    def add(self, line: str) -> None:
        self._lines.append(line)
        self._size += len(line) + 1
        while self._size > OUTPUT_LIMIT and len(self._lines) > 1:
            self._size -= len(self._lines.popleft()) + 1

    def text(self) -> str:
        """As YAML reads it: with one end of a line at its own end."""
        while self._lines and not self._lines[-1]:
            self._lines.pop()
        return "\n".join(self._lines) + "\n" if self._lines else ""


class _Loader(yaml.CSafeLoader):
    """Leaves times as they stand."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def _lines(file: BinaryIO) -> Iterator[str]:
    """Lines without their end, long ones cut; what YAML refuses is replaced."""
    while line := file.readline(_LINE):
        ended = line.endswith(b"\n")
        yield _CONTROL.sub("\ufffd", line.decode("utf-8", "replace")).rstrip("\n")
        while not ended and (rest := file.readline(_LINE)):
            ended = rest.endswith(b"\n")


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")


def _mapping(lines: list[str]) -> dict[str, Any]:
    """The record's keys; a file that ends within a line may have left half a word that is no YAML."""
    try:
        found = _loaded(lines)
    except yaml.YAMLError:
        if len(lines) == 1:
            raise
        found = _loaded(lines[:-1])
    return found[0] if isinstance(found, list) and found and isinstance(found[0], dict) else {}


def _json_item(line: str) -> dict[str, Any] | None:
    """An item that is JSON in one line, as the probe writes it: YAML would take seconds for a large one."""
    if not line.startswith("- ") or not line.endswith("}"):
        return None
    key, separator, value = line[2:].partition(": {")
    if not separator or not key.isidentifier():
        return None
    try:
        return {key: msgspec.json.decode("{" + value)}
    except msgspec.DecodeError:
        return None


def _invocation(record: dict[str, Any], extra: dict[str, Any]) -> Invocation:
    main, machine, files = _dict(record, "mainjob"), _dict(record, "machine"), _dict(record, "files")
    usage, status = _dict(main, "usage"), _dict(main, "status")
    named: dict[str, Any] = {name: _text(record.get(name)) for name in _NAMES}
    return Invocation(
        **named,
        nodename=_text(machine.get("uname_nodename")),
        executable=_text(_dict(main, "executable").get("file_name")),
        start=epoch(main.get("start")),
        duration=_number(main.get("duration")),
        utime=_number(usage.get("utime")),
        stime=_number(usage.get("stime")),
        maxrss=_whole(usage.get("maxrss")),
        status=_whole(status.get("raw")),
        machine={name: machine[key] for key, name in _MACHINE.items() if machine.get(key) is not None},
        outputs=tuple(_file(str(lfn), told) for lfn, told in files.items() if _is_output(told)),
        read=sum(_sizes(files, outputs=False)),
        written=sum(_sizes(files, outputs=True)),
        **extra,
    )


_NAMES = ("transformation", "derivation", "resource", "user", "hostname", "hostaddr", "cwd")
_MACHINE = {
    "cpu_count": "cpu_count",
    "cpu_speed": "cpu_speed",
    "cpu_vendor": "cpu_vendor",
    "cpu_model": "cpu_model",
    "cpu_name": "cpu_model",
    "ram_total": "ram",
    "uname_system": "system",
    "uname_release": "release",
    "uname_machine": "machine",
}


def _file(lfn: str, told: dict[str, Any]) -> File:
    return File(lfn=lfn, **{key: _text(told.get(key)) for key in File.__struct_fields__ if key != "lfn"})


def _is_output(told: object) -> bool:
    return isinstance(told, dict) and told.get("output") is True


def _sizes(files: dict[str, Any], outputs: bool) -> Iterable[int]:
    for lfn, told in files.items():
        if lfn not in ("stdin", "stdout", "stderr", "metadata") and isinstance(told, dict):
            yield (_whole(told.get("size")) or 0) if _is_output(told) == outputs else 0


def _dict(record: dict[str, Any], key: str) -> dict[str, Any]:
    found = record.get(key)
    return found if isinstance(found, dict) else {}


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def epoch(value: object) -> float | None:
    """Seconds since 1970 of an ISO 8601 time; a leap second, which datetime does not know, is the one after it."""
    before, leap, after = str(value).partition(":60")
    try:
        return datetime.fromisoformat(f"{before}:59{after}" if leap else before).timestamp() + bool(leap)
    except ValueError:
        return None


def _short(error: yaml.YAMLError) -> str:
    return " ".join(str(error).split())[:200]


def _loaded(lines: list[str]) -> Any:
    return load_yaml("\n".join(lines), _Loader)
