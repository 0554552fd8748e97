"""Stores and studies that go into repositories, and what can be seen of those that come out."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from panorama_driver.events import Event
from panorama_driver.exchange import About, Manifest, Source, export
from panorama_driver.exchange._key import Key
from panorama_driver.store import DeadLetter, Via, open_store
from panorama_driver.study.client import FOLDER

ABOUT = About(title="made up", license="CC-BY-4.0")
ODD: tuple[dict[str, Any], ...] = (
    {"name": "\udcff \ud800", "quoted": 'a"b\\c\n', "é": "ü"},
    {"big": 2**70, "small": -(2**63), "zero": -0.0, "whole": 1.0, "number": 1, "tiny": 5e-324},
    {"": "", "a..b": [1, [2.0, {"deep": None}]], "true": True, "text": "1"},
    {},
)
"""Fields that formats with types of their own would change."""


def odd_events() -> list[tuple[Event, float, Via]]:
    """Events with odd fields, in an order of arrival that is neither that of time nor that of kinds."""
    kinds = ("stampede.inv.end", "kickstart.inv.online", "darshan.report", "no.such.kind", "", "stampede.xwf.start")
    made = []
    for number, kind in enumerate(kinds * 4):
        fields = {"seq": number, **ODD[number % len(ODD)]}
        key: dict[str, Any] = {"ts": None if number % 5 == 0 else 1e9 - number / 7, "wf_uuid": f"run{number % 3}"}
        key |= {"job_id": None if number % 4 == 0 else f"job\0{number}", "attempt": -number or None}
        event = Event(kind=kind, fields=fields, invocation=2**63 - 1 if number % 2 else None, **key)
        made.append((event, 1000.0 + number // 3 / 3, Via(1 + number % 7)))
    return made


def letters() -> list[DeadLetter]:
    return [
        DeadLetter(reason="no name", source="events.jsonl", offset=0, size=3, head=b"{}\n", buried=1.5),
        DeadLetter(reason="no JSON", source="queue", size=900, head=bytes(range(256)), buried=1.25),
    ]


def odd_store(path: Path) -> Source:
    with open_store(path) as store:
        for event, ingested, via in odd_events():
            store.put([event], ingested=ingested, via=via)
        store.bury(letters())
    return Source("odd", str(path))


def rows(path: str | Path) -> list[list[tuple[Any, ...]]]:
    """Everything that is in a store, as it lies in its tables."""
    with sqlite3.connect(path) as connection:
        return [
            connection.execute(f"SELECT {columns} FROM {table} ORDER BY rowid").fetchall()
            for table, columns in (
                ("events", "event_id, wf_uuid, kind, ts, ingested, job_id, attempt, invocation, fields, via"),
                ("dead_letters", "letter_id, reason, source, source_offset, size, head, buried"),
                ("workflows", "wf_uuid, label, root"),
            )
        ]


def study_source(home: Path) -> Source:
    return Source(home.name, str(home / FOLDER / "store.db"), home)


def exported(folder: Path, *sources: Source, key: Key | None = None, about: About = ABOUT) -> Manifest:
    return export(sources, folder, about=about, anonymise=key)


def panorama(*words: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from panorama_driver.cli import main; main()", *map(str, words)]
    return run(command, cwd, **environment)


def run(command: Sequence[str], cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=240)
