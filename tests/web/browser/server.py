"""A real `panorama serve`, as a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

_SECONDS = 30.0
_MAIN = "from panorama_driver.cli import main; main()"


class Served(NamedTuple):
    """A server: its address with a `/` at the end, its process, and the token it asks for."""

    base: str
    pid: int
    token: str = ""

    def get(self, path: str) -> Any:
        """What the API answers."""
        authorization = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        request = urllib.request.Request(f"{self.base}api/{path}", headers=authorization)
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
            return json.load(answer)

    def study(self, name: str) -> str:
        """Name in addresses of the study whose directory or file is called `name`."""
        [found] = [each["study"] for each in self.get("studies?size=200")["studies"] if each["name"] == name]
        return str(found)

    def path(self, name: str, run: str = "", *more: str) -> str:
        """Address of a study's page; of that of its run (Dakota's number or label); of what is below: `jobs`, JOB."""
        parts = ["studies", self.study(name), *(["workflows", self.runs(name)[run], *more] if run else [])]
        return "/".join(urllib.parse.quote(part, safe="") for part in parts)

    def runs(self, name: str) -> dict[str, str]:
        """The workflow runs of a study or store, by Dakota's number or by label."""
        rows = self.get(f"studies/{self.study(name)}")["evaluations"]
        return {row["eval_id"]: row["wf_uuid"] for row in rows}


@contextlib.contextmanager
def serving(*paths: Path, folder: Path, port: int = 0, root: str = "", token: str = "") -> Iterator[Served]:
    """Serve studies and stores until the end of the context, below the path `root`; log and cache go to `folder`."""
    log = folder / "serve.log"
    secret = {"PANORAMA_TOKEN": token} if token else {}
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache"), **secret}
    command = [sys.executable, "-c", _MAIN, "serve", *map(str, paths), f"--port={port}", f"--root-path={root}"]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL, env=environment)
    try:
        yield Served(_address(process, log), process.pid, token)
    finally:
        process.terminate()
        process.wait(_SECONDS)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Where the server is, when it has said so and answers."""
    end = time.monotonic() + _SECONDS
    while True:
        said = log.read_text(errors="replace")
        assert process.poll() is None, f"the server ended with {process.returncode}: {said}"
        assert time.monotonic() < end, f"the server did not come up: {said}"
        told = re.search(r"http://[^\s#]+/", said)
        if told and _answers(f"{told[0]}api/health"):
            return told[0]
        time.sleep(0.02)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS):
            return True
    except OSError:
        return False
