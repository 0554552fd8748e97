"""The compose command that a machine has, called so that the user sees what runs."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any, NamedTuple

from ..errors import EnvironmentMissingError, ServiceError, UsageError

_PATIENCE = 20.0  # seconds for a program to tell its version
_HEALTH = re.compile(r"\b(healthy|unhealthy|starting)\b")


class Kind(NamedTuple):
    """A command that understands compose files.

    Attributes
    ----------
    name : str
        As `--engine` takes it.
    command : tuple of str
        Its first words.
    asks : tuple of tuples of str
        Commands that answer 0 where it can be used.
    engine : str
        The program that has the images.
    """

    name: str
    command: tuple[str, ...]
    asks: tuple[tuple[str, ...], ...]
    engine: str


KINDS = (
    Kind("docker", ("docker", "compose"), (("docker", "compose", "version"), ("docker", "info")), "docker"),
    Kind("podman-compose", ("podman-compose",), (("podman", "info"), ("podman-compose", "version")), "podman"),
    Kind("podman", ("podman", "compose"), (("podman", "info"), ("podman", "compose", "version")), "podman"),
    Kind("docker-compose", ("docker-compose",), (("docker-compose", "version"), ("docker", "info")), "docker"),
)


class Service(NamedTuple):
    """How a container stands: `running`, `exited`, ...; `healthy`, `starting`, `unhealthy` or empty; its exit code."""

    name: str
    state: str
    health: str
    exit_code: int | None

    @property
    def good(self) -> bool:
        """Whether it does what it is for."""
        return self.state == "running" and self.health == "healthy"


def find(name: str | None = None) -> Kind:
    """The first of the compose commands that works here, or the one of this name.

    Raises
    ------
    EnvironmentMissingError
        None does; the message has each one's reason.
    """
    kinds = [kind for kind in KINDS if name in (None, kind.name)]
    reasons = []
    for kind in kinds:
        reason = next(filter(None, map(_why_not, kind.asks)), "")
        if not reason:
            return kind
        reasons.append(f"{' '.join(kind.command)}: {reason}")
    raise EnvironmentMissingError(
        "no container engine can be used here (" + "; ".join(reasons) + "). Install Docker with its compose plugin, or "
        "podman with podman-compose; `panorama up` runs the same back end without containers"
    )


class Compose:
    """Calls compose for the project of a folder.

    Parameters
    ----------
    kind : Kind
        Which.
    folder : Path
        Where its files are.
    project : str
        Name of the project.
    files : iterable of str
        Compose files, each adding to those before.
    tell : callable
        Takes each command line before it runs.
    """

    def __init__(
        self, kind: Kind, folder: Path, project: str, files: Iterable[str], tell: Callable[[str], object]
    ) -> None:
        self.kind = kind
        self._folder = folder
        self._words = [*kind.command, "-p", project, *(word for file in files for word in ("-f", file))]
        self._tell = tell

    def run(self, *words: str, stdin: IO[bytes] | None = None, stdout: IO[bytes] | None = None) -> None:
        """Call it, told to the user, with its own words on the terminal.

        Raises
        ------
        ServiceError
            It fails.
        """
        self.engine(*self._words, *words, stdin=stdin, stdout=stdout)

    def engine(self, *words: str, stdin: IO[bytes] | None = None, stdout: IO[bytes] | None = None) -> None:
        """Call any program in the folder, as `run` does."""
        line = shlex.join(words)
        self._tell(line)
        code = subprocess.call(words, cwd=self._folder, stdin=stdin or subprocess.DEVNULL, stdout=stdout)
        if code:
            raise ServiceError(f"exit code {code} of: {line}   (in {self._folder}); its own words stand above")

    def ask(self, *words: str) -> str:
        """What it prints.

        Raises
        ------
        ServiceError
            It fails.
        """
        called = subprocess.run(
            [*self._words, *words],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if called.returncode:
            raise ServiceError(f"{shlex.join([*self._words, *words])}: {called.stderr.strip()[-1000:]}")
        return called.stdout

    def services(self) -> dict[str, Service]:
        """How the project's containers stand, by the name of their service.

        Raises
        ------
        ServiceError
            It cannot be asked.
        """
        words = ("ps", "--format", "json") if self.kind.name == "podman-compose" else ("ps", "-a", "--format", "json")
        told = read_services(self.ask(*words))
        return {service.name: service for service in told}


def read_services(text: str) -> list[Service]:
    """Read `ps --format json`: of Docker's compose (a list until 2.20, then an object a line), and of podman.

    Raises
    ------
    UsageError
        It is something else.
    """
    try:
        lists = text.lstrip().startswith("[")
        rows = json.loads(text) if lists else [json.loads(line) for line in text.splitlines() if line.strip()]
        return [_service(row) for row in rows]
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise UsageError(f"`ps --format json` of this compose is of no known form: {problem!r}: {text[:200]}") from None


def _service(row: dict[str, Any]) -> Service:
    labels = row.get("Labels")
    labels = labels if isinstance(labels, dict) else {}
    name = row.get("Service") or labels.get("com.docker.compose.service") or labels["io.podman.compose.service"]
    told = _HEALTH.search(row.get("Health") or "") or _HEALTH.search(row.get("Status") or "")
    code = row.get("ExitCode")
    return Service(name, row["State"].lower(), told[1] if told else "", code if isinstance(code, int) else None)


def _why_not(words: tuple[str, ...]) -> str:
    """Why a command does not answer 0; empty where it does."""
    try:
        called = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except FileNotFoundError:
        return f"no {words[0]} on PATH"
    except (OSError, subprocess.TimeoutExpired) as problem:
        return f"{shlex.join(words)}: {problem}"
    if not called.returncode:
        return ""
    said = (called.stderr.strip() or called.stdout.strip() or f"exit code {called.returncode}").splitlines()
    return said[0][:200]
