"""RO-Crate 1.1 (w3id.org/ro/crate/1.1): what a repository is, for archives and search engines that read schema.org.

The root is the repository with its title, licence and authors; each table is a folder of Parquet files with its columns
and their units (`variableMeasured`), every file has its size, and a digest; programs that had a part in the data are
named, with the action that made the crate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

import msgspec

from .._times import utc
from ..records import MANIFEST, Creator, File, Manifest, Software, Table

FILE = "ro-crate-metadata.json"
VERSION = "1.1"

_PROFILE = f"https://w3id.org/ro/crate/{VERSION}"
_SPDX = "https://spdx.org/licenses/"
_NO_LICENSE = "#no-license"
_ACTION = "#export"
_FORMATS = {
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".md": "text/markdown",
    ".yml": "application/yaml",
    ".in": "text/plain",
    ".parquet": "application/vnd.apache.parquet",
}
_NO_DESCRIPTION = "Events and metrics of workflow runs, each column with its unit in repository.json."
_Entity = dict[str, Any]


def metadata(manifest: Manifest) -> bytes:
    """`ro-crate-metadata.json` of a repository.

    Parameters
    ----------
    manifest : Manifest
        With all files of the repository but this one; the manifest's own is added.
    """
    graph = [_descriptor(), _root(manifest), *_contents(manifest), *_context(manifest)]
    document = {"@context": f"{_PROFILE}/context", "@graph": graph}
    return msgspec.json.format(msgspec.json.encode(document)) + b"\n"


def _ref(identity: str) -> _Entity:
    return {"@id": identity}


def _descriptor() -> _Entity:
    told = {"conformsTo": _ref(_PROFILE), "about": _ref("./")}
    return {"@id": FILE, "@type": "CreativeWork", **told}


def _root(manifest: Manifest) -> _Entity:
    parts = [_ref(_folder(table.name)) for table in manifest.tables]
    parts += [_ref(_path(file.path)) for file in manifest.files if file.path != FILE]
    parts += [] if any(file.path == MANIFEST for file in manifest.files) else [_ref(MANIFEST)]
    told = {
        "name": manifest.title or "A repository of workflow runs",
        "description": manifest.description or _NO_DESCRIPTION,
        "datePublished": manifest.created,
        "license": _ref(_license(manifest.license)),
        "hasPart": parts,
        "author": [_ref(_who(creator)) for creator in manifest.creators],
        "publisher": [_ref(_institution(name)) for name in dict.fromkeys(_affiliations(manifest))],
        "keywords": ", ".join(manifest.keywords) or None,
        "temporalCoverage": _span(manifest),
        "mentions": [_ref(_ACTION)],
    }
    return {"@id": "./", "@type": "Dataset", **_known(told)}


def _span(manifest: Manifest) -> str | None:
    """From the first event to the last, ISO 8601."""
    firsts = [first for study in manifest.studies if (first := utc(study.first))]
    lasts = [last for study in manifest.studies if (last := utc(study.last))]
    if not firsts or not lasts:
        return None
    return "/".join(each.isoformat(timespec="seconds") for each in (min(firsts), max(lasts)))


def _license(expression: str | None) -> str:
    """One licence of SPDX by its address there, several put together as they are named."""
    if not expression:
        return _NO_LICENSE
    return f"{_SPDX}{expression}" if _is_single(expression) else f"#{quote(expression)}"


def _is_single(expression: str) -> bool:
    return all(c.isalnum() or c in ".-+" for c in expression)


def _who(creator: Creator) -> str:
    return f"https://orcid.org/{creator.orcid}" if creator.orcid else f"#{quote(creator.name)}"


def _affiliations(manifest: Manifest) -> Iterator[str]:
    return (creator.affiliation for creator in manifest.creators if creator.affiliation)


def _institution(name: str) -> str:
    return f"#{quote(name)}"


def _path(path: str) -> str:
    """A path as a relative URI, in which `study=ID` stays as it is."""
    return quote(path, safe="/=")


def _folder(table: str) -> str:
    return f"{quote(table)}/"


def _known(told: _Entity) -> _Entity:
    """What is known; of a list of one that one, as RO-Crate wants it."""
    plain = {name: value[0] if isinstance(value, list) and len(value) == 1 else value for name, value in told.items()}
    return {name: value for name, value in plain.items() if value is not None and value != []}


def _contents(manifest: Manifest) -> Iterator[_Entity]:
    for table in manifest.tables:
        yield from _table(table, manifest.files)
    for file in manifest.files:
        if file.path != FILE:
            yield _file(file)
    if all(file.path != MANIFEST for file in manifest.files):
        told = {"name": MANIFEST, "description": "What the repository holds", "encodingFormat": _FORMATS[".json"]}
        yield {"@id": MANIFEST, "@type": "File", **told}


def _file(file: File) -> _Entity:
    path = PurePosixPath(file.path)
    told = {
        "name": path.name,
        "contentSize": str(file.bytes),
        "sha256": file.sha256,
        "encodingFormat": _FORMATS.get(path.suffix, "application/octet-stream"),
        "description": None if file.rows is None else f"{file.rows} rows",
    }
    return {"@id": _path(file.path), "@type": "File", **_known(told)}


def _table(table: Table, files: Iterable[File]) -> Iterator[_Entity]:
    """A folder, its files, and its columns."""
    own = [_ref(_path(file.path)) for file in files if file.path.startswith(f"{table.name}/")]
    measured = [f"#{quote(table.name)}.{quote(column.name)}" for column in table.columns]
    told: _Entity = {"name": table.name, "description": table.description, "hasPart": own}
    columns = [_ref(identity) for identity in measured]
    yield {"@id": _folder(table.name), "@type": "Dataset", **_known({**told, "variableMeasured": columns})}
    for identity, column in zip(measured, table.columns, strict=True):
        told = {
            "name": column.name,
            "description": column.description or None,
            "unitText": column.unit or None,
        }
        yield {"@id": identity, "@type": "PropertyValue", **_known(told)}


def _context(manifest: Manifest) -> Iterator[_Entity]:
    """What the rest refers to."""
    yield _license_entity(manifest.license)
    for creator in {_who(creator): creator for creator in manifest.creators}.values():
        yield _person(creator)
    for name in dict.fromkeys(_affiliations(manifest)):
        yield {"@id": _institution(name), "@type": "Organization", "name": name}
    programs = {_program(software): software for software in manifest.software}
    for identity, software in programs.items():
        kind = "SoftwareApplication"
        yield {"@id": identity, "@type": kind, **_known({"name": software.name, "softwareVersion": software.version})}
    used = [_ref(identity) for identity, software in programs.items() if software.role == "exporter"]
    told = {"name": "Export of the repository", "endTime": manifest.created, "instrument": used}
    yield {"@id": _ACTION, "@type": "CreateAction", **_known(told), "result": _ref("./")}


def _license_entity(expression: str | None) -> _Entity:
    if not expression:
        told = {"name": "No licence", "description": "No licence was given: ask the authors before you use the data."}
    else:
        told = {"name": expression, "description": f"SPDX licence expression {expression}"}
    return {"@id": _license(expression), "@type": "CreativeWork", **told}


def _person(creator: Creator) -> _Entity:
    told = {
        "name": creator.name,
        "email": creator.email,
        "affiliation": _ref(_institution(creator.affiliation)) if creator.affiliation else None,
    }
    return {"@id": _who(creator), "@type": "Person", **_known(told)}


def _program(software: Software) -> str:
    version = f"-{software.version}" if software.version else ""
    return f"#{quote(software.role)}-{quote(software.name)}{quote(version)}"
