"""Asks the study server, and starts it where there is none; standard library only, since Dakota starts it so often.

One request is one line of JSON on the server's Unix socket; what comes back are lines too: reports, signs of life, and
in the end the replies. Asking again is harmless, since an evaluation has a key and is run once: so a server that died
is started anew and asked the same.
"""

import fcntl
import os
import struct
import sys
import time

from ..errors import EvaluationCancelledError, ServerError, StudyError
from .wire import decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from typing import Any
else:
    import _socket as socket  # `socket` makes enums of all constants: 4 ms of a start that may take 30

FOLDER = ".panorama"
SOCKET = "server.sock"
SIGN_OF_LIFE = 5.0
"""The server sends something at least this often [s]."""

_SILENCE = 60.0
_START = 30.0
_TRIES = 6
_OF_ONE_EVALUATION = ("DAKOTA_PARAMETERS_FILE", "DAKOTA_RESULTS_FILE")


def find_study(start: str, name: str = "study.yml") -> str:
    """Absolute path of the study file, looked for from `start` upwards.

    Raises
    ------
    StudyError
        There is none in any folder above.
    """
    folder = os.path.abspath(start)
    while True:
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            return path
        parent = os.path.dirname(folder)
        if parent == folder or os.path.isabs(name):
            raise StudyError(
                f"no {name} in {os.path.abspath(start)} nor in any folder above it; "
                "put one beside study.in (panorama init NAME DIR writes one)"
            )
        folder = parent


def evaluate(
    study_file: str,
    evaluations: "list[dict[str, Any]]",
    report: "Callable[[str], None]",
    until_handed: bool = False,
) -> "list[dict[str, Any]]":
    """Have evaluations run, and wait for their results.

    Parameters
    ----------
    study_file : str
        Absolute path of study.yml.
    evaluations : list of dict
        Each with `eval_id`, `variables`, `asv`, `dvv`, `components`, `metadata`.
    report : callable
        Gets a line of words now and then.
    until_handed : bool
        Wait only until the first of them has been handed to what runs it; the server sees to the rest.

    Returns
    -------
    list of dict
        One reply an evaluation, in the same order: `state` (ok, failed, timeout, cancelled), `responses`, `metadata`,
        `message`, `on_failure`. With `until_handed` one with `state` handed, `eval_id` and `name`.

    Raises
    ------
    ServerError
        The server cannot be started, or keeps dying.
    EvaluationCancelledError, KeyboardInterrupt
        As the caller's signal handlers raise them; the server was told to cancel the evaluations.
    """
    request = {"op": "evaluate", "evaluations": evaluations, "owner": _owner()}
    problem = ""
    for attempt in range(_TRIES):
        time.sleep(0.1 * (2**attempt - 1))
        try:
            return _ask(study_file, request, report, until_handed)
        except (OSError, ValueError) as error:
            problem = str(error)
    log = os.path.join(os.path.dirname(study_file), FOLDER, "server.log")
    raise ServerError(
        f"the study server of {study_file} does not answer ({problem}); its last words: {_last_words(log)}"
    )


def request(study_file: str, message: "dict[str, Any]", start: bool = False) -> "dict[str, Any] | None":
    """Send one message to the server; its answer, or None where no server runs and none shall be started."""
    folder = os.path.join(os.path.dirname(study_file), FOLDER)
    connection = _connect_or_start(study_file) if start else connect(folder)
    if connection is None:
        return None
    try:
        connection.sendall(encode(message))
        return next((answer for answer in _lines(connection) if "alive" not in answer), None)
    except ConnectionError:
        return None  # it ended in this very moment
    finally:
        connection.close()


def _ask(
    study_file: str, message: "dict[str, Any]", report: "Callable[[str], None]", until_handed: bool
) -> "list[dict[str, Any]]":
    connection = _connect_or_start(study_file)
    try:
        connection.sendall(encode(message))
        for answer in _lines(connection):
            if "replies" in answer:
                replies: list[dict[str, Any]] = answer["replies"]
                return replies
            if "report" in answer:
                report(answer["report"])
            if "handed" in answer and until_handed:
                return [answer["handed"]]
    except (EvaluationCancelledError, KeyboardInterrupt):
        _say_cancel(connection)
        raise
    finally:
        connection.close()
    raise ConnectionResetError("the study server went away")


def _say_cancel(connection: socket.socket) -> None:
    connection.settimeout(2.0)
    try:
        connection.sendall(encode({"op": "cancel"}))
    except OSError:
        return  # a server that has gone runs nothing any more; above all it must not be asked again


def _lines(connection: socket.socket) -> "Iterator[dict[str, Any]]":
    rest = b""
    while True:
        received = connection.recv(65536)
        if not received:
            return
        *whole, rest = (rest + received).split(b"\n")
        for line in whole:
            yield decode(line)


def _connect_or_start(study_file: str) -> socket.socket:
    folder = os.path.join(os.path.dirname(study_file), FOLDER)
    connection = connect(folder)
    if connection is not None:
        return connection
    os.makedirs(folder, mode=0o700, exist_ok=True)
    lock = os.open(os.path.join(folder, "start.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        connection = connect(folder)
        return connection if connection is not None else _start(study_file, folder)
    finally:
        os.close(lock)


def connect(folder: str, patience: float = _SILENCE) -> "socket.socket | None":
    """A connection to the server of this folder, or None where nobody listens.

    One that is stopped, and has too many waiting, raises BlockingIOError after `patience` seconds.
    """
    try:
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    whole, part = divmod(patience, 1.0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(whole), int(part * 1e6)))
    try:
        # By way of /proc, since the path of a socket may have 107 bytes and a study folder's may be longer.
        connection.connect(f"/proc/self/fd/{directory}/{SOCKET}")
    except OSError as problem:
        connection.close()
        if isinstance(problem, (FileNotFoundError, ConnectionRefusedError)):
            return None
        raise
    finally:
        os.close(directory)
    if peer_uid(connection) != os.getuid():
        connection.close()
        raise ServerError(f"{folder}/{SOCKET} belongs to another user; remove it")
    connection.settimeout(_SILENCE)
    return connection


def peer_uid(connection: socket.socket) -> int:
    """User number of the process at the other end of a Unix socket."""
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(uid)


def _start(study_file: str, folder: str) -> socket.socket:
    log = os.path.join(folder, "server.log")
    pid = _spawn(study_file, log)
    end = time.monotonic() + _START
    while time.monotonic() < end:
        connection = connect(folder)
        if connection is not None:
            return connection
        gone, _ = os.waitpid(pid, os.WNOHANG)
        if gone:
            raise ConnectionRefusedError("the study server ended as it started")
        time.sleep(0.01)
    raise TimeoutError(f"the study server did not listen within {_START:g} s")


def _spawn(study_file: str, log: str) -> int:
    """Start the server as a daemon in a session of its own, with no descriptor of ours.

    It imports nothing from the work directory (-P), and its jobs are not told the files of the evaluation that
    happened to start it.
    """
    import signal

    environment = {name: value for name, value in os.environ.items() if name not in _OF_ONE_EVALUATION}
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        return os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-m", "panorama_driver.study", study_file],
            environment,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, null, 0),
                (os.POSIX_SPAWN_DUP2, out, 1),
                (os.POSIX_SPAWN_DUP2, out, 2),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE],
        )
    finally:
        os.close(null)
        os.close(out)


def _owner() -> int:
    """Process that this evaluation is for: the Dakota above us, or else this one, since a shell may live for weeks."""
    above = os.getppid()
    for _ in range(5):
        try:
            with open(f"/proc/{above}/stat", encoding="utf-8", errors="replace") as file:
                name, _, rest = file.read().partition("(")[2].rpartition(")")
        except OSError:
            break
        if name.startswith("dakota"):
            return above
        above = int(rest.split()[1])
    return os.getpid()


def _last_words(log: str) -> str:
    try:
        with open(log, encoding="utf-8", errors="replace") as file:
            lines = file.read()[-2000:].strip().splitlines()
    except OSError:
        return f"none in {log}"
    return f"{lines[-1] if lines else 'none'} (see {log})"
