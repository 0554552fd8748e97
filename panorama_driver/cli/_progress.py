"""How far something is that takes long, on the terminal."""

from __future__ import annotations

import sys
import time

import click

_PATIENCE = 2.0  # seconds without a word


class Told:
    """Says how far the work is, once it takes long, on one line of the terminal."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._said = ""

    def __call__(self, words: str) -> None:
        if time.monotonic() - self._begin < _PATIENCE:
            return
        if sys.stderr.isatty():
            click.echo(f"\r{words:<{len(self._said)}}", nl=False, err=True)
        elif not self._said:
            click.echo(f"{words} ...", err=True)
        self._said = words

    def end(self) -> None:
        """Leave the line."""
        if self._said and sys.stderr.isatty():
            click.echo(err=True)
