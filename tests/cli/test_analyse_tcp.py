"""`panorama analyse tcp`: from logs to a model, and from a model to verdicts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.analysis.tcp_flows import told
from tests.tstat_logs import FULL, log

pytest.importorskip("sklearn")


def panorama(*words: object) -> subprocess.CompletedProcess[str]:
    code = "from panorama_driver.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, "analyse", "tcp", *map(str, words)], capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("normal")
    (folder / "log_tcp_complete").write_bytes(log(FULL, *(told(c_pkts_data=50_000 + n) for n in range(40))))
    done = panorama("--learn", f"cubic={folder}", "-o", folder / "model.json")
    assert done.returncode == 0, done.stderr
    assert "40 normal transfers of cubic, 1e8 bytes, seen at the receiver end" in done.stdout
    return folder / "model.json"


def test_logs_are_judged_by_a_model(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "log_tcp_complete"
    path.write_bytes(log(FULL, told(), told(c_port=1, c_pkts_dup=100)))
    done = panorama("--model", model, f"cubic={path}", "--json")
    assert [found["name"] for found in json.loads(done.stdout)["transfers"]] == ["normal", "duplication"]
    assert "doubled" in panorama("--model", model, path).stdout


def test_logs_of_both_ends_need_no_model(tmp_path: Path) -> None:
    for place, arrived in (("sender", 101_000_000), ("receiver", 100_000_000)):
        (tmp_path / place).mkdir()
        (tmp_path / place / "log_tcp_complete").write_bytes(log(FULL, told(place, c_bytes_all=arrived)))
    done = panorama(tmp_path, "--json")
    (found,) = json.loads(done.stdout)["transfers"]
    assert (found["name"], found["direction"]) == ("loss", "client to server")


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (["--learn"], 2, "--learn needs LOGs"),
        (["nowhere.log"], 2, "no such log"),
        (["--model", "nowhere.json"], 3, "no such model"),
    ],
)
def test_what_is_wrong_is_said(words: list[str], code: int, complaint: str) -> None:
    done = panorama(*words)
    assert (done.returncode, complaint in done.stderr) == (code, True), done.stderr
