"""Asks Pegasus' Ensemble Manager over its REST interface: it plans workflows and runs them, so many at a time.

Every call here may be made again: what is there already is taken as it is, and a submission whose answer was lost is
looked for before anything is sent a second time, since the manager never forgets a name.
"""

from __future__ import annotations

import base64
import http.client
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from ...errors import ManagerError, UsageError

FIRST_PORT = 7919
"""The manager listens on this port plus the number of its user."""

MEANINGS = {
    "READY": "waits until it may be planned",
    "PLANNING": "its plan script runs",
    "PLAN_FAILED": "the plan script found no plan; it can be planned again",
    "QUEUED": "planned; waits until it may run",
    "RUN_FAILED": "pegasus-run could not start it; it can be run again",
    "RUNNING": "runs in HTCondor",
    "FAILED": "a job failed, or it was removed; what had finished need not run again",
    "SUCCESSFUL": "every job has finished well",
    "ABORTED": "given up",
}
"""What the manager's states of a workflow mean."""

FAILED_STATES = frozenset({"PLAN_FAILED", "RUN_FAILED", "FAILED", "ABORTED"})
FINAL_STATES = FAILED_STATES | {"SUCCESSFUL"}

_Form = Mapping[str, str | int]
_Answer = TypeVar("_Answer")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,99}")
_LARGEST = 64 << 20
_PIECE = 1 << 16
_DATABASE = ("Unable to determine database version", "Missing database tables", "NOT compatible with version")
_BUSY = ("database is locked", "unable to open database", "disk I/O error")
_AWAY = (502, 503, 504)
_OURS = ("0100007F", "00000000", "0" * 32, "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")
"""127.0.0.1, 0.0.0.0, ::, 127.0.0.1 as IPv6 writes it, ::1."""
_LISTENING = "0A"
_IDLE = 300.0
_LONG_PLANNING = 3600.0


class Credentials(msgspec.Struct, frozen=True):
    """Who we are to the manager.

    Attributes
    ----------
    user, password : str
        As in the manager's configuration.
    """

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials(user={self.user!r})"  # a password that is never shown cannot end up in a log


class Ensemble(msgspec.Struct, frozen=True):
    """An ensemble as the manager tells it: workflows that share limits.

    Attributes
    ----------
    name : str
        Its name.
    state : str
        `ACTIVE`; or `PAUSED` or `HELD`: nothing new is planned or run, what runs goes on.
    max_running, max_planning : int
        Workflows that run, and that are planned, at the same time.
    created, updated : float
        [s since 1970].
    """

    name: str
    state: str
    max_running: int
    max_planning: int
    created: float
    updated: float


class Workflow(msgspec.Struct, frozen=True):
    """A workflow of an ensemble, as the manager tells it.

    Attributes
    ----------
    name : str
        Its name; never used twice in an ensemble.
    state : str
        One of `MEANINGS`.
    priority : int
        Larger is planned and run first.
    created, updated : float
        When it was submitted, and when its state last changed [s since 1970].
    wf_uuid : str or None
        Identity of the run, once it is planned.
    basedir, plan_command, log, submitdir : str or None
        Where and how it is planned, the manager's log of it, its submit directory; None in a list of workflows.
    """

    name: str
    state: str
    priority: int
    created: float
    updated: float
    wf_uuid: str | None = None
    basedir: str | None = None
    plan_command: str | None = None
    log: str | None = None
    submitdir: str | None = None

    @property
    def over(self) -> bool:
        """The manager does nothing more about it by itself."""
        return self.state in FINAL_STATES


def remark(workflow: Workflow, ensemble: Ensemble, others: Iterable[Workflow], now: float) -> str:
    """What is odd about how long a workflow has waited, and what to do; empty if nothing is.

    Parameters
    ----------
    workflow : Workflow
        The one.
    ensemble : Ensemble
        Its ensemble.
    others : iterable of Workflow
        All workflows of the ensemble.
    now : float
        [s since 1970].
    """
    waited = now - workflow.updated
    if workflow.state in ("READY", "QUEUED") and ensemble.state != "ACTIVE":
        return f"its ensemble is {ensemble.state}: panorama ensemble activate {ensemble.name}"
    busy, limit = {
        "READY": ("PLANNING", ensemble.max_planning),
        "QUEUED": ("RUNNING", ensemble.max_running),
    }.get(workflow.state, ("", 0))
    if waited > _IDLE and sum(other.state == busy for other in others) < limit:
        return "there is room for it, but the manager does nothing: panorama ensemble down, then up"
    if workflow.state == "PLANNING" and waited > _LONG_PLANNING:
        return (
            "very long; if its plan script has ended after a pegasus-run line for a directory without braindump.yml, "
            "the manager will never get on: set its state to PLAN_FAILED in table ensemble_workflow of "
            "~/.pegasus/workflow.db"
        )
    return ""


class Submission(msgspec.Struct, frozen=True):
    """What came of a submission.

    Attributes
    ----------
    workflow : Workflow
        As the manager has it now.
    reattached : bool
        The manager knew it already, from before this call.
    """

    workflow: Workflow
    reattached: bool


class _Message(msgspec.Struct):
    message: str


class Manager:
    """Client of an Ensemble Manager.

    Parameters
    ----------
    url : str
        Where it answers, such as `http://127.0.0.1:9919`.
    credentials : Credentials or None
        User and password; None where the manager wants none.
    timeout : float
        Longest wait for an answer [s]; `analyze` may take ten times as long, since it runs pegasus-analyzer.
    cleartext : bool
        Send the password over plain HTTP to another machine as well.
    owner : int or None
        User number that must own the local port (or root), so that nobody else on this machine gets the password;
        None: not looked at.

    Raises
    ------
    UsageError
        The URL cannot be used, or would carry the password in clear text to another machine.
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials | None = None,
        *,
        timeout: float = 30.0,
        cleartext: bool = False,
        owner: int | None = None,
    ) -> None:
        address = _address(url)
        self.url = url.rstrip("/")
        self.local = _is_loopback(address.hostname or "")
        if credentials and address.scheme == "http" and not self.local and not cleartext:
            raise UsageError(
                f"{self.url} would get the password in clear text; use an https:// address or a tunnel to 127.0.0.1, "
                "or set PANORAMA_ENSEMBLE_CLEARTEXT=1"
            )
        self._port = address.port or 80
        self._owner = owner if self.local else None
        self._credentials = credentials
        self._timeout = timeout
        proxies = urllib.request.ProxyHandler({}) if self.local else urllib.request.ProxyHandler()
        self._opener = urllib.request.build_opener(proxies, _NoRedirect())

    def ensembles(self) -> list[Ensemble]:
        """All ensembles of the user.

        Raises
        ------
        ManagerError
            The manager cannot be reached, or refuses; so for every other method too.
        """
        return self._decoded(self._ask("/ensembles"), list[Ensemble])

    def ensemble(self, name: str) -> Ensemble | None:
        """An ensemble, or None where there is none of that name."""
        return self._known(f"/ensembles/{_checked(name)}", Ensemble)

    def create(self, name: str, max_running: int = 1, max_planning: int = 1) -> Ensemble:
        """Make an ensemble, or give the one there is these limits.

        Raises
        ------
        UsageError
            The name or a limit is none that the manager takes.
        """
        for limit, value in (("max_running", max_running), ("max_planning", max_planning)):
            if value < 1:
                raise UsageError(f"ensemble {name}: {limit}: {value} is below 1")
        form: _Form = {"max_running": max_running, "max_planning": max_planning}
        found = self.ensemble(name)
        if found is None:
            found = self._created("/ensembles", {"name": name, **form}, lambda: self.ensemble(name))
        if (found.max_running, found.max_planning) == (max_running, max_planning):
            return found
        return self._updated(name, form)

    def pause(self, name: str) -> Ensemble:
        """Plan and run nothing new of an ensemble; what is being planned or runs goes on."""
        return self._updated(name, {"state": "PAUSED"})

    def activate(self, name: str) -> Ensemble:
        """Let a paused ensemble go on."""
        return self._updated(name, {"state": "ACTIVE"})

    def workflows(self, ensemble: str) -> list[Workflow]:
        """All workflows of an ensemble, the oldest first, without the details of each."""
        return self._decoded(self._ask(f"/ensembles/{_checked(ensemble)}/workflows"), list[Workflow])

    def workflow(self, ensemble: str, name: str) -> Workflow | None:
        """A workflow with its details, or None where the manager knows none of that name."""
        return self._known(_path(ensemble, name), Workflow)

    def submit(self, ensemble: str, name: str, priority: int, basedir: Path, plan_command: str) -> Submission:
        """Hand in a workflow, once: a name that the manager knows already is taken up again.

        Parameters
        ----------
        ensemble, name : str
            Letters, digits, `_` and `-`, fewer than 100.
        priority : int
            Larger is planned and run first.
        basedir : Path
            Where the plan command runs.
        plan_command : str
            For `/bin/sh`; prints `pegasus-run  SUBMIT_DIRECTORY` as a line once that is planned, and no such line
            otherwise.

        Raises
        ------
        UsageError
            A name that the manager does not take, or one that belongs to a workflow of another directory.
        """
        form: _Form = {"name": _checked(name), "priority": priority, "basedir": str(basedir)}
        found = self.workflow(ensemble, name)
        reattached = found is not None
        if found is None:
            found = self._created(
                f"/ensembles/{_checked(ensemble)}/workflows",
                {**form, "plan_command": plan_command},
                lambda: self.workflow(ensemble, name),
            )
        if os.path.realpath(found.basedir or "") != os.path.realpath(basedir):
            raise UsageError(
                f"workflow {ensemble}.{name} is that of {found.basedir}, not of {basedir}, and the manager never "
                "forgets a name; use another ensemble"
            )
        return Submission(found, reattached)

    def replan(self, ensemble: str, name: str) -> Workflow:
        """Plan a failed workflow anew, and run it from its beginning."""
        return self._restarted(ensemble, name, "READY")

    def rerun(self, ensemble: str, name: str) -> Workflow:
        """Run a failed workflow again as it is planned: what had finished is not repeated."""
        return self._restarted(ensemble, name, "QUEUED")

    def set_priority(self, ensemble: str, name: str, priority: int) -> Workflow:
        """Give a workflow another priority, before it runs.

        Raises
        ------
        UsageError
            It runs: the manager takes the change for the latest news of it, and may then never see its end.
        """
        found = self._found(ensemble, name)
        if found.priority == priority:
            return found
        if found.state == "RUNNING":
            raise UsageError(f"workflow {ensemble}.{name} runs already; its priority in the ensemble no longer matters")
        return self._decoded(self._ask(_path(ensemble, name), {"priority": priority}), Workflow)

    def analyze(self, ensemble: str, name: str) -> str:
        """The manager's log of a workflow with the planner's words, and pegasus-analyzer's report."""
        return self._ask(f"{_path(ensemble, name)}/analyze", timeout=10 * self._timeout).decode(errors="replace")

    def _found(self, ensemble: str, name: str) -> Workflow:
        found = self.workflow(ensemble, name)
        if found is None:
            raise UsageError(f"the manager at {self.url} knows no workflow {ensemble}.{name}")
        return found

    def _restarted(self, ensemble: str, name: str, state: Literal["READY", "QUEUED"]) -> Workflow:
        try:
            return self._decoded(self._ask(_path(ensemble, name), {"state": state}), Workflow)
        except ManagerError:
            found = self.workflow(ensemble, name)
            if found is None or found.over:
                raise
            return found  # it has been set going: by us with the answer lost, or by somebody else

    def _updated(self, ensemble: str, form: _Form) -> Ensemble:
        return self._decoded(self._ask(f"/ensembles/{_checked(ensemble)}", form), Ensemble)

    def _created(self, path: str, form: _Form, look: Callable[[], _Answer | None]) -> _Answer:
        problem: ManagerError | None = None
        try:
            self._ask(path, form)
        except ManagerError as error:
            problem = error  # the answer may be lost, or another process of ours was first
        found = look()
        if found is None:
            raise problem or ManagerError(f"{self.url} said it made {form['name']}, and then knew nothing of it")
        return found

    def _known(self, path: str, kind: type[_Answer]) -> _Answer | None:
        try:
            return self._decoded(self._ask(path), kind)
        except ManagerError as problem:
            if problem.status == http.HTTPStatus.NOT_FOUND:
                return None
            raise

    def _decoded(self, answer: bytes, kind: type[_Answer]) -> _Answer:
        try:
            return msgspec.json.decode(answer, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise self._stranger(answer) from None

    def _ask(self, path: str, form: _Form | None = None, timeout: float | None = None) -> bytes:
        self._check_owner()
        data = urllib.parse.urlencode(form).encode() if form is not None else None
        request = urllib.request.Request(self.url + path, data, self._headers())
        try:
            return self._send(request, timeout or self._timeout)
        except urllib.error.HTTPError as refusal:
            with refusal:
                raise self._refused(refusal.code, _beginning(refusal)) from None
        except http.client.HTTPException as problem:
            raise self._broken(problem) from None
        except OSError as problem:
            raise self._unreachable(problem) from None

    def _send(self, request: urllib.request.Request, timeout: float) -> bytes:
        end = time.monotonic() + timeout
        whole = bytearray()
        with self._opener.open(request, timeout=timeout) as answer:
            while part := answer.read1(_PIECE):
                whole += part
                if time.monotonic() > end:
                    raise TimeoutError
                if len(whole) > _LARGEST:
                    raise http.client.HTTPException(f"more than {_LARGEST >> 20} MiB")
            if answer.length:
                raise http.client.IncompleteRead(b"", answer.length)
        return bytes(whole)

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json"}
        if self._credentials:
            pair = f"{self._credentials.user}:{self._credentials.password}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return headers

    def _check_owner(self) -> None:
        if self._owner is None:
            return
        owner = listener(self._port)
        if owner not in (None, 0, self._owner):
            raise ManagerError(
                f"port {self._port} of this machine belongs to user number {owner}, who would get your password; "
                "give the address of your own manager with --url or PANORAMA_ENSEMBLE_URL"
            )

    def _refused(self, status: int, answer: bytes) -> ManagerError:
        if status == http.HTTPStatus.UNAUTHORIZED:
            return ManagerError(self._unauthorized(), status=status)
        if status in _AWAY:
            return ManagerError(f"{self.url} answers {status}; try again later", transient=True, status=status)
        try:
            message = msgspec.json.decode(answer, type=_Message).message
        except (msgspec.DecodeError, UnicodeDecodeError):
            return self._stranger(answer, status)
        if any(words in message for words in _DATABASE):
            return ManagerError(
                f"the manager at {self.url} has no database that it can use: {message.strip()} Run `pegasus-db-admin "
                "create` (`update` after a new Pegasus), and then start the manager anew: one that met no database "
                "answers, but plans and runs nothing",
                status=status,
            )
        if message.startswith("404 ") or (
            status == http.HTTPStatus.NOT_FOUND and not message.startswith("No such ens")
        ):
            return self._stranger(answer, status)
        hint = "; make it with `panorama ensemble create NAME`" if message.startswith("No such ensemble:") else ""
        busy = any(words in message for words in _BUSY)
        return ManagerError(f"the manager at {self.url} says: {message}{hint}", transient=busy, status=status)

    def _unauthorized(self) -> str:
        if self._credentials is None:
            return (
                f"the manager at {self.url} wants a user and a password; set USERNAME and PASSWORD in "
                "~/.pegasus/service.py, or PANORAMA_ENSEMBLE_USER and PANORAMA_ENSEMBLE_PASSWORD"
            )
        return (
            f"the manager at {self.url} refuses user {self._credentials.user!r} with this password; with "
            "PAMAuthentication (its default) it wants the name and the password of your login"
        )

    def _unreachable(self, problem: OSError) -> ManagerError:
        reason = problem.reason if isinstance(problem, urllib.error.URLError) else problem
        if isinstance(reason, TimeoutError):
            return ManagerError(f"{self.url} gave no answer within {self._timeout:g} s", transient=True)
        words = getattr(reason, "strerror", None) or str(reason)
        return ManagerError(
            f"no manager answers at {self.url} ({words}); start one with `panorama ensemble up`", transient=True
        )

    def _broken(self, problem: http.client.HTTPException) -> ManagerError:
        if isinstance(problem, http.client.RemoteDisconnected | http.client.IncompleteRead):
            return ManagerError(f"{self.url} broke off its answer; is the manager being restarted?", transient=True)
        return self._stranger(str(problem).encode())

    def _stranger(self, answer: bytes, status: int | None = None) -> ManagerError:
        words = " ".join(answer[:120].decode(errors="replace").split())
        return ManagerError(
            f"what answers at {self.url} is no Ensemble Manager{f' ({status})' if status else ''}: {words!r}; give the "
            "manager's address with --url, PANORAMA_ENSEMBLE_URL or ensemble.url in study.yml"
        )


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows nothing: the manager never redirects, and elsewhere the password is nobody's business."""

    def redirect_request(self, *_: object) -> None:
        return None


def listener(port: int, tables: Iterable[Path] = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))) -> int | None:
    """User number of who listens on a port of 127.0.0.1 [proc_pid_net(5)]; None where that cannot be told."""
    return next((owner for table in tables for owner in _listeners(table, port)), None)


def _listeners(table: Path, port: int) -> Iterator[int]:
    try:
        lines = table.read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return
    addresses = [f"{address}:{port:04X}" for address in _OURS]
    rows = (line.split() for line in lines)
    yield from (int(row[7]) for row in rows if row[1] in addresses and row[3] == _LISTENING)


def _address(url: str) -> urllib.parse.SplitResult:
    try:
        address = urllib.parse.urlsplit(url)
        usable = address.scheme in ("http", "https") and address.hostname and address.port != 0
    except ValueError:
        usable = False
    if not usable or address.query or address.fragment:
        raise UsageError(f"{url!r} is no address of an Ensemble Manager; write one such as http://127.0.0.1:9919")
    if address.username or address.password:
        raise UsageError(
            "an Ensemble Manager's address holds no user and password; set PANORAMA_ENSEMBLE_USER and "
            "PANORAMA_ENSEMBLE_PASSWORD, or PANORAMA_ENSEMBLE_CREDENTIALS to a netrc file"
        )
    return address


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _checked(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise UsageError(f"{name!r} is no name for the manager; it takes 1 to 99 letters, digits, `_` and `-`")
    return name


def _path(ensemble: str, name: str) -> str:
    return f"/ensembles/{_checked(ensemble)}/workflows/{_checked(name)}"


def _beginning(refusal: urllib.error.HTTPError) -> bytes:
    try:
        return refusal.read(_PIECE)
    except (OSError, http.client.HTTPException):
        return b""  # the status says enough
