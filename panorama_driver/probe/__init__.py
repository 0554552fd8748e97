"""Runs beside each job and writes what it used: one file that any worker node's Python can run.

The file is `panorama_probe.py`; this package only says where it is and how to start it.
"""

import sys
from pathlib import Path

PROBE = Path(__file__).with_name("panorama_probe.py")


def command() -> list[str]:
    """Give the words that start the probe in this interpreter, to be put in front of its options and the job's command.

    They name the compiled file where there is one: Python compiles a program that is started by its path every time
    anew, which would cost 8 ms a job.
    """
    from . import panorama_probe  # importing it compiles it, where that has not been done and can be

    compiled = panorama_probe.__spec__.cached if panorama_probe.__spec__ else None
    return [sys.executable, "-IS", compiled if compiled and Path(compiled).exists() else str(PROBE)]
