"""The private search engine: why it is not there, where it is not, and that it outlives nobody."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from panorama_driver.errors import EnvironmentMissingError, ServerError
from panorama_driver.testing import opensearch

_STARTER = """\
import sys
from pathlib import Path
from panorama_driver.testing import opensearch
with opensearch.running(Path(sys.argv[1])) as node:
    print(node.pid, flush=True)
    sys.stdin.read()
"""


def test_where_it_was_not_fetched_it_is_told_how_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(opensearch.HOME, str(tmp_path))
    assert f"no OpenSearch in {tmp_path}: python -m panorama_driver.testing make-search" in opensearch.why_not()
    with pytest.raises(EnvironmentMissingError, match="make-search"), opensearch.running(tmp_path / "node"):
        pass


@pytest.mark.parametrize(
    ("program", "words", "told"),
    [
        (None, "", "no mvn on PATH: apt-get install maven"),
        ("mvn", "echo '[ERROR] no route to host'; exit 1", "Maven cannot fetch OpenSearch: [ERROR] no route to host"),
    ],
)
def test_what_cannot_be_had_is_the_reason_that_tests_are_skipped_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str | None, words: str, told: str
) -> None:
    programs, home = tmp_path / "bin", tmp_path / "search"
    programs.mkdir()
    if program:
        (programs / program).write_text(f"#!/bin/sh\n{words}\n")
        (programs / program).chmod(0o755)
    command = [sys.executable, "-m", "panorama_driver.testing", "make-search", str(home)]
    ran = subprocess.run(command, env=os.environ | {"PATH": str(programs)}, capture_output=True, text=True, check=True)
    assert told in ran.stderr
    monkeypatch.setenv(opensearch.HOME, str(home))
    assert opensearch.why_not() == ran.stderr.partition("; tests with")[0]


def test_an_error_of_its_tells_status_and_words(search_node: opensearch.Node) -> None:
    with pytest.raises(ServerError, match=r"GET /none-such: 404: .*index_not_found"):
        search_node.ask("GET", "/none-such")


@pytest.mark.long
def test_it_ends_with_whoever_has_started_it(tmp_path: Path) -> None:
    if reason := opensearch.why_not():
        pytest.skip(reason)
    command = [sys.executable, "-c", _STARTER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        node = Path("/proc") / owner.stdout.readline().strip()
        assert node.exists()
        owner.kill()
    deadline = time.monotonic() + 30
    while node.exists():
        assert time.monotonic() < deadline, "it still runs"
        time.sleep(0.05)
