"""How well disturbed workers are found in FlowBench's labelled runs, beside detectors as they are published for it.

    python bench/flowbench.py PATH [--workflow NAME]... [--json FILE] [--no-online]

PATH holds a folder a workflow, with one CSV file a run, unpacked from the archives of "Flow-Bench: A Dataset for
Computational Workflow Anomaly Detection" (PoSeiDon, CC-BY-4.0). The detector of `analysis.jobs` was made with
eht_difmap and somospie in view; the other workflows were scored once, when it was finished.

Every score is unsupervised: no label is looked at, and what is learnt from holds the disturbed jobs. The label is that
of the worker: all compute jobs of a disturbed container bear it. Jobs on the submit host are never disturbed, so that
a detector that only tells which jobs are compute jobs already has an area under the curve well above 0.5 where all
jobs are scored; it stands in the table, and compute jobs are the fair question. The published detectors see the six
delays that FlowBench names as its features, each scaled to [0, 1] within a run as in its own code, missing ones 0.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from _machine import describe

from panorama_driver.analysis.flowbench import NORMAL, Labelled, number, read
from panorama_driver.analysis.jobs import FEATURES, WARM, Analysis, History, JobScore, analyse, anomalies

SEEN = ("eht_difmap", "somospie")
"""Workflows that the detector was made with."""

PUBLISHED = 0.663
"""Best unsupervised area under the curve that FlowBench publishes (KNN, predict future sales)."""

DELAYS = ("wms_delay", "queue_delay", "runtime", "post_script_delay", "stage_in_delay", "stage_out_delay")
GROWTH = 1.2  # the history is fitted again when there are so many times the runs
SEED = 12345

OF_HOST = frozenset(feature.name for feature in FEATURES if feature.of_host)

Scores = Sequence[float | None]
Host = tuple[str, str]


@dataclass
class Row:
    """One detector on one workflow; ROC-AUC and average precision."""

    workflow: str
    detector: str
    scored: int
    all_jobs: float | None = None
    job: float | None = None
    job_precision: float | None = None
    host: float | None = None
    host_precision: float | None = None
    run: float | None = None
    seconds: float = 0.0


@dataclass
class Told:
    """What is told at the detector's own threshold: hosts in runs, and compute jobs, as (told, all)."""

    workflow: str
    hosts: dict[str, tuple[int, int]] = field(default_factory=dict)
    jobs: dict[str, tuple[int, int]] = field(default_factory=dict)


def main() -> int:
    """Score, and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--workflow", action="append", help="only this one; may be repeated")
    parser.add_argument("--json", type=Path, help="write all numbers there")
    parser.add_argument("--no-online", action="store_true", help="leave out what is scored in the order of time")
    asked = parser.parse_args()
    names = asked.workflow or sorted(each.name for each in asked.path.iterdir() if any(each.glob("*.csv")))
    rows: list[Row] = []
    told: list[Told] = []
    for name in names:
        jobs = [job for file in sorted((asked.path / name).glob("*.csv")) for job in read(file)]
        print(f"{name}: {len(jobs)} jobs", file=sys.stderr)
        rows += _workflow(name, jobs, told, not asked.no_online)
    _print(rows, told)
    if asked.json:
        numbers = {
            "machine": describe(),
            "rows": [asdict(row) for row in rows],
            "told": [asdict(each) for each in told],
        }
        asked.json.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    return 0


def _workflow(name: str, jobs: list[Labelled], told: list[Told], online: bool) -> list[Row]:
    begun = time.perf_counter()
    analysis = analyse([job.sample for job in jobs])
    taken = time.perf_counter() - begun
    told.append(_told(name, jobs, analysis))
    rows = [
        _row(
            name, "context of host and run", jobs, [each.score for each in analysis.jobs], taken, _host_scores(analysis)
        ),
        _row(name, "each attempt alone", jobs, [_alone(each) for each in analysis.jobs]),
    ]
    rows += [_row(name, label, jobs, *_timed(detector, jobs)) for label, detector in _published().items()]
    rows.append(_row(name, "is it a compute job?", jobs, [float(job.type == "compute") for job in jobs]))
    return rows + (_online(name, jobs) if online else [])


def _alone(score: JobScore) -> float | None:
    return max((each.surprise for each in score.own if each.metric in OF_HOST), default=None)


def _host_scores(analysis: Analysis) -> dict[Host, float | None]:
    return {(each.run, each.host): each.score for each in analysis.hosts_in_runs}


def _online(name: str, jobs: list[Labelled]) -> list[Row]:
    """Each run scored from the runs that started before it, as a whole, and each job as it ends."""
    by_run: dict[str, list[int]] = defaultdict(list)
    for index, job in enumerate(jobs):
        by_run[job.sample.run].append(index)
    order = sorted(by_run.values(), key=lambda run: min(jobs[each].sample.start or 0.0 for each in run))
    whole: list[float | None] = [None] * len(jobs)
    at_end: list[float | None] = [None] * len(jobs)
    hosts: dict[Host, float | None] = {}
    history, known, before = History([]), 0, []
    begun = time.perf_counter()
    for runs, members in enumerate(order):
        if runs >= max(WARM, GROWTH * known):
            history, known = History([jobs[each].sample for each in before]), runs
        if known:
            attempts = [jobs[each].sample for each in members]
            seen = history.score(attempts)
            hosts |= _host_scores(seen)
            so_far = history.score(attempts, "so_far")
            for each, after, then in zip(members, seen.jobs, so_far.jobs, strict=True):
                whole[each], at_end[each] = after.score, then.score
        before += members
    taken = time.perf_counter() - begun
    return [
        _row(name, "online: after each run", jobs, whole, taken, hosts),
        _row(name, "online: as each job ends", jobs, at_end),
    ]


def _published() -> dict[str, Callable[[list[Labelled]], list[float]]]:
    return {"Isolation Forest": _forest, "KNN": _neighbours, "HBOS": _histograms}


def _timed(detector: Callable[[list[Labelled]], list[float]], jobs: list[Labelled]) -> tuple[list[float], float]:
    begun = time.perf_counter()
    return detector(jobs), time.perf_counter() - begun


def _delays(jobs: list[Labelled]) -> Any:
    import numpy as np

    table = np.array([[number(job.columns, name) or 0.0 for name in DELAYS] for job in jobs])
    runs = np.unique([job.sample.run for job in jobs], return_inverse=True)[1]
    for run in range(runs.max() + 1):
        rows = runs == run
        low, high = table[rows].min(axis=0), table[rows].max(axis=0)
        table[rows] = (table[rows] - low) / np.where(high > low, high - low, 1.0)
    return table


def _forest(jobs: list[Labelled]) -> list[float]:
    from sklearn.ensemble import IsolationForest

    table = _delays(jobs)
    return list(-IsolationForest(random_state=SEED).fit(table).score_samples(table))


def _neighbours(jobs: list[Labelled]) -> list[float]:
    """Distance to the fifth nearest other job, as PyOD's default."""
    from sklearn.neighbors import NearestNeighbors

    table = _delays(jobs)
    return list(NearestNeighbors(n_neighbors=6).fit(table).kneighbors(table)[0][:, -1])


def _histograms(jobs: list[Labelled]) -> list[float]:
    """Sum over features of minus the logarithm of the density in ten equal bins."""
    import numpy as np

    scores = np.zeros(len(jobs))
    for column in _delays(jobs).T:
        density, edges = np.histogram(column, bins=10, density=True)
        scores -= np.log(density[np.clip(np.digitize(column, edges) - 1, 0, 9)] + 0.1)
    return list(scores)


def _row(
    workflow: str,
    detector: str,
    jobs: list[Labelled],
    scores: Scores,
    seconds: float = 0.0,
    hosts: dict[Host, float | None] | None = None,
) -> Row:
    compute = [(job, score) for job, score in zip(jobs, scores, strict=True) if job.type == "compute"]
    wrong = [job.label != NORMAL for job, _ in compute]
    row = Row(workflow, detector, sum(score is not None for score in scores), seconds=seconds)
    row.all_jobs = _area([job.label != NORMAL for job in jobs], scores)[0]
    row.job, row.job_precision = _area(wrong, [score for _, score in compute])
    of_host = _grouped([(job.sample.run, job.sample.host or "") for job, _ in compute], [score for _, score in compute])
    truth = dict(zip(((job.sample.run, job.sample.host or "") for job, _ in compute), wrong, strict=True))
    row.host, row.host_precision = _best([hosts] if hosts is not None else of_host, truth)
    of_run = _grouped([job.sample.run for job, _ in compute], [score for _, score in compute])
    if hosts is not None:
        of_run = _grouped(
            [run for run, host in hosts if (run, host) in truth], [hosts[each] for each in hosts if each in truth]
        )[:1]
    row.run = _best(of_run, _any(truth))[0]
    return row


def _any(truth: dict[Host, bool]) -> dict[str, bool]:
    found: dict[str, bool] = {}
    for (run, _), wrong in truth.items():
        found[run] = found.get(run, False) or wrong
    return found


def _grouped(keys: Iterable[Any], scores: Scores) -> list[dict[Any, float | None]]:
    """Largest score of each group, and the mean one."""
    groups: dict[Any, list[float]] = defaultdict(list)
    for key, score in zip(keys, scores, strict=True):
        if score is not None:
            groups[key].append(score)
    return [
        {key: max(each) for key, each in groups.items()},
        {key: sum(each) / len(each) for key, each in groups.items()},
    ]


def _best(candidates: list[dict[Any, float | None]], truth: dict[Any, bool]) -> tuple[float | None, float | None]:
    """Of largest and mean score the one that does better, which favours the published detectors."""
    found = [
        _area([truth[key] for key in each if key in truth], [each[key] for key in each if key in truth])
        for each in candidates
    ]
    return max(found, key=lambda each: each[0] or 0.0)


def _area(wrong: Sequence[bool], scores: Scores) -> tuple[float | None, float | None]:
    """ROC-AUC and average precision of what was scored; None where nothing is wrong, or everything."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    known = [(truth, score) for truth, score in zip(wrong, scores, strict=True) if score is not None]
    if len({truth for truth, _ in known}) < 2:
        return None, None
    truth, values = zip(*known, strict=True)
    return float(roc_auc_score(truth, values)), float(average_precision_score(truth, values))


def _told(name: str, jobs: list[Labelled], analysis: Analysis) -> Told:
    """By what is wrong: with the host itself, or with others of its run."""
    found = anomalies(analysis)
    hosts = {(each.wf_uuid, each.host) for each in found if each.job_id is None}
    alone = {(each.wf_uuid, each.job_id) for each in found if each.kind in ("slow_job", "throttled", "slow_disk")}
    disturbed: dict[str, str] = {}
    for job in jobs:
        if job.label != NORMAL:
            disturbed[job.sample.run] = job.label.partition("_")[0]
    told = Told(name)
    seen: set[Host] = set()
    for job in jobs:
        host = (job.sample.run, job.sample.host or "")
        if job.type != "compute":
            continue
        kind = job.label.partition("_")[0] if job.label != NORMAL else _beside(disturbed.get(job.sample.run))
        _count(told.jobs, kind, host in hosts or (job.sample.run, job.sample.job_id) in alone)
        if host not in seen:
            seen.add(host)
            _count(told.hosts, kind, host in hosts)
    return told


def _beside(kind: str | None) -> str:
    return "healthy run" if kind is None else f"healthy beside {kind}"


def _count(counts: dict[str, tuple[int, int]], kind: str, told: bool) -> None:
    before, number = counts.get(kind, (0, 0))
    counts[kind] = (before + told, number + 1)


def _print(rows: list[Row], told: list[Told]) -> None:
    for name, value in describe().items():
        print(f"{name:16} {value}")
    print("\nROC-AUC; average precision in brackets. Compute jobs, hosts in runs, runs; all jobs in the first column.")
    print(
        f"{'workflow':16} {'detector':26} {'all jobs':>9} {'job':>14} {'host':>14} {'run':>6} {'scored':>7} {'[s]':>6}"
    )
    for row in rows + _means(rows):
        job, host = _pair(row.job, row.job_precision), _pair(row.host, row.host_precision)
        print(
            f"{row.workflow:16} {row.detector:26} {_figure(row.all_jobs):>9} {job:>14} {host:>14} "
            f"{_figure(row.run):>6} {row.scored:7} {row.seconds:6.1f}"
        )
    print(f"\nbest published, unsupervised: {PUBLISHED}")
    print("\nTold at the detector's own threshold, of all there are")
    for each in told:
        for what, counts in (("hosts", each.hosts), ("jobs", each.jobs)):
            parts = [f"{kind} {found}/{of} ({found / of:.1%})" for kind, (found, of) in sorted(counts.items())]
            print(f"{each.workflow:16} {what:6} {'; '.join(parts)}")


def _means(rows: list[Row]) -> list[Row]:
    groups = {
        "mean, held out": lambda name: name not in SEEN,
        "mean, seen": lambda name: name in SEEN,
        "mean": lambda _: True,
    }
    detectors = list(dict.fromkeys(row.detector for row in rows))
    means = []
    for title, member in groups.items():
        for detector in detectors:
            chosen = [row for row in rows if row.detector == detector and member(row.workflow)]
            if chosen:
                means.append(_mean(title, detector, chosen))
    return means


def _mean(title: str, detector: str, rows: list[Row]) -> Row:
    mean = Row(title, detector, sum(row.scored for row in rows), seconds=sum(row.seconds for row in rows))
    for name in ("all_jobs", "job", "job_precision", "host", "host_precision", "run"):
        known = [value for row in rows if (value := getattr(row, name)) is not None]
        setattr(mean, name, sum(known) / len(known) if known else None)
    return mean


def _pair(area: float | None, precision: float | None) -> str:
    return f"{_figure(area)} ({_figure(precision)})"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    sys.exit(main())
