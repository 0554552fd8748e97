"""A user who is not there, with a home of its own and the released Ensemble Manager, but no planner and no pool."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from panorama_driver.engines.pegasus.manager import FIRST_PORT
from panorama_driver.engines.pegasus.service import Account
from panorama_driver.errors import EnvironmentMissingError
from panorama_driver.testing.manager import find_venv

ROOT = Path(__file__).parent.parent

# Root cannot run the manager, and nobody's own manager shall be in a test's way: so both sides are told another user.
_PRETEND = """\
import os, pwd
_entry = pwd.struct_passwd(({name!r}, "x", {uid}, {uid}, "", {home!r}, "/bin/sh"))
os.getuid = lambda: {uid}
pwd.getpwuid = lambda uid: _entry
pwd.getpwnam = lambda name: _entry
"""


def released_python() -> Path:
    """Python of the environment that has the released pegasus-wms."""
    try:
        return find_venv() / "bin" / "python"
    except EnvironmentMissingError as missing:
        pytest.skip(str(missing))


class Released:
    """A made-up user, its home, and the programs that it finds on PATH."""

    def __init__(self, folder: Path) -> None:
        python = released_python()
        self.home = folder / "home"
        self.bin = folder / "bin"
        self._pretend = folder / "pretend"
        for path in (self.home, self.bin, self._pretend):
            path.mkdir(parents=True)
        self.account = Account(_free_port() - FIRST_PORT, "someone", self.home)
        (self._pretend / "sitecustomize.py").write_text(
            _PRETEND.format(name=self.account.name, uid=self.account.uid, home=str(self.home))
        )
        for name in ("pegasus-em", "pegasus-db-admin"):
            self.program(name, f'exec env PYTHONPATH={self._pretend} {python} -m Pegasus.cli.{name} "$@"')
        for name in ("pegasus-plan", "pegasus-run", "condor_submit_dag"):
            self.program(name, "exit 0")

    def program(self, name: str, text: str) -> None:
        """Put a shell script on its PATH."""
        (self.bin / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.bin / name).chmod(0o755)

    @property
    def environment(self) -> dict[str, str]:
        """For processes of this user."""
        foreign = ("PEGASUS_", "CONDOR_", "PANORAMA_ENSEMBLE_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        return kept | {
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.home),
            "PYTHONPATH": f"{self._pretend}{os.pathsep}{ROOT}",
        }

    def panorama(self, *words: object) -> subprocess.CompletedProcess[str]:
        """Run `panorama` as this user."""
        command = [sys.executable, "-c", "from panorama_driver.cli import main; main()", *map(str, words)]
        return subprocess.run(command, env=self.environment, cwd=self.home, capture_output=True, text=True, timeout=120)

    def plan_script(self, text: str) -> str:
        """A plan command whose script is `text`."""
        path = self.home / "plan.sh"
        path.write_text(f"#!/bin/sh\n{textwrap.dedent(text)}\n")
        path.chmod(0o755)
        return "./plan.sh"

    def planned(self) -> str:
        """A plan command that finds a plan."""
        submit = self.home / "submit"
        submit.mkdir(exist_ok=True)
        uuid = "11111111-2222-3333-4444-555555555555"
        (submit / "braindump.yml").write_text(f"user: someone\nwf_uuid: {uuid}\nroot_wf_uuid: {uuid}\n")
        return self.plan_script(f"echo pegasus-run  {submit}")


def _free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port: int = trial.getsockname()[1]
        return port
