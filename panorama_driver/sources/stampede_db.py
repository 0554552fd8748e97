"""The stampede database of a run: its rows, turned back into the events that monitord made them of.

monitord of Pegasus 5.1.3 writes it (db/workflow_loader.py, db/schema.py) beside the run, `*.stampede.db`, that of a
workflow of workflows into the one of the root. It holds less than was sent: neither bounds of the static part, nor
composite events, nor what programs printed between monitoring markers; of an event of an attempt the state and its
time; and of a job with a post script that script's exit status only. What it does not hold is left out.
"""

from __future__ import annotations

import math
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..errors import FormatError
from .sink import Problem, ignore

Raw = dict[str, Any]
Row = dict[str, Any]

STEP_LIMIT = 50_000_000
"""Steps of SQLite's machine without a row, after which a query is given up: a damaged file may send it in circles."""

_JOB_TYPES = {
    "unassigned": 0,
    "compute": 1,
    "stage-in-tx": 2,
    "stage-out-tx": 3,
    "registration": 4,
    "inter-site-tx": 5,
    "create-dir": 6,
    "staged-compute": 7,
    "cleanup": 8,
    "chmod": 9,
    "dax": 10,
    "dag": 11,
}
# Of each state the events that it stands for, and their status.
_STATES: dict[str, tuple[tuple[str, int | None], ...]] = {
    "PRE_SCRIPT_STARTED": (("pre.start", None),),
    "PRE_SCRIPT_TERMINATED": (("pre.term", None),),
    "PRE_SCRIPT_SUCCESS": (("pre.end", 0),),
    "PRE_SCRIPT_FAILED": (("pre.end", -1),),
    "SUBMIT": (("submit.start", None), ("submit.end", 0)),
    "SUBMIT_FAILED": (("submit.start", None), ("submit.end", -1)),
    "GRID_SUBMIT": (("grid.submit.start", None), ("grid.submit.end", 0)),
    "GRID_SUBMIT_FAILED": (("grid.submit.start", None), ("grid.submit.end", -1)),
    "GLOBUS_SUBMIT": (("globus.submit.start", None), ("globus.submit.end", 0)),
    "GLOBUS_SUBMIT_FAILED": (("globus.submit.start", None), ("globus.submit.end", -1)),
    "EXECUTE": (("main.start", None),),
    "IMAGE_SIZE": (("image.info", None),),
    "JOB_TERMINATED": (("main.term", 0),),
    "JOB_EVICTED": (("main.term", -1),),
    "JOB_SUCCESS": (("main.end", 0),),
    "JOB_FAILURE": (("main.end", -1),),
    "JOB_HELD": (("held.start", None),),
    "JOB_RELEASED": (("held.end", 0),),
    "JOB_ABORTED": (("abort.info", None),),
    "REMOTE_ERROR": (("remote_error", None),),
    "POST_SCRIPT_STARTED": (("post.start", None),),
    "POST_SCRIPT_TERMINATED": (("post.term", None),),
    "POST_SCRIPT_SUCCESS": (("post.end", 0),),
    "POST_SCRIPT_FAILED": (("post.end", -1),),
}


def read(path: Path, problem: Problem = ignore) -> Iterator[Raw]:
    """Raw records of all workflows in a stampede database, which is never written to.

    Parameters
    ----------
    path : Path
        The database; monitord may be writing to it.
    problem : callable
        Is told, in words, of each table that cannot be read, or not to its end.

    Raises
    ------
    FormatError
        It is no stampede database.
    OSError
        It cannot be read.
    """
    path.open("rb").close()  # SQLite says no more than "unable to open"
    connection = _opened(path)
    try:
        yield from _Reader(connection, path, problem).read()
    finally:
        connection.close()


def _opened(path: Path) -> sqlite3.Connection:
    """The database, without writing; a journal in a folder that is not ours to write is left unread."""
    name = f"file:{quote(str(path.absolute()))}"
    try:
        return _connected(f"{name}?mode=ro")
    except sqlite3.OperationalError:
        pass
    except _DAMAGE as error:
        raise FormatError(f"{path}: no stampede database: {error}") from error
    try:
        return _connected(f"{name}?immutable=1")
    except _DAMAGE as error:
        raise FormatError(f"{path}: no stampede database that can be read: {error}") from error


def _connected(name: str) -> sqlite3.Connection:
    connection = sqlite3.connect(name, uri=True)
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except _DAMAGE:
        connection.close()
        raise
    return connection


_DAMAGE = (sqlite3.Error, UnicodeDecodeError, OverflowError, MemoryError)
"""What a damaged database raises; the second comes of SQLite's own words, which quote it, the last of lengths in it."""


class _Reader:
    """Reads one database, table by table."""

    def __init__(self, connection: sqlite3.Connection, path: Path, problem: Problem) -> None:
        self._connection = connection
        self._path = path
        self._problem = problem
        self._steps = 0
        self._workflows: dict[object, Raw] = {}
        self._unclaimed = 0
        connection.row_factory = sqlite3.Row
        connection.text_factory = lambda text: text.decode("utf-8", "replace")
        connection.set_progress_handler(self._stop, _STEPS)

    def _stop(self) -> bool:
        self._steps += _STEPS
        return self._steps > STEP_LIMIT

    def read(self) -> Iterator[Raw]:
        tables = self._tables()
        if "workflow" not in tables:
            raise FormatError(f"{self._path}: no stampede database: it has no table 'workflow'")
        for needed, query, tell in _TABLES:
            if lacking := [table for table in needed.split() if table not in tables]:
                self._problem(f"{self._path}: no table {lacking[0]!r}")
                continue
            for row in self._rows(needed, query):
                yield from tell(self, row)
        if self._unclaimed:
            self._problem(f"{self._path}: {self._unclaimed} notes on files do not tell which workflow's they are")

    def _tables(self) -> set[str]:
        told = self._rows("sqlite_master", "SELECT name, sql FROM sqlite_master WHERE type = 'table'")
        return {str(row["name"]) for row in told if not str(row["sql"]).upper().startswith("CREATE VIRTUAL")}

    def _rows(self, table: str, query: str) -> Iterator[Row]:
        try:
            for row in self._connection.execute(query):
                self._steps = 0
                yield dict(row)
        except _DAMAGE as error:
            self._problem(f"{self._path}: {table}: {error}; what follows there is left out")
        self._steps = 0

    def remember(self, row: Row) -> None:
        """Keep what monitord adds to all events of a workflow."""
        told = {
            "xwf_id": row.get("wf_uuid"),
            "root_xwf_id": row.get("root_uuid"),
            "dax": row.get("dax_file"),
            "dag": row.get("dag_file_name"),
            "wf_ts": row.get("timestamp"),
            "submit_dir": row.get("submit_dir"),
            "submit_hostname": row.get("submit_hostname"),
            "wf_user": row.get("user"),
            "pegasus_version": row.get("planner_version"),
        }
        self._workflows[row.get("wf_id")] = _known(told)

    def event(self, name: str, row: Row, ts: object = None, **fields: Any) -> Iterator[Raw]:
        """An event of the workflow that a row belongs to, if that is known."""
        workflow = self._workflows.get(row.get("wf_id"))
        if workflow is not None:
            yield {"event": f"stampede.{name}", "ts": ts, **workflow, **_known(fields)}

    def step(self, name: str, row: Row, ts: object = None, **fields: Any) -> Iterator[Raw]:
        """An event of the attempt that a row belongs to."""
        attempt = {"job_id": row.get("exec_job_id"), "job_inst_id": row.get("job_submit_seq")}
        yield from self.event(name, row, ts, **attempt, **fields)

    def of_file(self, name: str, row: Row, **fields: Any) -> Iterator[Raw]:
        """An event about a file, which only the one workflow of a database must have."""
        if row.get("wf_id") is None and len(self._workflows) == 1:
            row = {**row, "wf_id": next(iter(self._workflows))}
        self._unclaimed += row.get("wf_id") is None
        yield from self.event(name, row, lfn_id=row.get("lfn"), **fields)


def _workflow(reader: _Reader, row: Row) -> Iterator[Raw]:
    reader.remember(row)
    same = ("dax_label", "dax_version", "dax_file", "dag_file_name", "planner_version", "grid_dn", "user", "db_url")
    own = {key: row.get(key) for key in same}
    own |= {"argv": _unescaped(row.get("planner_arguments")), "parent_xwf_id": row.get("parent_uuid")}
    yield from reader.event("wf.plan", row, row.get("timestamp"), **own)


def _workflow_meta(reader: _Reader, row: Row) -> Iterator[Raw]:
    yield from reader.event("xwf.meta", row, **_same(row, "key", "value"))


def _workflow_state(reader: _Reader, row: Row) -> Iterator[Raw]:
    name = {"WORKFLOW_STARTED": "xwf.start", "WORKFLOW_TERMINATED": "xwf.end"}.get(str(row.get("state")))
    if name is not None:
        yield from reader.event(name, row, row.get("timestamp"), **_same(row, "restart_count", "status", "reason"))


def _task(reader: _Reader, row: Row) -> Iterator[Raw]:
    task_id = row.get("abs_task_id")
    told = {**_same(row, "transformation", "type_desc"), "type": _JOB_TYPES.get(str(row.get("type_desc")))}
    yield from reader.event("task.info", row, task_id=task_id, argv=_unescaped(row.get("argv")), **told)
    if row.get("exec_job_id") is not None:
        yield from reader.event("wf.map.task_job", row, task_id=task_id, job_id=row["exec_job_id"])


def _task_edge(reader: _Reader, row: Row) -> Iterator[Raw]:
    ends = {"parent_task_id": row.get("parent_abs_task_id"), "child_task_id": row.get("child_abs_task_id")}
    yield from reader.event("task.edge", row, **ends)


def _task_meta(reader: _Reader, row: Row) -> Iterator[Raw]:
    yield from reader.event("task.meta", row, task_id=row.get("abs_task_id"), **_same(row, "key", "value"))


def _job(reader: _Reader, row: Row) -> Iterator[Raw]:
    told = _same(row, "submit_file", "type_desc", "clustered", "max_retries", "executable", "task_count")
    told |= {"type": _JOB_TYPES.get(str(row.get("type_desc"))), "argv": _unescaped(row.get("argv"))}
    yield from reader.event("job.info", row, job_id=row.get("exec_job_id"), **told)


def _job_edge(reader: _Reader, row: Row) -> Iterator[Raw]:
    ends = {"parent_job_id": row.get("parent_exec_job_id"), "child_job_id": row.get("child_exec_job_id")}
    yield from reader.event("job.edge", row, **ends)


def _workflow_file(reader: _Reader, row: Row) -> Iterator[Raw]:
    task = {"task_id": row.get("abs_task_id"), "file_type": row.get("file_type")}
    yield from reader.event("wf.map.file", row, lfn_id=row.get("lfn"), **task)


def _replica(reader: _Reader, row: Row) -> Iterator[Raw]:
    yield from reader.of_file("rc.pfn", row, **_same(row, "pfn", "site"))


def _replica_meta(reader: _Reader, row: Row) -> Iterator[Raw]:
    yield from reader.of_file("rc.meta", row, **_same(row, "key", "value"))


def _attempt(reader: _Reader, row: Row) -> Iterator[Raw]:
    if row.get("hostname") is not None:
        told = {**_same(row, "hostname", "ip", "uname", "total_memory"), "site": row.get("host_site")}
        yield from reader.step("job_inst.host.info", row, **told)
    if row.get("subwf_uuid") is not None:
        for raw in reader.step("xwf.map.subwf_job", row, row.get("planned"), subwf_id=row["subwf_uuid"]):
            yield {key: value for key, value in raw.items() if key in _OF_SUBWORKFLOW}  # monitord adds nothing to it


def _job_state(reader: _Reader, row: Row) -> Iterator[Raw]:
    state, seconds = str(row.get("state")), row.get("timestamp")
    for name, status in _STATES.get(state, ()):
        told = {"js_id": row.get("jobstate_submit_seq"), "reason": row.get("reason"), "status": status}
        if not name.startswith("pre."):
            told["sched_id"] = row.get("sched_id")
        if name == "submit.start":
            told["site"] = row.get("site")
        elif name == "main.start":
            told |= {"stdin_file": row.get("stdin_file"), **{key: _unnumbered(row.get(key)) for key in _OUTPUTS}}
        elif name == "main.end":
            told |= _end(row)
        elif name == "post.end":
            told["exitcode"] = row.get("exitcode")
        elif name == "pre.end":
            told["exitcode"] = row.get("pre_exitcode")
        yield from reader.step(f"job_inst.{name}", row, seconds, **told)


def _end(row: Row) -> Row:
    told = _same(row, "user", "site", "work_dir", "cluster_start", "stdin_file", "stdout_text", "stderr_text")
    told |= _same(row, "multiplier_factor", *_OUTPUTS)
    told |= {"cluster_dur": row.get("cluster_duration"), "local_dur": row.get("local_duration")}
    # A post script's exit status has taken the place of the job's.
    return told if row.get("posted") else {**told, "exitcode": row.get("exitcode")}


def _invocation(reader: _Reader, row: Row) -> Iterator[Raw]:
    start, number = row.get("start_time"), row.get("task_submit_seq")
    yield from reader.step("inv.start", row, start, inv_id=number)
    told = _same(row, "start_time", "remote_cpu_time", "avg_cpu", "maxrss", "exitcode", "transformation", "executable")
    told |= {"inv_id": number, "dur": row.get("remote_duration"), "task_id": row.get("abs_task_id")}
    told["argv"] = _unescaped(row.get("argv"))
    yield from reader.step("inv.end", row, _end_time(start, row.get("remote_duration")), **told)


def _tag(reader: _Reader, row: Row) -> Iterator[Raw]:
    yield from reader.step("job_inst.tag", row, **_same(row, "name", "count"))


def _integrity(reader: _Reader, row: Row) -> Iterator[Raw]:
    yield from reader.step("int.metric", row, **_same(row, "type", "file_type", "count", "duration"))


def _same(row: Row, *keys: str) -> Row:
    return {key: row.get(key) for key in keys}


def _known(fields: Row) -> Row:
    return {key: value for key, value in fields.items() if value is not None}


def _unescaped(argv: object) -> object:
    """Arguments as they were: the loader puts a backslash before each quote and backslash."""
    return re.sub(r"\\(['\\])", r"\1", argv) if isinstance(argv, str) else argv


def _unnumbered(path: object) -> object:
    """A job's output file before it was given the number of the attempt."""
    return re.sub(r"\.\d{3,}$", "", path) if isinstance(path, str) else path


def _end_time(start: object, length: object) -> int | None:
    """monitord cuts the end of a program to whole seconds."""
    if not isinstance(start, int | float) or not isinstance(length, int | float):
        return None
    return int(start + length) if math.isfinite(start + length) else None


_STEPS = 100_000
_OUTPUTS = ("stdout_file", "stderr_file")
_OF_SUBWORKFLOW = frozenset({"event", "ts", "xwf_id", "job_id", "job_inst_id", "subwf_id"})
_OF_JOB = "JOIN job_instance USING (job_instance_id) JOIN job USING (job_id)"
_CLAIMED = "LEFT JOIN (SELECT lfn_id, min(wf_id) AS wf_id FROM workflow_files GROUP BY lfn_id) USING (lfn_id)"
_ENDS = "state IN ('JOB_SUCCESS', 'JOB_FAILURE')"
_TABLES: tuple[tuple[str, str, Callable[[_Reader, Row], Iterator[Raw]]], ...] = (
    (
        "workflow",
        "SELECT workflow.*, root.wf_uuid AS root_uuid, parent.wf_uuid AS parent_uuid FROM workflow "
        "LEFT JOIN workflow AS root ON root.wf_id = workflow.root_wf_id "
        "LEFT JOIN workflow AS parent ON parent.wf_id = workflow.parent_wf_id",
        _workflow,
    ),
    ("workflow_meta", "SELECT * FROM workflow_meta", _workflow_meta),
    ("task job", "SELECT task.*, job.exec_job_id FROM task LEFT JOIN job ON job.job_id = task.job_id", _task),
    ("task_edge", "SELECT * FROM task_edge", _task_edge),
    ("task_meta task", "SELECT wf_id, abs_task_id, key, value FROM task_meta JOIN task USING (task_id)", _task_meta),
    ("job", "SELECT * FROM job", _job),
    ("job_edge", "SELECT * FROM job_edge", _job_edge),
    (
        "workflow_files task rc_lfn",
        "SELECT workflow_files.wf_id, file_type, abs_task_id, lfn FROM workflow_files "
        "JOIN task USING (task_id) JOIN rc_lfn USING (lfn_id)",
        _workflow_file,
    ),
    ("rc_pfn rc_lfn workflow_files", f"SELECT * FROM rc_pfn JOIN rc_lfn USING (lfn_id) {_CLAIMED}", _replica),
    ("rc_meta rc_lfn workflow_files", f"SELECT * FROM rc_meta JOIN rc_lfn USING (lfn_id) {_CLAIMED}", _replica_meta),
    ("workflowstate", "SELECT * FROM workflowstate", _workflow_state),
    (
        "job_instance job workflow host",
        "SELECT job_submit_seq, exec_job_id, job.wf_id, sub.wf_uuid AS subwf_uuid, sub.timestamp AS planned, "
        "hostname, ip, uname, total_memory, host.site AS host_site FROM job_instance JOIN job USING (job_id) "
        "LEFT JOIN workflow AS sub ON sub.wf_id = subwf_id LEFT JOIN host ON host.host_id = job_instance.host_id",
        _attempt,
    ),
    (
        "jobstate job_instance job invocation",
        "SELECT state, jobstate.timestamp, jobstate_submit_seq, reason, job_submit_seq, exec_job_id, job.wf_id, "
        "sched_id, site, user, work_dir, cluster_start, cluster_duration, local_duration, stdin_file, stdout_file, "
        f"stderr_file, multiplier_factor, exitcode, CASE WHEN {_ENDS} THEN stdout_text END AS stdout_text, "
        f"CASE WHEN {_ENDS} THEN stderr_text END AS stderr_text, EXISTS (SELECT 1 FROM jobstate AS later "
        "WHERE later.job_instance_id = jobstate.job_instance_id "
        "AND later.state IN ('POST_SCRIPT_SUCCESS', 'POST_SCRIPT_FAILED')) AS posted, "
        "(SELECT pre.exitcode FROM invocation AS pre WHERE pre.job_instance_id = jobstate.job_instance_id "
        "AND pre.task_submit_seq = -1) AS pre_exitcode "
        f"FROM jobstate {_OF_JOB}",
        _job_state,
    ),
    (
        "invocation job_instance job",
        f"SELECT invocation.*, job_submit_seq, exec_job_id FROM invocation {_OF_JOB}",
        _invocation,
    ),
    ("tag job_instance job", f"SELECT tag.*, job_submit_seq, exec_job_id FROM tag {_OF_JOB}", _tag),
    (
        "integrity job_instance job",
        f"SELECT integrity.*, job_submit_seq, exec_job_id FROM integrity {_OF_JOB}",
        _integrity,
    ),
)
