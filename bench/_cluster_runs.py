"""Runs of known kinds: a small workflow under the embedded engine, with real faults, each run's kind kept beside them.

Faults are made where they would be: programs that exit with an error, processes that get less processor time than they
ask for since they are stopped and continued in turn (SIGSTOP and SIGCONT, a duty cycle as cpulimit makes it), and jobs
that really write more. What the store holds of a run does not tell its kind.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from panorama_driver.collector import drain
from panorama_driver.engines.local import Group, Slots, Watch, run_bundle
from panorama_driver.render import find_site, find_workflow, render
from panorama_driver.store import Store, open_store
from panorama_driver.testing import faults

FOLDER = Path(__file__).resolve().parent / "clusters"
GROUPS = (Group("a", 1), Group("b", 1))
_PERIOD = 0.02  # of the duty cycle [s]
_SHARE = 0.4  # of the processor that a slow process gets
_HEAVY = 80  # MiB


@dataclass(frozen=True)
class Kind:
    """A kind of run: what is told to its jobs, and which of its groups of slots are slow."""

    options: dict[str, Any] = field(default_factory=dict)
    slow: tuple[str, ...] = ()


NORMAL = "normal"
MARK = "PANORAMA_SLOT_GROUP"
KINDS = {
    NORMAL: Kind(),
    "failures retried": Kind({"trouble": "sometimes"}),
    "failed for good": Kind({"trouble": "always"}),
    "slow host": Kind(slow=("a", "b")),
    "one slow slot": Kind(slow=("b",)),
    "heavy output": Kind({"volume": _HEAVY}),
}


def generate(home: Path, number: int | dict[str, int], seed: int) -> Path:
    """Run `number` workflows of each kind, in random order; gives the store, beside which `labels.json` tells kinds."""
    home.mkdir(parents=True, exist_ok=True)
    draws = random.Random(seed)
    counts = number if isinstance(number, dict) else dict.fromkeys(KINDS, number)
    kinds = [kind for kind, count in counts.items() for _ in range(count)]
    draws.shuffle(kinds)
    labels: dict[str, str] = {}
    begin = time.monotonic()
    with open_store(home / "runs.db") as store:
        for done, kind in enumerate(kinds, 1):
            wf_uuid = str(uuid.UUID(int=draws.getrandbits(128), version=4))
            _run(home / "bundle", KINDS[kind], draws.randrange(10**9), wf_uuid, store)
            labels[wf_uuid] = kind
            if done % 10 == 0:
                print(f"  {done} of {len(kinds)} runs, {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    (home / "labels.json").write_text(json.dumps(labels, indent=1), encoding="utf-8")
    return home / "runs.db"


def _run(bundle: Path, kind: Kind, draw: int, wf_uuid: str, store: Store) -> None:
    shutil.rmtree(bundle, ignore_errors=True)
    folder = find_workflow(str(FOLDER), Path())
    parameters, options = folder.split({"draw": draw, **kind.options})
    render(folder, find_site("local", Path()), parameters, options, bundle)
    with ExitStack() as stack:
        if kind.slow:
            stack.enter_context(_slowed([{"PEGASUS_WF_UUID": wf_uuid, MARK: name} for name in kind.slow]))
        slots = Slots(len(GROUPS), 4096, GROUPS)
        asyncio.run(run_bundle(bundle, "local", wf_uuid, slots, Watch(interval=0.5)))
    drain(bundle / "run", store)
    shutil.rmtree(bundle)


@contextmanager
def _slowed(marks: list[dict[str, str]]) -> Iterator[None]:
    """Give what runs with these variables in its environment a share of the time, from when it begins."""
    over = threading.Event()
    thread = threading.Thread(target=_slow_down, args=(marks, over))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _slow_down(marks: list[dict[str, str]], over: threading.Event) -> None:
    while not over.is_set():
        running = [pid for mark in marks for pid in faults.processes(mark)]
        _signal(running, signal.SIGSTOP)
        time.sleep(_PERIOD * (1 - _SHARE))
        _signal(running, signal.SIGCONT)
        over.wait(_PERIOD * _SHARE)


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
