"""Staging says how each file got where it belongs, what was moved for it, and what could not be."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from panorama_driver.collector import drain
from panorama_driver.engines.local import run_bundle
from panorama_driver.engines.local.slots import Slots
from panorama_driver.metrics import WorkflowMetrics, correlate
from panorama_driver.render import find_site, find_workflow, render
from panorama_driver.store import open_store
from tests.conftest import PARABOLA

WF = "11111111-0000"


def bundle(path: Path) -> Path:
    folder = find_workflow(str(PARABOLA), Path())
    parameters, options = folder.split({"x": 0.5})
    render(folder, find_site("local", Path()), parameters, options, path)
    return path


def run(path: Path) -> None:
    asyncio.run(run_bundle(path, "local", WF, Slots(2, 4096)))


def singles(path: Path) -> dict[str, dict[str, Any]]:
    raws = map(json.loads, (path / "run/events.jsonl").read_text().splitlines())
    return {raw["filename"]: raw for raw in raws if raw["event"] == "transfer.inv.local.single"}


def metrics(path: Path) -> WorkflowMetrics:
    with open_store(path / "store.db") as store:
        drain(path / "run", store)
        return correlate(store.events(WF))


def test_a_link_moves_no_byte_and_stages_all(tmp_path: Path) -> None:
    path = bundle(tmp_path / "b")
    run(path)
    result = (path / "output/result.json").stat().st_size
    told = {name: (raw["method"], raw["size"], raw["bytes_transferred"]) for name, raw in singles(path).items()}
    assert told == {
        "settings.txt": ("link", 4, 0),
        "constants/offset.txt": ("link", 4, 0),
        "result.json": ("hardlink", result, 0),
    }
    workflow = metrics(path)
    assert (workflow.bytes_transferred, workflow.bytes_staged) == (0, 8 + result)


def test_an_input_that_is_gone_leaves_a_transfer_that_failed(tmp_path: Path) -> None:
    path = bundle(tmp_path / "b")
    missing = next(name for name in path.rglob("offset.txt") if "run" not in name.relative_to(path).parts)
    os.unlink(missing)
    run(path)
    told = {name: raw["status"] for name, raw in singles(path).items()}
    assert told["constants/offset.txt"] == 1
    assert "No such file" in singles(path)["constants/offset.txt"]["error"]
    staging = [job for job in metrics(path).jobs if job.type == "stage-in-tx"]
    assert [(job.state, job.transfers_failed, job.bytes_transferred) for job in staging] == [("failed", 1, 0)]
