"""Reports of Darshan's logs, one a process, merged into one summary in which no byte is counted twice.

What MPI-IO and HDF5 move, they move through POSIX; what STDIO moves, it moves by itself. So the bytes and times of a
log are those of POSIX (of MPI-IO, where the log has no POSIX) and STDIO together, and the layers above stand beside
them. The functions are pure: reports in any order, and however often repeated, give the same summary bit for bit.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from ..errors import FormatError
from ..events import Event
from ..sources import darshan
from ..sources.darshan import FileReport, LogReport, ModuleReport
from ._findings import Finding, assembled, unknown
from .records import DarshanFile, DarshanLustre, DarshanModule, DarshanSummary

KINDS = frozenset({darshan.LOG, darshan.REPORT})
NO_TIMES = "the Darshan log holds no times"
_NO_LOG = "no Darshan log"
_UNREAD = "its Darshan logs have not been read"
_LEFT = "logs stay in"  # the probe could not remove its folder, which costs no log
_PARTIAL = "_partial"  # what Darshan adds to the name of a log that it has not finished
_LARGEST = 20
_COMMON = 16
_PROBLEMS = 10
_MIB = 1 << 20
_FIELDS = {"POSIX": "posix", "STDIO": "stdio", "MPI-IO": "mpiio", "H5F": "h5f", "H5D": "h5d"}
_READ, _WRITTEN, _SHARED = 1, 2, 4
_BINS = ("0_100", "100_1K", "1K_10K", "10K_100K", "100K_1M", "1M_4M", "4M_10M", "10M_100M", "100M_1G", "1G_PLUS")
_NAMES: dict[str, dict[str, tuple[str, ...]]] = {
    "MPI-IO": {
        "opens": ("INDEP_OPENS", "COLL_OPENS"),
        "reads": ("INDEP_READS", "COLL_READS", "SPLIT_READS", "NB_READS"),
        "writes": ("INDEP_WRITES", "COLL_WRITES", "SPLIT_WRITES", "NB_WRITES"),
        "flushes": ("SYNCS",),
    },
    "POSIX": {"flushes": ("FSYNCS", "FDSYNCS")},
    "STDIO": {"opens": ("OPENS", "FDOPENS")},
}
"""Where a module has other names than the rest."""
_COUNTS = {
    "bytes_read": ("BYTES_READ",),
    "bytes_written": ("BYTES_WRITTEN",),
    "opens": ("OPENS",),
    "reads": ("READS",),
    "writes": ("WRITES",),
    "seeks": ("SEEKS",),
    "stats": ("STATS",),
    "flushes": ("FLUSHES",),
}
_TIME_FIELDS = {"read_time": "F_READ_TIME", "write_time": "F_WRITE_TIME", "meta_time": "F_META_TIME"}


class _HasProblems(Protocol):
    @property
    def problems(self) -> Sequence[str]: ...


class Found(NamedTuple):
    """All reports of an attempt, and what the probe said of Darshan."""

    reports: tuple[LogReport, ...]
    problems: tuple[str, ...]


def found(events: Iterable[Event], streams: Iterable[_HasProblems]) -> Found:
    """What the events of an attempt say; a log that nobody has read yet is a report with that reason."""
    words = {word for stream in streams for word in stream.problems if "Darshan" in word and _LEFT not in word}
    return Found(tuple(report for event in events if (report := _report(event)) is not None), tuple(sorted(words)))


def finding(told: Found) -> Finding[DarshanSummary]:
    """The summary, or why there is none: no log, none that could be read, in the probe's words where it has some."""
    chosen = _each_process_once(told.reports)
    if any(report.reason is None for report in chosen):
        return Finding(_summary(chosen, told.problems), "darshan")
    reasons = [report.reason for report in chosen if report.reason] or [*told.problems]
    return unknown(f"{_NO_LOG}: {reasons[0].removeprefix('no Darshan: ')}" if reasons else _NO_LOG)


def io_time(summary: Finding[DarshanSummary]) -> Finding[float]:
    """Time in input and output [s], all processes; unknown where a log is missing, since less would mislead."""
    known = summary.value
    if known is None:
        return unknown(summary.note)
    if not known.complete:
        return unknown(known.problems[0])
    return Finding(known.io_time, "darshan") if known.io_time is not None else unknown(known.reasons["io_time"])


def merged(reports: Iterable[LogReport], problems: Sequence[str] = ()) -> DarshanSummary:
    """One summary of any number of logs.

    Parameters
    ----------
    reports : iterable of LogReport
        Of the processes of one attempt, or of a whole run. The same log may come again, also under another name; of
        logs of one name from one host the last one counts.
    problems : sequence of str
        What else is known to be missing.
    """
    return _summary(_each_process_once(reports), problems)


def _report(event: Event) -> LogReport | None:
    try:
        if event.kind == darshan.REPORT:
            return darshan.report_of(event)
        if event.kind == darshan.LOG:
            return _unread(event)
        if event.fields.get("monitoring_event") == darshan.LEGACY:
            return darshan.legacy_report(event)
    except FormatError as error:
        return LogReport(digest=event.event_id, reason=str(error))
    return None


def _unread(event: Event) -> LogReport:
    name, host = event.fields.get("name"), event.fields.get("hostname")
    reason = event.fields.get("reason") or _UNREAD
    return LogReport(name=str(name or ""), hostname=str(host) if host else None, reason=str(reason))


def _each_process_once(reports: Iterable[LogReport]) -> list[LogReport]:
    """One report a process: those of one content or of one name on one host are one log, and its last state counts."""
    groups = _Groups()
    for report in reports:
        groups.add(report, _keys(report))
    chosen = sorted((max(group, key=_order) for group in groups.all()), key=_order)
    logged = {_process(report) for report in chosen if not report.legacy and report.reason is None}
    return [report for report in chosen if not report.legacy or _process(report) not in logged]


def _keys(report: LogReport) -> list[tuple[str, str]]:
    """What it has in common with others of the same log; a report that says of nothing what it is, with its like."""
    keys = [("content", report.digest)] if report.digest else []
    keys += [(f"name on {report.hostname}", report.name.removesuffix(_PARTIAL))] if report.name else []
    return keys or [("report", _spelled(report).decode())]


def _spelled(report: LogReport) -> bytes:
    return msgspec.json.encode(report, order="deterministic")


def _process(report: LogReport) -> tuple[int, int, int, int]:
    """As far as a payload tells it, in whole seconds."""
    return report.uid, report.jobid, report.nprocs, int(report.start or 0)


def _order(report: LogReport) -> tuple[Any, ...]:
    """A log that was read before one that was not, then the later and longer one."""
    read = report.reason is None
    return read, report.end or 0.0, report.size, report.reader, report.reason != _UNREAD, _spelled(report)


class _Groups:
    """Reports that share a key, directly or through others, belong together."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._members: dict[int, list[LogReport]] = {}
        self._group: dict[tuple[str, str], int] = {}
        self._keys: dict[int, list[tuple[str, str]]] = {}

    def add(self, report: LogReport, keys: list[tuple[str, str]]) -> None:
        number = next(self._numbers)
        self._members[number], self._keys[number] = [report], []
        for key in keys:
            self._join(number, key)

    def all(self) -> Iterable[list[LogReport]]:
        return self._members.values()

    def _join(self, number: int, key: tuple[str, str]) -> None:
        other = self._group.get(key)
        moved = [key]
        if other is not None and other != number:
            self._members[number] += self._members.pop(other)
            moved += self._keys.pop(other)
        self._keys[number] += moved
        self._group |= dict.fromkeys(moved, number)


def _summary(chosen: Sequence[LogReport], problems: Sequence[str]) -> DarshanSummary:
    read = [report for report in chosen if report.reason is None]
    told = _problems(chosen, problems)
    findings: dict[str, Finding[Any]] = {field: _module(read, name) for name, field in _FIELDS.items()}
    findings |= {name: _bottom(read, name, names) for name, names in _bottom_counts().items()}
    findings |= {name: _bottom_time(read, [time]) for name, time in _TIME_FIELDS.items()}
    findings |= {
        "io_time": _bottom_time(read, list(darshan.TIMES)),
        "start": _edge(min, [report.start for report in read]),
        "end": _edge(max, [report.end for report in read]),
        "lustre": _lustre(read),
    }
    return DarshanSummary(
        logs=len(read),
        logs_unread=len(chosen) - len(read),
        processes=sum(max(1, report.nprocs) for report in read),
        complete=not told,
        problems=tuple(told),
        largest_files=_largest(read),
        **_without_sources(findings),
    )


def _without_sources(findings: dict[str, Finding[Any]]) -> dict[str, Any]:
    fields = assembled(findings)
    del fields["sources"]
    return fields


def _problems(chosen: Sequence[LogReport], told: Sequence[str]) -> list[str]:
    """Why the logs do not tell all, each reason once with an example."""
    unread: dict[str, list[str]] = defaultdict(list)
    for report in chosen:
        if report.reason is not None:
            unread[report.reason].append(report.name)
    words = [
        f"{len(names)} of {len(chosen)} Darshan logs: {reason}{f' ({min(names)})' if min(names) else ''}"
        for reason, names in sorted(unread.items())
    ]
    partial = sorted({name for report in chosen for name, module in report.modules.items() if module.partial})
    words += [f"Darshan had no memory for all {name} records" for name in partial]
    return [*sorted(set(told)), *words][:_PROBLEMS]


def _module(read: Sequence[LogReport], name: str) -> Finding[DarshanModule]:
    having = [report for report in read if name in report.modules]
    if not having:
        return unknown(f"no Darshan log has {name} records")
    modules = [report.modules[name] for report in having]
    names = _COUNTS | _NAMES.get(name, {})
    findings: dict[str, Finding[Any]] = {
        field: _sum([_count(module, counters) for module in modules], name) for field, counters in names.items()
    }
    findings |= {field: _time(modules, [time], name) for field, time in _TIME_FIELDS.items()}
    findings |= {
        "bytes_total": _sum([_moved(module) for module in modules], name),
        "io_time": _time(modules, _times_of(modules), name),
        "read_sizes": _sizes(modules, "READ", name),
        "write_sizes": _sizes(modules, "WRITE", name),
        **_files(having, name),
        **_speed(modules, name),
    }
    return Finding(
        DarshanModule(
            partial=any(module.partial for module in modules),
            common_sizes=_common(modules),
            **_without_sources(findings),
        )
    )


def _times_of(modules: Sequence[ModuleReport]) -> list[str]:
    """The times that the module has: HDF5 files have those of opening and closing only."""
    return [time for time in darshan.TIMES if any(time in module.times for module in modules)] or list(darshan.TIMES)


def _count(module: ModuleReport, names: Sequence[str]) -> int | None:
    known = [module.counters.get(name) for name in names]
    return None if None in known else sum(value or 0 for value in known)


def _moved(module: ModuleReport) -> int | None:
    return module.total_bytes if module.total_bytes is not None else _count(module, ("BYTES_READ", "BYTES_WRITTEN"))


def _sum(values: Sequence[int | None], name: str) -> Finding[int]:
    if None in values:
        return unknown(f"Darshan's {name} records do not count it")
    return Finding(sum(value or 0 for value in values))


def _time(modules: Sequence[ModuleReport], names: Sequence[str], name: str) -> Finding[float]:
    times = [module.times.get(time) for module in modules for time in names]
    if None in times:
        return unknown(f"Darshan's {name} records do not count it")
    return Finding(math.fsum(time or 0.0 for time in times))


def _sizes(modules: Sequence[ModuleReport], way: str, name: str) -> Finding[tuple[int, ...]]:
    """Calls by their size, in Darshan's ten classes; what MPI-IO and HDF5 call aggregate sizes likewise."""
    columns = [
        [module.counters.get(f"SIZE_{way}_{size}", module.counters.get(f"SIZE_{way}_AGG_{size}")) for size in _BINS]
        for module in modules
    ]
    if any(None in column for column in columns):
        return unknown(f"Darshan's {name} records do not count it")
    return Finding(tuple(sum(value or 0 for value in column) for column in zip(*columns, strict=True)))


def _common(modules: Sequence[ModuleReport]) -> tuple[tuple[int, int], ...]:
    together: Counter[int] = Counter()
    for module in modules:
        for size, times in module.common_sizes:
            together[size] += times
    return tuple(sorted(together.items(), key=lambda item: (-item[1], item[0]))[:_COMMON])


def _speed(modules: Sequence[ModuleReport], name: str) -> dict[str, Finding[Any]]:
    """As Darshan does it for the ranks of one log: all bytes over the time of the slowest process."""
    times = [module.agg_time for module in modules]
    if None in times:
        lacking = unknown(f"Darshan derives no speed from these {name} records")
        return {"agg_time_by_slowest": lacking, "agg_perf_by_slowest": lacking}
    slowest = max(time or 0.0 for time in times)
    moved = _sum([_moved(module) for module in modules], name)
    speed: Finding[float] = unknown("no time was spent in it")
    if len(modules) == 1 and modules[0].agg_perf is not None:
        speed = Finding(modules[0].agg_perf)
    elif slowest and moved.value is not None:
        speed = Finding(moved.value / _MIB / slowest)
    return {"agg_time_by_slowest": Finding(slowest), "agg_perf_by_slowest": speed}


def _files(having: Sequence[LogReport], name: str) -> dict[str, Finding[Any]]:
    """Files by their name's hash, each once; one that several logs name is shared, as is one of several ranks."""
    modules = [report.modules[name] for report in having]
    fields = ("files", "files_read_only", "files_write_only", "files_read_write", "files_shared", "files_unique")
    if any(len(module.files) < module.files_total for module in modules):
        return dict.fromkeys(fields, unknown("a log has more files than are told apart"))
    if any(report.legacy for report in having):
        return dict.fromkeys(fields, unknown("a darshan.perf payload names no files"))
    flags: dict[str, int] = {}
    for module in modules:
        for file, bits in module.files.items():
            flags[file] = bits | (flags[file] | _SHARED if file in flags else 0)
    ways = Counter(bits & (_READ | _WRITTEN) for bits in flags.values())
    shared = sum(bool(bits & _SHARED) for bits in flags.values())
    numbers = (len(flags), ways[_READ], ways[_WRITTEN], ways[_READ | _WRITTEN], shared, len(flags) - shared)
    return {field: Finding(number) for field, number in zip(fields, numbers, strict=True)}


def _layers(report: LogReport) -> dict[str, ModuleReport]:
    """The modules through which all bytes of a log go, each through one."""
    base = "POSIX" if "POSIX" in report.modules else "MPI-IO"
    return {name: report.modules[name] for name in (base, "STDIO") if name in report.modules}


def _bottom_counts() -> dict[str, tuple[str, ...]]:
    return {name: _COUNTS[name] for name in ("bytes_read", "bytes_written")}


def _bottom(read: Sequence[LogReport], field: str, names: Sequence[str]) -> Finding[int]:
    layers = [(name, module) for report in read for name, module in _layers(report).items()]
    sums = [_sum([_count(module, names)], name) for name, module in layers]
    lacking = next((known for known in sums if known.value is None), None)
    return lacking or Finding(sum(known.value or 0 for known in sums))


def _bottom_time(read: Sequence[LogReport], names: Sequence[str]) -> Finding[float]:
    """A payload lists the modules that it has times of."""
    modules = [module for report in read for module in _layers(report).values() if module.times or not report.legacy]
    if not modules and any(report.legacy for report in read):
        return unknown(NO_TIMES)
    times = [module.times.get(name) for module in modules for name in names]
    return unknown(NO_TIMES) if None in times else Finding(math.fsum(time or 0.0 for time in times))


def _edge(choose: Callable[[Iterable[float]], float], times: Sequence[float | None]) -> Finding[float]:
    known = [time for time in times if time is not None]
    return Finding(choose(known)) if known else unknown("the Darshan log does not tell it")


def _lustre(read: Sequence[LogReport]) -> Finding[DarshanLustre]:
    told = [report.lustre for report in read if report.lustre is not None]
    if not told:
        return unknown("no Darshan log has LUSTRE records")
    return Finding(
        DarshanLustre(
            stripe_sizes=tuple(sorted({size for lustre in told for size in lustre.stripe_sizes})),
            stripe_counts=tuple(sorted({count for lustre in told for count in lustre.stripe_counts})),
            osts=tuple(sorted({target for lustre in told for target in lustre.osts})),
        )
    )


def _largest(read: Sequence[LogReport]) -> tuple[DarshanFile, ...]:
    parts: dict[str, list[FileReport]] = defaultdict(list)
    for report in read:
        for file in report.largest:
            parts[file.id].append(file)
    files = [_file(those) for those in parts.values()]
    return tuple(sorted(files, key=lambda file: (-file.bytes_read - file.bytes_written, file.name))[:_LARGEST])


def _file(parts: Sequence[FileReport]) -> DarshanFile:
    return DarshanFile(
        name=max(part.name for part in parts),
        bytes_read=sum(part.bytes_read for part in parts),
        bytes_written=sum(part.bytes_written for part in parts),
        processes=len(parts),
    )
