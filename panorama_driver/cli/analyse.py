"""`panorama analyse`: look through what is stored, one subcommand for each thing that is looked at."""

from __future__ import annotations

import importlib

import click

_SUBJECTS = {
    "tcp": "Transfers: what the network did to their segments.",
    "jobs": "Jobs and hosts: which are unlike their own history.",
    "workflows": "Runs: which are unlike the others of their name.",
}


class _Subjects(click.Group):
    """Loads a subcommand's module when it is used: numpy and scikit-learn are an extra, and slow to import."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_SUBJECTS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _SUBJECTS:
            return None
        command: click.Command = importlib.import_module(f"._analyse_{cmd_name}", __package__).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_SUBJECTS.items()))


@click.command("analyse", cls=_Subjects)
def command() -> None:
    """Look through what is stored, for anomalies and for what belongs together.

    \b
    Examples:
      panorama analyse tcp --learn normal/log_tcp_complete -o model.json
      panorama analyse jobs --help
      panorama analyse workflows --help
    """
