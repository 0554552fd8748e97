"""How well kinds of runs are told apart, and runs with something wrong from those without: on labelled runs.

    python bench/workflow_clusters.py [--runs N] [--seed N] [--keep DIR]      runs made here, by the embedded engine
    python bench/workflow_clusters.py --data DIR                             those that an earlier call kept
    python bench/workflow_clusters.py --flowbench PATH                       tables of FlowBench, unpacked below PATH

Runs are made with real faults in real processes (bench/_cluster_runs.py), in random order. The limits of the analysis
were set on runs of `--seed 1`, with a look at FlowBench and, for where a run is unlike, at `--seed 2`; measure on any
other. Kinds are sought among all runs. Finding what is wrong is tried
where it is rare: among the normal runs and one of each other kind, drawn anew a few times.

FlowBench is by the PoSeiDon project, github.com/PoSeiDon-Workflows/FlowBench, CC-BY-4.0, and is not part of this
repository. Its unsupervised baselines tell anomalous jobs; these are whole runs, of which a part of the jobs is.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import _cluster_runs
import _flowbench_runs
import _machine

from panorama_driver.analysis.workflows import PUBLISHED, Analysis, agreement, analyse
from panorama_driver.metrics import WorkflowMetrics, correlate
from panorama_driver.store import open_store

NORMAL = "normal"
AIM = 0.7  # NMI and completeness as published, doi:10.1109/HPEC43674.2020.9286139
CONFIDENCES = (0.0, 0.9)
_NORMALS, _RARE = 100, 0.12

Runs = list[tuple[WorkflowMetrics, str]]


def main() -> int:
    """Measure and print; gives the exit status."""
    args = _arguments()
    print("\n".join(f"{name:16} {value}" for name, value in _machine.describe().items()))
    results = [_measured(name, runs, args) for name, runs in _sets(args)]
    if args.json is not None:
        args.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    return 0 if results else 3


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20, help="runs of each kind; twice as many normal ones (20)")
    parser.add_argument("--seed", type=int, default=5, help="of the runs that are made, and of what is drawn (5)")
    parser.add_argument("--keep", type=Path, help="where to leave the runs that are made")
    parser.add_argument("--data", type=Path, nargs="+", default=[], help="runs that were kept")
    parser.add_argument("--flowbench", type=Path, help="folder with unpacked tables of FlowBench")
    parser.add_argument("--draws", type=int, default=10, help="how often rare faults are drawn (10)")
    parser.add_argument("--json", type=Path, help="write all numbers into this file")
    return parser.parse_args()


def _sets(args: argparse.Namespace) -> Iterator[tuple[str, Runs]]:
    """Labelled runs, by name."""
    if args.flowbench is not None:
        for folder in _flowbench_runs.workflows(args.flowbench):
            yield folder.name, list(_flowbench_runs.labelled(folder))
    for folder in args.data:
        yield str(folder), _read(folder)
    if args.flowbench is None and not args.data:
        with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
            home = args.keep or Path(scratch)
            counts = dict.fromkeys(_cluster_runs.KINDS, args.runs) | {NORMAL: 2 * args.runs}
            _cluster_runs.generate(home, counts, args.seed)
            yield f"seed {args.seed}", _read(home)


def _read(home: Path) -> Runs:
    labels: dict[str, str] = json.loads((home / "labels.json").read_text(encoding="utf-8"))
    with open_store(home / "runs.db", readonly=True) as store:
        return [(correlate(store.events(wf_uuid)), kind) for wf_uuid, kind in labels.items()]


def _measured(name: str, runs: Runs, args: argparse.Namespace) -> dict[str, object]:
    labels = [label for _, label in runs]
    print(f"\n{name}: {', '.join(f'{labels.count(kind)} {kind}' for kind in sorted(set(labels)))}")
    rows = list(_clusterings(runs))
    _table(["features", "method", "kinds", "NMI", "completeness", "homogeneity"], rows)
    found = _detected(runs, args.draws, args.seed)
    for each in found:
        _tell(each)
    return {"name": name, "clusters": rows, "detection": [each._asdict() for each in found]}


# --- kinds -----------------------------------------------------------------------------------------------------------


def _clusterings(runs: Runs) -> Iterator[list[str]]:
    number = len({label for _, label in runs})
    metrics = [run for run, _ in runs]
    for words, only in (("five published", PUBLISHED), ("ours", None)):
        yield [words, f"k-means, k = {number} told", *_scores(analyse(metrics, number=number, only=only), runs)]
        yield [words, "k-means, k chosen", *_scores(analyse(metrics, only=only), runs)]
        yield [words, "HDBSCAN", *_scores(analyse(metrics, method="hdbscan", only=only), runs)]


def _scores(found: Analysis, runs: Runs) -> list[str]:
    labels = {run.wf_uuid: label for run, label in runs}
    kinds = {wf_uuid: kind.number for kind in found.kinds for wf_uuid in kind.runs}
    scores = agreement([kinds.get(run) for run in found.runs], [labels[run] for run in found.runs])
    return [str(len(found.kinds)), *(f"{score:.3f}" for score in scores)]


# --- what is wrong ---------------------------------------------------------------------------------------------------


class Detected(NamedTuple):
    """What was found where faults are rare: shares of runs, over all draws."""

    normal: int
    faulty: int
    draws: int
    confidence: float
    recall: float
    precision: float
    false_positives: float
    auc: float
    by_kind: dict[str, float]


def _detected(runs: Runs, draws: int, seed: int) -> list[Detected]:
    by_label: dict[str, Runs] = defaultdict(list)
    for each in runs:
        by_label[each[1]].append(each)
    normal, told, distances = by_label.pop(NORMAL), [], []
    few = min(len(normal), _NORMALS)
    each = max(1, round(_RARE * few / len(by_label)))
    for draw in range(draws):
        chance = random.Random(f"{seed} {draw}")
        chosen = chance.sample(normal, few)
        for kind in sorted(by_label):
            chosen += chance.sample(by_label[kind], each)
        found = analyse([run for run, _ in chosen])
        labels = {run.wf_uuid: label for run, label in chosen}
        sure = {each.wf_uuid: each.confidence for each in found.unlike}
        told += [(labels[run], sure.get(run, -1.0)) for run in found.runs]
        distances.append(_auc(found, labels))
    size = {"normal": few, "faulty": each * len(by_label), "draws": draws}
    auc = sum(distances) / draws
    return [_rates([(label, at >= least) for label, at in told], size, least, auc) for least in CONFIDENCES]


def _rates(told: Sequence[tuple[str, bool]], size: dict[str, int], confidence: float, auc: float) -> Detected:
    wrong = [found for label, found in told if label != NORMAL]
    right = [found for label, found in told if label == NORMAL]
    kinds = sorted({label for label, _ in told} - {NORMAL})
    by_kind = {kind: [found for label, found in told if label == kind] for kind in kinds}
    return Detected(
        **size,
        confidence=confidence,
        recall=sum(wrong) / len(wrong),
        precision=sum(wrong) / max(1, sum(wrong) + sum(right)),
        false_positives=sum(right) / len(right),
        auc=auc,
        by_kind={kind: sum(found) / len(found) for kind, found in by_kind.items()},
    )


def _auc(found: Analysis, labels: dict[str, str]) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score([labels[run] != NORMAL for run in found.runs], found.distances))


# --- telling ---------------------------------------------------------------------------------------------------------


def _tell(found: Detected) -> None:
    print(
        f"unlike the usual ones with confidence {found.confidence:g} or more, of {found.normal} normal runs and "
        f"{found.faulty} others, in {found.draws} draws:"
    )
    print(
        f"  recall {found.recall:.3f}, precision {found.precision:.3f}, false positives {found.false_positives:.3f} of "
        f"normal runs, ROC-AUC of the distance {found.auc:.3f}"
    )
    print("  recall by kind: " + ", ".join(f"{kind} {share:.2f}" for kind, share in found.by_kind.items()))
    sys.stdout.flush()


def _table(head: list[str], rows: list[list[str]]) -> None:
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        met = "" if row is head else "  aim met" if min(map(float, row[3:5])) > AIM else ""
        print("  " + "  ".join(cells).rstrip() + met)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
