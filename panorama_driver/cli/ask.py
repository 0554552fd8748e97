"""`panorama ask`: SQL over evaluations, jobs, attempts and metrics, and ready-made questions."""

from __future__ import annotations

import csv
import math
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from ..errors import StudyError, UsageError
from ._common import chosen, json_option, safe, write_json
from ._progress import Told

if TYPE_CHECKING:
    from ..questions import Answer, Place, Questions

_GRACE = 10.0  # seconds after its time in which a SELECT must have ended
_MOST = 10_000_000
_WIDE = 100_000  # characters of a line that nobody looks at on a terminal


@click.command("ask")
@click.argument("question", metavar="[QUESTION|SQL]", required=False)
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--list", "list_them", is_flag=True, help="What may be asked by name.")
@click.option("--schema", is_flag=True, help="What SQL may ask for: tables, columns, units.")
@click.option("--of", metavar="NAME", help="With drives-makespan: a response, or a metric of workflows, in its place.")
@click.option("--sql", "show_sql", is_flag=True, help="Print the SQL of a ready-made question.")
@click.option("--csv", "as_csv", is_flag=True, help="Write CSV; what is unknown is empty.")
@json_option
@click.option("--rows", type=click.IntRange(1, _MOST), default=100_000, show_default=True, help="Rows, at most.")
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(0, 86_400, min_open=True),
    default=60.0,
    show_default=True,
    help="Longest time of an answer.",
)
def command(
    question: str | None,
    paths: tuple[str, ...],
    list_them: bool,
    schema: bool,
    of: str | None,
    show_sql: bool,
    as_csv: bool,
    as_json: bool,
    rows: int,
    timeout: float,
) -> int:
    """Ask studies and stores, by SQL (SQLite's, one SELECT) or by the name of a question.

    PATH is a study directory, a folder that holds some, or a store; default: the study of this directory, or else those
    below it. What was read is kept in ~/.cache/panorama, so that only what is new is read the next time.

    \b
    Examples:
      panorama ask --list
      panorama ask failed mystudy
      panorama ask drives-makespan --of chi2
      panorama ask slow-host runs/ --sql
      panorama ask "SELECT transformation, median(wall_time) FROM attempts GROUP BY 1"
      panorama ask "SELECT x_q_h, r_chi2, workflow_makespan FROM evaluations" --csv > all.csv
      panorama ask "SELECT study, count(*), sum(failed) FROM evaluations GROUP BY study" runs/
    """
    from ..questions import Questions, named
    from ..store._caches import cache_folder

    if as_csv and as_json:
        raise UsageError("--csv or --json, not both")
    if list_them or schema or question is None:
        return _list(as_json) if list_them or not schema else _schema(as_json)
    name = named(question)
    if of is not None and name != "drives-makespan":
        raise UsageError("--of goes with drives-makespan only")
    told = Told()
    with Questions(_places(paths), cache_folder(), _progress(told), rows=rows, timeout=timeout) as questions:
        told.end()
        answer = _answer(questions, question, name, of, timeout)
    if show_sql:
        click.echo(";\n\n".join(answer.sql) + ";")
    else:
        _tell(answer, as_csv, as_json)
    return 0


def _progress(told: Told) -> Any:
    def say(done: int, of: int) -> None:
        told(f"reading workflow runs: {done} of {of}")

    return say


def _answer(questions: Questions, question: str, name: str | None, of: str | None, timeout: float) -> Answer:
    if name is not None:
        return questions.ready(name, of)
    with _ended_after(timeout + _GRACE):
        return questions.sql(question)


@contextmanager
def _ended_after(seconds: float) -> Iterator[None]:
    """End the process where SQLite does not: it looks at the clock between its steps, and one may take for ever."""

    def end() -> None:
        click.echo(f"panorama: the SELECT did not end within {seconds:g} s", err=True)
        os._exit(2)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _places(paths: tuple[str, ...]) -> list[Place]:
    """What the paths name, each under a name that no other has.

    Raises
    ------
    StudyError
        There is nothing.
    """
    from ..questions import Place
    from ..web._places import look_through

    found = look_through(chosen(paths))
    known = [each for each in found if each.kind == "store" or each.folder.is_dir()]
    if not known:
        raise StudyError(f"{', '.join(paths) or '.'}: no study has been run there; name its directory, or a store")
    times = Counter(each.name for each in known)
    return [
        Place(
            each.name if times[each.name] == 1 else each.home,
            each.store,
            each.folder if each.kind == "study" else None,
        )
        for each in known
    ]


def _tell(answer: Answer, as_csv: bool, as_json: bool) -> None:
    if as_json:
        rows = [[_as_json(value) for value in row] for row in answer.rows]
        told = {"columns": answer.columns, "rows": rows, "notes": answer.notes, "sql": answer.sql}
        write_json(told | {"more": answer.more})
    elif as_csv:
        _write_csv(answer)
    else:
        _print_table(answer.columns, answer.rows)
    for note in answer.notes if not as_json else ():
        click.echo(safe(note), err=as_csv)
    if answer.more:
        click.echo(f"there are more than these {len(answer.rows)} rows; see --rows", err=True)


def _as_json(value: object) -> object:
    """What JSON has no number for as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value.hex() if isinstance(value, bytes) else value


def _write_csv(answer: Answer) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(answer.columns)
    writer.writerows([value.hex() if isinstance(value, bytes) else value for value in row] for row in answer.rows)


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    numeric = [all(isinstance(row[at], int | float | None) for row in rows) for at in range(len(columns))]
    for name, right in zip(columns, numeric, strict=True):
        table.add_column(Text(safe(name)), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False).print(
        table, soft_wrap=not sys.stdout.isatty()
    )


def _cell(value: object) -> str:
    match value:
        case None:
            return "unknown"
        case float():
            return f"{value:.6g}"
        case bytes():
            return value.hex()
    return safe(str(value))


def _list(as_json: bool) -> int:
    from ..questions import READY

    if as_json:
        write_json({"questions": [each._asdict() for each in READY]})
        return 0
    width = max(len(each.name) for each in READY)
    for each in READY:
        click.echo(f"{each.name:<{width}}  {each.meaning}")
    click.echo("\npanorama ask NAME [PATH...]; with --sql, what SQL it takes; --schema lists what SQL may ask for")
    return 0


def _schema(as_json: bool) -> int:
    from ..questions import FUNCTIONS, TABLES

    if as_json:
        tables = [each._asdict() | {"columns": [c._asdict() for c in each.columns]} for each in TABLES]
        write_json({"tables": tables, "functions": FUNCTIONS})
        return 0
    for table in TABLES:
        click.echo(f"{table.name}: {table.meaning}")
        for column in table.columns:
            unit = f" [{column.unit}]" if column.unit else ""
            click.echo(f"  {column.name:<28} {column.type:<8} {column.meaning}{unit}")
        if table.name in ("attempts", "evaluations"):
            click.echo(f"  {'x_NAME, r_NAME':<28} {'':<8} each parameter, and each response, of the evaluation")
    click.echo("functions beside those of SQLite:")
    for name, meaning in FUNCTIONS.items():
        click.echo(f"  {name:<28} {meaning}")
    return 0
