"""What every peer's script takes and gives: counts on the command line, times of the results in a JSON file."""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path


def arguments() -> argparse.Namespace:
    """Read `--evaluations`, `--concurrency` and `--report`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--evaluations", type=int, required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    parser.add_argument("--report", type=Path, required=True)
    return parser.parse_args()


def evaluate(x: float) -> float:
    """One evaluation: a process that does nothing, and a number."""
    subprocess.run(["true", str(x)], check=True)
    return 1.0


def report(path: Path, distribution: str, ended: Sequence[float]) -> None:
    """Write when each result was there [s since 1970]."""
    path.write_text(json.dumps({"version": version(distribution), "ended": list(ended)}), encoding="utf-8")
