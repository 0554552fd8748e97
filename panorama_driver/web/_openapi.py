"""`openapi.json`: the API described for programs, made from the table of operations and the records they answer with.

Format: OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.1), whose schemas are JSON Schema 2020-12.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ._operations import CSV, JSON, OPERATIONS, LiveQuery, Operation
from .documents import AnomalyChange, Problem, StudyChange, StudySummary, WorkflowChange

_REF = "#/components/schemas/{name}"
_PART = re.compile(r"\{(\w+)\}")
_PARTS = {
    "study": "Name of the study in addresses: `study` in the list of studies.",
    "workflow": "`wf_uuid` of the workflow run.",
    "job": "Id of the job, percent-encoded where it holds odd characters.",
}
_PROBLEMS = {
    "400": "The query is not as it should be.",
    "401": "A token is needed.",
    "404": "Nothing is known of that.",
    "429": "A public server has no more for this client now; `Retry-After` says when it has [s].",
    "500": "A fault of the server, which tells more on its standard error.",
    "503": "It cannot be read now.",
}
_LIVE = """Server-sent events. `change` has a `topic` and its `data` as JSON: a `StudySummary` for `studies`, a
`StudyChange` for `study/STUDY`, a `WorkflowChange` for `workflow/STUDY/WF_UUID`, an `AnomalyChange` for `anomalies`,
which are those of all studies. `reset` says that what was missed is
not known any more: read the documents again. Each has an `id`; told as `Last-Event-ID` it goes on after that one. The
header `X-Panorama-Cursor` of a document is the id from which to follow it without missing anything."""
_SECURITY: list[dict[str, list[str]]] = [{"token": []}, {"session": []}, {}]


def document() -> dict[str, Any]:
    """The description of the API."""
    results = [operation.result for operation in OPERATIONS if operation.media == JSON]
    told, components = _schemas([*results, StudySummary, StudyChange, WorkflowChange, AnomalyChange, Problem])
    paths = {f"/api{operation.path}": {"get": _operation(operation, told)} for operation in OPERATIONS}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Panorama",
            "version": "1",
            "description": "What the dashboard shows, for programs. Read only. What is not known is null, and why is "
            "in `reasons` beside it. Times in seconds since 1970, amounts in bytes, unless a unit is named.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "with the path prefix before it where there is one"}],
        "paths": {**paths, **_others(told)},
        "components": {"schemas": components, "securitySchemes": _schemes()},
        "security": _SECURITY,
    }


def _schemas(records: list[type]) -> tuple[dict[type, Any], dict[str, Any]]:
    schemas, components = msgspec.json.schema_components(records, ref_template=_REF)
    return dict(zip(records, schemas, strict=True)), dict(sorted(components.items()))


def _operation(operation: Operation, told: dict[type, Any]) -> dict[str, Any]:
    schema = told.get(operation.result, {"type": "string"})
    headers = {
        "ETag": {"schema": {"type": "string"}, "description": "For If-None-Match."},
        "X-Panorama-Cursor": {"schema": {"type": "string"}, "description": "For `last` of the live stream."},
    }
    answers = {
        "200": {"description": operation.summary, "headers": headers, "content": {operation.media: {"schema": schema}}},
        "304": {"description": "It is as the client has it."},
    }
    found = bool(_PART.search(operation.path)) or "study" in operation.query.__struct_fields__
    asked = bool(operation.query.__struct_fields__)
    unlike = {name for name, so in (("400", asked or operation.media == CSV), ("404", found)) if not so}
    return {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [*_path_parameters(operation.path), *_query_parameters(operation.query)],
        "responses": answers | {code: answer for code, answer in _problems(told).items() if code not in unlike},
    }


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PARTS[name],
            "schema": {"type": "string", "minLength": 1},
        }
        for name in _PART.findall(path)
    ]


def _query_parameters(query: type[msgspec.Struct]) -> list[dict[str, Any]]:
    properties = msgspec.json.schema_components([query])[1][query.__name__]["properties"]
    return [_query_parameter(name, dict(schema)) for name, schema in properties.items()]


def _query_parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": schema.pop("description"), "schema": schema}


def _problems(told: dict[type, Any]) -> dict[str, Any]:
    return {
        code: {"description": words, "content": {JSON: {"schema": told[Problem]}}} for code, words in _PROBLEMS.items()
    }


def _others(told: dict[type, Any]) -> dict[str, Any]:
    problems = _problems(told)
    last = {
        "name": "Last-Event-ID",
        "in": "header",
        "description": "The id to go on from; a browser that comes back tells it.",
        "schema": {"type": "string"},
    }
    state = {"type": "object", "properties": {"state": {"const": "ok"}}, "required": ["state"]}
    return {
        "/api/live": {
            "get": {
                "operationId": "live",
                "summary": "What moves, as it moves.",
                "description": " ".join(_LIVE.split()),
                "parameters": [*_query_parameters(LiveQuery), last],
                "responses": {
                    "200": {"description": "A stream of events.", "content": {"text/event-stream": {"schema": _TEXT}}},
                    **{code: problems[code] for code in ("400", "401", "503")},
                },
            }
        },
        "/api/openapi.json": {"get": _plain("openapi", "This description.", {"type": "object"}, problems)},
        "/api/health": {
            "get": _plain("health", "Whether the server answers; without a token.", state, {}) | {"security": [{}]}
        },
    }


_TEXT = {"type": "string"}


def _plain(name: str, summary: str, schema: dict[str, Any], problems: dict[str, Any]) -> dict[str, Any]:
    answer = {"200": {"description": summary, "content": {JSON: {"schema": schema}}}}
    return {
        "operationId": name,
        "summary": summary,
        "responses": answer | {code: problems[code] for code in ("401",) if code in problems},
    }


def _schemes() -> dict[str, Any]:
    return {
        "token": {"type": "http", "scheme": "bearer", "description": "Where the server has a token."},
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": "panorama-NAME",
            "description": "Set, under a name of the server's own, by the first answer to one who has shown the token.",
        },
    }
