"""`panorama study`: runs Dakota on a study, shows how it goes, and ends with the report."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..config import spell
from ..errors import EnvironmentMissingError, PanoramaError, StudyError
from ..study.progress import Follower, Progress
from ._common import program
from .check import look
from .report import show
from .serve import study_served

if TYPE_CHECKING:
    from rich.table import Table

_LOG = "dakota.log"
_PAUSE = 0.25


@click.command("study")
@click.argument("directory", default=".", type=click.Path(path_type=Path))
@click.option("--restart", is_flag=True, help="Go on from dakota.rst: Dakota replays what it has recorded.")
@click.option("--plain", is_flag=True, help="Plain lines, also on a terminal.")
@click.option("--serve", is_flag=True, help="Serve the dashboard of the study while it runs, and say where.")
def command(directory: Path, restart: bool, plain: bool, serve: bool) -> int:
    """Run `dakota -i study.in` in DIRECTORY, with progress and a report at the end.

    Dakota's own words go to dakota.log.

    \b
    Example:
      panorama study mystudy
    """
    home = directory.resolve()
    if not (home / "study.in").is_file():
        raise StudyError(f"{home / 'study.in'}: no such file; panorama init NAME DIR makes a study")
    errors = [finding for finding in look(home / "study.in") if finding.level == "error"]
    if errors:
        raise StudyError("; ".join(map(str, errors)))
    argv = [find_dakota(), "-i", "study.in"] + (_restart(home) if restart else [])
    click.echo(f"{home}: dakota {' '.join(argv[1:])}   (its output: {_LOG})")
    with _served(home) if serve else nullcontext():
        code = _run(directory, home, argv, plain)
    if code:
        click.echo(f"dakota ended with exit code {code}; its last words in {home / _LOG}:", err=True)
        click.echo("".join((home / _LOG).read_text(errors="replace").splitlines(keepends=True)[-15:]), err=True)
    click.echo("")
    report = show(home)
    first = (report.best or report.rows[0]).evaluation.eval_id
    click.echo(f"next:  {program()} show {first} --study {directory}    what evaluation {first} cost, job by job")
    click.echo(f"       {program()} status {directory}")
    click.echo(f"       {program()} serve {directory}    all of it in a browser")
    click.echo(f"       edit {directory}/study.in and run it again: what has been evaluated is not run twice")
    return 1 if code or report.failed else 0


@contextmanager
def _served(home: Path) -> Iterator[None]:
    """Serve the study's dashboard; a study runs without one as well."""
    with ExitStack() as stack:
        try:
            url = stack.enter_context(study_served(home))
        except PanoramaError as problem:
            click.echo(f"no dashboard: {problem}", err=True)
        else:
            click.echo(f"dashboard: {url}   (while the study runs)")
        yield


def _run(directory: Path, home: Path, argv: list[str], plain: bool) -> int:
    """Dakota's exit code, once it has ended."""
    with (home / _LOG).open("ab") as log:
        dakota = subprocess.Popen(argv, cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_environment())
    try:
        (_plain if plain or not sys.stdout.isatty() else _live)(home, dakota)
        return dakota.wait()
    except KeyboardInterrupt:
        dakota.wait()
        click.echo(
            f"interrupted; what runs is ended with {program()} stop {directory}; run it again to go on", err=True
        )
        raise


def _restart(home: Path) -> list[str]:
    """Dakota's arguments to go on; none where it had recorded nothing yet, since it refuses an empty restart file."""
    recorded = home / "dakota.rst"
    return ["-read_restart", recorded.name] if recorded.is_file() and recorded.stat().st_size else []


def find_dakota() -> str:
    """Path of Dakota: beside this Python, or on PATH.

    Raises
    ------
    EnvironmentMissingError
        There is none.
    """
    found = shutil.which("dakota", path=_environment()["PATH"])
    if found is None:
        raise EnvironmentMissingError(
            "no dakota on PATH; install it with: pip install 'panorama-driver[dakota]', in a clone '.[dakota]'"
        )
    return found


def _environment() -> dict[str, str]:
    """This process' environment, with the programs beside its Python found first."""
    beside = str(Path(sys.executable).parent)
    return os.environ | {"PATH": f"{beside}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}


def _plain(home: Path, dakota: subprocess.Popen[bytes]) -> None:
    follower = Follower(home)
    _told_before(follower)
    said: dict[str, str] = {}
    while True:
        over = dakota.poll() is not None
        for progress in follower.changes():
            words = _words(progress)
            if words and said.get(progress.evaluation.key) != words:
                said[progress.evaluation.key] = words
                click.echo(f"evaluation {progress.evaluation.eval_id}: {words}")
        if over:
            return follower.close()
        time.sleep(_PAUSE)


def _told_before(follower: Follower) -> None:
    """Pass over what earlier runs of the study have left."""
    over = sum(progress.evaluation.over for progress in follower.changes())
    if over:
        click.echo(f"{over} evaluations are known from before and are not run again, unless they failed")


def _words(progress: Progress) -> str:
    evaluation = progress.evaluation
    if evaluation.over and evaluation.state != "succeeded":
        return f"{evaluation.state}: {evaluation.message}"
    if evaluation.responses:
        taken = "" if progress.makespan is None else f", makespan {progress.makespan:.1f} s"
        return f"finished, {spell(evaluation.responses)}{taken}"
    if progress.running and not evaluation.over:
        return f"running {', '.join(progress.running)} ({progress.done} of {progress.jobs} jobs done)"
    if progress.jobs:
        return ""
    return f"submitted, {spell(evaluation.variables)}"


def _live(home: Path, dakota: subprocess.Popen[bytes]) -> None:
    from rich.live import Live

    follower = Follower(home)
    _told_before(follower)
    latest: dict[str, Progress] = {}
    with Live(refresh_per_second=4, transient=True) as live:
        while True:
            over = dakota.poll() is not None
            latest |= {progress.evaluation.key: progress for progress in follower.changes()}
            live.update(_table(list(latest.values()), live.console.height - 4))
            if over:
                return follower.close()
            time.sleep(_PAUSE)


def _table(rows: list[Progress], height: int) -> Table:
    """Evaluations that run, and as many of the latest others as there is room for."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    active = [row for row in rows if not row.evaluation.over]
    others = [row for row in rows if row.evaluation.over]
    shown = others[-max(1, height - len(active)) :] + active
    table = Table(
        box=None, header_style="bold", caption=f"{len(others)} evaluations have ended", caption_justify="left"
    )
    for name in ("evaluation", "parameters", "jobs", "", "what"):
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    for row in shown:
        values = spell(row.evaluation.variables)
        bar = ProgressBar(
            total=max(row.jobs, 1), completed=row.done, width=20, complete_style="cyan", finished_style="green"
        )
        words = Text(_words(row) or "waits for a slot")
        table.add_row(row.evaluation.eval_id, values, f"{row.done}/{row.jobs}", bar, words)
    return table
