"""`panorama analyse workflows`: how many kinds of runs there are, what they are, and which run is like no other."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import UsageError
from ._common import json_option, open_named, safe, write_json

if TYPE_CHECKING:
    from ..analysis.workflows import Analysis, Kind, Unlike
    from ..metrics import WorkflowMetrics
    from ..store import Store

_PATIENCE = 2.0  # seconds without a word
_SHOWN = 5  # runs of a kind that are told one by one
_SHORT = 8  # letters of a uuid


@click.command("workflows")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--label", metavar="NAME", help="Only runs of this workflow.")
@click.option(
    "--method",
    type=click.Choice(["kmeans", "hdbscan"]),
    default="kmeans",
    show_default=True,
    help="How kinds are sought; HDBSCAN leaves runs out that are in no dense group.",
)
@click.option("--kinds", "number", type=click.IntRange(min=1), metavar="N", help="That many kinds; chosen unless told.")
@click.option(
    "--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Draw the runs, such as runs.png."
)
@json_option
def command(
    paths: tuple[str, ...], label: str | None, method: str, number: int | None, plot: Path | None, as_json: bool
) -> None:
    """Compare the runs in each PATH, a store or a study directory; the study here unless told.

    Runs of one workflow are compared with each other by what failed, how long their jobs took over their usual time,
    waiting, processors, data and hosts. From eight runs on it says how many kinds there are and why, one being a
    possible answer, and which runs are unlike the usual ones. What is unknown of a run is not taken for 0.

    \b
    Examples:
      panorama analyse workflows
      panorama analyse workflows study1 study2 --plot runs.png
      panorama analyse workflows panorama.db --label 1000genome --method hdbscan
      panorama analyse workflows panorama.db --json | jq '.analyses[].unlike[].wf_uuid'
    """
    import msgspec

    from ..analysis.workflows import analyse, by_label

    if number is not None and method != "kmeans":
        raise UsageError(f"--kinds is for k-means: HDBSCAN finds the number itself; leave out --kinds {number}")
    with _Told() as told:
        grouped = by_label(_runs(paths or (".",), told))
        chosen = {name: runs for name, runs in grouped.items() if label in (None, name)}
        if label is not None and not chosen:
            raise UsageError(f"--label {label}: no run is called so; there are {_names(grouped)}")
        _check(number, chosen)
        analyses = []
        for name, runs in chosen.items():
            told(f"comparing {len(runs)} runs of {name}")
            analyses.append(analyse(runs, method="hdbscan" if method == "hdbscan" else "kmeans", number=number))
    if as_json:
        write_json({"analyses": [msgspec.to_builtins(each) for each in analyses]})
    else:
        for line in _lines(analyses):
            click.echo(safe(line))
    if plot is not None:
        _draw(analyses, plot)


def _names(labels: Iterable[str | None]) -> str:
    return ", ".join(safe(label or "(unnamed)") for label in labels) or "none yet"


def _check(number: int | None, grouped: dict[str | None, list[WorkflowMetrics]]) -> None:
    for label, runs in grouped.items():
        if number is not None and number > len(runs):
            raise UsageError(f"--kinds {number}: {_names([label])} has only {len(runs)} runs; ask for fewer")


def _draw(analyses: Sequence[Analysis], path: Path) -> None:
    from ..analysis.picture import draw

    drawn = draw(analyses, path)
    click.echo(f"picture: {path}" if drawn else f"no picture: {path}: no workflow has enough runs", err=True)


# --- reading ---------------------------------------------------------------------------------------------------------


def _runs(paths: Sequence[str], told: _Told) -> Iterator[WorkflowMetrics]:
    for path in paths:
        with open_named(path) as store:
            yield from _of_store(path, store, told)


def _of_store(path: str, store: Store, told: _Told) -> Iterator[WorkflowMetrics]:
    from ..metrics import correlate, thinned

    known = store.workflows()
    for number, workflow in enumerate(known, 1):
        told(f"reading {path}: run {number} of {len(known)}")
        events = thinned(partial(store.events, workflow.wf_uuid))
        if events:
            yield correlate(events)


class _Told:
    """Says how far the work is, once it takes long, on one line of the terminal."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._said = ""

    def __enter__(self) -> _Told:
        return self

    def __call__(self, words: str) -> None:
        if time.monotonic() - self._begin < _PATIENCE:
            return
        if sys.stderr.isatty():
            click.echo(f"\r{safe(words):<{len(self._said)}}", nl=False, err=True)
        elif not self._said:
            click.echo(f"{safe(words)} ...", err=True)
        self._said = words

    def __exit__(self, *_: object) -> None:
        if self._said and sys.stderr.isatty():
            click.echo(err=True)


# --- telling ---------------------------------------------------------------------------------------------------------


def _lines(analyses: Sequence[Analysis]) -> Iterator[str]:
    if not analyses:
        yield "no run of a workflow is stored there"
    for number, analysis in enumerate(analyses):
        if number:
            yield ""
        yield from _about(analysis)


def _about(analysis: Analysis) -> Iterator[str]:
    name, kinds = analysis.label or "(unnamed)", analysis.kinds
    if not kinds and not analysis.alone:
        yield f"{name}: {analysis.why}"
    else:
        alike = "all alike: one kind" if len(kinds) == 1 and not analysis.alone else _counted(len(kinds), "kind")
        yield f"{name}: {len(analysis.runs)} runs, {alike}"
        yield f"  why: {analysis.why}"
        yield from _kinds(kinds)
        yield from _unlike(analysis)
        yield from _features(analysis)
    yield from (f"  not compared: {_short(run)} {why}" for run, why in list(analysis.left_out.items())[:_SHOWN])


def _kinds(kinds: Sequence[Kind]) -> Iterator[str]:
    for kind in kinds:
        yield f"  kind {kind.number}{' (usual)' if kind.usual else ''}: {kind.words}"


def _unlike(analysis: Analysis) -> Iterator[str]:
    found = analysis.unlike
    if not found and not any(kind.usual for kind in analysis.kinds):
        yield "  no kind is usual, so that no run can be told as unlike: that takes a quarter of the runs, and eight"
        return
    if not found:
        yield "  no run is unlike the usual ones"
        return
    yield f"  unlike the usual ones: {_counted(len(found), 'run')}"
    for kind in sorted({each.kind for each in found}, key=lambda kind: (kind is None, kind)):
        same = [each for each in found if each.kind == kind]
        yield from (_row(each) for each in same[:_SHOWN])
        if len(same) > _SHOWN:
            yield f"    and {len(same) - _SHOWN} more of {_kind(kind)}, which --json lists"


def _row(run: Unlike) -> str:
    return f"    {_short(run.wf_uuid)}  {_kind(run.kind)}  confidence {run.confidence:.2f}  {run.words}"


def _kind(number: int | None) -> str:
    return "no kind" if number is None else f"kind {number}"


def _features(analysis: Analysis) -> Iterator[str]:
    """Medians of what was compared, a column for each kind; and what was not."""
    used = [feature for feature in analysis.features if not feature.left_out]
    if used:
        head = ["median of", "all", *(f"kind {kind.number}" for kind in analysis.kinds), "unit"]
        rows = [head]
        for feature in used:
            medians = [feature.median, *(kind.medians[feature.name] for kind in analysis.kinds)]
            rows.append([feature.name, *("?" if each is None else f"{each:.3g}" for each in medians), feature.unit])
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        yield from ("  " + _line(row, widths) for row in rows)
    yield from (
        f"  {feature.name}: unknown for {_counted(feature.unknown, 'run')}, which count as the median"
        for feature in used
        if feature.unknown
    )
    yield from (f"  not used: {each.name}: {each.left_out}" for each in analysis.features if each.left_out)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
    return "  ".join([row[0].ljust(widths[0]), *cells[:-1], row[-1]]).rstrip()


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _short(wf_uuid: str) -> str:
    return wf_uuid[:_SHORT]
