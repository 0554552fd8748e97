"""What has moved in a study or a store since it was last told, as the topics that pages follow."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ..metrics import WorkflowState
from ._numbers import Numbers
from ._source import News, Source
from .documents import AnomalyChange, StudyChange, StudySummary, WorkflowChange

_MOST_TOLD = 100


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Something that has moved.

    Attributes
    ----------
    topic : str
        `studies`, `study/STUDY`, `workflow/STUDY/WF_UUID` or `anomalies`.
    data : StudySummary, StudyChange, WorkflowChange or AnomalyChange
        What is new of it, by the kind of topic.
    """

    topic: str
    data: StudySummary | StudyChange | WorkflowChange | AnomalyChange


def changes_of(each: Source) -> Iterator[Change]:
    """What has moved in a source, as the topics that pages follow."""
    news = each.news()
    if news.summary:
        yield Change(topic="studies", data=each.summary)
    moved = _moved_anomalies(each, news)
    if news.anomalies or news.actions:
        yield Change(topic="anomalies", data=moved)
    if news.summary or news.keys or news.anomalies or news.actions:
        yield Change(topic=f"study/{each.identity}", data=_study_change(each, news.keys, moved))
    for wf_uuid in sorted(news.runs | _runs_of(moved)):
        found = each.runs.numbers.get(wf_uuid)
        if found is not None and found.state != "unreadable":
            yield Change(
                topic=f"workflow/{each.identity}/{wf_uuid}", data=_workflow_change(each, wf_uuid, found, found.state)
            )


def _study_change(each: Source, keys: set[str], moved: AnomalyChange) -> StudyChange:
    columns = each.columns()
    rows = each.rows(None if each.told_other_columns(columns) else keys)
    return StudyChange(
        summary=each.summary,
        columns=columns,
        evaluations=rows,
        removed=sorted(keys - {row.key for row in rows}),
        front=each.front,
        outdated=each.outdated,
        unread=each.unread,
        anomalies=moved.anomalies,
        actions=moved.actions,
    )


def _workflow_change(each: Source, wf_uuid: str, found: Numbers, state: WorkflowState) -> WorkflowChange:
    anomalies = each.book.episodes(wf_uuid=wf_uuid)
    return WorkflowChange(
        state=state,
        jobs_total=found.jobs_total,
        jobs_succeeded=found.jobs_succeeded,
        jobs_failed=found.jobs_failed,
        jobs_active=found.jobs_active,
        samples=found.samples,
        samples_read=found.samples_read,
        anomalies=len(anomalies),
        anomalies_open=sum(anomaly.over is None for anomaly in anomalies),
    )


def _moved_anomalies(source: Source, news: News) -> AnomalyChange:
    """What has moved in the anomalies of a study."""
    rows = [source.book.row(each, source.named) for each in source.book.those(news.anomalies)[:_MOST_TOLD]]
    actions = [row for row in source.actions() if row.action.action_id in news.actions] if news.actions else []
    return AnomalyChange(study=source.identity, anomalies=rows, actions=actions[:_MOST_TOLD])


def _runs_of(moved: AnomalyChange) -> set[str]:
    """Workflow runs that something has moved in."""
    runs = {row.anomaly.wf_uuid for row in moved.anomalies} | {row.action.wf_uuid for row in moved.actions}
    return {wf_uuid for wf_uuid in runs if wf_uuid is not None}
