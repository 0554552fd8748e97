"""What the API can be asked for: the one table that routes, checks of queries and `openapi.json` are made from."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ..analysis import Kind
from ..errors import NotFoundError, UsageError
from ..exchange import Manifest
from ._library import Library
from .documents import (
    AnomalyList,
    EvaluationRow,
    JobDocument,
    MetricsDocument,
    SeriesDocument,
    StudyDocument,
    StudyList,
    TransferList,
    WorkflowDocument,
)

T = TypeVar("T")

JSON, CSV = "application/json", "text/csv"
_SHARES = ("compute", "stage_in", "stage_out", "other", "queue", "wait", "unknown")
_WIDTH = "Width of a bin [s]; they are wider where there would be more than 20,000."
_FORMULA = re.compile(r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")  # the last ones are as wide as a Chinese character


class NoQuery(msgspec.Struct, frozen=True):
    """Nothing can be told after the question mark."""


class StudiesQuery(msgspec.Struct, frozen=True):
    """Which part of the list of studies."""

    search: Annotated[str, Meta(max_length=1000, description="Words that all stand in what is told of a study.")] = ""
    page: Annotated[int, Meta(ge=1, le=10**6, description="Number of the page.")] = 1
    size: Annotated[int, Meta(ge=1, le=500, description="Studies a page.")] = 50


class FoundQuery(msgspec.Struct, frozen=True):
    """Which part of the list of anomalies of a study."""

    kind: Annotated[Literal["", Kind], Meta(description="Only anomalies of this kind; all if it is empty.")] = ""
    page: Annotated[int, Meta(ge=1, le=10**6, description="Number of the page.")] = 1
    size: Annotated[int, Meta(ge=1, le=500, description="Anomalies a page.")] = 50


class AnomaliesQuery(FoundQuery, frozen=True):
    """Which part of the list of all anomalies."""

    study: Annotated[str, Meta(description="Only those of this study; all if it is empty.")] = ""


class SeriesQuery(msgspec.Struct, frozen=True):
    """What of a run, in which steps."""

    job: Annotated[str, Meta(description="Only this job.")] | UnsetType = UNSET
    attempt: Annotated[int, Meta(ge=0, le=10**9, description="Only this attempt of it.")] | UnsetType = UNSET
    width: Annotated[float, Meta(gt=0, le=1e9, description=_WIDTH)] | UnsetType = UNSET


class LiveQuery(msgspec.Struct, frozen=True):
    """What to follow, from where."""

    topic: Annotated[
        list[Annotated[str, Meta(max_length=2000)]],
        Meta(
            max_length=100,
            description="`studies`, `study/STUDY`, `workflow/STUDY/WF_UUID`, `anomalies`; may be repeated.",
        ),
    ] = []
    last: Annotated[str, Meta(description="As the header Last-Event-ID, which wins: the id to go on from.")] = ""


class Operation(NamedTuple):
    """One address of the API.

    Attributes
    ----------
    name : str
        Its name in `openapi.json`.
    path : str
        Below `/api`, names of its parts in braces.
    summary : str
        What it gives.
    result : type
        The record it answers with.
    read : callable
        Takes the library, the parts of the path and the query, and gives the record.
    query : type
        What may be told after the question mark.
    media : str
        Media type of the answer.
    waits : bool
        It may have to wait until all of a long run is read.
    """

    name: str
    path: str
    summary: str
    result: type
    read: Callable[[Library, Mapping[str, str], Any], Any]
    query: type[msgspec.Struct] = NoQuery
    media: str = JSON
    waits: bool = False


def _series(library: Library, of: Mapping[str, str], asked: SeriesQuery) -> SeriesDocument:
    if asked.attempt is not UNSET and asked.job is UNSET:
        raise NotFoundError(f"attempt {asked.attempt} of which job? say it with job=JOB_ID")
    job, attempt, width = _told(asked.job), _told(asked.attempt), _told(asked.width)
    return library.series(of["study"], of["workflow"], job, attempt, width)


def _told(value: T | UnsetType) -> T | None:
    return None if isinstance(value, UnsetType) else value


_STUDY = "/studies/{study}"
_WORKFLOW = f"{_STUDY}/workflows/{{workflow}}"

OPERATIONS = (
    Operation(
        "studies",
        "/studies",
        "The list of studies, newest first.",
        StudyList,
        lambda library, of, asked: library.studies(asked.search, asked.page, asked.size),
        StudiesQuery,
    ),
    Operation(
        "study",
        _STUDY,
        "A study with all its evaluations.",
        StudyDocument,
        lambda library, of, asked: library.study(of["study"]),
    ),
    Operation(
        "evaluations",
        f"{_STUDY}/evaluations.csv",
        "The evaluations of a study as a table; what is not known is empty.",
        str,
        lambda library, of, asked: table(library.study(of["study"])),
        media=CSV,
    ),
    Operation(
        "anomalies",
        "/anomalies",
        "What was found in all studies and what was done about it, the last first.",
        AnomalyList,
        lambda library, of, asked: library.anomalies(asked.study, asked.kind, asked.page, asked.size),
        AnomaliesQuery,
    ),
    Operation(
        "study_anomalies",
        f"{_STUDY}/anomalies",
        "What was found in a study and what was done about it, the last first.",
        AnomalyList,
        lambda library, of, asked: library.anomalies(of["study"], asked.kind, asked.page, asked.size),
        FoundQuery,
    ),
    Operation(
        "repository",
        "/repository",
        "What the data are that are served here to everybody; their files are at `data/PATH`.",
        Manifest,
        lambda library, of, asked: library.repository().manifest,
    ),
    Operation(
        "workflow",
        _WORKFLOW,
        "A workflow run with its jobs.",
        WorkflowDocument,
        lambda library, of, asked: library.workflow(of["study"], of["workflow"]),
    ),
    Operation(
        "metrics",
        f"{_WORKFLOW}/metrics",
        "The numbers of a workflow run, as `panorama show --json` gives them.",
        MetricsDocument,
        lambda library, of, asked: library.metrics(of["study"], of["workflow"]),
        waits=True,
    ),
    Operation(
        "series",
        f"{_WORKFLOW}/series",
        "A workflow run, a job or an attempt over time.",
        SeriesDocument,
        _series,
        SeriesQuery,
        waits=True,
    ),
    Operation(
        "job",
        f"{_WORKFLOW}/jobs/{{job}}",
        "A job with all its attempts.",
        JobDocument,
        lambda library, of, asked: library.job(of["study"], of["workflow"], of["job"]),
        waits=True,
    ),
    Operation(
        "transfers",
        f"{_WORKFLOW}/transfers",
        "The transfers of a workflow run, failed and local ones as well.",
        TransferList,
        lambda library, of, asked: library.transfers(of["study"], of["workflow"]),
        waits=True,
    ),
)


def query_of(told: Mapping[str, list[str]], query: type[msgspec.Struct]) -> Any:
    """What a query string tells, as its record; of a key that is told twice the last counts, if only one is needed.

    Raises
    ------
    UsageError
        A value is not as it should be.
    """
    lists = {field.name for field in msgspec.structs.fields(query) if field.default_factory is list}
    plain = {name: values if name in lists else values[-1] for name, values in told.items()}
    try:
        return msgspec.convert(plain, query, strict=False)
    except msgspec.ValidationError as problem:
        raise UsageError(f"the query is not as it should be: {problem}; /api/openapi.json says how") from None


def table(study: StudyDocument) -> str:
    """The evaluations of a study as CSV (RFC 4180), for spreadsheets and data frames; numbers to the last digit."""
    text = io.StringIO()
    rows = csv.writer(text)
    names = [f"{each.name} [{each.unit}]" if each.unit not in ("", "1") else each.name for each in study.columns]
    shares = [f"{name.replace('_', '-')} [s]" for name in _SHARES]
    times = ["started [s since 1970]", "ended [s since 1970]"]
    rows.writerow(["evaluation", "state", *map(_cell, names), *times, *shares, "message", "workflow", "key"])
    rows.writerows(map(_cells, study.evaluations))
    return text.getvalue()


def _cells(row: EvaluationRow) -> Iterator[Any]:
    shares = [None if row.times is None else getattr(row.times, name) for name in _SHARES]
    cells = [row.eval_id, row.state, *row.values, row.started, row.ended, *shares, row.message, row.wf_uuid, row.key]
    return map(_cell, cells)


def _cell(value: Any) -> Any:
    """A value that a spreadsheet shows as it is: it would run a text that begins like a formula."""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value
