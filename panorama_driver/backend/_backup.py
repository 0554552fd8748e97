"""What a deployment knows, as a folder of files: the broker's definitions and the store; and back again.

BACKUP/manifest.json            when, of what, and the SHA-256 of each file
       broker-definitions.json  vhosts, users (hashes), exchanges, queues, bindings; not the messages
       store.db                 a SQLite store, or
       search-snapshot.tar      a snapshot of OpenSearch
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from .. import __version__
from ..errors import UsageError
from ._definitions import without_users
from .containers import Deployment
from .volumes import SNAPSHOTS

MANIFEST, DEFINITIONS, STORE, SNAPSHOT = "manifest.json", "broker-definitions.json", "store.db", "search-snapshot.tar"
_FORMAT = 1
_MODULE = ("python", "-m", "panorama_driver.backend.volumes")
_DATA = f"/usr/share/opensearch/data/{SNAPSHOTS}"
_USERS_OF_STORE = ("dashboard", "collector")  # in the order in which they are stopped


def backup(deployment: Deployment, target: Path) -> dict[str, Any]:
    """Write a backup while everything runs, but for the collector of a search engine, which rests; the manifest.

    A snapshot takes the engine's indices one after another, so nothing may be written: it waits in the broker.

    Parameters
    ----------
    deployment : Deployment
        Its broker, collector and search engine must be up.
    target : Path
        A new folder, of mode 0700.

    Raises
    ------
    UsageError
        The folder is there already.
    ServiceError
        A command fails; what was written is no backup, for it has no manifest.
    """
    try:
        target.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        raise UsageError(f"{target}: is there already; name a new folder") from None
    compose, store = deployment.compose, deployment.settings.store_inside
    with _new(target / DEFINITIONS) as file:
        compose.run("exec", "-T", "broker", "rabbitmqctl", "-q", "export_definitions", "-", stdout=file)
    if deployment.settings.search:
        compose.run("stop", "collector")
        try:
            _once(deployment, "snapshot", None)
        finally:
            compose.run("up", "-d")
        with _new(target / SNAPSHOT) as file:
            compose.run("exec", "-T", "search", "tar", "-C", _DATA, "-cf", "-", ".", stdout=file)
    else:
        with _new(target / STORE) as file:
            compose.run("exec", "-T", "collector", *_MODULE, "save", store, stdout=file)
    manifest = _manifest(deployment, target)
    with _new(target / MANIFEST) as file:
        file.write(json.dumps(manifest, indent=1).encode())
    return manifest


def restore(deployment: Deployment, source: Path) -> None:
    """Put a backup in the place of what a deployment has; collector and dashboard are stopped meanwhile.

    The deployment's own users keep their passwords, so that a new deployment can take over from a lost one.

    Raises
    ------
    UsageError
        It is no backup, a file is not as it was written, or it is one of another kind of store.
    ServiceError
        A command fails; collector and dashboard then stay stopped.
    """
    read_manifest(source, deployment.settings.store)
    compose = deployment.compose
    definitions = merged(source / DEFINITIONS, deployment.folder / "secrets" / DEFINITIONS)
    compose.run("stop", *_USERS_OF_STORE)
    with _input(definitions) as file:
        compose.run("exec", "-T", "broker", "rabbitmqctl", "-q", "import_definitions", stdin=file)
    if deployment.settings.search:
        _restore_search(deployment, source / SNAPSHOT)
    else:
        with (source / STORE).open("rb") as file:
            _once(deployment, "load", file)
    compose.run("up", "-d")


def read_manifest(source: Path, store: str) -> dict[str, Any]:
    """The manifest of a backup whose files are as they were written.

    Raises
    ------
    UsageError
        They are not, or it is one of another kind of store.
    """
    path = source / MANIFEST
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        kind, sums = told["store"], dict(told["sha256"])
        if told["format"] != _FORMAT or set(sums) != set(_files(kind)):
            raise UsageError(f"{path}: format {told['format']!r}, which this version does not know")
    except (OSError, ValueError, KeyError, TypeError) as problem:
        if isinstance(problem, UsageError):
            raise
        raise UsageError(f"{source}: no backup: {MANIFEST}: {problem}") from None
    if kind != store:
        raise UsageError(
            f"{source}: a backup of {kind}, and this deployment has {store}; write one with --store {kind}"
        )
    for name, wanted in sums.items():
        if _sum(source / name) != wanted:
            raise UsageError(f"{source / name}: not as it was written; take another backup. Nothing was changed")
    return dict(told)


def merged(saved: Path, own: Path) -> bytes:
    """Definitions of a backup without the users that the deployment has itself."""
    users = {user["name"] for user in json.loads(own.read_bytes())["users"]}
    return json.dumps(without_users(json.loads(saved.read_bytes()), users)).encode()


def _restore_search(deployment: Deployment, snapshot: Path) -> None:
    compose = deployment.compose
    compose.run("exec", "-T", "search", "rm", "-rf", _DATA)
    compose.run("exec", "-T", "search", "mkdir", _DATA)
    with snapshot.open("rb") as file:
        compose.run("exec", "-T", "search", "tar", "-C", _DATA, "-xf", "-", stdin=file)
    _once(deployment, "restore", None)


def _once(deployment: Deployment, verb: str, stdin: IO[bytes] | None) -> None:
    """Run a verb of `volumes` in a collector of its own."""
    words = ("run", "--rm", "-T", "--no-deps", "collector", *_MODULE, verb, deployment.settings.store_inside)
    deployment.compose.run(*words, stdin=stdin)


def _files(kind: str) -> tuple[str, ...]:
    return (DEFINITIONS, SNAPSHOT if kind == "opensearch" else STORE)


def _manifest(deployment: Deployment, target: Path) -> dict[str, Any]:
    store = deployment.settings.store
    return {
        "format": _FORMAT,
        "software": f"panorama-driver {__version__}",
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "project": deployment.settings.project,
        "store": store,
        "bytes": {name: (target / name).stat().st_size for name in _files(store)},
        "sha256": {name: _sum(target / name) for name in _files(store)},
    }


def _sum(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as problem:
        raise UsageError(f"{path}: cannot be read: {problem.strerror}") from None


@contextmanager
def _new(path: Path) -> Iterator[IO[bytes]]:
    """A new file of mode 0600."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        yield file


@contextmanager
def _input(content: bytes) -> Iterator[IO[bytes]]:
    """Content as a file that a program can read from its start."""
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        yield file
