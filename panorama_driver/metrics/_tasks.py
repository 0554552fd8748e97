"""The tasks of a job: its programs one by one, which clustered jobs have several of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..events import Event
from . import _verdict
from ._attempts import program_measures, started
from ._findings import Finding, assembled, number, text, unknown
from ._index import AttemptIndex
from ._traces import Stream
from .records import TaskMetrics


def tasks(attempt: AttemptIndex) -> tuple[TaskMetrics, ...]:
    """What each program of an attempt used, in the order in which they ran."""
    return tuple(_task(alone) for alone in _apart(attempt))


def executables(attempt: AttemptIndex) -> Iterator[tuple[Event, str | None]]:
    """The record of each program, and its path: where the probe ran it, kickstart saw the probe's interpreter."""
    ended = attempt.invocations
    for event, streams in zip(ended, _by_program(ended, attempt.streams), strict=True):
        ours = (text(stream.samples[0].fields.get("exe")) for stream in streams if stream.ours)
        yield event, next((name for name in ours if name), None) or text(event.fields.get("executable"))


def _apart(attempt: AttemptIndex) -> Iterator[AttemptIndex]:
    """An attempt as one of each program alone, with the traces that are of it."""
    ended = attempt.invocations
    traces = _by_program(ended, attempt.streams)
    for event, streams in zip(ended, traces, strict=True):
        alone = AttemptIndex(attempt.job_id, attempt.attempt)
        alone.events[event.kind] = [event]
        alone.samples = [sample for stream in streams for sample in stream.samples]
        yield alone


def _by_program(ended: list[Event], streams: list[Stream]) -> list[list[Stream]]:
    """Traces by program: by the name of its task where they bear one, else in order of time if all have left one.

    A job of one program may have several traces, of its MPI ranks.
    """
    if len(ended) == 1:
        return [streams]
    named = {text(stream.samples[0].fields.get("task_id")) for stream in streams} - {None}
    if named:
        wanted = [text(event.fields.get("task_id")) for event in ended]
        return [[s for s in streams if s.samples[0].fields.get("task_id") == name] if name else [] for name in wanted]
    if len(streams) != len(ended):
        return [[] for _ in ended]
    return [[stream] for stream in sorted(streams, key=lambda stream: stream.samples[0].ts or 0.0)]


def _task(alone: AttemptIndex) -> TaskMetrics:
    [event] = alone.invocations
    status = number(event.fields.get("exitcode"))
    raw: Finding[int] = unknown("its record tells no exit status") if status is None else Finding(int(status))
    findings: dict[str, Finding[Any]] = {
        "exit_code": _verdict.decoded(raw),
        "start": started(alone),
        **{name: _named(event, name) for name in ("task_id", "transformation")},
        **program_measures(alone),
    }
    return TaskMetrics(
        job_id=alone.job_id, attempt=alone.attempt, invocation=event.invocation or 0, **assembled(findings)
    )


def _named(event: Event, key: str) -> Finding[str]:
    name = text(event.fields.get(key))
    return Finding(name) if name else unknown("its record does not tell")
