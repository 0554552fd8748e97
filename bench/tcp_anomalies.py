"""How well anomalies of TCP transfers are found and named, on labelled tables.

    python bench/tcp_anomalies.py PATH [--json FILE] [--final]

PATH is a checkout of PoSeiDon-Workflows/TCPprotocolstudy. Forests learn from one half of the normal transfers of a TCP
variant, size and vantage, and judge the other half and all anomalies; the halves are every second transfer, then, since
conditions ran one after the other, the earlier and the later ones. No forest and no threshold learns from an anomaly,
but features and rules were chosen with these tables at hand. `--final` measures on the `nersctransferdata` tables,
which were kept for that: nothing was chosen by them.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

import msgspec
from _machine import describe
from _tcp_tables import ANOMALIES, CONDITIONS, SIZES, VANTAGES, VARIANTS, Key, final_tables, tables

from panorama_driver.analysis.tcp import Sight, Verdict, judge_both, judge_sights, learn, pairs

_Split = Callable[[Sequence[Sight]], tuple[Sequence[Sight], Sequence[Sight]]]


def alternate(sights: Sequence[Sight]) -> tuple[Sequence[Sight], Sequence[Sight]]:
    return sights[::2], sights[1::2]


def blocks(sights: Sequence[Sight]) -> tuple[Sequence[Sight], Sequence[Sight]]:
    return sights[: len(sights) // 2], sights[len(sights) // 2 :]


SPLITS: dict[str, _Split] = {"alternate": alternate, "blocks": blocks}


def auc(normal: Sequence[float], anomalous: Sequence[float]) -> float:
    """Area under the ROC curve: how often an anomaly scores higher than a normal transfer, half of it where equal."""
    ordered = sorted([(score, 0) for score in normal] + [(score, 1) for score in anomalous])
    below = won = at = 0.0
    while at < len(ordered):
        end = int(at)
        while end < len(ordered) and ordered[end][0] == ordered[int(at)][0]:
            end += 1
        same = [label for _, label in ordered[int(at) : end]]
        ties = same.count(0)
        won += same.count(1) * (below + ties / 2)
        below, at = below + ties, end
    return won / (len(normal) * len(anomalous))


def judged(train: Iterable[Sight], test: dict[str, Sequence[Sight]]) -> dict[str, list[Verdict]]:
    """Verdicts on every condition by a model of the training transfers."""
    model, _ = learn(train)
    return {condition: judge_sights(sights, model) for condition, sights in test.items()}


def row_of(found: dict[str, list[Verdict]]) -> dict[str, Any]:
    """Areas under the curve, rates at the model's own threshold, and the verdicts' names, by condition."""
    scores = {condition: [v.score or 0.0 for v in verdicts] for condition, verdicts in found.items()}
    beyond = {c: fmean((v.score or 0.0) > (v.threshold or 1.0) for v in verdicts) for c, verdicts in found.items()}
    anomalies = [condition for condition in found if condition != "normal"]
    return {
        "auc": {condition: auc(scores["normal"], scores[condition]) for condition in anomalies},
        "beyond": beyond,
        "names": {condition: named(verdicts) for condition, verdicts in found.items()},
        "sure_normal": {c: fmean(v.name == "normal" and v.confidence > 0.5 for v in vs) for c, vs in found.items()},
    }


def named(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """How often each name was given; `not observable` with what was suspected."""
    return dict(Counter(v.name if v.name != "not observable" or not v.suspects else _suspected(v) for v in verdicts))


def _suspected(verdict: Verdict) -> str:
    return f"{' or '.join(sorted(verdict.suspects))}, not observable which"


def by_split(known: dict[Key, list[Sight]], split: _Split) -> dict[str, Any]:
    """Each variant, size and vantage with its own model."""
    rows = {}
    for vantage in VANTAGES:
        for size in SIZES:
            for variant in VARIANTS:
                train, rest = split(known[variant, size, vantage, "normal"])
                test = {c: known[variant, size, vantage, c] for c in ANOMALIES} | {"normal": rest}
                rows[f"{vantage} {size} {variant}"] = row_of(judged(train, test))
                progress()
    return rows


def without_variant(known: dict[Key, list[Sight]]) -> dict[str, Any]:
    """Each variant judged by a model of the three others, from half of their normal transfers."""
    rows = {}
    for vantage in VANTAGES:
        for size in SIZES:
            for variant in VARIANTS:
                others = [v for v in VARIANTS if v != variant]
                train = [_nameless(s) for v in others for s in alternate(known[v, size, vantage, "normal"])[0]]
                rest = alternate(known[variant, size, vantage, "normal"])[1]
                told = {c: known[variant, size, vantage, c] for c in ANOMALIES} | {"normal": rest}
                rows[f"{vantage} {size} {variant}"] = row_of(
                    judged(train, {c: [_nameless(s) for s in sights] for c, sights in told.items()})
                )
                progress()
    return rows


def _nameless(sight: Sight) -> Sight:
    return msgspec.structs.replace(sight, variant=None)


def both_ends(known: dict[Key, list[Sight]]) -> dict[str, Any]:
    """Connections found in the logs of both vantages, judged without a model."""
    found = {}
    for condition in CONDITIONS:
        verdicts = []
        for variant in VARIANTS:
            for size in SIZES:
                seen = [s for vantage in VANTAGES for s in known[variant, size, vantage, condition]]
                verdicts += [judge_both(one, other) for one, other in pairs(seen)]
        forward = [v.rates["client to server"] for v in verdicts if "client to server" in v.rates]
        found[condition] = {
            "connections": len(verdicts),
            "names": dict(Counter(v.name for v in verdicts)),
            "directions": dict(Counter(v.direction or "none" for v in verdicts)),
            "median_rate_client_to_server": median(forward) if forward else None,
        }
        progress()
    return found


def final(path: Path) -> dict[str, Any]:
    """The tables kept for the final measurement, under both splits, and with the model of the other variants."""
    known = final_tables(path)
    rows: dict[str, Any] = {}
    places = {f"{v} {c}": dict(Counter((s.place, s.magnitude) for s in sights)) for (v, c), sights in known.items()}
    rows["seen from"] = {key: {f"{p} 1e{m}": n for (p, m), n in found.items()} for key, found in places.items()}
    for name, split in SPLITS.items():
        rows[name] = {}
        for variant in VARIANTS:
            train, rest = split(known[variant, "normal"])
            test = {c: sights for (v, c), sights in known.items() if v == variant and c != "normal"} | {"normal": rest}
            rows[name][variant] = row_of(judged(train, test))
            progress()
    return rows


def progress() -> None:
    print(".", end="", file=sys.stderr, flush=True)


def means(rows: dict[str, Any], vantage: str) -> dict[str, dict[str, float]]:
    """Mean and least area over variants and sizes, by anomaly."""
    own = [row["auc"] for key, row in rows.items() if key.startswith(vantage)]
    return {c: {"mean": fmean(a[c] for a in own), "least": min(a[c] for a in own)} for c in ANOMALIES}


def confusion(rows: dict[str, Any], vantage: str) -> dict[str, Counter[str]]:
    """Names given, by what it was."""
    found: dict[str, Counter[str]] = {}
    for key, row in rows.items():
        if key.startswith(vantage):
            for condition, names in row["names"].items():
                found.setdefault(condition, Counter()).update(names)
    return found


def as_text(results: dict[str, Any]) -> Iterable[str]:
    for title in ("alternate", "blocks", "leave one variant out"):
        yield from _areas(title, results[title])
    yield "\nBoth ends joined, no model"
    for condition, row in results["both ends"].items():
        rate = row["median_rate_client_to_server"]
        told = "" if rate is None else f"  median rate client to server {rate:.3%}"
        yield f"  {condition:12} {row['connections']:5} connections  {row['names']}  {row['directions']}{told}"
    if "final" in results:
        yield from _final(results["final"])
    yield f"\n{results['seconds']:.0f} s, {results['memory_MB']:.0f} MB; {results['machine']}"


def _areas(title: str, rows: dict[str, Any]) -> Iterable[str]:
    yield f"\nROC-AUC, {title}; FP: normal transfers beyond the model's threshold"
    yield f"{'':30}" + "".join(f"{condition:>13}" for condition in ANOMALIES) + f"{'FP':>9}"
    for key, row in rows.items():
        cells = "".join(f"{row['auc'][c]:.3f} {row['beyond'][c]:5.1%}".rjust(13) for c in ANOMALIES)
        yield f"{key:30}{cells}{row['beyond']['normal']:9.2%}"
    for vantage in VANTAGES:
        found = means(rows, vantage)
        yield (
            f"{vantage + ' mean':30}"
            + "".join(f"{found[c]['mean']:.4f}".rjust(13) for c in ANOMALIES)
            + _false(rows, vantage)
        )
        yield f"{vantage + ' least':30}" + "".join(f"{found[c]['least']:.4f}".rjust(13) for c in ANOMALIES)
    for vantage in VANTAGES:
        yield f"names given at the {vantage}"
        sure = [row["sure_normal"] for key, row in rows.items() if key.startswith(vantage)]
        for condition, names in confusion(rows, vantage).items():
            whole = sum(names.values())
            told = ", ".join(f"{name} {count / whole:.2%}" for name, count in names.most_common())
            yield f"  {condition:12} {told}; normal with confidence {fmean(one[condition] for one in sure):.2%}"


def _false(rows: dict[str, Any], vantage: str) -> str:
    return f"{fmean(row['beyond']['normal'] for key, row in rows.items() if key.startswith(vantage)):9.2%}"


def _final(rows: dict[str, Any]) -> Iterable[str]:
    yield "\nFinal measurement: nersctransferdata"
    for key, places in rows["seen from"].items():
        yield f"  {key:22} {places}"
    for name in SPLITS:
        for variant, row in rows[name].items():
            told = "  ".join(f"{c} {area:.3f} ({row['beyond'][c]:.0%})" for c, area in row["auc"].items())
            yield f"  {name:10} {variant:9} {told}  FP {row['beyond']['normal']:.1%}"
            for condition, names in row["names"].items():
                yield f"      {condition:10} {names}; normal with confidence {row['sure_normal'][condition]:.1%}"


def main() -> None:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("path", type=Path, metavar="PATH", help="checkout of TCPprotocolstudy")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers there")
    parser.add_argument("--final", action="store_true", help="also the tables kept for the final measurement")
    told = parser.parse_args()
    begun = time.monotonic()
    known = tables(told.path)
    results: dict[str, Any] = {name: by_split(known, split) for name, split in SPLITS.items()}
    results |= {"leave one variant out": without_variant(known), "both ends": both_ends(known)}
    if told.final:
        results["final"] = final(told.path)
    results["seconds"] = time.monotonic() - begun
    results["memory_MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    results["machine"] = describe()
    print(file=sys.stderr)
    print("\n".join(as_text(results)))
    if told.json:
        told.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
