"""The virtual environment of the tools that panorama-driver is measured against, made once and kept in `.bench/`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")


class PeersMissingError(Exception):
    """The peers cannot be installed; the message says why."""


def interpreter(home: Path) -> Path:
    """Python of an environment in `home` that has what requirements.txt names, installed now if need be.

    Raises
    ------
    PeersMissingError
        It cannot be made.
    """
    folder = home / "peers"
    python, stamp = folder / "bin" / "python", folder / "installed.txt"
    wanted = REQUIREMENTS.read_text(encoding="utf-8")
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        _call([sys.executable, "-m", "venv", str(folder)])
        _call([str(python), "-m", "pip", "install", "--quiet", "--requirement", str(REQUIREMENTS)])
        stamp.write_text(wanted, encoding="utf-8")
    return python


def _call(argv: list[str]) -> None:
    try:
        subprocess.run(argv, check=True, capture_output=True, text=True)
    except OSError as problem:
        raise PeersMissingError(str(problem)) from None
    except subprocess.CalledProcessError as problem:
        said = [line for line in f"{problem.stdout}\n{problem.stderr}".splitlines() if "rror" in line]
        raise PeersMissingError(said[-1] if said else f"{' '.join(argv)} ended with {problem.returncode}") from None
