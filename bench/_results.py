"""What all rounds gave, and how it is told: as tables for people, as plain data for programs."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from _contenders import OURS, Contender, Dakota, Peer
from _imports import BARE
from _samples import Sample

AIMS = {"driver": 0.030, "server": 0.010, "cold start": 2.0}
"""What panorama-driver is to stay below: CPU times of an evaluation, and the wall time to the first result [s]."""

_Row = list[str]


@dataclass
class Results:
    """Samples as they come in.

    Attributes
    ----------
    machine : dict
        Where they were measured.
    evaluations : int
        Evaluations in a run.
    samples : dict
        Rounds of each contender.
    imports : dict
        CPU times of each command [s].
    skipped : dict
        Why a contender is missing.
    """

    machine: dict[str, str]
    evaluations: int
    samples: dict[Contender, list[Sample]] = field(default_factory=dict)
    imports: dict[str, list[float]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def as_data(results: Results) -> dict[str, Any]:
    """Every sample; times in seconds."""
    return {
        "machine": results.machine,
        "evaluations": results.evaluations,
        "aims": AIMS,
        "contenders": {each.label: [asdict(sample) for sample in rounds] for each, rounds in results.samples.items()},
        "imports": results.imports,
        "skipped": results.skipped,
    }


def as_text(results: Results) -> str:
    """Tables of medians, each with the least and the most of the rounds."""
    return "\n".join(_lines(results))


def _lines(results: Results) -> Iterator[str]:
    yield from (f"{name:16} {value}" for name, value in results.machine.items())
    if results.samples:
        yield "\nEvaluations of one no-op process; median (least-most) of the rounds"
        yield f"({results.evaluations} in a run under Dakota, {results.evaluations * Peer.scale} in one without)"
        head = ["tool/at a time", "CPU [ms]", "wall [ms]", "cold start [s]", "CPU of start [ms]"]
        yield from _table(head, _all(results))
        yield "\nWhere the CPU time of an evaluation goes [ms]"
        yield from _table(["driver/at a time", "Dakota", "driver", "server", "job under probe"], _parts(results))
        yield "\npanorama beside its aims"
        yield from _table(["", "measured", "aim", ""], _aims(results))
    if results.imports:
        yield "\nStarting a program"
        yield from _table(["command", "CPU [ms]", "above the bare interpreter [ms]"], _imported(results))
    yield from (f"\nskipped {name}: {reason}" for name, reason in results.skipped.items())


def _all(results: Results) -> Iterator[_Row]:
    for contender, rounds in results.samples.items():
        yield [
            contender.label,
            _spread([sample.cpu * 1e3 for sample in rounds]),
            _spread([sample.wall * 1e3 for sample in rounds]),
            _spread([sample.cold_start for sample in rounds], digits=2),
            _spread([sample.start_cpu * 1e3 for sample in rounds], digits=0),
        ]


def _parts(results: Results) -> Iterator[_Row]:
    for contender, rounds in results.samples.items():
        if isinstance(contender, Dakota):
            yield [
                contender.label,
                _spread([sample.command.own * 1e3 for sample in rounds]),
                _spread([sample.command.children * 1e3 for sample in rounds]),
                _spread([sample.daemon.own * 1e3 for sample in rounds if sample.daemon]),
                _spread([sample.daemon.children * 1e3 for sample in rounds if sample.daemon]),
            ]


def _aims(results: Results) -> Iterator[_Row]:
    for contender, rounds in results.samples.items():
        if contender.name == OURS:
            drivers = [sample.command.children for sample in rounds]
            servers = [sample.daemon.own for sample in rounds if sample.daemon]
            yield _aim(f"{contender.label} CPU of the driver process", drivers, "driver", "ms")
            yield _aim(f"{contender.label} CPU of the server above its job", servers, "server", "ms")
            yield _aim(f"{contender.label} cold start", [sample.cold_start for sample in rounds], "cold start", "s")


def _aim(what: str, values: Sequence[float], name: str, unit: str) -> _Row:
    scale = 1e3 if unit == "ms" else 1.0
    if not values:
        return [what, "unknown", f"{AIMS[name] * scale:g} {unit}", ""]
    median = statistics.median(values)
    verdict = "met" if median <= AIMS[name] else f"missed, {median / AIMS[name]:.1f} times"
    return [what, f"{median * scale:.2f} {unit}", f"{AIMS[name] * scale:g} {unit}", verdict]


def _imported(results: Results) -> Iterator[_Row]:
    bare = statistics.median(results.imports[BARE])
    for words, times in results.imports.items():
        above = "" if words == BARE else f"{(statistics.median(times) - bare) * 1e3:.1f}"
        yield [words, _spread([each * 1e3 for each in times]), above]


def _spread(values: Sequence[float], digits: int = 1) -> str:
    if not values:
        return "-"
    least, most = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({least:.{digits}f}-{most:.{digits}f})"


def _table(head: _Row, rows: Iterator[_Row]) -> Iterator[str]:
    whole = [head, *rows]
    widths = [max(len(row[column]) for row in whole) for column in range(len(head))]
    for row in whole:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        yield "  ".join([row[0].ljust(widths[0]), *cells[1:]]).rstrip()
