"""Writes a repository: whole, under another name, and only then under its own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from .. import __version__
from ..errors import StoreError, UsageError
from ..store import open_store
from ._events import EVENTS, LETTERS, write_events, write_letters
from ._key import Key
from ._layout import STUDIES, STUDY_FILES, sync
from ._manifest import listed, seal
from ._parquet import needs
from ._readme import readme
from ._stage import Staged, stage
from ._tables import write_tables
from .formats import DESCRIPTIONS, WRITTEN, named
from .records import About, Manifest, Progress, Software, Source

README = "README.md"


def export(
    sources: Sequence[Source], folder: Path, *, about: About, anonymise: Key | None, progress: Progress
) -> Manifest:
    """As `panorama_driver.exchange.export`."""
    needs()
    if not sources:
        raise UsageError("nothing to export; name a study's directory, or a store")
    with unfinished(folder) as (made, work):
        staged = stage(sources, work, anonymise, progress)
        return write(staged, made, work, about, anonymise.fingerprint if anonymise else None, progress)


def export_as(
    name: str, sources: Sequence[Source], folder: Path, *, about: About, anonymise: Key | None, progress: Progress
) -> list[Path]:
    """As `panorama_driver.exchange.export_as`."""
    writer = named(name, WRITTEN).writer
    with unfinished(folder) as (made, work):
        staged = stage(sources, work, anonymise, progress)
        files = writer.write([each.source for each in staged], made, about, progress)
        told = [path.relative_to(made) for path in files]
        for path in files:
            sync(path)
    return [folder / path for path in told]


@contextmanager
def unfinished(folder: Path) -> Iterator[tuple[Path, Path]]:
    """A folder that gets the name `folder` at the end, if all goes well, and one to work in; else nothing is left.

    Raises
    ------
    UsageError
        There is something of that name already.
    StoreError
        It cannot be written.
    """
    folder = Path(os.path.abspath(folder))
    if os.path.lexists(folder):
        raise UsageError(f"{folder}: is there already, and is not written over; give a new folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".unfinished", dir=folder.parent))
    except OSError as problem:
        raise StoreError(f"{folder}: cannot be written: {problem.strerror}; choose another place") from None
    try:
        made = work / "repository"
        made.mkdir()
        yield made, work
        made.rename(folder)
        sync(folder.parent)
    except OSError as problem:
        if isinstance(problem, StoreError):
            raise
        told = f"{problem.strerror or problem}; free some space, or choose another place"
        raise StoreError(f"{folder}: cannot be written: {told}") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def write(
    staged: Sequence[Staged], folder: Path, work: Path, about: About, pseudonyms: str | None, progress: Progress
) -> Manifest:
    """Write the files of a repository, the manifest last."""
    for each in staged:
        _write_study(each, folder, progress)
    tables, sites = write_tables(staged, folder, work, progress)
    studies = [msgspec.structs.replace(each.study, sites=sites[each.study.id]) for each in staged]
    ours = Software(name="panorama-driver", version=__version__, role="exporter")
    found = {software for each in staged for software in each.software}
    manifest = Manifest(
        title=about.title or ", ".join(each.name for each in studies),
        description=about.description,
        license=about.license,
        creators=about.creators,
        keywords=about.keywords,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        software=[ours, *sorted(found, key=lambda each: (each.role, each.name, each.version or ""))],
        sites=sorted({site for each in sites.values() for site in each}),
        studies=studies,
        tables=[EVENTS, *([LETTERS] if any(each.dead_letters for each in studies) else []), *tables],
        pseudonyms=pseudonyms,
    )
    return _described(folder, manifest)


def _write_study(staged: Staged, folder: Path, progress: Progress) -> None:
    study, source = staged.study, staged.source
    if os.path.exists(source.store):
        with open_store(source.store, readonly=True) as store:
            write_events(
                store.kept(),
                folder / EVENTS.name / f"study={study.id}",
                lambda number: progress(f"{study.name}: events written", number, study.events),
            )
            write_letters(store.dead_letters(), folder / LETTERS.name / f"study={study.id}")
    for name, where in STUDY_FILES.items() if source.home else ():
        path = source.home / where if source.home else Path()
        if path.is_file():
            target = folder / STUDIES / study.id / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def _described(folder: Path, manifest: Manifest) -> Manifest:
    """Write what describes the data for people and for programs, and the manifest with all of it in it."""
    (folder / README).write_text(readme(manifest), encoding="utf-8")
    told = msgspec.structs.replace(manifest, files=list(listed(folder)))
    for each in DESCRIPTIONS:
        (folder / each.file).write_bytes(each.describer.metadata(told))
    whole = msgspec.structs.replace(manifest, files=list(listed(folder)) if DESCRIPTIONS else told.files)
    seal(folder, whole)
    return whole
