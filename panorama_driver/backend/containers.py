"""The back end in containers: writes what a deployment is made of, starts and stops it, and sees how it stands.

write ─▶ DIR: .env  compose*.yml  config/  image/  secrets/ (0600)  kubernetes/
up ─▶ docker compose, or podman-compose: prepare ─▶ broker, search ─▶ collector ─▶ dashboard
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from ..config import shared_folder
from ..errors import EnvironmentMissingError, ServiceError, UsageError
from . import _secrets
from ._compose import Compose, Service, find
from ._settings import Settings, changed

__all__ = ["Deployment", "Settings", "Written", "wheel_of_checkout", "write"]

PATIENCE = 600.0
"""How long `up` waits for health, unless told [s]: the first time, images are started that were never started."""
_LOOK = 1.0  # seconds
_PREPARE = "prepare"
_TAIL = "30"  # lines of a log
_SECURITY = ("config.yml", "roles.yml", "roles_mapping.yml")
_OF_PODS = ("collector-netrc", "collector-token", "dashboard-token", "search-netrc", "ca.pem")


class Written(NamedTuple):
    """What `write` has made: where, and by which settings."""

    folder: Path
    settings: Settings


def write(folder: Path, asked: Mapping[str, object], wheel: Path | None = None) -> Written:
    """Make the folder of a deployment, or bring it up to date; secrets and data stay.

    Parameters
    ----------
    folder : Path
        Made where it is missing.
    asked : mapping
        Settings that are to change, by name; those of `.env` stay, and else the defaults are taken.
    wheel : Path, optional
        This package as a wheel, for the image of collector and dashboard. One that is there already stays.

    Raises
    ------
    UsageError
        A setting does not fit, or the folder holds something else.
    EnvironmentMissingError
        There is no wheel and no image; or a package is missing that makes certificates.
    """
    folder = folder.absolute()
    there = folder / ".env"
    if not there.exists() and folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder}: not empty, and no deployment: name another folder")
    settings = changed(Settings.read(there) if there.exists() else Settings(), asked)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings.write(there)  # first, so that what fails below can be done again
    _lay_out(folder, settings)
    _secrets.make(folder / "secrets", search=settings.search, tls=settings.tls, hosts=settings.hosts)
    _lay_out_kubernetes(folder, settings)
    if wheel is not None:
        for old in (folder / "image").glob("*.whl"):
            old.unlink()
        shutil.copy(wheel, folder / "image")
    return Written(folder, settings)


def wheel_of_checkout(to: Path) -> Path:
    """This package as a wheel, built from the checkout that it runs from.

    Raises
    ------
    EnvironmentMissingError
        It runs from no checkout, or the wheel cannot be built.
    """
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / "pyproject.toml").is_file():
        raise EnvironmentMissingError(
            "the image needs this package as a wheel, and this is no checkout: name one with --wheel FILE, or an image "
            "that has it with --image NAME"
        )
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(to), str(checkout)]
    called = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if called.returncode:
        raise EnvironmentMissingError(f"no wheel of {checkout}: {called.stderr.strip()[-1000:]}")
    [built] = to.glob("panorama_driver-*.whl")
    return built


class Deployment:
    """A deployment in a folder that `write` has made.

    Parameters
    ----------
    folder : Path
        Where.
    engine : str, optional
        Which compose command; the first that works, unless told.
    tell : callable
        Takes each command line before it runs.

    Raises
    ------
    UsageError
        There is no deployment.
    EnvironmentMissingError
        There is no container engine.
    """

    def __init__(self, folder: Path, engine: str | None, tell: Callable[[str], object]) -> None:
        self.folder = folder.absolute()
        if not (self.folder / ".env").is_file():
            raise UsageError(f"{self.folder}: no deployment there; make one with: panorama deploy write {folder}")
        self.settings = Settings.read(self.folder / ".env")
        self.compose = Compose(find(engine), self.folder, self.settings.project, self.settings.files, tell)

    def up(self, progress: Callable[[str], object], patience: float = PATIENCE) -> dict[str, Service]:
        """Start what does not run, with changed settings what they concern, and wait until all is healthy.

        Raises
        ------
        ServiceError
            A command fails, or something is not healthy within `patience` [s]; its last words are shown.
        """
        if any((self.folder / "image").glob("*.whl")):
            self.compose.run("build", _PREPARE)
        self.compose.run("up", "-d", "--remove-orphans")
        return self._await_health(progress, time.monotonic() + patience)

    def down(self, volumes: bool = False) -> None:
        """Stop and remove the containers; the data go too, if `volumes`."""
        self.compose.run("down", "--remove-orphans", *(["--volumes"] if volumes else []))

    def status(self) -> list[Service]:
        """How each service stands; `absent` where it has no container."""
        there = self.compose.services()
        return [there.get(name) or Service(name, "absent", "", None) for name in self.settings.services]

    def pin(self) -> dict[str, str]:
        """Fetch the images, and write into `.env` which they are, by digest; what was there, and what is now.

        Raises
        ------
        ServiceError
            They cannot be fetched, or the engine does not tell their digests.
        """
        pinned = {}
        for name in ("broker_image", *(("search_image",) * self.settings.search)):
            image = getattr(self.settings, name)
            self.compose.engine(self.compose.kind.engine, "pull", image)
            pinned[name] = self._digest(image)
        before = {name: getattr(self.settings, name) for name in pinned}
        self.settings = changed(self.settings, pinned)
        self.settings.write(self.folder / ".env")
        return {before[name]: pinned[name] for name in pinned}

    def _digest(self, image: str) -> str:
        words = [self.compose.kind.engine, "image", "inspect", "--format", "{{index .RepoDigests 0}}", image]
        called = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if called.returncode or "@sha256:" not in called.stdout:
            raise ServiceError(f"{image}: no digest is known of it: {(called.stderr or called.stdout).strip()[-500:]}")
        return called.stdout.strip()

    def _await_health(self, progress: Callable[[str], object], deadline: float) -> dict[str, Service]:
        while True:
            there = self.compose.services()
            wanting = [name for name in self.settings.services if name not in there or not there[name].good]
            if not wanting:
                return there
            failed = there.get(_PREPARE)
            if failed is not None and failed.state == "exited" and failed.exit_code:
                self._give_up([_PREPARE], "it failed")
            if time.monotonic() > deadline:
                self._give_up(wanting, "not healthy in time")
            progress(", ".join(f"{name}: {_stands(there.get(name))}" for name in wanting))
            time.sleep(_LOOK)

    def _give_up(self, services: list[str], why: str) -> None:
        self.compose.run("logs", "--tail", _TAIL, *services)
        raise ServiceError(
            f"{', '.join(services)}: {why}; the last lines of their logs stand above, and what runs goes on running: "
            f"panorama deploy status {self.folder}"
        )


def _stands(service: Service | None) -> str:
    return "waits" if service is None else service.health or service.state


def _lay_out(folder: Path, settings: Settings) -> None:
    """All that is no secret."""
    source = shared_folder("deploy")
    config, image = folder / "config", folder / "image"
    (config / "opensearch-security").mkdir(parents=True, exist_ok=True)
    image.mkdir(exist_ok=True)
    for name in ("compose.yml", "compose.search.yml", "compose.tls.yml"):
        shutil.copyfile(source / name, folder / name)
    shutil.copyfile(source / "Containerfile", image / "Containerfile")
    shutil.copyfile(source / "prepare.sh", config / "prepare.sh")
    shutil.copyfile(source / "search" / "opensearch.yml", config / "opensearch.yml")
    for name in _SECURITY:
        shutil.copyfile(source / "search" / name, config / "opensearch-security" / name)
    parts = ("rabbitmq.conf", *(("rabbitmq-tls.conf",) * settings.tls))
    text = "".join((source / "broker" / part).read_text(encoding="utf-8") for part in parts)
    (config / "rabbitmq.conf").write_text(text, encoding="utf-8")


def _lay_out_kubernetes(folder: Path, settings: Settings) -> None:
    """The manifests, with the secrets that their pods need: kustomize reads nothing from elsewhere."""
    target = folder / "kubernetes"
    shutil.copytree(shared_folder("deploy") / "kubernetes", target, dirs_exist_ok=True)
    secrets = target / "overlays" / settings.store / "secrets"
    secrets.mkdir(mode=0o700, exist_ok=True)
    for name in _OF_PODS:
        if (folder / "secrets" / name).exists():
            shutil.copy(folder / "secrets" / name, secrets / name)
