"""Stands in for `docker`, where there are no containers: runs the services of a project as processes of this machine.

It is called as `docker` is; podman-compose reads the compose files. What a container would have of its own, paths,
names and ports, is replaced by what the test says in the file that STAND_IN names. The broker is one that the test has
started.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

_ENDING = 10.0  # seconds
DIGEST = "sha256:" + "ab" * 32


def main(words: list[str]) -> int:
    told: dict[str, Any] = json.loads(Path(os.environ["STAND_IN"]).read_text())
    with Path(told["log"]).open("a") as log:
        log.write(json.dumps(words) + "\n")
    match words:
        case ["info"] | ["compose", "version"] | ["pull", _]:
            return 0
        case ["image", "inspect", "--format", "{{index .RepoDigests 0}}", image]:
            print(f"{image.rpartition(':')[0]}@{DIGEST}")
            return 0
        case ["compose", "-p", project, *rest]:
            files = []
            while rest[0] == "-f":
                files.append(rest[1])
                rest = rest[2:]
            return Project(project, files, told).do(rest)
    return 125


class Project:
    def __init__(self, project: str, files: list[str], told: dict[str, Any]) -> None:
        self.project, self.told = project, told
        self.services = read(files, told["podman"])["services"]
        self.state = Path(told["state"])
        self.secrets = read(files, told["podman"])["secrets"]

    def do(self, words: list[str]) -> int:
        match words:
            case ["up", "-d", *_]:
                return self.up()
            case ["ps", "-a", "--format", "json"]:
                for name in self.services:
                    print(json.dumps(self.row(name)))
                return 0
            case ["stop", *names]:
                return self.stop(names)
            case ["down", *_]:
                return self.stop(list(self.services))
            case ["exec", "-T", name, *command] if name == "broker" or self.alive(name):
                return subprocess.call(self.command(name, command), env=self.environment(name))
            case ["run", "--rm", "-T", "--no-deps", name, *command]:
                return subprocess.call(self.command(name, command), env=self.environment(name))
            case ["logs", "--tail", _, *names]:
                for name in names:
                    print((self.state / f"{name}.log").read_text())
                return 0
        return 125

    def up(self) -> int:
        secrets = self.state / "secrets"
        shutil.rmtree(secrets, ignore_errors=True)
        secrets.mkdir()
        for name in self.services["prepare"]["secrets"]:
            shutil.copy(self.secrets[name]["file"], secrets / name)
        code = subprocess.call(self.command("prepare", self.services["prepare"]["command"]), env=self.environment(""))
        if code:
            return code
        for name in ("collector", "dashboard"):
            if not self.alive(name):
                self.start(name)
            deadline = time.monotonic() + 30
            while not self.healthy(name) and time.monotonic() < deadline:  # what `condition: service_healthy` waits for
                time.sleep(0.1)
        return 0

    def start(self, name: str) -> None:
        with (self.state / f"{name}.log").open("ab") as log:
            started = subprocess.Popen(
                self.command(name, self.services[name]["command"]),
                cwd=self.replaced(name, self.services[name]["working_dir"]),
                env=self.environment(name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        (self.state / f"{name}.pid").write_text(str(started.pid))

    def stop(self, names: list[str]) -> int:
        for name in names:
            if self.alive(name):
                pid = int((self.state / f"{name}.pid").read_text())
                os.kill(pid, signal.SIGTERM)
                deadline = time.monotonic() + _ENDING
                while self.alive(name) and time.monotonic() < deadline:
                    time.sleep(0.02)
            (self.state / f"{name}.pid").unlink(missing_ok=True)
        return 0

    def alive(self, name: str) -> bool:
        try:
            pid = int((self.state / f"{name}.pid").read_text())
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    def healthy(self, name: str) -> bool:
        _, *command = self.services[name]["healthcheck"]["test"]
        return not subprocess.call(
            self.command(name, command),
            env=self.environment(name),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def row(self, name: str) -> dict[str, Any]:
        """As `docker compose ps --format json` prints it, in part."""
        if name == "prepare":
            return {"Service": name, "State": "exited", "Health": "", "ExitCode": 0, "Status": "Exited (0)"}
        up = name == "broker" or self.alive(name)
        health = ("healthy" if self.healthy(name) else "unhealthy") if up else ""
        return {"Service": name, "State": "running" if up else "exited", "Health": health, "ExitCode": 0, "Status": ""}

    def command(self, name: str, words: list[str]) -> list[str]:
        if name == "broker":
            words = [f"{self.told['scripts']}/{words[0]}", "-n", self.told["node"], *words[1:]]
        return [self.replaced(name, word) for word in words]

    def replaced(self, name: str, text: str) -> str:
        for before, after in self.told["replaced"]:
            after = str(after).replace("SERVICE", name)
            if not before.startswith("/"):
                text = text.replace(before, after)
            elif text == before or text.startswith(f"{before}/"):
                return after + text.removeprefix(before)
        return text

    def environment(self, name: str) -> dict[str, str]:
        if name == "broker":
            return dict(self.told["broker"])
        own: dict[str, str] = self.services[name].get("environment", {}) if name else {}
        given: dict[str, str] = self.told["environment"]
        return dict(os.environ) | given | {key: self.replaced(name, text) for key, text in own.items()}


def read(files: list[str], podman: str) -> dict[str, Any]:
    """Compose files as podman-compose understands them, with the values of `.env`; `podman` tells it a version."""
    words = ["podman-compose", "--podman-path", podman, *(word for file in files for word in ("-f", file)), "config"]
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    read: dict[str, Any] = yaml.safe_load(text)
    return read


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
