"""Times each batch of a collector; tests copy it to `sitecustomize.py` in a folder on PYTHONPATH.

PANORAMA_TEST_TIMES names a file. For each batch, from before its first message is read until it is committed, four
doubles are appended: the time of the commit [s since 1970], how long it took [s], how long of that the thread was
ready to run and had no processor [s] (Linux, scheduler/sched-stats.rst), and the number of messages.
"""

import os
import struct
import sys
import time

_RECORD = struct.Struct("<dddd")


def _starved() -> float:
    with open("/proc/thread-self/schedstat") as file:
        return int(file.read().split()[1]) / 1e9


class _Stopwatch:
    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._began = self._waited = 0.0

    def hear(self, event: str, arguments: tuple[int, ...]) -> None:
        if event == "panorama.collect.storing":
            self._began, self._waited = time.perf_counter(), _starved()
        elif event == "panorama.collect.committed":
            took = time.perf_counter() - self._began
            os.write(self._file, _RECORD.pack(time.time(), took, _starved() - self._waited, arguments[0]))


if "collect" in sys.orig_argv and os.environ.get("PANORAMA_TEST_TIMES"):
    sys.addaudithook(_Stopwatch(os.environ["PANORAMA_TEST_TIMES"]).hear)
