"""What it costs to start the programs and to import what they import."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from _accounting import run
from _contenders import ENVIRONMENT, ContenderError, program

BARE = "bare interpreter"
_DRIVER = "from panorama_driver.dakota import driver; from panorama_driver.study import client"


def commands() -> dict[str, list[str]]:
    """Command by the words for it; the bare interpreter comes first.

    Raises
    ------
    ContenderError
        A program is missing.
    """
    return {
        BARE: [sys.executable, "-c", "pass"],
        "panorama --help": [program("panorama"), "--help"],
        "panorama-driver --help": [program("panorama-driver"), "--help"],
        "all that panorama-driver imports": [sys.executable, "-c", _DRIVER],
    }


def cpu(argv: list[str], home: Path) -> float:
    """CPU time of a command [s].

    Raises
    ------
    ContenderError
        It failed.
    """
    with tempfile.TemporaryDirectory(dir=home) as folder:
        account = run(argv, Path(folder), ENVIRONMENT, Path(folder, "output.txt"))
    if account.status:
        raise ContenderError(f"{' '.join(argv)} ended with {account.status}")
    return account.total
