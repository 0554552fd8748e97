"""`panorama serve`: the dashboard, in a browser."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from ..errors import EnvironmentMissingError, StudyError, UsageError
from ._common import chosen, json_option, open_named, until_told

if TYPE_CHECKING:
    from ..web import Dashboard, Library

TOKEN = "PANORAMA_TOKEN"
_NEEDS = ("starlette", "uvicorn", "plotly")
_BURST = 10  # seconds of its rate that a client may ask for at once
_STOP, _CLOSE = 0.6, 0.3  # seconds


@click.command("serve")
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; others need a token.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port; 0 is any that is free. Default: 8360, or the next that is free.",
)
@click.option("--root-path", metavar="/PATH", default="", help="Path prefix of all addresses, behind a proxy.")
@click.option(
    "--allow-host", metavar="NAME", multiple=True, help="Name that a proxy passes on requests by; may be repeated."
)
@click.option(
    "--token-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help=f"What clients must know (0600); default: ${TOKEN}, or none.",
)
@click.option(
    "--repository",
    metavar="DIR|URL",
    help="Show this to everybody, without a token: a folder of `panorama export`, or a store.",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    default=20.0,
    show_default=True,
    help="With --repository: requests a second that each client may send.",
)
@click.option("--open", "open_it", is_flag=True, help="Open it in a browser of this machine.")
@json_option
def command(
    paths: tuple[str, ...],
    host: str,
    port: int | None,
    root_path: str,
    allow_host: tuple[str, ...],
    token_file: Path | None,
    repository: str | None,
    rate: float,
    open_it: bool,
    as_json: bool,
) -> int:
    """Show studies in a browser, live, until SIGTERM or Ctrl-C; changes nothing.

    PATH is a study directory, a folder that holds some, a store's file or URL; default: the study of this directory, or
    else those below it. With --repository it is open data: pages, API and files for everybody who can reach it, so much
    of them a client.

    \b
    Examples:
      panorama serve mystudy
      panorama serve runs panorama.db
      panorama serve --repository open-data --host 0.0.0.0
      ssh -L 8360:127.0.0.1:8360 login.example.org     # then open http://127.0.0.1:8360/ here
    """
    needs()
    from ..web import Dashboard, Library, Limits

    token = read_token(token_file)
    with ExitStack() as stack:
        told = stack.enter_context(until_told())
        if repository is not None:
            _check_public(paths, token)
            library, limits = _published(repository), Limits(rate=rate, burst=max(1, round(rate * _BURST)))
        else:
            library, limits = Library(chosen(paths)), None
            _check(library, paths)
        dashboard = Dashboard(
            library, host=host, port=port, root_path=root_path, token=token, allow_hosts=allow_host, public=limits
        ).start()
        _greet(dashboard, token_file, token, as_json)
        if open_it:
            stack.enter_context(_browser(dashboard.url, token))
        told.wait()
    if not (dashboard.stop(_STOP) and _closed(library)):
        _leave()
    return 0


def needs() -> None:
    """See that what the dashboard needs is installed.

    Raises
    ------
    EnvironmentMissingError
        It is not.
    """
    missing = [name for name in _NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise EnvironmentMissingError(
            f"the dashboard needs {' and '.join(missing)}; install what it needs with: "
            "pip install 'panorama-driver[web]', in a clone '.[web]'"
        )


def read_token(path: Path | None) -> str | None:
    """The token out of a file that nobody else may read, or else of the environment; None if neither tells one."""
    from ..collector.http import read_token

    return read_token(path) if path is not None else os.environ.get(TOKEN) or None


@contextmanager
def study_served(home: Path) -> Iterator[str]:
    """Serve a study on this machine alone for as long as something else goes on; gives its address."""
    needs()
    from ..web import Dashboard, Library

    library = Library([home])
    try:
        with Dashboard(library, token=read_token(None)) as dashboard:
            yield dashboard.url
    finally:
        _closed(library)


def _check(library: Library, paths: tuple[str, ...]) -> None:
    """See that there is something to show where nothing was named; a folder that was named may fill later.

    Raises
    ------
    StudyError
        There is not.
    """
    if not paths and not library.studies(size=1).total:
        raise StudyError(
            f"no study in {Path.cwd()}, above it or below it; name one, or a store: panorama serve DIR; "
            "panorama init NAME DIR makes a study"
        )


def _check_public(paths: tuple[str, ...], token: str | None) -> None:
    """See that nothing is to be shown to everybody that was not named as open data.

    Raises
    ------
    UsageError
        It is.
    """
    if paths:
        raise UsageError(f"--repository shows one repository to everybody, and nothing else: leave out {paths[0]}")
    if token is not None:
        raise UsageError(f"--repository is for everybody: leave out --token-file, and ${TOKEN}")


def _published(repository: str) -> Library:
    """What is shown of a store, or of a repository's folder, made into studies in the user's cache once.

    Raises
    ------
    FormatError
        The folder is no repository, or it is damaged.
    StoreError
        The store cannot be opened.
    """
    from ..exchange import restore
    from ..store._caches import cache_folder
    from ..web import Library, Published
    from ._exchange import progress
    from ._progress import Told

    if "://" in repository:
        open_named(repository).close()
        return Library([repository])
    folder = Path(repository)
    published = Published(folder)
    kept = cache_folder()
    if kept is None:
        raise EnvironmentMissingError("there is no folder for what a repository is unpacked to: set XDG_CACHE_HOME")
    told = Told()
    found = restore(folder, kept / "repositories" / published.identity, progress=progress(told))
    told.end()
    return Library(found, published=published)


def _greet(dashboard: Dashboard, token_file: Path | None, token: str | None, as_json: bool) -> None:
    if token is not None and not dashboard.private:
        click.echo(
            "panorama: whoever listens on the network can read the token; better come through `ssh -L`, or a proxy "
            "that speaks HTTPS",
            err=True,
        )
    if as_json:
        click.echo(json.dumps({"url": dashboard.url, "host": dashboard.host, "port": dashboard.port}))
    else:
        where = f"what stands in {token_file}" if token_file else f"that of ${TOKEN}"
        how = f"  with #token=TOKEN at its end, TOKEN being {where}" if token is not None else ""
        click.echo(f"dashboard: {dashboard.url}{how}   (Ctrl-C ends it)")
    sys.stdout.flush()


@contextmanager
def _browser(url: str, token: str | None) -> Iterator[None]:
    """Show it in a browser; a token goes by a file of ours, since everybody can see a browser's command line."""
    with TemporaryDirectory(prefix="panorama-") as folder:
        page = Path(folder) / "open.html"
        if token is not None:
            page.touch(0o600)
            target = escape(f"{url}#token={quote(token)}")
            page.write_text(f'<!doctype html><meta http-equiv="refresh" content="0; url={target}">', encoding="utf-8")
        if not _has_display() or not webbrowser.open(page.as_uri() if token is not None else url):
            click.echo("panorama: there is no browser to open here", err=True)
        yield


def _has_display() -> bool:
    """Whether a browser would get a window of its own, and not this terminal."""
    return sys.platform == "darwin" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")))


def _closed(library: Library) -> bool:
    """Let go of what is shown; whether that was done in time, or else something long is still being read."""
    closing = threading.Thread(target=library.close, daemon=True)
    closing.start()
    closing.join(_CLOSE)
    return not closing.is_alive()


def _leave() -> None:
    """End at once: what is still being read changes nothing."""
    sys.stdout.flush()
    os._exit(0)
