"""Follows the Globus transfers of a workflow: finds its tasks by their label, and brings what they do into a store.

What happens to a task is stored while it runs, one event an entry of its list, and its document whenever it changed;
the last one has the shape, and so is the row, that Panorama's pegasus-globus-online publishes at the end.

A token comes from the environment (PANORAMA_GLOBUS_TOKEN), or from where one was left by a login: an application of
globus-sdk (`~/.globus/app/*/*/tokens.json` or `.db`), the Globus CLI (`~/.globus/cli/storage.db`), or
pegasus-globus-online-init (`~/.pegasus/globus.conf`). It goes into the header of a request and nowhere else. The
service's address is globus-sdk's own, with its environment variables GLOBUS_SDK_ENVIRONMENT and
GLOBUS_SDK_SERVICE_URL_TRANSFER.
"""

from __future__ import annotations

import configparser
import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from ..errors import EnvironmentMissingError, FormatError, GlobusError
from ..sources import globus, plain
from ..store import Store
from ._intake import Drained, Record, keep

TOKEN_VARIABLE = "PANORAMA_GLOBUS_TOKEN"
_SERVER = "transfer.api.globus.org"
_PAGE = 100  # entries of an event list asked for at once
_MOST = 1000  # results that the service gives of one list
_ENTRIES = 100_000  # of one task that are remembered
_LONGEST_WAIT = 300.0  # s that one answer may ask to wait (Retry-After)
_MARGIN = 60.0  # s before its end when a token is taken for expired


class Client(Protocol):
    """What is used of `globus_sdk.TransferClient`."""

    def get_task(self, task_id: str) -> Any: ...
    def task_event_list(self, task_id: str, *, limit: int, offset: int) -> Any: ...
    def task_list(self, *, limit: int, offset: int, filter: Any, orderby: str) -> Any: ...


class Token(NamedTuple):
    """A right to ask; `origin` says in words where it lies. `expires` is [s since 1970]."""

    access: str
    origin: str
    expires: float | None = None
    refresh: str | None = None
    client_id: str | None = None

    def __repr__(self) -> str:
        return f"Token from {self.origin}"

    @property
    def is_usable(self) -> bool:
        """Whether it is valid still, or can be renewed."""
        return bool(self.refresh and self.client_id) or self.expires is None or self.expires > time.time() + _MARGIN


class GlobusFollower:
    """Follows the Globus tasks of one workflow.

    Parameters
    ----------
    store : Store
        Where the events go.
    wf_uuid : str
        The workflow run, with which its tasks' labels begin.
    client : callable
        Gives the client to ask with; called once, when it is needed.
    """

    def __init__(self, store: Store, wf_uuid: str, client: Callable[[], Client] | None = None) -> None:
        self.wf_uuid = wf_uuid
        self._store = store
        self._connect = client or transfer_client
        self._client: Client | None = None
        self._tasks: dict[str, _Followed] = {}
        self._foreign: set[str | None] = set()

    @property
    def active(self) -> list[str]:
        """Ids of the tasks that are not over."""
        return [task_id for task_id, task in self._tasks.items() if not task.over]

    @property
    def tasks(self) -> list[str]:
        """Ids of all tasks found."""
        return list(self._tasks)

    def poll(self) -> Drained:
        """Collect what happened since the last time.

        Raises
        ------
        EnvironmentMissingError
            globus-sdk or a token is missing.
        GlobusError
            The service cannot be reached, or refuses; the next `poll` goes on where this one stopped.
        StoreError
            The store could not be written, likewise.
        """
        with _explained():
            if self._client is None:
                self._client = self._connect()
            total = self._find(self._client)
            for task_id in self.active:
                total += self._look(self._client, task_id)
        return total

    def _find(self, client: Client) -> Drained:
        total, offset = Drained(), 0
        while offset < _MOST:
            page = client.task_list(
                limit=_PAGE,
                offset=offset,
                filter={"label": f"~{self.wf_uuid} - *", "type": ["TRANSFER", "DELETE"]},
                orderby="request_time DESC",
            )
            found = _data(page)
            for document in found:
                total += self._notice(document)
            offset += len(found)
            if not found or offset >= _total(page):
                return total
        return total + Drained(problems=(f"Globus tells of the latest {_MOST} tasks of {self.wf_uuid} only",))

    def _notice(self, document: Mapping[str, Any]) -> Drained:
        """A task that the search brought up, which matches more than is ours (`~` ignores case)."""
        task_id = plain.text(document.get("task_id"))
        try:
            wf_uuid, _ = globus.owner(document.get("label"))
            if task_id is None:
                raise FormatError("a Globus task without its field 'task_id'")
        except FormatError as error:
            if task_id in self._foreign:
                return Drained()
            self._foreign.add(task_id)
            return keep(self._store, [_record(document, str(error))])
        if wf_uuid == self.wf_uuid:
            self._tasks.setdefault(task_id, _Followed())
        return Drained()

    def _look(self, client: Client, task_id: str) -> Drained:
        """What is new of one task. Its document is asked for first: what is over then has all its events."""
        followed = self._tasks[task_id]
        try:
            with _explained():
                document = dict(_content(client.get_task(task_id)))
        except GlobusError as error:
            if error.status != 404:
                raise
            followed.end()
            return Drained(problems=(f"Globus task {task_id}: it is not there any more",))
        new = _unseen(client, task_id, followed.entries)
        over = globus.task(document).is_final
        listed = list((followed.entries | new).values()) if over else []
        told = _told(document, list(new.values()), None if document == followed.document else listed)
        total = keep(self._store, told)
        followed.note(document, new)  # only now that all is stored
        if over:
            followed.end()
        return total


def _told(
    document: Mapping[str, Any], new: Sequence[Mapping[str, Any]], listed: Sequence[Mapping[str, Any]] | None
) -> list[Record]:
    """Records of what is new of a task: entries of its list, and its document unless that is as it was."""
    try:
        raws = [globus.happened(document, entry) for entry in new]
        raws += [globus.published(document, listed)] if listed is not None else []
    except FormatError as error:  # its label was changed meanwhile
        return [_record(document, str(error))]
    return [_record(raw) for raw in raws]


def _record(raw: Mapping[str, Any], flaw: str = "") -> Record:
    source = f"Globus task {str(raw.get('task_id'))[:80]}"
    return Record(json.dumps(raw).encode(), source, flaw=flaw)


class _Followed:
    """What is known of a task: its last document, and all entries of its list."""

    def __init__(self) -> None:
        self.document: Mapping[str, Any] | None = None
        self.entries: dict[bytes, Mapping[str, Any]] = {}
        self.over = False

    def note(self, document: Mapping[str, Any], entries: dict[bytes, Mapping[str, Any]]) -> None:
        self.document = document
        if len(self.entries) < _ENTRIES:
            self.entries |= entries

    def end(self) -> None:
        self.over = True
        self.document, self.entries = None, {}


def _unseen(client: Client, task_id: str, seen: Mapping[bytes, Any]) -> dict[bytes, Mapping[str, Any]]:
    """Entries of a task's list that were not seen before, in order of time; the service gives the latest first."""
    new: dict[bytes, Mapping[str, Any]] = {}
    offset = 0
    while offset < _MOST:
        page = client.task_event_list(task_id, limit=_PAGE, offset=offset)
        found, total = _data(page), _total(page)
        new |= {key: entry for entry in found if (key := _key(entry)) not in seen}
        offset += len(found)
        if not found or offset >= total or len(seen) + len(new) >= total:
            break
    return dict(sorted(new.items(), key=lambda item: globus.moment(item[1].get("time")) or 0.0))


def follow(
    store: Store,
    wf_uuid: str,
    client: Callable[[], Client] | None = None,
    *,
    shortest: float = 2.0,
    longest: float = 60.0,
    attempts: int = 10,
    sleep: Callable[[float], None] = time.sleep,
    told: Callable[[Drained], None] = lambda _: None,
) -> Drained:
    """Follow a workflow's Globus tasks until all that are known are over, and so is the workflow, as the store says.

    Parameters
    ----------
    store : Store
        Where the events go.
    wf_uuid : str
        The workflow run.
    client : callable, optional
        As for `GlobusFollower`.
    shortest, longest : float
        Time between two looks [s]: the first after something happened, doubled up to the second while nothing does.
    attempts : int
        Looks that may fail one after the other before it gives up.
    sleep, told : callable
        How to wait [s], and whom to tell of each look.

    Returns
    -------
    Drained
        What came.

    Raises
    ------
    EnvironmentMissingError, GlobusError, StoreError
        As of `GlobusFollower.poll`; what may pass only after `attempts` of them.
    """
    follower, total, wait, failed = GlobusFollower(store, wf_uuid, client), Drained(), shortest, 0
    while True:
        over = _is_over(store, wf_uuid)  # asked before the look, so that a task of its last job is found
        try:
            seen, failed = follower.poll(), 0
        except GlobusError as error:
            failed += 1
            if not error.transient or failed >= attempts:
                raise
            seen = Drained(problems=(str(error),))
        total += seen
        told(seen)
        if over and not follower.active and not failed:
            return total
        wait = shortest if seen.stored else min(longest, 2 * wait)
        sleep(wait)


def _is_over(store: Store, wf_uuid: str) -> bool:
    last = None
    for event in store.events(wf_uuid, {"stampede.xwf.start", "stampede.xwf.end"}):
        last = event.kind
    return last == "stampede.xwf.end"


def transfer_client() -> Client:
    """A client of the Transfer service, with the first token that is there.

    Raises
    ------
    EnvironmentMissingError
        globus-sdk is not installed, or no valid token is there.
    """
    try:
        import globus_sdk
    except ImportError:
        raise EnvironmentMissingError(
            "following Globus transfers needs globus-sdk: pip install 'panorama-driver[globus]'"
        ) from None
    client = globus_sdk.TransferClient(authorizer=_authorizer(find_token()))
    retry: Any = getattr(client, "retry_config", None) or client.transport  # of version 4, of version 3
    retry.max_sleep = _LONGEST_WAIT
    return client


def _authorizer(token: Token) -> Any:
    import globus_sdk

    if token.refresh and token.client_id:
        auth = globus_sdk.NativeAppAuthClient(token.client_id)
        expires = None if token.expires is None else int(token.expires)
        return globus_sdk.RefreshTokenAuthorizer(
            token.refresh, auth, access_token=token.access if expires else None, expires_at=expires
        )
    return globus_sdk.AccessTokenAuthorizer(token.access)


def find_token(environment: Mapping[str, str] = os.environ) -> Token:
    """The first valid token, of the places that the module names.

    Raises
    ------
    EnvironmentMissingError
        There is none, or none that is valid.
    """
    if given := environment.get(TOKEN_VARIABLE, "").strip():
        return Token(given, f"the environment variable {TOKEN_VARIABLE}")
    home = Path(environment.get("HOME") or Path.home())
    found = [*_of_globus(home / ".globus", environment.get("GLOBUS_SDK_ENVIRONMENT")), *_of_pegasus(home)]
    for token in found:
        if token.is_usable:
            return token
    ended = f"the token from {found[0].origin} has expired" if found else f"no token for Globus below {home}"
    raise EnvironmentMissingError(
        f"{ended}: log in with 'globus login' or pegasus-globus-online-init, or set {TOKEN_VARIABLE}"
    )


def _of_globus(folder: Path, environment: str | None) -> Iterator[Token]:
    prefix = "" if environment in (None, "", "production") else f"{environment}-"
    for path in sorted(folder.glob(f"app/*/*/{prefix}tokens.json")):
        yield from _of_json(path)
    for path in (*sorted(folder.glob(f"app/*/*/{prefix}tokens.db")), folder / "cli" / "storage.db"):
        yield from _of_sqlite(path)


def _of_json(path: Path) -> Iterator[Token]:
    """Format 2.0 has namespaces, 1.0 has none (`globus_sdk.token_storage.JSONTokenStorage`)."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return
    content = content if isinstance(content, dict) else {}
    spaces = content.get("data") if isinstance(content.get("data"), dict) else {"DEFAULT": content.get("by_rs")}
    for servers in (spaces or {}).values():
        yield from _stored(servers.get(_SERVER) if isinstance(servers, dict) else None, path)


def _of_sqlite(path: Path) -> Iterator[Token]:
    if not path.is_file():
        return
    query = "SELECT token_data_json FROM token_storage WHERE resource_server = ?"
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            rows = [row[0] for row in database.execute(query, (_SERVER,))]
    except sqlite3.Error:
        return
    for row in rows:
        try:
            yield from _stored(json.loads(row), path)
        except (TypeError, ValueError, RecursionError):
            continue


def _stored(told: Any, path: Path) -> Iterator[Token]:
    """What a login left; only an application of the SDK names its client, by its folder."""
    if not isinstance(told, dict) or plain.text(told.get("access_token")) is None:
        return
    client = path.parent.parent.name if path.parent.parent.parent.name == "app" else None
    expires = plain.number(told.get("expires_at_seconds"))
    yield Token(told["access_token"], str(path), expires, plain.text(told.get("refresh_token")), client)


def _of_pegasus(home: Path) -> Iterator[Token]:
    path = home / ".pegasus" / "globus.conf"
    config = configparser.ConfigParser(interpolation=None)
    try:
        if not config.read(path, encoding="utf-8") or not config.has_section("oauth"):
            return
    except (configparser.Error, ValueError):
        return
    told = config["oauth"]
    refresh = told.get("transfer_rt") or None
    access, client = told.get("transfer_at"), told.get("client_id")
    try:
        expires = float(told.get("transfer_at_exp") or "nan")
    except ValueError:
        expires = float("nan")
    if access:
        known = None if expires != expires else expires
        yield Token(access, str(path), known, None if refresh == "None" else refresh, client)


@contextmanager
def _explained() -> Iterator[None]:
    """Errors of the SDK in our words, without what it knows of the request: a token is never in one of ours."""
    try:
        yield
    except Exception as error:  # the SDK's classes are known only where it was imported
        told = _in_words(error) if "globus_sdk" in sys.modules else None
        if told is None:
            raise
        raise told from None


def _in_words(error: Exception) -> GlobusError | None:
    import globus_sdk

    if isinstance(error, globus_sdk.GlobusAPIError):
        return _refused(error.http_status, str(error.code or "no code"))
    if isinstance(error, globus_sdk.NetworkError):
        kind = type(error).__name__
        return GlobusError(f"Globus' Transfer service cannot be reached ({kind}); trying again helps", transient=True)
    return None


def _refused(status: int, code: str) -> GlobusError:
    if status == 401 or code == "invalid_grant":
        return GlobusError(
            f"Globus refuses the token ({status} {code}): log in with 'globus login' or pegasus-globus-online-init, or "
            f"set {TOKEN_VARIABLE} to a valid one",
            status=status,
        )
    if status == 403:
        words = "the token lacks the scope of the Transfer API; log in anew"
        return GlobusError(f"Globus forbids it (403 {code}): {words}", status=status)
    transient = status == 429 or status >= 500
    return GlobusError(f"Globus' Transfer service answers {status} {code}", transient=transient, status=status)


def _content(answer: Any) -> Mapping[str, Any]:
    """The document of an answer, which is a dict or one of the SDK's responses."""
    found = getattr(answer, "data", answer)
    if not isinstance(found, Mapping):
        raise GlobusError(f"Globus answers {str(found)[:80]!r}, which is no document", transient=True)
    return found


def _data(page: Any) -> list[Mapping[str, Any]]:
    found = _content(page).get("DATA")
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, list) else []


def _total(page: Any) -> int:
    return int(plain.number(_content(page).get("total")) or 0)


def _key(entry: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(dict(entry), order="deterministic")
