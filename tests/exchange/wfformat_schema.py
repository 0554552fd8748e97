"""WfFormat 1.6 as a JSON schema, written from its documentation (github.com/wfcommons/WfFormat, README.md of 1.6).

WfCommons' validator would fetch the published one, which tests cannot rely on; its own checks, of what a schema cannot
tell, run on top of this one.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

_TASK_ID = {"type": "string", "pattern": "^[0-9a-zA-Z_.#:/-]+$"}
_FILE_ID = {"type": "string", "minLength": 1, "pattern": "^[0-9a-zA-Z-_./:#]*$"}
_TEXT = {"type": "string", "minLength": 1}
_MOMENT = {"type": "string", "minLength": 1, "format": "date-time"}
_NUMBER = {"type": "number"}
_COUNT = {"type": "integer", "minimum": 0}
_ONE_OR_MORE = {"type": "integer", "minimum": 1}


def _object(required: str = "", **properties: Any) -> Json:
    return {"type": "object", "properties": properties, "required": required.split()}


def _list(items: Json, least: int = 0) -> Json:
    return {"type": "array", "items": items, "minItems": least}


_SPECIFICATION = _object(
    "tasks",
    tasks=_list(
        _object(
            "name id parents children",
            name=_TEXT,
            id=_TASK_ID,
            parents=_list(_TASK_ID),
            children=_list(_TASK_ID),
            inputFiles=_list(_FILE_ID),
            outputFiles=_list(_FILE_ID),
        ),
        least=1,
    ),
    files=_list(_object("id sizeInBytes", id=_FILE_ID, sizeInBytes=_COUNT)),
    metrics=_object(
        numberOfTasks=_COUNT,
        numberOfFiles=_COUNT,
        sumOfFileSizesInBytes=_COUNT,
        numberOfLevels=_COUNT,
        minimumWidth=_COUNT,
        maximumWidth=_COUNT,
    ),
)
_EXECUTION = _object(
    "makespanInSeconds executedAt tasks",
    makespanInSeconds=_NUMBER,
    executedAt=_MOMENT,
    tasks=_list(
        _object(
            "id runtimeInSeconds",
            id=_TASK_ID,
            runtimeInSeconds=_NUMBER,
            executedAt=_MOMENT,
            command=_object(program=_TEXT, arguments=_list(_TEXT)),
            coreCount={"type": "number", "minimum": 1},
            avgCPU=_NUMBER,
            readBytes=_NUMBER,
            writtenBytes=_NUMBER,
            memoryInBytes=_NUMBER,
            energyInKWh=_NUMBER,
            avgPowerInW=_NUMBER,
            priority=_NUMBER,
            machines=_list(_TEXT),
        ),
        least=1,
    ),
    machines=_list(
        _object(
            "nodeName",
            system={"type": "string", "enum": ["linux", "macos", "windows"]},
            architecture=_TEXT,
            nodeName={**_TEXT, "format": "hostname"},
            release=_TEXT,
            memoryInBytes=_ONE_OR_MORE,
            cpu=_object(coreCount=_ONE_OR_MORE, speedInMHz=_ONE_OR_MORE, vendor=_TEXT),
        ),
        least=1,
    ),
    metrics=_object(
        sumTaskRuntimesInSeconds={"type": "number", "minimum": 0},
        totalNumBytesRead=_COUNT,
        totalNumBytesWritten=_COUNT,
    ),
)
SCHEMA: Json = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    **_object(
        "name schemaVersion workflow",
        name=_TEXT,
        description=_TEXT,
        createdAt=_MOMENT,
        schemaVersion={"type": "string", "enum": ["1.6"]},
        runtimeSystem=_object("name version", name=_TEXT, version=_TEXT, url={**_TEXT, "format": "uri"}),
        author=_object("name email", name=_TEXT, email={**_TEXT, "format": "email"}, institution=_TEXT, country=_TEXT),
        workflow=_object("specification", specification=_SPECIFICATION, execution=_EXECUTION),
    ),
}
