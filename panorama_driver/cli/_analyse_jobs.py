"""`panorama analyse jobs`: which attempts and hosts are unlike the history of what ran."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ._common import json_option, open_named, safe, write_json
from ._progress import Told

if TYPE_CHECKING:
    from ..analysis import Anomaly
    from ..analysis.jobs import Analysis, Deviation, HostEffect, JobScore, Sample
    from ..config import Scalar
    from ..store import Store

_SHOWN = 20
_SHORT = 8  # letters of a uuid
_REASONS = 3  # numbers that are shown for an attempt
_NOTICED = 1.0  # standard deviations from which a number says anything


@click.command("jobs")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option(
    "--most",
    type=click.IntRange(min=0),
    default=_SHOWN,
    show_default=True,
    help="Attempts and anomalies that are shown.",
)
@json_option
def command(paths: tuple[str, ...], most: int, as_json: bool) -> None:
    """Compare attempts with their own history in each PATH, a store or a study directory; the study here unless told.

    An attempt is compared with others of its transformation, from ten on, allowing for its inputs, the parameters of
    its evaluation, and its host: wall and CPU time, utilisation, staging, I/O rate and wait, queue, memory, output.
    Hosts are shown with how much longer the same work takes there than on the typical one, and an interval.

    \b
    Examples:
      panorama analyse jobs
      panorama analyse jobs study1 study2 --most 50
      panorama analyse jobs panorama.db
      panorama analyse jobs panorama.db --json | jq '.anomalies[] | {kind, host, message}'
    """
    import msgspec

    from ..analysis.jobs import analyse, anomalies

    told = Told()
    attempts = [sample for path in paths or (".",) for sample in _of_path(path, told)]
    told(f"comparing {len(attempts)} attempts")
    analysis = analyse(attempts)
    found = anomalies(analysis)
    told.end()
    if as_json:
        write_json(msgspec.to_builtins({"analysis": analysis, "anomalies": found}))
        return
    for line in _lines(analysis, found, most):
        click.echo(safe(line))


# --- reading ---------------------------------------------------------------------------------------------------------


def _of_path(path: str, told: Told) -> Iterator[Sample]:
    with open_named(path) as store:
        yield from _of_store(path, store, _parameters(Path(path)) if Path(path).is_dir() else {}, told)


def _parameters(study: Path) -> dict[str, dict[str, Scalar]]:
    from ..study.client import FOLDER
    from ..study.journal import read
    from ._common import study_home

    return {each.wf_uuid: each.variables for each in read(study_home(study) / FOLDER).values() if each.wf_uuid}


def _of_store(path: str, store: Store, parameters: dict[str, dict[str, Scalar]], told: Told) -> Iterator[Sample]:
    from ..analysis.jobs import samples
    from ..metrics import correlate, thinned

    known = store.workflows()
    for number, workflow in enumerate(known, 1):
        told(safe(f"reading {path}: run {number} of {len(known)}"))
        events = thinned(partial(store.events, workflow.wf_uuid))
        if events:
            yield from samples(correlate(events), parameters.get(workflow.wf_uuid), workflow.last)


# --- telling ---------------------------------------------------------------------------------------------------------


def _lines(analysis: Analysis, found: Sequence[Anomaly], most: int) -> Iterator[str]:
    if not analysis.jobs:
        yield "no attempt has run there yet"
        return
    yield from _hosts(analysis.hosts)
    yield from _unlike(analysis, most)
    yield from _unknown(analysis)
    yield ""
    yield f"{len(found)} anomalies" if len(found) != 1 else "1 anomaly"
    for each in found[:most]:
        yield f"  {each.kind:14} {each.wf_uuid[:_SHORT]}  confidence {each.confidence:.2f}  {each.message}"
    if len(found) > most:
        yield f"  and {len(found) - most} more, which --json lists"


def _hosts(hosts: Sequence[HostEffect]) -> Iterator[str]:
    if not hosts:
        yield "hosts: no attempt could be compared"
        return
    head = ["host", "slower by", "95 % interval", "attempts", "kinds", "runs", ""]
    rows = [head] + [
        [
            each.host,
            _percent(each.times),
            each.reason if each.low is None else f"{_percent(each.low)} to {_percent(each.high or each.low)}",
            str(each.attempts),
            str(each.kinds),
            str(each.runs),
            "slow" if each.slow else "",
        ]
        for each in hosts
    ]
    yield from _table(rows)


def _percent(times: float) -> str:
    return f"{100 * (times - 1):+.0f} %".replace("-0 %", "+0 %")


def _unlike(analysis: Analysis, most: int) -> Iterator[str]:
    scored = [each for each in analysis.jobs if each.score is not None]
    scored.sort(key=lambda each: -(each.score or 0.0))
    if not scored or not most:
        return
    yield ""
    yield f"most unlike their history, of {len(scored)} attempts"
    yield from _table([["score", "run", "job", "attempt", "host", "why"], *map(_row, scored[:most])])


def _row(job: JobScore) -> list[str]:
    sample = job.sample
    words = [_why(each) for each in job.own if each.z >= _NOTICED][:_REASONS]
    shared = [each for each in job.on_host if each.z >= _NOTICED][:1]
    words += [f"its host in this run: {each.metric} x {each.times:.2g} (n {each.number})" for each in shared]
    return [
        f"{job.score:.1f}",
        sample.run[:_SHORT],
        sample.job_id,
        str(sample.attempt),
        sample.host or "?",
        "; ".join(words) or "nothing by itself",
    ]


def _why(deviation: Deviation) -> str:
    unit = f" {deviation.unit}" if deviation.unit else ""
    return f"{deviation.metric} {deviation.observed or 0:.3g}{unit}, expected {deviation.expected or 0:.3g}"


def _unknown(analysis: Analysis) -> Iterator[str]:
    reasons: dict[str, int] = {}
    for job in analysis.jobs:
        if job.score is None:
            reasons[job.reason] = reasons.get(job.reason, 0) + 1
    if reasons:
        yield ""
        yield f"unknown: {sum(reasons.values())} attempts, of which"
        yield from (f"  {number}: {reason}" for reason, number in list(reasons.items())[:_SHOWN])


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
