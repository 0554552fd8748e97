"""Reads and writes `repository.json`, and sees that a repository is what it says before anything of it is used."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import msgspec

from ..errors import FormatError
from ._layout import IDENTITY, STUDIES, STUDY_FILES, sync_all
from .records import FORMAT, MANIFEST, VERSION, File, Manifest, Progress, Study

_MOST = 64 << 20  # bytes of a manifest
_MOST_FILES = 1_000_000
_PIECE = 1 << 20
_PART = re.compile(r"part-\d{5}\.parquet")


class _Head(msgspec.Struct):
    """What tells whether the rest can be read."""

    format: str = ""
    version: int = 0


def is_repository(folder: Path) -> bool:
    """Whether a folder says that it is one."""
    return (folder / MANIFEST).is_file()


def read_manifest(folder: Path) -> Manifest:
    """What a repository says of itself.

    Raises
    ------
    FormatError
        It is no repository, a newer one, or one whose manifest cannot be trusted; says why.
    """
    path = folder / MANIFEST
    text = _text(folder, path)
    try:
        head = msgspec.json.decode(text, type=_Head)
        if head.format != FORMAT:
            raise FormatError(f"{path}: says it is {head.format or 'nothing'!r}, not {FORMAT!r}; this is no repository")
        if head.version > VERSION:
            raise FormatError(
                f"{path}: version {head.version}, this program reads {VERSION}; update with "
                "'pip install -U panorama-driver'"
            )
        manifest = msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, RecursionError) as problem:
        raise FormatError(f"{path}: is not as a manifest should be: {problem}") from None
    _check(path, manifest)
    return manifest


def _text(folder: Path, path: Path) -> bytes:
    if not path.is_file():
        raise FormatError(f"{folder}: is no repository: it has no {MANIFEST}; an export that was ended leaves none")
    with path.open("rb") as file:
        text = file.read(_MOST + 1)
    if len(text) > _MOST:
        raise FormatError(f"{path}: is larger than {_MOST} bytes, as no manifest is")
    return text


def _check(path: Path, manifest: Manifest) -> None:
    if len(manifest.files) > _MOST_FILES:
        raise FormatError(f"{path}: lists {len(manifest.files)} files, more than {_MOST_FILES}")
    ids = [each.id for each in manifest.studies]
    for each in ids:
        if not IDENTITY.fullmatch(each):
            raise FormatError(f"{path}: {each!r} cannot be the ID of a study: it would not be one folder's name")
    if len(set(map(str.casefold, ids))) < len(ids):
        raise FormatError(f"{path}: two studies have the same ID")
    for file in manifest.files:
        parts = PurePosixPath(file.path).parts
        if file.path != "/".join(parts) or not parts or file.path.startswith("/") or {"..", "."} & set(parts):
            raise FormatError(f"{path}: lists {file.path!r}, which is not below the repository; do not trust it")
        if "\\" in file.path or "\0" in file.path:
            raise FormatError(f"{path}: lists {file.path!r}, which is no name that every machine can have")


def verified(folder: Path, files: Iterable[File], progress: Progress) -> list[Path]:
    """Paths of these files, each of which is there, and is what the manifest says.

    Raises
    ------
    FormatError
        One is missing, damaged, or a link that leads elsewhere.
    """
    files = list(files)
    found = []
    for number, file in enumerate(files):
        progress("files checked", number, len(files))
        found.append(_verified(folder, file))
    return found


def _verified(folder: Path, file: File) -> Path:
    path = folder / file.path
    try:
        inside = os.path.realpath(path) == os.path.join(os.path.realpath(folder), *file.path.split("/"))
        told = os.lstat(path)
        if not inside or not stat.S_ISREG(told.st_mode):
            raise FormatError(f"{path}: is a link, or no file; a repository has only files of its own")
        if told.st_size != file.bytes or _digest(path) != file.sha256:
            raise FormatError(
                f"{path}: has {told.st_size} bytes and is not the file of {file.bytes} bytes that {MANIFEST} lists; "
                "it was damaged or changed: get the repository anew"
            )
    except OSError as problem:
        raise FormatError(f"{path}: cannot be read: {problem.strerror}; get the repository anew") from None
    return path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parts_of(manifest: Manifest, table: str, study: Study) -> list[File]:
    """The files of a table that are of this study."""
    return [file for file in manifest.files if _is_part(file.path.split("/"), table, study.id)]


def _is_part(parts: list[str], table: str, study: str) -> bool:
    return parts[:2] == [table, f"study={study}"] and bool(_PART.fullmatch(parts[-1]))


def files_of(manifest: Manifest, study: Study) -> list[File]:
    """The files that make its study directory."""
    wanted = {f"{STUDIES}/{study.id}/{name}" for name in STUDY_FILES}
    return [file for file in manifest.files if file.path in wanted]


def seal(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, and see that all files of the folder survive a power cut."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    (folder / MANIFEST).write_bytes(text + b"\n")
    sync_all(folder)


def listed(folder: Path) -> Iterator[File]:
    """Every file below a folder, in the order of their paths; of a Parquet file also how many rows it has."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        rows = _number_of_rows(path) if path.suffix == ".parquet" else None
        name = path.relative_to(folder).as_posix()
        yield File(path=name, bytes=path.stat().st_size, sha256=_digest(path), rows=rows)


def _number_of_rows(path: Path) -> int:
    from pyarrow.parquet import read_metadata

    return int(read_metadata(path).num_rows)
