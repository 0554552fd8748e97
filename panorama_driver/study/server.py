"""The study server: one process a study directory, on a Unix socket that only its user can open.

It starts with the first evaluation and ends by itself when those it works for have gone and nothing runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import signal
import socket
import time
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from ..errors import FormatError, PanoramaError, ServerError
from ..store import network_filesystem, open_store
from .client import FOLDER, SIGN_OF_LIFE, SOCKET, connect, peer_uid
from .definition import Request
from .evaluations import Evaluations, Listener
from .journal import Journal

_log = logging.getLogger(__name__)
_LINGER = 1.0
_LINGER_UNKNOWN = 10.0
_GOODBYE = 2.0
_TAKE_OVER = 20.0
_LINE_LIMIT = 2**24

LOCK = "server.lock"
"""Held by the study's server."""


class Server:
    """Serves one study.

    Parameters
    ----------
    study_file : Path
        study.yml.
    """

    def __init__(self, study_file: Path) -> None:
        self._folder = study_file.parent / FOLDER
        self._store = open_store(self._folder / "store.db")
        self._journal = Journal(self._folder)
        self._quiet = asyncio.Event()
        self._evaluations = Evaluations(study_file, self._journal, self._store, self._quiet.set)
        self._owners: dict[int, int] = {}
        self._clients = 0
        self._seen_owner = False
        self._stop = asyncio.Event()

    async def serve(self) -> None:
        """Listen until there is nothing left to do, or until told to stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end_alone)
        with _listening(self._folder) as listener:
            server = await asyncio.start_unix_server(self._client, sock=listener, limit=_LINE_LIMIT)
            _log.info("listening pid=%d", os.getpid())
            await self._until_over()
            server.close()
        _log.info("ending: %s", "told to stop" if self._stop.is_set() else "nothing left to do")
        await self._evaluations.cancel_all()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE):
                await self._clients_gone()
        self._journal.close()
        self._store.close()

    def _end_alone(self) -> None:
        """A signal ends this process, and workflows on a cluster have nothing to do with that; `stop` ends both."""
        self._evaluations.leave()
        self._stop.set()

    async def _until_over(self) -> None:
        while not self._stop.is_set():
            self._quiet.clear()
            linger = _LINGER if self._seen_owner else _LINGER_UNKNOWN
            stopped = asyncio.create_task(self._stop.wait())
            changed = asyncio.create_task(self._quiet.wait())
            done, pending = await asyncio.wait(
                {stopped, changed}, timeout=None if self._busy() else linger, return_when=asyncio.FIRST_COMPLETED
            )
            for task in pending:
                task.cancel()
            if not done and not self._busy():
                return

    async def _clients_gone(self) -> None:
        while self._clients:
            self._quiet.clear()
            await self._quiet.wait()

    def _busy(self) -> bool:
        return bool(self._clients or self._owners or not self._evaluations.idle)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        self._quiet.set()
        try:
            if peer_uid(writer.get_extra_info("socket")) != os.getuid():
                raise FormatError("a process of another user asked")
            await self._serve_client(reader, writer)
        except (ConnectionError, FormatError, msgspec.ValidationError, ValueError) as problem:
            _log.warning("client: %s", problem)
        finally:
            self._clients -= 1
            self._quiet.set()
            writer.close()

    async def _serve_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        if not line:
            return  # another server looked whether this one lives
        message = json.loads(line)
        if message.get("op") == "evaluate":
            await self._evaluate(message, reader, writer)
        elif message.get("op") == "cancel":
            await self._cancel(msgspec.convert(message["keys"], list[str]), writer)
        elif message.get("op") == "undo":
            await self._undo(msgspec.convert(message["id"], str), writer)
        elif message.get("op") == "stop":
            _send(writer, {"stopping": True, "pid": os.getpid(), "owners": list(self._owners)})
            self._stop.set()
        else:
            raise FormatError(f"unknown request {str(message)[:200]}")
        await writer.drain()

    async def _cancel(self, keys: list[str], writer: asyncio.StreamWriter) -> None:
        life = asyncio.create_task(_signs_of_life(writer))
        try:
            ended, problems = await self._evaluations.end(keys)
        except PanoramaError as problem:
            ended, problems = [], dict.fromkeys(keys, str(problem))
        finally:
            life.cancel()
        _send(writer, {"cancelled": ended, "problems": problems})

    async def _undo(self, action_id: str, writer: asyncio.StreamWriter) -> None:
        life = asyncio.create_task(_signs_of_life(writer))
        try:
            _send(writer, {"undone": msgspec.to_builtins(await self._evaluations.adaptation.undo(action_id))})
        except PanoramaError as problem:
            _send(writer, {"problem": str(problem)})
        finally:
            life.cancel()

    async def _evaluate(
        self, message: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        requests = msgspec.convert(message["evaluations"], list[Request])
        self._watch_owner(message.get("owner"))

        def report(request: Request, words: str) -> None:
            which = f"{request.eval_id}: " if len(requests) > 1 else ""
            _send(writer, {"report": which + words})

        def handed(request: Request, name: str) -> None:
            _send(writer, {"handed": {"state": "handed", "eval_id": request.eval_id, "name": name}})

        listeners = [Listener(partial(report, each), partial(handed, each)) for each in requests]
        work = asyncio.gather(*map(self._evaluations.reply, requests, listeners))
        ask = asyncio.create_task(reader.readline())
        life = asyncio.create_task(_signs_of_life(writer))
        try:
            either: list[asyncio.Future[Any]] = [work, ask]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if work.done() or self._heard(requests, ask.result()):
                _send(writer, {"replies": await work})
        finally:
            tasks: list[asyncio.Future[Any]] = [work, ask, life]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _heard(self, requests: list[Request], line: bytes) -> bool:
        """Whether a client still listens: one that says `cancel` does, and ends its evaluations; one that just goes may
        come back for them, and is not needed for their end."""
        if line and json.loads(line).get("op") == "cancel":
            self._evaluations.cancel(requests)
        if not line:
            self._evaluations.answer_alone(requests)
        return bool(line)

    def _watch_owner(self, pid: object) -> None:
        """Know when the process that evaluations are for has gone."""
        if not isinstance(pid, int) or pid <= 1 or pid in self._owners:
            return
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            return
        self._owners[pid] = descriptor
        self._seen_owner = True
        asyncio.get_running_loop().add_reader(descriptor, self._owner_gone, pid)

    def _owner_gone(self, pid: int) -> None:
        descriptor = self._owners.pop(pid)
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)
        self._quiet.set()


def _send(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    if not writer.is_closing():
        writer.write(json.dumps(message).encode() + b"\n")


async def _signs_of_life(writer: asyncio.StreamWriter) -> None:
    while True:
        await asyncio.sleep(SIGN_OF_LIFE)
        _send(writer, {"alive": True})


@contextlib.contextmanager
def _listening(folder: Path) -> Any:
    """A socket in the study's folder that only this user can open."""
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path = f"/proc/self/fd/{directory}/{SOCKET}"
    (folder / SOCKET).unlink(missing_ok=True)
    before = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(before)
    try:
        yield listener
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(SOCKET, dir_fd=directory)  # not by its path: a folder that was made anew has another server's
        os.close(directory)


def main(study_file: Path) -> None:
    """Serve a study until there is nothing left to do.

    Raises
    ------
    ServerError
        Another server has this study.
    """
    folder = study_file.parent / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("Pegasus").setLevel(logging.WARNING)
    _take_over(folder)
    words = network_filesystem(folder)
    if words:
        _log.warning("%s", words)
    asyncio.run(_serve(study_file))


def _take_over(folder: Path) -> None:
    """Become this study's only server, once one that is about to end has ended; the lock goes with the process."""
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    end = time.monotonic() + _TAKE_OVER
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > end or _answers(folder):
                raise ServerError(f"{folder}: another study server runs here") from None
            time.sleep(0.02)


def _answers(folder: Path) -> bool:
    """Whether the one that has the lock is here to stay: two drivers may each have started a server."""
    connection = connect(str(folder))
    if connection is not None:
        connection.close()
    return connection is not None


async def _serve(study_file: Path) -> None:
    await Server(study_file).serve()
    logging.shutdown()
    os._exit(0)  # asyncio would wait for threads, and one in a workflow's build() may never return
