"""Starts Pegasus' Ensemble Manager under the user's account where none runs, and knows who may ask it, and where.

Its configuration is `~/.pegasus/service.py`, which Pegasus runs as Python; here it is only read, never run.
"""

from __future__ import annotations

import ast
import errno
import fcntl
import os
import pwd
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

import msgspec

from ...config import netrc_login
from ...errors import EnvironmentMissingError, ManagerError, UsageError
from .manager import FIRST_PORT, Credentials, Manager

DEFAULT_INTERVAL = 60.0
"""How often a manager looks at its workflows that is not told otherwise [s]."""

_LARGEST_PORT = 65535
_PAUSE = 0.1
_TOLD = 5.0
_GRACE = 10.0
_CREATE = 120.0
_LAST_WORDS = 2000
_QUICK_DAGMAN = {"_CONDOR_DAGMAN_USER_LOG_SCAN_INTERVAL": "1"}  # [s]; HTCondor's 5 would be spent at every edge
_NOT_FOR_WORKFLOWS = ("KICKSTART_MON_ENDPOINT_URL", "DAKOTA_PARAMETERS_FILE", "DAKOTA_RESULTS_FILE")

_CONFIGURATION = """\
# Written by `panorama ensemble up`. Pegasus (the Ensemble Manager, pegasus-em, pegasus-service) runs it as Python.
USERNAME = {user!r}
PASSWORD = {password!r}
EM_INTERVAL = {interval!r}  # how often the manager looks at its workflows [s]
AUTHENTICATION = "PasswordAuthentication"

# Pegasus itself takes the password of your login (PAM), or lets every user of this machine run commands as you
# (NoAuthentication). This takes the password above and no other.
import hmac
import os

from Pegasus import user
from Pegasus.service import auth, lifecycle


class PasswordAuthentication(auth.BaseAuthentication):
    def authenticate(self):
        given = "%s:%s" % (self.username, self.password)
        return hmac.compare_digest(given.encode(), ("%s:%s" % (USERNAME, PASSWORD)).encode())

    def get_user(self):
        return user.get_user_by_uid(os.getuid())


lifecycle.PasswordAuthentication = PasswordAuthentication
"""


class Account(msgspec.Struct, frozen=True):
    """A user of this machine, as Pegasus sees it.

    Attributes
    ----------
    uid : int
        User number.
    name : str
        Login name.
    home : Path
        From the password database: Pegasus keeps its workflows there, whatever HOME says.
    """

    uid: int
    name: str
    home: Path

    @property
    def folder(self) -> Path:
        """`~/.pegasus`."""
        return self.home / ".pegasus"

    @property
    def database(self) -> Path:
        """Where the manager keeps its workflows, and reads how they ended."""
        return self.folder / "workflow.db"

    @property
    def url(self) -> str:
        """Where this user's manager answers.

        Raises
        ------
        UsageError
            The user number is so large that there is no such port.
        """
        port = self.uid + FIRST_PORT
        if port > _LARGEST_PORT:
            raise UsageError(
                f"Pegasus' Ensemble Manager listens on port {FIRST_PORT} plus the user number, and {self.uid} is too "
                "large for that; run it under an account with a smaller one, and give its address with --url, "
                "PANORAMA_ENSEMBLE_URL or ensemble.url in study.yml"
            )
        return f"http://127.0.0.1:{port}"


def own_account() -> Account:
    """The account of this process.

    Raises
    ------
    EnvironmentMissingError
        The password database does not know it; Pegasus cannot do without.
    """
    try:
        entry = pwd.getpwuid(os.getuid())
    except KeyError:
        raise EnvironmentMissingError(f"user number {os.getuid()} has no entry in the password database") from None
    return Account(entry.pw_uid, entry.pw_name, Path(entry.pw_dir))


class Settings(msgspec.Struct, frozen=True):
    """What `~/.pegasus/service.py` says.

    Attributes
    ----------
    path : Path
        The file.
    private : bool
        Nobody else can read it.
    user, password : str or None
        USERNAME and PASSWORD.
    interval : float
        EM_INTERVAL, or what the manager takes without [s].
    authentication : str
        AUTHENTICATION, or what Pegasus takes without.
    """

    path: Path
    private: bool
    user: str | None
    password: str | None
    interval: float
    authentication: str

    @property
    def credentials(self) -> Credentials | None:
        """User and password; None if one of them is missing."""
        return Credentials(self.user, self.password) if self.user and self.password else None


def read_settings(account: Account) -> Settings | None:
    """What the account's configuration of the manager says; None if it has none.

    Raises
    ------
    UsageError
        It cannot be read, or is no Python.
    """
    path = account.folder / "service.py"
    try:
        text = path.read_text(encoding="utf-8")
        mode = path.stat().st_mode
        tree = ast.parse(text)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, SyntaxError) as problem:
        raise UsageError(f"{path}: cannot be read: {problem}") from None
    values = dict(_constants(tree))
    return Settings(
        path=path,
        private=not mode & 0o077,
        user=_text(values.get("USERNAME")),
        password=_text(values.get("PASSWORD")),
        interval=_seconds(values.get("EM_INTERVAL", DEFAULT_INTERVAL), path),
        authentication=_text(values.get("AUTHENTICATION")) or "PAMAuthentication",
    )


def _constants(tree: ast.Module) -> Iterator[tuple[str, object]]:
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
            for target in statement.targets:
                if isinstance(target, ast.Name):
                    yield target.id, statement.value.value


def _seconds(value: object, path: Path) -> float:
    try:
        return float(str(value))
    except ValueError:
        raise UsageError(f"{path}: EM_INTERVAL is {value!r}, no number of seconds") from None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def connect(url: str | None = None, account: Account | None = None, timeout: float = 30.0) -> Manager:
    """A client of the manager that this user means.

    Where: `url`, or PANORAMA_ENSEMBLE_URL, or this user's own manager on this machine. Who: PANORAMA_ENSEMBLE_USER and
    PANORAMA_ENSEMBLE_PASSWORD, or the netrc file that PANORAMA_ENSEMBLE_CREDENTIALS names, or `~/.pegasus/service.py`,
    which is told to nobody but processes of this user and root on this machine.

    Raises
    ------
    UsageError
        The address or one of these cannot be used.
    """
    account = account or own_account()
    url = url or os.environ.get("PANORAMA_ENSEMBLE_URL") or account.url
    given = _from_environment(os.environ, url)
    cleartext = os.environ.get("PANORAMA_ENSEMBLE_CLEARTEXT", "") not in ("", "0")
    if given is not None:
        return Manager(url, given, timeout=timeout, cleartext=cleartext)
    bare = Manager(url, timeout=timeout)
    settings = read_settings(account) if bare.local else None
    if settings is None or settings.credentials is None:
        return bare
    return Manager(url, settings.credentials, timeout=timeout, owner=os.geteuid())


def _from_environment(environment: Mapping[str, str], url: str) -> Credentials | None:
    user, password = (environment.get(f"PANORAMA_ENSEMBLE_{word}") for word in ("USER", "PASSWORD"))
    if user and password:
        return Credentials(user, password)
    if user or password:
        raise UsageError("PANORAMA_ENSEMBLE_USER and PANORAMA_ENSEMBLE_PASSWORD belong together; one is not set")
    file = environment.get("PANORAMA_ENSEMBLE_CREDENTIALS")
    return Credentials(*netrc_login(Path(file), urlsplit(url).hostname or "")) if file else None


class Started(msgspec.Struct, frozen=True):
    """A manager that answers.

    Attributes
    ----------
    url : str
        Where.
    fresh : bool
        It was started by this call.
    interval : float
        How often it looks at its workflows [s], as its configuration says now.
    log : Path
        Its words, if it was started from here.
    """

    url: str
    fresh: bool
    interval: float
    log: Path


class _Process(msgspec.Struct, frozen=True):
    """Who the manager is that was started from here; two processes never share all of it."""

    host: str
    boot: str
    pid: int
    started: int


def up(account: Account, interval: float, say: Callable[[str], None], wait: float = 60.0) -> Started:
    """Have a manager run under this account; one that answers already stays as it is.

    Parameters
    ----------
    account : Account
        Whose.
    interval : float
        How often it shall look at its workflows [s]; written to the configuration if there is none yet.
    say : callable
        Gets a line of words now and then.
    wait : float
        Longest time until it has to answer [s].

    Raises
    ------
    EnvironmentMissingError
        A program that the manager needs is missing, or this is root, whose workflows it does not run.
    ManagerError
        It does not start, or something else has its port; its last words are in the message.
    """
    if account.uid == 0:
        raise EnvironmentMissingError(
            "Pegasus' Ensemble Manager refuses to run as root; use the account that is to own the workflows"
        )
    with _alone(account):
        if _answers(account):
            return _started(account, fresh=False)
        programs = _find_programs()
        settings = read_settings(account)
        if settings is None:
            _write_settings(account, interval)
            say(f"wrote {account.folder / 'service.py'}: a password of its own, polling every {interval:g} s")
        elif settings.interval != interval:
            say(
                f"{settings.path} stays as it is: the manager polls every {settings.interval:g} s; for "
                f"{interval:g} s write EM_INTERVAL = {interval:g} there"
            )
        _make_database(account, programs["pegasus-db-admin"], say)
        _start(account, programs["pegasus-em"], say, wait)
        return _started(account, fresh=True)


def down(account: Account) -> bool:
    """End the manager that `up` has started; False if there is none. What it has started goes on.

    Raises
    ------
    ManagerError
        It runs on another machine.
    """
    process = _recorded(account)
    ended = process is not None and _end(process)
    _record(account).unlink(missing_ok=True)
    return ended


def database_ready(path: Path) -> bool:
    """The manager can use this database; without, it answers but does nothing ever after.

    Raises
    ------
    ManagerError
        The file is no database.
    """
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as database:
            database.execute("SELECT 1 FROM dbversion LIMIT 1")
    except sqlite3.OperationalError as problem:
        return "locked" in str(problem)
    except sqlite3.DatabaseError as problem:
        raise ManagerError(f"{path}: {problem}; move it away, and the workflows that it knew are gone") from None
    return True


def _started(account: Account, fresh: bool) -> Started:
    settings = read_settings(account)
    interval = settings.interval if settings else DEFAULT_INTERVAL
    return Started(account.url, fresh, interval, _log(account))


def _log(account: Account) -> Path:
    return account.folder / "panorama-em.log"


def _record(account: Account) -> Path:
    return account.folder / "panorama-em.json"


@contextmanager
def _alone(account: Account) -> Iterator[None]:
    """Two managers on one database would plan and run every workflow twice."""
    account.folder.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(account.folder / "panorama-em.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _answers(account: Account) -> bool:
    """A manager answers; one of ours that met no database is ended, since it would never work."""
    if _is_free(account):
        _recorded(account)
        return False
    try:
        connect(account.url, account, timeout=_TOLD).ensembles()
    except ManagerError as problem:
        if problem.status is None or database_ready(account.database) or not down(account):
            raise
        return False
    return True


def _is_free(account: Account) -> bool:
    port = urlsplit(account.url).port or 0
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError as problem:
            if problem.errno != errno.EADDRINUSE:
                raise
            return False
    return True


def _find_programs() -> dict[str, str]:
    """Paths of what the manager needs; it looks in PEGASUS_HOME and CONDOR_HOME before PATH.

    Without pegasus-plan or condor_submit_dag the released manager ends with words about something else.
    """
    wanted = {
        "pegasus-em": "PEGASUS_HOME",
        "pegasus-db-admin": "PEGASUS_HOME",
        "pegasus-plan": "PEGASUS_HOME",
        "condor_submit_dag": "CONDOR_HOME",
    }
    found = {name: find_program(name, home) for name, home in wanted.items()}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise EnvironmentMissingError(
            f"no {', '.join(missing)} on PATH; install Pegasus 5.1 and HTCondor, or put their bin directories on PATH"
        )
    return {name: path for name, path in found.items() if path is not None}


def find_program(name: str, home: str) -> str | None:
    """Path of a program as the manager finds it: below what the variable `home` names, or on PATH."""
    folder = os.environ.get(home)
    return shutil.which(name, path=f"{folder}/bin") if folder else shutil.which(name)


def _write_settings(account: Account, interval: float) -> None:
    text = _CONFIGURATION.format(user=account.name, password=secrets.token_urlsafe(24), interval=interval)
    path = account.folder / "service.py"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def _environment(account: Account) -> dict[str, str]:
    """The manager reads its configuration in HOME, and its database in the home that the password database tells."""
    kept = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_WORKFLOWS}
    return _QUICK_DAGMAN | kept | {"HOME": str(account.home), "USER": account.name, "LOGNAME": account.name}


def _make_database(account: Account, program: str, say: Callable[[str], None]) -> None:
    if database_ready(account.database):
        return
    say(f"making {account.database}")
    command = [program, "create"]
    try:
        done = subprocess.run(
            command,
            cwd=account.home,
            env=_environment(account),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_CREATE,
        )
    except subprocess.TimeoutExpired:
        raise ManagerError(f"`{' '.join(command)}` has not ended within {_CREATE:g} s") from None
    if done.returncode or not database_ready(account.database):
        raise ManagerError(f"`{' '.join(command)}` made no database: {done.stdout.strip()[-_LAST_WORDS:]}")


def _start(account: Account, program: str, say: Callable[[str], None], wait: float) -> None:
    log = _log(account)
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as words:
        beginning = words.tell()
        process = subprocess.Popen(
            [program, "server", "--verbose"],
            cwd=account.home,
            env=_environment(account),
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=words,
            start_new_session=True,
        )
    _remember(account, process.pid)
    problem = _wait_for(account, process, say, wait)
    if problem:
        down(account)
        process.wait()
        raise ManagerError(f"the manager did not start: {problem}; its words in {log}: {_last_words(log, beginning)}")


def _wait_for(account: Account, process: subprocess.Popen[bytes], say: Callable[[str], None], wait: float) -> str:
    """Wait until the manager answers; why it does not, or nothing."""
    manager = connect(account.url, account, timeout=_TOLD)
    begin = told = time.monotonic()
    say(f"starting the manager at {account.url}")
    while True:
        with suppress(ManagerError):
            manager.ensembles()
            return ""
        now = time.monotonic()
        if process.poll() is not None:
            return f"pegasus-em ended with exit code {process.returncode}"
        if now - begin > wait:
            return f"no answer within {wait:g} s"
        if now - told > _TOLD:
            told = now
            say(f"waiting for its answer, {now - begin:.0f} s so far")
        time.sleep(_PAUSE)


def _last_words(log: Path, beginning: int) -> str:
    with log.open("rb") as file:
        file.seek(max(beginning, log.stat().st_size - _LAST_WORDS))
        return " | ".join(file.read().decode(errors="replace").split("\n")[-6:]).strip(" |") or "none"


def _remember(account: Account, pid: int) -> None:
    process = _Process(os.uname().nodename, _boot(), pid, _start_time(pid) or 0)
    record = _record(account)
    draft = record.with_suffix(".new")
    draft.write_bytes(msgspec.json.encode(process))
    draft.replace(record)


def _recorded(account: Account) -> _Process | None:
    """The manager that was started from here, if it runs still."""
    try:
        process = msgspec.json.decode(_record(account).read_bytes(), type=_Process)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    if process.host != os.uname().nodename:
        raise ManagerError(
            f"a manager of this account was started on {process.host}, and two would run every workflow twice: end it "
            f"there with `panorama ensemble down`, or, if {process.host} is gone, remove {_record(account)}"
        )
    return process if process.boot == _boot() and _start_time(process.pid) == process.started else None


def _end(process: _Process) -> bool:
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        if _start_time(process.pid) != process.started:
            return False
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)
            if _gone(process, _GRACE):
                return True
    finally:
        os.close(handle)
    raise ManagerError(f"process {process.pid}, the manager, does not end; is its file system hanging?")


def _gone(process: _Process, within: float) -> bool:
    end = time.monotonic() + within
    while _start_time(process.pid) == process.started:
        if time.monotonic() > end:
            return False
        time.sleep(_PAUSE / 5)
    return True


def _start_time(pid: int) -> int | None:
    """When a process started [clock ticks since boot, proc_pid_stat(5)]; None if it has ended."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else int(rest[18])


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
