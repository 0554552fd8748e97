"""The page that a repository brings along: what is in it, and how to read it without us."""

from __future__ import annotations

from collections.abc import Iterator

from ._times import utc
from .records import Manifest, Study

_READING = """## Reading it

Nothing of panorama-driver is needed. `repository.json` lists every column with its unit and meaning, and every file
with its SHA-256; a value that is not known is null, never 0. `study` is the ID of the list above, and stands in the
paths.

DuckDB:

    SELECT study, transformation, count(*), median(wall_time) AS seconds
    FROM 'attempts/*/*.parquet' GROUP BY ALL ORDER BY ALL;
    SELECT kind, count(*) FROM 'events/*/*/*.parquet' GROUP BY kind;
    SELECT ts, job_id, (fields->>'$.utime')::DOUBLE AS utime FROM 'events/*/family=kickstart/*.parquet';

pandas: `pandas.read_parquet("attempts")`

polars: `polars.scan_parquet("attempts/**/*.parquet", hive_partitioning=True)`

With panorama-driver: `panorama import DIR --store panorama.db` puts the events into a store as they were, bit for bit;
`panorama import DIR --to FOLDER` makes the study directories again; `panorama serve --repository DIR` shows it.
"""


def readme(manifest: Manifest) -> str:
    """The page, as Markdown."""
    return "\n".join([*_head(manifest), "", *_studies(manifest), "", *_tables(manifest), "", _READING])


def _head(manifest: Manifest) -> Iterator[str]:
    yield f"# {_line(manifest.title)}"
    if manifest.description:
        yield f"\n{manifest.description.strip()}"
    licence = f"Licence: {manifest.license}" if manifest.license else "No licence was given: ask before you use it"
    yield f"\n{licence}."
    if manifest.creators:
        yield f"Made by {', '.join(_line(each.name) for each in manifest.creators)}."
    yield f"Exported {manifest.created} as {manifest.format}, version {manifest.version}."
    if manifest.pseudonyms:
        yield "Hosts, users and paths have pseudonyms, the same ones for the same name in all of it."


def _studies(manifest: Manifest) -> Iterator[str]:
    yield "| study | name | workflow | sites | evaluations | runs | events | from |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for each in manifest.studies:
        told = (each.id, _line(each.name), _line(each.workflow or ""), ", ".join(map(_line, each.sites)))
        yield f"| {' | '.join(told)} | {each.evaluations} | {each.workflows} | {each.events} | {_day(each)} |"


def _tables(manifest: Manifest) -> Iterator[str]:
    for each in manifest.tables:
        yield f"- `{each.name}/`: {each.description}; {len(each.columns)} columns"
    yield "- `studies/`: study.yml, study.in and journals of each study, without secrets"


def _day(study: Study) -> str:
    first = utc(study.first)
    return "" if first is None else first.date().isoformat()


def _line(text: str) -> str:
    """Text from outside in a cell of a table."""
    return "".join(c if c.isprintable() else " " for c in text).replace("|", "\\|")
