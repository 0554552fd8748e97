"""The released Ensemble Manager of Pegasus, run for tests on top of the stand-ins.

It lives in a virtual environment of its own, since it pins older libraries: `python -m panorama_driver.testing
make-venv` makes one. It takes its port from the user's number, its home from the password file, and refuses root, so
it is run as a user of its own in a Linux user namespace; where the kernel grants none, a launcher answers the three
questions that it asks about the user. Its code is untouched in both cases.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from base64 import b64encode
from functools import lru_cache
from pathlib import Path
from types import TracebackType

from ..errors import EnvironmentMissingError, ManagerError
from .standins import Standins

RELEASE = "pegasus-wms==5.1.3"
VENV = "PANORAMA_PEGASUS_VENV"
"""Name of the environment variable with the path of the virtual environment."""
_PORT_OF_USER_0 = 7919
_START = 30.0
"""Longest time until it answers [s]."""
_SERVICE = """\
USERNAME = "{user}"
PASSWORD = "{password}"
AUTHENTICATION = "NoAuthentication"
EM_INTERVAL = {interval}
"""
_IN_NAMESPACE = 'mount --bind "$1" /etc/passwd && shift && exec unshare --user --map-user="$@"'
_LAUNCHER = """\
import os, pwd, runpy, sys
uid, name, home = int(sys.argv[1]), sys.argv[2], sys.argv[3]
entry = pwd.struct_passwd((name, "x", uid, os.getgid(), "", home, "/bin/sh"))
os.getuid = lambda: uid
pwd.getpwuid = lambda number: entry
pwd.getpwnam = lambda name: entry
sys.argv = ["pegasus-em", *sys.argv[4:]]
runpy.run_module("Pegasus.cli.pegasus-em", run_name="__main__")
"""


def default_venv() -> Path:
    """Where the virtual environment is looked for: what PANORAMA_PEGASUS_VENV says, else .pegasus of the checkout."""
    return Path(os.environ.get(VENV) or Path(__file__).resolve().parents[2] / ".pegasus")


def find_venv() -> Path:
    """The virtual environment that has the released Pegasus.

    Raises
    ------
    EnvironmentMissingError
        There is none.
    """
    path = default_venv()
    if not list(path.glob("lib/python*/site-packages/Pegasus/service/ensembles/manager.py")):
        raise EnvironmentMissingError(
            f"{path}: no virtual environment with {RELEASE}; make one with "
            f"`python -m panorama_driver.testing make-venv`, or name one in {VENV}"
        )
    return path


def make_venv(path: Path | None = None) -> Path:
    """Make the virtual environment, with pip and a package index; takes about a minute.

    Parameters
    ----------
    path : Path, optional
        Where; `default_venv` if it is not given.
    """
    path = path or default_venv()
    subprocess.run([sys.executable, "-m", "venv", path], check=True)
    subprocess.run([path / "bin" / "python", "-m", "pip", "install", "--quiet", RELEASE], check=True)
    return path


def main(words: list[str]) -> int:
    """Make the virtual environment, at the path given if one is."""
    print(make_venv(Path(words[0]) if words else None))
    return 0


@lru_cache(maxsize=1)
def namespaces() -> bool:
    """Whether we may make user namespaces with mounts of their own, which some containers forbid."""
    with tempfile.NamedTemporaryFile("w", suffix=".passwd") as file:
        try:
            command = _in_namespace(
                Path(file.name), 12345, [sys.executable, "-c", "import os; assert os.getuid() == 12345"]
            )
            return subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            return False


def _in_namespace(passwd: Path, uid: int, command: list[str]) -> list[str]:
    outer = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _IN_NAMESPACE, "sh"]
    return [*outer, str(passwd), str(uid), *command]


def _database(venv: Path) -> Path:
    """An empty database for the manager, made once a virtual environment: that takes a second or two."""
    path = venv / "workflow.db"
    if not path.exists():
        with tempfile.TemporaryDirectory() as folder:
            new = Path(folder) / "workflow.db"
            command = [str(venv / "bin" / "python"), "-m", "Pegasus.cli.pegasus-db-admin", "create", f"sqlite:///{new}"]
            env = os.environ | {"HOME": folder}
            ran = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
            if not new.exists():
                raise ManagerError(f"{venv}: pegasus-db-admin made no database: {ran.stdout}{ran.stderr}")
            beside = path.with_suffix(f".{os.getpid()}")
            shutil.copyfile(new, beside)
            beside.replace(path)
    return path


def _free_port() -> int:
    """A port for which there is a user number; the manager adds the two."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port > _PORT_OF_USER_0 + 1000:
            return port


class Manager:
    """A running Ensemble Manager; as a context manager it is stopped at the end.

    Parameters
    ----------
    standins : Standins
        The commands that it finds, and whose home is its user's.
    interval : float
        Its polling interval [s]; 60 by default in reality.
    isolated : bool, optional
        In a user namespace; where these can be had, if it is not given.

    Attributes
    ----------
    url : str
        Where it listens, on loopback.
    home, log : Path
        Its user's home; what it said.
    user, password : str
        For basic authentication; it lets anybody in, though.

    Raises
    ------
    EnvironmentMissingError
        There is no virtual environment with the released Pegasus.
    ManagerError
        It does not start.
    """

    def __init__(self, standins: Standins, interval: float = 0.5, isolated: bool | None = None) -> None:
        self._venv = find_venv()
        self._standins = standins
        self._isolated = namespaces() if isolated is None else isolated
        self.home = standins.home
        self.log = standins.folder / "manager.log"
        self.user, self.password = getpass.getuser(), "x"
        self._port = _free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None
        private = self.home / ".pegasus"
        private.mkdir(mode=0o700, exist_ok=True)
        service = _SERVICE.format(user=self.user, password=self.password, interval=interval)
        (private / "service.py").write_text(service)
        if not (private / "workflow.db").exists():
            shutil.copyfile(_database(self._venv), private / "workflow.db")
        self.start()

    def __enter__(self) -> Manager:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """Its process, if it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Start it, on the same port each time, and wait until it answers."""
        env = {key: value for key, value in os.environ.items() if key not in ("PEGASUS_HOME", "CONDOR_HOME")}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                cwd=self.home,
                env=env | self._standins.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait()

    def _command(self) -> list[str]:
        python, uid = str(self._venv / "bin" / "python"), self._port - _PORT_OF_USER_0
        if not self._isolated:
            return [python, "-c", _LAUNCHER, str(uid), self.user, str(self.home), "server", "--verbose"]
        passwd = self._standins.folder / "passwd"
        others = [line for line in Path("/etc/passwd").read_text().splitlines() if not line.startswith(f"{self.user}:")]
        own = f"{self.user}:x:{uid}:{uid}::{self.home}:/bin/sh"
        passwd.write_text("\n".join([own, *others]) + "\n")
        return _in_namespace(passwd, uid, [python, "-m", "Pegasus.cli.pegasus-em", "server", "--verbose"])

    def _wait(self) -> None:
        until = time.monotonic() + _START
        while time.monotonic() < until and self.pid:
            try:
                self.request("/ensembles")
                return
            except OSError:
                time.sleep(0.05)
        self.kill()
        raise ManagerError(
            f"{self.url}: the Ensemble Manager does not answer: {self.log.read_text(errors='replace')[-2000:]}"
        )

    def request(self, path: str, **form: str) -> bytes:
        """Ask it, by GET or, where there is a form, by POST.

        Raises
        ------
        OSError
            It does not answer, or with an error.
        """
        data = urllib.parse.urlencode(form).encode() if form else None
        token = b64encode(f"{self.user}:{self.password}".encode()).decode()
        request = urllib.request.Request(self.url + path, data, {"Authorization": f"Basic {token}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            content: bytes = answer.read()
        return content

    def kill(self) -> None:
        """Kill it; planners that it started go on."""
        self._end("kill")

    def stop(self) -> None:
        """End it as a user would."""
        self._end("terminate")

    def _end(self, how: str) -> None:
        if self._process is not None:
            getattr(self._process, how)()
            self._process.wait()

    def restart(self) -> None:
        """Start it again after `kill` or `stop`."""
        self.start()
