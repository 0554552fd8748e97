"""Kills the process it is loaded into at a named point; tests copy it to `sitecustomize.py` in a folder on PYTHONPATH.

PANORAMA_TEST_KILL names a JSON file: `role` (driver, server, collector), `what` (a Python audit event, or `line` for a
line of our own code), `match` (a glob for the event's first argument, or for the function's name) and `nth`. It fires
once: the file is removed first, so that whoever is started in place of the dead lives. With `nth` 0 it only counts: a
byte in a file beside it for each time.
"""

import fnmatch
import json
import os
import signal
import sys
import threading


def _role() -> str:
    if "panorama_driver.study" in sys.orig_argv:
        return "server"
    if "collect" in sys.orig_argv:
        return "collector"
    return "driver" if any(word.endswith("/panorama-driver") for word in sys.orig_argv) else ""


class _Point:
    def __init__(self, path: str) -> None:
        with open(path, encoding="utf-8") as file:
            said = json.load(file)
        self.path = path
        self.role, self.what, self.match, self.nth = said["role"], said["what"], said["match"], said["nth"]
        self.count = 0
        self.counted = os.open(f"{path}.count", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if not self.nth else -1

    def reached(self, text: str) -> None:
        if not fnmatch.fnmatchcase(text, self.match):
            return
        self.count += 1
        if not self.nth:
            os.write(self.counted, b".")
        if self.count == self.nth:
            try:
                os.unlink(self.path)
            except FileNotFoundError:
                return  # another process was here first
            os.kill(os.getpid(), signal.SIGKILL)


def _arm(point: _Point) -> None:
    if point.what == "line":

        def each_line(frame, event, arg):  # type: ignore[no-untyped-def]  # the interpreter's own protocol
            if event == "line":
                point.reached(frame.f_code.co_name)
            return each_line

        def each_call(frame, event, arg):  # type: ignore[no-untyped-def]
            return each_line if "/panorama_driver/" in frame.f_code.co_filename else None

        sys.settrace(each_call)
        if point.role == "collector":  # whose work is done in threads
            threading.settrace(each_call)
    else:

        def hear(event, arguments):  # type: ignore[no-untyped-def]
            if event == point.what:
                point.reached(str(arguments[0]))

        sys.addaudithook(hear)


if os.path.exists(os.environ.get("PANORAMA_TEST_KILL", "")):
    _point = _Point(os.environ["PANORAMA_TEST_KILL"])
    if _point.role == _role():
        _arm(_point)
