"""The `panorama` command: one file a verb, each a thin call into a room, loaded only when it is asked for."""

from __future__ import annotations

import importlib
import sys

import click

from .. import __version__
from ..errors import PanoramaError

_VERBS = {
    "init": "Make a study directory from a workflow.",
    "workflows": "What there is to run; check a folder of yours, or begin one.",
    "check": "Look for mistakes in study.in and study.yml before Dakota runs.",
    "study": "Run a study with Dakota, with progress and a report.",
    "run": "Run one evaluation, without Dakota.",
    "submit": "Run one evaluation at a site, by Pegasus' Ensemble Manager.",
    "cancel": "End evaluations of a study.",
    "rerun": "Run a failed evaluation again, only what had not finished.",
    "render": "Write the bundle of one parameter set.",
    "status": "How a study stands.",
    "show": "What one evaluation cost, job by job.",
    "report": "Table and picture of a study.",
    "serve": "Studies in a browser, live: the dashboard.",
    "watch": "Look for anomalies in what runs, and tell them.",
    "anomalies": "What was found, where and since when, and what was done.",
    "adapt": "What a study's server did about anomalies; take it back.",
    "analyse": "Look through what is stored: transfers, jobs, runs.",
    "ask": "SQL over evaluations, jobs, attempts and metrics.",
    "collect": "Take events off a broker, or by HTTP, into a store.",
    "reconcile": "Find on disk what was lost on its way, and fill it in.",
    "deadletters": "What came in and is no event: list it, try it again.",
    "export": "Studies and runs as open data: Parquet, WfFormat, CSV.",
    "import": "Take in a repository, or what other tools wrote.",
    "merge": "Make one repository of several.",
    "up": "The back end on this machine: broker, collector, dashboard.",
    "deploy": "The back end in containers: up, down, status, backup.",
    "stop": "End a study's server and what it runs.",
    "ensemble": "Pegasus' Ensemble Manager: start it, see its workflows.",
    "globus": "Fetch a workflow's Globus transfers, live or afterwards.",
    "tstat": "Join Tstat's logs of TCP connections to transfers.",
    "doctor": "What this machine has, and what it lacks for which purpose.",
}
_MODULES = {"import": "import_"}  # a name that no module can have
_INTERRUPTED = 4


class _Verbs(click.Group):
    """Loads a verb's module when the verb is used, so that `--help` imports nothing but click."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        command: click.Command = importlib.import_module(f".{_MODULES.get(cmd_name, cmd_name)}", __name__).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_VERBS.items()))


@click.command(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="panorama")
def _panorama() -> None:
    """Dakota studies over whole Pegasus workflows, measured.

    \b
    A first study, from nothing:
      panorama init sns_nanodiamond mystudy
      cd mystudy
      panorama study          (or: dakota -i study.in)
    """


def main() -> None:
    """Entry point: runs a verb.

    Exit codes: 0 well, 1 evaluations failed, 2 usage, 3 something is missing, 4 interrupted.
    """
    try:
        code = _panorama(standalone_mode=False)
    except PanoramaError as problem:
        click.echo(f"panorama: {problem}", err=True)
        code = problem.exit_code
    except click.ClickException as problem:
        problem.show()
        code = 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("panorama: interrupted", err=True)
        code = _INTERRUPTED
    except BrokenPipeError:
        code = 0
    except OSError as problem:
        click.echo(f"panorama: {problem.filename or 'input or output'}: {problem.strerror or problem}", err=True)
        code = 2
    sys.exit(code if isinstance(code, int) else 0)
