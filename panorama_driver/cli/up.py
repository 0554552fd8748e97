"""`panorama up`: the back end on this machine, without containers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import EnvironmentMissingError, ServiceError, UsageError
from ._common import json_option, program, write_json

if TYPE_CHECKING:
    from ..backend.supervisor import Condition
    from ..backend.up import Asked, BackEnd, State

_FOLDER = "panorama-backend"
_DOWN_WITHIN = 90.0  # seconds
_PAUSE = 0.1  # seconds
_NOT_RUNNING, _INTERRUPTED = 3, 4
_PORT = click.IntRange(1, 65535)


@click.command("up")
@click.argument("folder", metavar="[DIR]", default=_FOLDER, type=click.Path(path_type=Path, file_okay=False))
@click.option("--broker/--no-broker", default=None, help="Run RabbitMQ; default: where it is installed.")
@click.option("--broker-port", metavar="PORT", type=_PORT, help="Of the broker; default: one that is free.")
@click.option("--http", metavar="[HOST:]PORT", help="Take what is posted here too; without a broker always.")
@click.option("--certificate", metavar="FILE", help="Speak HTTPS there: chain and key (PEM).")
@click.option("--store", metavar="PATH|URL", help="Where events go; default: store.db in DIR.")
@click.option("--dashboard/--no-dashboard", default=None, help="Run the dashboard; default: yes.")
@click.option("--port", metavar="PORT", type=_PORT, help="Of the dashboard; default: 8360, or another that is free.")
@click.option("--show", metavar="PATH", multiple=True, help="Show this study or store as well; may be repeated.")
@click.option("-d", "--detach", is_flag=True, help="Return when it runs, and leave it running.")
@click.option("--status", "asks", is_flag=True, help="Say how it is doing, and nothing else.")
@click.option("--down", "ends", is_flag=True, help="End it in order.")
@json_option
def command(
    folder: Path,
    broker: bool | None,
    broker_port: int | None,
    http: str | None,
    certificate: str | None,
    store: str | None,
    dashboard: bool | None,
    port: int | None,
    show: tuple[str, ...],
    detach: bool,
    asks: bool,
    ends: bool,
    as_json: bool,
) -> int:
    """Run broker, collector, store and dashboard in DIR until SIGTERM or Ctrl-C; started again, it is as it was.

    What ends is started again, after a longer pause each time. Ended by whatever means, with kill -9 too, it leaves no
    process behind, and loses no event that it has taken. All listen on this machine alone; passwords are files in DIR
    that only you can read. Without RabbitMQ the collector takes what workers post, and studies are shown from their own
    stores.

    --status ends with 0 if all is well and 3 if not. With --json a running one writes an object a line: a part that has
    changed, and where all is once it runs.

    \b
    Examples:
      panorama up                    # in ./panorama-backend; says what to put into study.yml
      panorama up /scratch/me/backend --show ~/studies
      panorama up -d && panorama up --status
      panorama up --down
    """
    from ..backend.up import Asked

    _check(asks, ends, detach)
    if asks:
        return _status(folder, as_json)
    if ends:
        return _down(folder, as_json)
    asked = Asked(
        broker=broker,
        broker_port=broker_port,
        http=http,
        certificate=certificate,
        store=store,
        dashboard=dashboard,
        port=port,
        show=show,
    )
    return _detached(folder, asked, as_json) if detach else _foreground(folder, asked, as_json)


def _check(asks: bool, ends: bool, detach: bool) -> None:
    if asks + ends + detach > 1:
        raise UsageError("--status, --down and --detach: give one of them")


def _foreground(folder: Path, asked: Asked, as_json: bool) -> int:
    from ..backend.up import opened, run
    from ..store import network_filesystem

    with opened(folder, asked) as back_end:
        _need(back_end)
        warning = network_filesystem(back_end.folder)
        if warning:
            click.echo(f"panorama: {warning}", err=True)
        whole = run(back_end, _tell_program if as_json else _tell)
    return 0 if whole else _INTERRUPTED


def _detached(folder: Path, asked: Asked, as_json: bool) -> int:
    """Start one that goes on without us, and wait until it runs."""
    from ..backend.up import last_words, opened, state_of

    with opened(folder, asked) as back_end:
        _need(back_end)  # what is wrong is said here
    words = [sys.executable, "-P", "-c", "from panorama_driver.cli import main; main()", "up", str(folder.absolute())]
    nowhere = subprocess.DEVNULL  # it has a log
    process = subprocess.Popen(words, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True)
    while process.poll() is None:
        state = state_of(folder)
        if state is not None and state.state == "running":
            _write(state, as_json)
            return 0
        time.sleep(_PAUSE)
    raise ServiceError(last_words(folder))


def _need(back_end: BackEnd) -> None:
    """See that what the dashboard needs is installed."""
    from .serve import needs

    try:
        if back_end.dashboard:
            needs()
    except EnvironmentMissingError as problem:
        raise EnvironmentMissingError(f"{problem}; or leave the dashboard away: --no-dashboard") from None


def _status(folder: Path, as_json: bool) -> int:
    from ..backend.up import state_of

    state = state_of(folder)
    if state is None:
        _say({"state": "down", "folder": str(folder)}, f"{folder}: no back end runs there", as_json)
        return _NOT_RUNNING
    _write(state, as_json)
    return 0 if state.well else _NOT_RUNNING


def _down(folder: Path, as_json: bool) -> int:
    from ..backend.up import down

    ended = down(folder, _DOWN_WITHIN)
    _say({"ended": ended}, f"{folder}: {'ended' if ended else 'no back end runs there'}", as_json)
    return 0


def _write(state: State, as_json: bool) -> None:
    import msgspec

    if as_json:
        write_json(msgspec.to_builtins(state))
        return
    click.echo(f"{state.folder}: {state.state} on {state.host}, process {state.pid}")
    for part in state.parts:
        click.echo(f"  {_line(part)}")
    if state.counts:
        told = {"stored": "stored", "dead": "dead letters", "lag": "waiting"}
        counts = [f"{state.counts[name]} {words}" for name, words in told.items() if state.counts.get(name) is not None]
        click.echo(f"  events: {', '.join(counts)}")
    _say_where(state)


def _line(part: Condition) -> str:
    pid = f", process {part.pid}" if part.pid else ""
    again = f", started {part.starts} times" if part.starts > 1 else ""
    words = f": {part.words}" if part.words else ""
    return f"{part.name}: {part.state}{pid}{again}{words}"


def _say_where(state: State) -> None:
    only = (
        ""
        if "broker" in state.monitoring
        else ", with `engine: pegasus` (the embedded engine has all in its own store)"
    )
    click.echo(f"put into study.yml{only}:\n  monitoring:")
    for name, value in state.monitoring.items():
        click.echo(f"    {name}: {json.dumps(value)}")
    click.echo(f"store: {state.store}")
    if state.dashboard:
        click.echo(f"dashboard: {state.dashboard}  (open what stands in {state.link}: it has the token)")
    sys.stdout.flush()


def _tell(state: State, changed: Condition | None) -> None:
    """Say what became of a part, and where all is once it runs."""
    if changed is None:
        _say_where(state)
        click.echo(f"Ctrl-C or SIGTERM ends it; {program()} up --status {state.folder} tells how it is doing")
    elif changed.state in ("ready", "unwell", "pausing", "given up", "ended"):
        click.echo(_line(changed), err=changed.state not in ("ready", "ended"))
    sys.stdout.flush()


def _tell_program(state: State, changed: Condition | None) -> None:
    """The same in JSON, an object a line."""
    import msgspec

    click.echo(json.dumps(msgspec.to_builtins(state if changed is None else changed)))


def _say(told: dict[str, Any], words: str, as_json: bool) -> None:
    if as_json:
        write_json(told)
    else:
        click.echo(words)
