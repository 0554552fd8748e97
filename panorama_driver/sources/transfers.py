"""Transfers of a job's files, as the tools that made them tell: Panorama's, Pegasus' own, and our engine's staging.

Panorama's pegasus-transfer publishes `transfer.inv.local.single` for each file and `transfer.inv.local` for each job.
That of stock Pegasus 5.1 publishes nothing. Under PegasusLite it leaves a list of attempts with the job's record
(`transfer_attempts` of `job_inst.composite`), elsewhere only its log; each attempt of either becomes a
`transfer.inv.local.attempt`, each run in a log a `transfer.inv.local.stats`. Format: Pegasus 5.1.3, transfer.py, class
Stats: an attempt counts the size of its local file, whether it succeeded or not and whatever moved; the total in the
log is rounded to a tenth of its unit.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote

import msgspec

from ..events import Event
from . import globus, plain, worker

SINGLE, SUMMARY = "transfer.inv.local.single", "transfer.inv.local"
ATTEMPT, STATS = "transfer.inv.local.attempt", "transfer.inv.local.stats"
Method = Literal["copy", "link", "hardlink", "move"]

_COMPOSITE = "stampede.job_inst.composite"
_BEGUN = "Starting transfers - attempt "
_LINE = re.compile(r" ?(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) +([A-Z]+):  (.*)", re.DOTALL)
_MISSING = "Expected local file does not exist: "
_EXITED = re.compile(r"Command exited with non-zero exit code \(-?\d+\): ")
_COMMAND = re.compile(r"(/bin/cp -f -R -L|ln -f -s) '(.+)' '(.+)'")
_TOTAL = re.compile(r"Stats: Total (\d{1,9}) transfers, (\d{1,18})(\.\d)? ([KMGT]?)B transferred in ")
_THIRD_PARTY = "Unable to provide stats for third party"
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_ZONES = 900  # s; clocks of the world differ from UTC by whole quarters of an hour


class Single(msgspec.Struct, frozen=True, kw_only=True):
    """One transfer of one file, or one attempt at it.

    Attributes
    ----------
    filename : str or None
        Its logical name.
    source, destination : str or None
        URLs.
    begin, end : float or None
        [s since 1970]; whole seconds from Pegasus and Panorama.
    succeeded : bool or None
        Whether the file arrived; None where a log tells only that some did not.
    retried : bool
        Whether the log shows that another attempt followed.
    method : str or None
        `copy`, `link` (symbolic), `hardlink` or `move` (renamed), where that is told.
    size : float or None
        [bytes] of the file.
    moved : float or None
        [bytes] that were moved: none by a link or a renaming.
    """

    filename: str | None = None
    source: str | None = None
    destination: str | None = None
    begin: float | None = None
    end: float | None = None
    succeeded: bool | None = True
    retried: bool = False
    method: str | None = None
    size: float | None = None
    moved: float | None = None


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The transfers of one job, or of one run of the tool, together.

    Attributes
    ----------
    files : float or None
        Number of files; of a log, of attempts.
    begin, end : float or None
        [s since 1970]
    size : float or None
        [bytes] of all files.
    rounding : float
        [bytes] by which `size` may be wrong; 0 where it is exact.
    linked : int
        How many of them a log shows to be links, whose size is in `size` and was not moved.
    third_party : bool
        Whether a log shows only that others moved the files, such as Globus.
    succeeded : bool or None
        Whether all arrived; None where it is not told.
    """

    files: float | None = None
    begin: float | None = None
    end: float | None = None
    size: float | None = None
    rounding: float = 0.0
    linked: int = 0
    third_party: bool = False
    succeeded: bool | None = None


class Line(NamedTuple):
    """One line of pegasus-transfer's log; `at` is [s] on a clock whose zone is not told."""

    at: float
    level: str
    text: str


class Command(NamedTuple):
    """A file that was copied or linked, as the log shows it; without a destination, one that was not there.

    `failed` if an error after it names it.
    """

    at: float
    method: Method
    source: str
    destination: str | None
    failed: bool = False


class Run(NamedTuple):
    """One run of pegasus-transfer in a log.

    `idle` if it only made or removed directories; `vague` if there are errors that cannot be given to a command;
    `third_party` if it copied and linked nothing itself and says why it has no total.
    """

    begin: float
    end: float
    idle: bool
    vague: bool
    third_party: bool
    commands: tuple[Command, ...]
    attempts: int | None
    size: float | None
    rounding: float
    succeeded: bool | None


def parse(raw: Mapping[str, Any]) -> Event:
    """Turn one `transfer.*` record into an event.

    Raises
    ------
    FormatError
        It belongs to no workflow, or a number is none.
    """
    return globus.parse(raw) if raw.get("event") in (globus.TASK, globus.PROGRESS) else worker.parse(raw)


def of_job(event: Event) -> Iterator[Event]:
    """Events of the transfers that the end of a job tells of; what cannot be read stays in that event alone."""
    if event.kind != _COMPOSITE or event.job_id is None:
        return
    attempts = event.fields.get("transfer_attempts")
    runs = _runs_of(event)
    if isinstance(attempts, list):
        linked = {command.destination for run in runs for command in run.commands if command.method == "link"}
        found = enumerate(item for item in attempts if isinstance(item, Mapping))
        yield from (_attempt(event, number, _listed(item, linked)) for number, item in found)
        return
    ids = itertools.count()
    shift = _zone(event.ts, max((run.end for run in runs), default=0.0))
    for number, run in enumerate(run for run in runs if not run.idle):
        yield from (_attempt(event, next(ids), told, shift) for told in _logged(run))
        yield _told(event, STATS, number, run.end, _totalled(run), shift)


def single(fields: Mapping[str, Any]) -> Single:
    """Read a `transfer.inv.local.single` or `.attempt`; what is not of its type is taken for not told."""
    moved, method = _number(fields.get("bytes_transferred")), plain.text(fields.get("method"))
    size, status = _number(fields.get("size")), _number(fields.get("status", 0))
    return Single(
        filename=plain.text(fields.get("filename")),
        source=plain.text(fields.get("source_url")),
        destination=plain.text(fields.get("destination_url")),
        begin=_number(fields.get("transfer_start_time")),
        end=_number(fields.get("transfer_completion_time")),
        succeeded=None if status is None else status == 0,
        retried=fields.get("retried") is True,
        method=method,
        size=moved if size is None and method is None else size,
        moved=moved,
    )


def summary(fields: Mapping[str, Any]) -> Summary:
    """Read a `transfer.inv.local` or `.stats`; what is not of its type is taken for not told."""
    status = _number(fields.get("status"))
    return Summary(
        files=_number(fields.get("total_files")),
        begin=_number(fields.get("transfer_start_time")),
        end=_number(fields.get("transfer_completion_time")),
        size=_number(fields.get("bytes_transferred", fields.get("size"))),
        linked=int(_number(fields.get("linked")) or 0),
        third_party=fields.get("third_party") is True,
        rounding=_number(fields.get("size_rounding")) or 0.0,
        succeeded=None if status is None else status == 0,
    )


def runs(log: str) -> list[Run]:
    """The runs of pegasus-transfer that a text holds, in their order; one that was cut off lacks its total."""
    lots: list[list[Line]] = []
    for line in _lines(log):
        if line.text == f"{_BEGUN}1":
            lots.append([])
        if lots:
            lots[-1].append(line)
    return [_run(lot) for lot in lots]


def _runs_of(event: Event) -> list[Run]:
    texts = (event.fields.get(key) for key in ("stdout_text", "stderr_text"))
    return [run for text in texts if isinstance(text, str) and "Starting" in text for run in runs(unquote(text))]


def _lines(log: str) -> Iterator[Line]:
    for line in log.split("\n"):
        match = _LINE.fullmatch(line)
        if match is None:
            continue
        try:
            day = datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
        except ValueError:
            continue
        yield Line(day.timestamp() + int(match[2]) / 1000, match[3], match[4])


def _run(lines: Sequence[Line]) -> Run:
    commands = _commands(lines)
    total = next(((line, match) for line in lines if (match := _TOTAL.match(line.text))), None)
    end = total[0].at if total else lines[-1].at
    attempts, size, rounding = _total(total[1]) if total else (None, None, 0.0)
    ends = [said for line in lines if (said := _verdict(line.text)) is not None]
    idle = any(line.text.startswith("Stats: no local files") for line in lines)
    vague = any(line.level == "ERROR" and not line.text.startswith(_MISSING) and not _refused(line) for line in lines)
    left = not commands and any(line.text.startswith(_THIRD_PARTY) for line in lines)
    return Run(lines[0].at, end, idle, vague, left, commands, attempts, size, rounding, ends[-1] if ends else None)


def _commands(lines: Sequence[Line]) -> tuple[Command, ...]:
    found: list[Command] = []
    refused: set[str] = set()
    for line in reversed(lines):
        if words := _refused(line):
            refused.add(words)
        elif (command := _command(line)) is not None:
            found.append(command._replace(failed=line.text in refused))
            refused.discard(line.text)
    return tuple(reversed(found))


def _refused(line: Line) -> str:
    """The command that an error names as one that failed, if it is one of those that tell of a file."""
    match = _EXITED.match(line.text) if line.level == "ERROR" else None
    words = line.text[match.end() :] if match else ""
    return words if _COMMAND.fullmatch(words) else ""


def _command(line: Line) -> Command | None:
    if line.text.startswith(_MISSING):
        return Command(line.at, "copy", line.text.removeprefix(_MISSING), None)
    match = _COMMAND.fullmatch(line.text)
    return Command(line.at, "link" if match[1].startswith("ln") else "copy", match[2], match[3]) if match else None


def _total(match: re.Match[str]) -> tuple[int, float, float]:
    """Attempts, [bytes], and [bytes] by which rounding may have changed them: half of the last digit shown."""
    unit = _UNITS[match[4]]
    size, half = float(match[2] + (match[3] or "")) * unit, (0.05 if match[3] else 0.5) * unit
    return int(match[1]), size, half if half >= 1 else 0.0


def _verdict(text: str) -> bool | None:
    if text.startswith("All transfers completed successfully"):
        return True
    return False if text.startswith("Some transfers failed!") else None


def _logged(run: Run) -> Iterator[dict[str, Any]]:
    """The attempts of a run, if the log shows each; one that was made again had failed."""
    if run.attempts != len(run.commands):
        return
    last = {command.destination or command.source: number for number, command in enumerate(run.commands)}
    for number, command in enumerate(run.commands):
        again = last[command.destination or command.source] != number
        yield {
            "told_by": "log",
            "source_url": f"file://{command.source}",
            "transfer_start_time": command.at,
            **(_arrived(run, command, again) if command.destination else _missing(run, again)),
        }


def _arrived(run: Run, command: Command, again: bool) -> dict[str, Any]:
    failed = again or command.failed
    status = 1 if failed else 0 if run.succeeded or not run.vague else None  # the log does not say which one failed
    moved = {"bytes_transferred": 0} if command.method == "link" else {}
    return {
        "destination_url": f"file://{command.destination}",
        "method": command.method,
        "status": status,
        "retried": again,
        **moved,
    }


def _missing(run: Run, again: bool) -> dict[str, Any]:
    """A source that was not there; where all ended well, another source of that file was."""
    return {"status": 1, "size": 0, "retried": again or run.succeeded is True}


def _totalled(run: Run) -> dict[str, Any]:
    told = {
        "told_by": "log",
        "total_files": run.attempts,
        "transfer_start_time": run.begin,
        "transfer_completion_time": run.end,
        "transfer_duration": round(run.end - run.begin, 3),
        "status": None if run.succeeded is None else int(not run.succeeded),
        "size": run.size,
        "size_rounding": run.rounding,
        "linked": sum(command.method == "link" for command in run.commands) or None,
        "third_party": run.third_party or None,
    }
    return {key: value for key, value in told.items() if value is not None}


def _listed(item: Mapping[str, Any], linked: set[str | None]) -> dict[str, Any]:
    """One of the `transfer_attempts`; a size of 0 is left out there, and so is one that is not known.

    It is the size of a file under a `file://` URL, the source's first; after a move there is no source any more.
    """
    source, destination = str(item.get("src_url") or ""), str(item.get("dst_url") or "")
    succeeded = str(item.get("success")).lower() == "true"
    begin, lasted = _number(item.get("start")), _number(item.get("duration"))
    method, size = _method(destination, linked), _number(item.get("bytes"))
    if size is None and succeeded and method != "move" and (_is_file(source) or _is_file(destination)):
        size = 0.0
    told = {
        "told_by": "transfer_attempts",
        "status": int(not succeeded),
        "filename": plain.text(item.get("lfn")),
        "source_url": source,
        "source_site_name": plain.text(item.get("src_label")),
        "destination_url": destination,
        "destination_site_name": plain.text(item.get("dst_label")),
        "transfer_start_time": begin,
        "transfer_completion_time": None if begin is None or lasted is None else begin + lasted,
        "transfer_duration": lasted,
        "method": method,
        "size": _whole(size),
        "bytes_transferred": _whole(size if method == "copy" else 0.0) if succeeded else None,
    }
    return {key: value for key, value in told.items() if value is not None}


def _method(destination: str, linked: set[str | None]) -> Method:
    if destination.startswith("symlink:") or re.sub("^file://", "", destination) in linked:
        return "link"
    return "move" if destination.startswith("moveto:") else "copy"


def _is_file(url: str) -> bool:
    return url.startswith(("file:", "/"))


def _attempt(event: Event, number: int, told: Mapping[str, Any], shift: float = 0.0) -> Event:
    at = told.get("transfer_completion_time", told.get("transfer_start_time"))
    return _told(event, ATTEMPT, number, at, told, shift)


def _told(event: Event, kind: str, number: int, at: float | None, told: Mapping[str, Any], shift: float) -> Event:
    """An event of the same attempt, its times later by `shift` [s]."""
    timed = {key: round(told[key] + shift, 3) for key in _TIMES if isinstance(told.get(key), float)}
    named = {"condor_job_id": event.fields["sched_id"]} if event.fields.get("sched_id") else {}
    return Event(
        kind=kind,
        wf_uuid=event.wf_uuid,
        ts=event.ts if at is None else round(at + shift, 3),
        job_id=event.job_id,
        attempt=event.attempt,
        fields={**named, "seq": number, **told, **timed},
    )


_TIMES = ("transfer_start_time", "transfer_completion_time")


def _zone(ended: float | None, at: float) -> float:
    """What to add to a log's times, whose zone is not told [s]: quarters of an hour, so that it ends with the job."""
    return 0.0 if ended is None else round((ended - at) / _ZONES) * float(_ZONES)


def _number(value: object) -> float | None:
    """A finite number of 0 or more, which may have come as text."""
    if isinstance(value, str) and len(value) <= 40:
        try:
            value = float(value)
        except ValueError:
            return None
    return plain.number(value)


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
