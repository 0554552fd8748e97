"""Makes stores and study directories of a repository again."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from ..errors import StoreError
from ..store import Store, open_store
from ._events import EVENTS, LETTERS, bury_all, put_all, read_events, read_letters
from ._layout import STUDY_FILES, make_private, place, sync, sync_all
from ._manifest import files_of, parts_of, read_manifest, verified
from ._parquet import needs
from .records import Counts, File, Manifest, Progress, Source, Study

_WITNESS = ".restored.json"
"""Beside what was restored: what it was made of."""


def restore(folder: Path, target: Path, *, progress: Progress) -> list[Path]:
    """As `panorama_driver.exchange.restore`."""
    needs()
    manifest = read_manifest(folder)
    target.mkdir(parents=True, exist_ok=True)
    return [_restored(folder, manifest, study, target, progress) for study in manifest.studies]


def _restored(folder: Path, manifest: Manifest, study: Study, target: Path, progress: Progress) -> Path:
    wanted = place(target, study)
    path = wanted.home or Path(wanted.store)
    witness = target / f".{study.id}{_WITNESS}"
    made_of = msgspec.json.encode(sorted((file.path, file.sha256) for file in _files(manifest, study)))
    if _is_made(path, witness, made_of):
        return path
    with tempfile.TemporaryDirectory(prefix=f".{study.id}.", suffix=".unfinished", dir=target) as work:
        made = place(Path(work), study)
        make_study(folder, manifest, study, made, progress)
        sync_all(Path(work))
        _put_in_place(made.home or Path(made.store), path, witness, made_of)
    return path


def _is_made(path: Path, witness: Path, made_of: bytes) -> bool:
    """Whether it is there, and made of the same files.

    Raises
    ------
    StoreError
        Something else is there.
    """
    if not path.exists():
        return False
    if witness.is_file() and witness.read_bytes() == made_of:
        return True
    raise StoreError(f"{path}: is there already, and not made of this repository; give another folder")


def _put_in_place(made: Path, path: Path, witness: Path, made_of: bytes) -> None:
    told = made.with_name("witness")
    told.write_bytes(made_of)
    told.replace(witness)
    try:
        made.rename(path)
        sync(path.parent)
    except OSError:
        if not _is_made(path, witness, made_of):  # by another process meanwhile
            raise


def _files(manifest: Manifest, study: Study) -> list[File]:
    return [
        *parts_of(manifest, EVENTS.name, study),
        *parts_of(manifest, LETTERS.name, study),
        *files_of(manifest, study),
    ]


def make_study(folder: Path, manifest: Manifest, study: Study, made: Source, progress: Progress) -> None:
    """Put a study directory or a store where `made` says, or add to those that are there.

    Raises
    ------
    FormatError
        The repository is damaged.
    """
    make_private(made)
    if made.home is None or study.events or study.dead_letters:
        with open_store(made.store) as store:
            _fill(folder, manifest, study, store, progress)
    if made.home is not None:
        for path in verified(folder, files_of(manifest, study), progress):
            copy = made.home / STUDY_FILES[path.name]
            copy.touch(0o600)
            shutil.copyfile(path, copy)


def import_events(folder: Path, store: Store, *, progress: Progress) -> Counts:
    """As `panorama_driver.exchange.import_events`."""
    needs()
    manifest = read_manifest(folder)
    found = [_fill(folder, manifest, study, store, progress) for study in manifest.studies]
    return Counts(
        read=sum(each.read for each in found),
        new=sum(each.new for each in found),
        letters=sum(each.letters for each in found),
    )


def _fill(folder: Path, manifest: Manifest, study: Study, store: Store, progress: Progress) -> Counts:
    parts = verified(folder, parts_of(manifest, EVENTS.name, study), progress)
    letters = verified(folder, parts_of(manifest, LETTERS.name, study), progress)
    read, new = put_all(store, read_events(parts), _counted(study, progress))
    return Counts(read=read, new=new, letters=bury_all(store, read_letters(letters)))


def _counted(study: Study, progress: Progress) -> Callable[[int], None]:
    return lambda number: progress(f"{study.name}: events read", number, study.events)
