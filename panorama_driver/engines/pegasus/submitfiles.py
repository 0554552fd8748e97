"""The submit files of a plan: DAGMan reads each when it submits its job, so that what is not submitted can be told.

What is added stands between two lines of comment before `queue`, where it is found again to be changed or taken away.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Collection
from pathlib import Path

from . import hosts as _hosts

_BEGIN, _END = (
    "# Hosts to be avoided, by panorama; taken away again when they are not.",
    "# End of hosts to be avoided.",
)
_BLOCK = re.compile(rf"^{re.escape(_BEGIN)}\n.*?^{re.escape(_END)}\n", re.MULTILINE | re.DOTALL)
_QUEUE = re.compile(r"^queue\b", re.MULTILINE)
_VANILLA = re.compile(r"^universe\s*=\s*vanilla\s*$", re.MULTILINE)
_log = logging.getLogger(__name__)


def tell(submit_dir: Path, hosts: Collection[str]) -> int:
    """Have the jobs of a plan that are still to be submitted go to none of these hosts, and to all others.

    Returns
    -------
    int
        How many files had to be changed.
    """
    changed = 0
    for path in sorted(submit_dir.rglob("*.sub")):
        try:
            changed += _rewritten(path, hosts)
        except OSError as problem:
            _log.warning("%s: its job is told in the queue: %s", path, problem.strerror)
    return changed


def _rewritten(path: Path, hosts: Collection[str]) -> bool:
    before = path.read_text(encoding="utf-8", errors="surrogateescape")
    after = told(before, hosts)
    if after == before:
        return False
    new = path.with_suffix(f".sub.{os.getpid()}")
    new.write_text(after, encoding="utf-8", errors="surrogateescape")
    new.chmod(path.stat().st_mode & 0o777)
    new.replace(path)
    return True


def told(text: str, hosts: Collection[str]) -> str:
    """A submit file whose job avoids these hosts; one of a job that needs no machine of the pool stays as it is."""
    bare = _BLOCK.sub("", text)
    if not _VANILLA.search(bare):
        return text
    planned = "+PanoramaAvoid" in bare
    lines = [f"{name} = {value}\n" for name, value in _hosts.profiles(hosts).items() if hosts or planned]
    if lines and planned:
        lines = lines[-1:]  # its plan has the condition already
    elif lines:
        lines[0] = f"requirements = ($(requirements:true)) && {_hosts.CONDITION}\n"
    block = "".join([f"{_BEGIN}\n", *lines, f"{_END}\n"]) if lines else ""
    return _QUEUE.sub(lambda match: block + match[0], bare, count=1)
