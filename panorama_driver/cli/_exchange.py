"""What the verbs that write and read repositories share: who made the data, and under which licence."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from email.utils import parseaddr
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import EnvironmentMissingError, StudyError, UsageError
from ._common import chosen
from ._progress import Told

if TYPE_CHECKING:
    from ..exchange import About, Creator, Progress, Source

_ORCID = re.compile(r"(?:https://orcid\.org/)?((?:\d{4}-){3}\d{3}[\dX])")
_GIT = 10.0  # seconds

_OPTIONS = (
    click.option("--title", default="", help="In a line; default: the names of the studies."),
    click.option("--description", default="", help="In a paragraph."),
    click.option("--license", "licence", metavar="SPDX", help="Licence of the data, such as CC-BY-4.0 or CC0-1.0."),
    click.option(
        "--creator",
        "creators",
        metavar="'NAME [<MAIL>] [ORCID]'",
        multiple=True,
        help="Who made the data; may be repeated. Nobody is named unless told.",
    ),
    click.option("--git-creator", is_flag=True, help="Name whom git knows as its user."),
    click.option("--keyword", "keywords", multiple=True, help="For catalogues; may be repeated."),
)


def about_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say what the data are; `about` makes one record of them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def about(
    title: str, description: str, licence: str | None, creators: tuple[str, ...], git_creator: bool, keywords: Any
) -> About:
    """What whoever exports says about the data.

    Raises
    ------
    UsageError
        The licence is none of SPDX's, or an ORCID iD is mistyped.
    EnvironmentMissingError
        git was asked, and knows nobody.
    """
    from ..exchange import About

    named = [_creator(each) for each in creators] + ([_git_user()] if git_creator else [])
    return About(
        title=title,
        description=description,
        license=None if licence is None else _licence(licence),
        creators=named,
        keywords=list(keywords),
    )


def _licence(told: str) -> str:
    """An SPDX expression in the spelling of its list."""
    try:
        from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
    except ImportError:
        raise EnvironmentMissingError(
            "the list of licences comes with packaging 24.2 or newer: pip install 'panorama-driver[parquet]'"
        ) from None
    try:
        return str(canonicalize_license_expression(told))
    except InvalidLicenseExpression:
        raise UsageError(
            f"--license {told}: is no SPDX licence expression; for measurements CC-BY-4.0 and CC0-1.0 are usual, "
            "https://spdx.org/licenses lists all"
        ) from None


def _creator(told: str) -> Creator:
    from ..exchange import Creator

    found = _ORCID.search(told)
    if found and not _checks(found[1]):
        raise UsageError(f"--creator {told!r}: {found[1]} is no ORCID iD: its last digit does not fit the others")
    rest = _ORCID.sub("", told).strip(" ()")
    name, mail = parseaddr(rest) if "<" in rest else (rest, "")
    if not name:
        raise UsageError(f"--creator {told!r}: lacks a name; write 'NAME <MAIL> ORCID', mail and ORCID iD if you like")
    return Creator(name=name, email=mail or None, orcid=found[1] if found else None)


def _checks(orcid: str) -> bool:
    """ISO 7064 MOD 11-2 (https://support.orcid.org, "Structure of the ORCID Identifier")."""
    total = 0
    for digit in orcid.replace("-", "")[:-1]:
        total = (total + int(digit)) * 2
    return "0123456789X"[(12 - total % 11) % 11] == orcid[-1]


def _git_user() -> Creator:
    from ..exchange import Creator

    try:
        name, mail = (
            subprocess.run(["git", "config", key], capture_output=True, text=True, timeout=_GIT).stdout.strip()
            for key in ("user.name", "user.email")
        )
    except (OSError, subprocess.TimeoutExpired):
        name = mail = ""
    if not name:
        raise EnvironmentMissingError("git knows no user.name; say with --creator who made the data")
    return Creator(name=name, email=mail or None)


def sources(paths: tuple[str, ...]) -> list[Source]:
    """Studies and stores that paths name, or the study of this directory, or those below it.

    Raises
    ------
    StudyError
        There is nothing.
    """
    from ..exchange import Source
    from ..web._places import look_through

    found = look_through(chosen(paths))
    known = [each for each in found if each.kind == "store" or each.folder.is_dir()]
    if not known:
        raise StudyError(f"{', '.join(paths) or '.'}: no study has been run there; name its directory, or a store")
    return [Source(each.name, each.store, Path(each.home) if each.kind == "study" else None) for each in known]


def progress(told: Told) -> Progress:
    """Progress on the terminal."""

    def say(what: str, done: int, of: int | None) -> None:
        told(f"{what}: {done}" if of is None else f"{what}: {done} of {of}")

    return say
