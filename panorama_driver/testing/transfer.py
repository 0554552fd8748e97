"""Stand-in for pegasus-transfer: makes directories, copies and removes as the list on its standard input says.

A program of its own that needs the standard library only. It knows file:// URLs, and tries once where the real one
tries three times with minutes in between.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from typing import Any
from urllib.parse import unquote, urlsplit

_LINE = "-" * 80


def say(text: str, kind: str = "INFO") -> None:
    """Write a line in the manner of the real one."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
    print(f"{stamp},{int(now % 1 * 1000):03d} {kind:>7}:  {text}", flush=True)


def path_of(url: str) -> str:
    """The path in a file:// URL.

    Raises
    ------
    OSError
        It is a URL of another kind.
    """
    if not url.startswith("file://"):
        raise OSError(f"Unable to handle the transfer of {url}: no tool for it")
    return os.path.normpath(unquote(urlsplit(url).path))


def do(entry: dict[str, Any]) -> int:
    """Do one entry of the list; gives the bytes copied.

    Raises
    ------
    OSError
        It cannot be done.
    """
    if entry["type"] == "mkdir":
        os.makedirs(path_of(entry["target"]["url"]), exist_ok=True)
        return 0
    if entry["type"] == "remove":
        return _remove(path_of(entry["target"]["url"]), entry["target"].get("recursive") == "True")
    return _copy(path_of(entry["src_urls"][0]["url"]), path_of(entry["dest_urls"][0]["url"]))


def _remove(path: str, recursive: bool) -> int:
    if recursive and os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
    return 0


def _copy(source: str, target: str) -> int:
    if not os.path.exists(source):
        raise OSError(f"Expected local file does not exist: {source}")
    os.makedirs(os.path.dirname(target), exist_ok=True)
    say(f"/bin/cp -f -R -L '{source}' '{target}'")
    if os.path.lexists(target):
        os.unlink(target)
    shutil.copyfile(source, target)
    shutil.copymode(source, target)
    return os.path.getsize(target)


def main() -> int:
    """Work the list off: 0, or 1 if anything in it failed."""
    start = time.time()
    say("Reading URL pairs from stdin")
    entries = json.load(sys.stdin)
    say(f"{len(entries)} transfers loaded")
    say(f"PATH={os.environ.get('PATH', '')}")
    say("LD_LIBRARY_PATH=")
    say(_LINE)
    say("Starting transfers - attempt 1")
    failed = size = 0
    for entry in entries:
        try:
            size += do(entry)
        except OSError as problem:
            failed += 1
            say(str(problem), "ERROR")
    say(_LINE)
    seconds = max(0, round(time.time() - start))
    say(f"Stats: Total {len(entries)} transfers, {size} B transferred in {seconds} seconds. Rate: 0 B/s (0 b/s)")
    if failed:
        say("Some transfers failed! See above, and possibly stderr.", "ERROR")
        return 1
    say("All transfers completed successfully.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
