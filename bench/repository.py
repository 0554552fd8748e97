"""A repository of the three workflows' own studies: how large it is beside the stores, and how fast others read it.

    python bench/repository.py [--studies DIR...] [--events N] [--rounds N] [--json FILE]

Runs the studies of the three workflows on the embedded engine (or takes those that are there), exports them, plain and
anonymised, restores them, and asks the same questions of the Parquet files (DuckDB, pandas, polars) and of the stores
(`panorama ask`, SQLite). A store of N made-up trace samples, a million unless told, shows how it grows.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from _machine import describe

from panorama_driver import exchange
from panorama_driver.events import Event
from panorama_driver.exchange import About, Source
from panorama_driver.exchange._key import Key
from panorama_driver.questions import Place, Questions
from panorama_driver.store import open_store
from panorama_driver.study.client import FOLDER

WORKFLOWS = ("1000genome", "mcvine", "sns_nanodiamond")
_MIB = 2**20
QUESTIONS = {
    "median wall time by transformation": """SELECT transformation, median(wall_time)
        FROM {attempts} GROUP BY 1 ORDER BY 1""",
    "makespan of evaluations": "SELECT key, state, workflow_makespan FROM {evaluations} ORDER BY 1",
    "bytes moved by study": "SELECT study, sum(bytes_transferred) FROM {transfers} GROUP BY 1 ORDER BY 1",
}
EVENTS = {
    "events by kind": "SELECT kind, count(*) FROM {events} GROUP BY 1 ORDER BY 1",
    "largest utime of each job's samples": """SELECT wf_uuid, job_id, max((fields->>'$.utime')::DOUBLE)
        FROM {events} WHERE kind = 'kickstart.inv.online' GROUP BY ALL ORDER BY ALL""",
}


def main() -> int:
    """Measure, and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=Path, nargs="*", help="study directories, in place of running them")
    parser.add_argument("--events", type=int, default=1_000_000, help="of the made-up store; 0 leaves it out")
    parser.add_argument("--rounds", type=int, default=5, help="of each question")
    parser.add_argument("--json", type=Path, help="write all numbers there")
    asked = parser.parse_args()
    machine = describe()
    with tempfile.TemporaryDirectory(prefix="panorama-bench-") as folder:
        top = Path(folder)
        homes = asked.studies or [_run(top / name) for name in WORKFLOWS]
        found = {"machine": machine, "studies": _studies(homes, top, asked.rounds)}
        if asked.events:
            found["large"] = _large(top, asked.events, asked.rounds)
    print(json.dumps(found, indent=1))
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


def _run(home: Path) -> Path:
    """Run the study of a workflow."""
    print(f"{home.name}: runs", file=sys.stderr)
    panorama = [sys.executable, "-c", "from panorama_driver.cli import main; main()"]
    subprocess.run([*panorama, "init", home.name, str(home)], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*panorama, "study", str(home)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return home


def _studies(homes: list[Path], top: Path, rounds: int) -> dict[str, object]:
    sources = [Source(home.name, str(home / FOLDER / "store.db"), home) for home in homes]
    key = Key(b"a key for this benchmark alone")
    plain = _cost(lambda: exchange.export(sources, top / "plain", about=About()))
    hidden = _cost(lambda: exchange.export(sources, top / "hidden", about=About(), anonymise=key))
    again = _cost(lambda: exchange.restore(top / "plain", top / "restored"))
    manifest = exchange.read_manifest(top / "plain")
    return {
        "events": {each.name: each.events for each in manifest.studies},
        "stores [MiB]": {home.name: _mib((home / FOLDER).glob("store.db*")) for home in homes},
        "repository [MiB]": _mib((top / "plain").rglob("*")),
        "of it, by table [MiB]": {each.name: _mib((top / "plain" / each.name).rglob("*")) for each in manifest.tables},
        "anonymised [MiB]": _mib((top / "hidden").rglob("*")),
        "export [s]": plain,
        "export, anonymised [s]": hidden,
        "restore [s]": again,
        "questions [s]": _questions(top / "plain", sources, rounds),
    }


def _large(top: Path, number: int, rounds: int) -> dict[str, object]:
    source = Source("large", str(top / "large.db"))
    with open_store(source.store) as store:
        for first in range(0, number, 10_000):
            store.put(_sample(seq) for seq in range(first, min(first + 10_000, number)))
    export = _cost(lambda: exchange.export([source], top / "large", about=About()))
    restore = _cost(lambda: exchange.restore(top / "large", top / "large-again"))
    return {
        "events": number,
        "store [MiB]": _mib([top / "large.db"]),
        "repository [MiB]": _mib((top / "large").rglob("*")),
        "export [s]": export,
        "restore [s]": restore,
        "peak memory of all [MiB]": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "questions [s]": {name: _asked(top / "large", sql, rounds) for name, sql in EVENTS.items()},
    }


def _sample(seq: int) -> Event:
    """One sample of a process, as the probe sends it."""
    run, job, step = seq // 10_000, seq // 100 % 100, seq % 100
    used = {"utime": step * 0.93 + job / 7, "stime": step * 0.01, "rchar": step * 40_961 + job, "wchar": step * 977}
    more = {"rss": 120_000 + step * 13, "procs": 1, "threads": 4, "hostname": f"node{job % 16:03d}", "site": "local"}
    fields = {"seq": step, **used, **more, "pid": 1000 + job, "xformation": f"step{job % 9}"}
    key = {"wf_uuid": f"00000000-0000-4000-8000-{run:012d}", "job_id": f"step{job % 9}_{job:05d}"}
    return Event(kind="kickstart.inv.online", ts=1.8e9 + run * 60 + step, attempt=job + 1, fields=fields, **key)


def _questions(folder: Path, sources: list[Source], rounds: int) -> dict[str, dict[str, float]]:
    found = {name: {"DuckDB": _asked(folder, sql, rounds)} for name, sql in (QUESTIONS | EVENTS).items()}
    places = [Place(each.name, each.store, each.home and each.home / FOLDER) for each in sources]
    with Questions(places, folder.parent / "cache") as questions:
        for name, sql in QUESTIONS.items():
            told = sql.format(**{table: table for table in ("attempts", "evaluations", "transfers")})
            found[name]["panorama ask, once it has read"] = _median(partial(questions.sql, told), rounds)
    import pandas
    import polars

    found["all attempts as a frame"] = {
        "pandas": _median(lambda: pandas.read_parquet(folder / "attempts"), rounds),
        "polars": _median(lambda: polars.read_parquet(folder / "attempts/**/*.parquet"), rounds),
    }
    return found


def _asked(folder: Path, sql: str, rounds: int) -> float:
    """Seconds that DuckDB takes, files opened anew each time."""
    import duckdb

    names = [path.name for path in folder.iterdir() if path.is_dir()]
    told = sql.format(**{name: f"'{folder}/{name}/**/*.parquet'" for name in names})
    return _median(lambda: duckdb.connect().execute(told).fetchall(), rounds)


def _median(work: Callable[[], object], rounds: int) -> float:
    return round(statistics.median(_timed(work) for _ in range(rounds)), 4)


def _cost(work: Callable[[], object]) -> dict[str, float]:
    """Seconds by the clock, and of processor time, which other processes change less."""
    cpu = time.process_time()
    wall = _timed(work)
    return {"wall": wall, "CPU": round(time.process_time() - cpu, 4)}


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return round(time.perf_counter() - begun, 4)


def _mib(paths: Iterable[Path]) -> float:
    return round(sum(path.stat().st_size for path in paths if path.is_file()) / _MIB, 3)


if __name__ == "__main__":
    sys.exit(main())
