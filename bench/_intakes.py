"""Ways to bring the messages of a queue somewhere, each a process of its own: `python _intakes.py NAME ...`.

`bare` acknowledges and keeps nothing, which is the limit of any consumer that uses pika; `obvious` is what one writes
first: json, executemany, commit, acknowledge, no event twice by a key. `monitord` is no consumer: it feeds the loader
of pegasus-monitord's own database the same events from a file, with its batches, in the environment of a released
Pegasus.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import sys
from typing import Any

PREFETCH = 512
QUEUE = "bench"
_DOTTED = ("xwf", "job", "task", "job_inst", "inv", "js", "sched", "root.xwf", "parent.xwf", "lfn", "subwf")


def bare(url: str, count: int) -> None:
    """Acknowledge `count` messages."""
    channel = _channel(url)
    for number, (method, _, _) in enumerate(channel.consume(QUEUE) if count else (), start=1):
        if number % PREFETCH == 0 or number == count:
            channel.basic_ack(method.delivery_tag, multiple=True)
        if number == count:
            return


def obvious(url: str, count: int, path: str) -> None:
    """Put `count` messages into SQLite, a transaction for each batch, and acknowledge."""
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE events (id TEXT PRIMARY KEY, event TEXT, wf TEXT, job TEXT, ts REAL, body TEXT)")
    channel = _channel(url)
    rows: list[tuple[Any, ...]] = []
    for number, (method, _, body) in enumerate(channel.consume(QUEUE) if count else (), start=1):
        event = json.loads(body)
        key = "/".join(str(event.get(name)) for name in _KEY)
        wf_uuid = event.get("xwf_id") or event.get("wf_uuid")
        job = event.get("job_id") or event.get("dag_job_id")
        rows.append((key, event["event"], wf_uuid, job, event.get("ts"), body.decode()))
        if len(rows) == PREFETCH or number == count:
            with database:
                database.executemany("INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?)", rows)
            channel.basic_ack(method.delivery_tag, multiple=True)
            rows = []
        if number == count:
            return


_KEY = ("event", "xwf_id", "wf_uuid", "job_id", "dag_job_id", "job_inst_id", "inv_id", "js_id", "ts", "task_id", "pid")


def monitord(file: str, path: str) -> None:
    """Load the stampede events of a file of JSON lines into a stampede database."""
    from Pegasus.db import connection
    from Pegasus.db.workflow_loader import WorkflowLoader
    from Pegasus.tools import properties

    logging.Logger.trace = lambda *_: None  # type: ignore[attr-defined]  # monitord adds this level itself
    loader = WorkflowLoader(
        f"sqlite:///{path}", batch=True, props=properties.Properties(), db_type=connection.DBType.WORKFLOW
    )
    with open(file, encoding="utf-8") as lines:
        for line in lines:
            loader.process({_dotted(key): value for key, value in json.loads(line).items()})
    loader.finish()


def _dotted(key: str) -> str:
    """The loader takes the names as monitord has them inside, `job_inst.id`; its broker's are `job_inst_id`."""
    start = key.removesuffix("_id").replace("root_", "root.").replace("parent_", "parent.")
    if key.endswith("_id") and start.rpartition(".")[2] in _DOTTED:
        return f"{start}.id"
    return key.replace("child_", "child.").replace("_id", ".id") if key.startswith("child_") else key


def _channel(url: str) -> Any:
    import pika

    channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
    channel.basic_qos(prefetch_count=2 * PREFETCH)
    return channel


def main() -> None:
    """Do one of them."""
    name, *arguments = sys.argv[1:]
    if name == "bare":
        bare(os.environ["BENCH_URL"], int(arguments[0]))
    elif name == "obvious":
        obvious(os.environ["BENCH_URL"], int(arguments[0]), arguments[1])
    elif name == "monitord":
        monitord(arguments[0], arguments[1])


if __name__ == "__main__":
    main()
