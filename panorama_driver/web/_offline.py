"""A study or a workflow run as one HTML file: the pages, the chart library and the documents, with nothing to fetch.

The modules stand in it as `data:` addresses that an import map names, the documents as JSON where `data.js` looks for
them. What is not in the file is shown by `panorama serve`.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import posixpath
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import msgspec

from .. import __version__
from ..errors import EnvironmentMissingError, UsageError
from ._encoding import to_json
from ._static import chart_library
from .documents import AnomalyList, EvaluationRow, JobRow, StudyDocument, StudyList, WorkflowDocument

if TYPE_CHECKING:
    from ._library import Library

BOUND = 12 << 20
"""Size of the documents in a file [bytes], so that mail takes the whole of it."""

_STATIC = Path(__file__).with_name("static")
_IMPORT = re.compile(r"""(\bfrom\s*|\bimport\s*\(?\s*)"(\.{1,2}/[^"]+\.js)\"""")
_BODY = re.compile(r"<body>(.*)</body>", re.DOTALL)
_POLICY = (
    "default-src 'none'; script-src data: {hashes}; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; "
    "base-uri 'none'; form-action 'none'"
)
_SIMILAR = 10
"""Workflow runs of one sort, failed ones and those of the front, that a study's file holds at most."""

_ANOMALIES = 500
"""Anomalies of a study, the last first, that its file holds at most."""

_POLL = 0.1  # seconds
Progress = Callable[[str], None]


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What a file holds.

    Attributes
    ----------
    path : str
        The file.
    size : int
        [bytes]
    workflows, workflows_total : int
        Workflow runs in it, and how many there are.
    jobs, jobs_timed, jobs_total : int
        Jobs in it with a page of their own, those of them with their amounts over time, and how many these runs have.
    chosen : dict of str to list of str
        Which runs of a study they are: evaluations by why they were chosen (`best`, `front`, `last`, `failed`).
    failed : bool
        Whether what it shows has failed: the run, or an evaluation of the study.
    """

    path: str
    size: int
    workflows: int
    workflows_total: int
    jobs: int
    jobs_timed: int
    jobs_total: int
    chosen: dict[str, list[str]] = {}
    failed: bool = False

    @property
    def words(self) -> str:
        """What is in it and what is not, in a sentence."""
        timed = "" if self.jobs_timed == self.jobs else f", {self.jobs_timed} of them over time"
        pages = f"{self.jobs} of {self.jobs_total} jobs{timed}"
        if not self.chosen:
            return f"the workflow run with {pages}"
        named = "; ".join(f"{why}: {', '.join(keys)}" for why, keys in self.chosen.items() if keys)
        return f"the study and {self.workflows} of {self.workflows_total} workflow runs ({named}) with {pages}"


def write_workflow(
    library: Library, study: str, wf_uuid: str, path: Path, *, bound: int = BOUND, progress: Progress | None = None
) -> Contents:
    """Write a workflow run with its jobs and transfers.

    Parameters
    ----------
    library : Library
        Where it is.
    study, wf_uuid : str
        The run, as the library names it.
    path : Path
        The HTML file; one that is there is replaced once the new one is whole.
    bound : int
        What the documents may take [bytes]; of many jobs, those that failed and those that took longest are in, first
        with their numbers, then with their amounts over time.
    progress : callable, optional
        Told in a few words what is going on.

    Raises
    ------
    NotFoundError
        The library has no such run.
    EnvironmentMissingError
        plotly is not installed, whose charts the pages show.
    UsageError
        The file cannot be written.
    """
    charts = _charts()
    kept = _Kept(bound, library, study, progress)
    run = kept.workflow(wf_uuid)
    kept.anomalies(_of_run(run))
    kept.jobs([run])
    return kept.write(
        path, charts, start=_address("studies", study, "workflows", wf_uuid), total=1, failed=_failed(run)
    )


def write_study(
    library: Library, study: str, path: Path, *, bound: int = BOUND, progress: Progress | None = None
) -> Contents:
    """Write a study with the workflow runs that tell most: the best, those of the front, the last, failed ones.

    Parameters and errors are those of `write_workflow`.
    """
    charts = _charts()
    kept = _Kept(bound, library, study, progress)
    document = kept.study()
    kept.put(_address("studies", study), document)
    kept.anomalies(library.anomalies(study, size=_ANOMALIES))
    chosen = _chosen(document)
    rows = {row.key: row for row in document.evaluations}
    wanted = list(dict.fromkeys(key for keys in chosen.values() for key in keys))
    runs = {}
    for place, key in enumerate(wanted):
        kept.tell(f"{place} of {len(wanted)} workflow runs")
        wf_uuid = rows[key].wf_uuid
        if wf_uuid is not None and kept.has_room:
            runs[key] = kept.workflow(wf_uuid)
    kept.jobs(list(runs.values()))
    named = {why: [rows[key].eval_id for key in keys if key in runs] for why, keys in chosen.items()}
    total = sum(row.wf_uuid is not None for row in document.evaluations)
    failed = any(row.failed for row in document.evaluations)
    return kept.write(path, charts, start=_address("studies", study), total=total, failed=failed, chosen=named)


def _of_run(run: WorkflowDocument) -> AnomalyList:
    """What was found in a run as a list of its own."""
    found = run.anomalies
    return AnomalyList(
        anomalies=found,
        total=len(found),
        page=1,
        size=max(1, len(found)),
        open=sum(row.over is None for row in found),
        kinds=dict(Counter(row.anomaly.kind for row in found)),
        actions=run.actions,
        actions_total=len(run.actions),
    )


def _failed(run: WorkflowDocument) -> bool:
    return run.metrics.state == "failed" or (run.evaluation is not None and run.evaluation.failed)


def _chosen(document: StudyDocument) -> dict[str, list[str]]:
    """Keys of the evaluations whose runs go into the file, the most telling first."""
    ran = [row for row in document.evaluations if row.wf_uuid is not None]
    keys = {row.key for row in ran}
    best = document.summary.best_evaluation
    return {
        "best": [best] if best in keys and best is not None else [],
        "front": [key for key in document.front if key in keys][:_SIMILAR],
        "last": [max(ran, key=_moment).key] if ran else [],
        "failed": [row.key for row in ran if row.failed][-_SIMILAR:],
    }


def _telling(job: JobRow) -> tuple[bool, int, float]:
    return (job.state != "failed", -len(job.attempts), -(job.wall_time or 0.0))


def _moment(row: EvaluationRow) -> float:
    return row.ended or row.started or 0.0


class _Kept:
    """The documents of a file, as many as there is room for."""

    def __init__(self, bound: int, library: Library, study: str, progress: Progress | None) -> None:
        self._bound = bound
        self._library = library
        self._study = study
        self._progress = progress
        self._documents: dict[str, bytes] = {}
        self._size = 0
        self._workflows: list[WorkflowDocument] = []
        self._jobs = self._timed = 0
        self.put("studies", StudyList(studies=[library.study(study).summary], total=1, page=1, size=1))

    @property
    def has_room(self) -> bool:
        """Whether something may be added."""
        return self._size < self._bound

    def anomalies(self, found: AnomalyList) -> None:
        """Add what was found, for its own page and for that of the study."""
        self.put("anomalies", found)
        self.put(f"{_address('studies', self._study)}/anomalies", found)

    def put(self, key: str, document: msgspec.Struct) -> None:
        """Add a document, however large it is."""
        self._add({key: to_json(document)})

    def _add(self, encoded: Mapping[str, bytes]) -> None:
        self._documents.update(encoded)
        self._size += sum(map(len, encoded.values()))

    def tell(self, words: str) -> None:
        """Tell how far the work is."""
        if self._progress is not None:
            self._progress(words)

    def study(self) -> StudyDocument:
        """The study, once the numbers of all its workflow runs are read."""
        while (document := self._library.study(self._study)).unread:
            total = len(document.evaluations)
            self.tell(f"{total - document.unread} of {total} evaluations")
            time.sleep(_POLL)
        return document

    def workflow(self, wf_uuid: str) -> WorkflowDocument:
        """Add a run, its amounts over time and its transfers."""
        library, study = self._library, self._study
        where = _address("studies", study, "workflows", wf_uuid)
        self._wait(wf_uuid)
        run = library.workflow(study, wf_uuid)
        self.put(where, run)
        self.put(f"{where}/series", library.series(study, wf_uuid))
        self.put(f"{where}/transfers", library.transfers(study, wf_uuid))
        self._workflows.append(run)
        return run

    def _wait(self, wf_uuid: str) -> None:
        """Wait until all of a run is read."""
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(self._library.metrics, self._study, wf_uuid)
            while wait([reading], _POLL).not_done:
                self.tell(f"reading workflow run {wf_uuid}")
            reading.result()

    def jobs(self, runs: Sequence[WorkflowDocument]) -> None:
        """Add jobs while there is room, then their amounts over time: what failed and what took longest comes first."""
        order = [(run.wf_uuid, job) for run in runs for job in sorted(run.jobs, key=_telling)]
        inside = []
        for place, (wf_uuid, job) in enumerate(order):
            self.tell(f"{place} of {len(order)} jobs")
            where = f"{_address('studies', self._study, 'workflows', wf_uuid)}/jobs/{_address(job.job_id)}"
            if not self._fits({where: to_json(self._library.job(self._study, wf_uuid, job.job_id))}):
                break
            inside.append((wf_uuid, job))
        self._jobs = len(inside)
        for place, (wf_uuid, job) in enumerate(inside):
            self.tell(f"{place} of {len(inside)} jobs over time")
            if not self._fits(dict(self._series(wf_uuid, job))):
                break
            self._timed += 1

    def _series(self, wf_uuid: str, job: JobRow) -> Iterator[tuple[str, bytes]]:
        where = _address("studies", self._study, "workflows", wf_uuid)
        for attempt in job.attempts:
            series = self._library.series(self._study, wf_uuid, job.job_id, attempt.attempt)
            yield f"{where}/series?{_query(job=job.job_id, attempt=attempt.attempt)}", to_json(series)

    def _fits(self, encoded: Mapping[str, bytes]) -> bool:
        """Add documents if there is room for them."""
        fits = self._size + sum(map(len, encoded.values())) <= self._bound
        if fits:
            self._add(encoded)
        return fits

    def write(
        self,
        path: Path,
        charts: str,
        *,
        start: str,
        total: int,
        failed: bool,
        chosen: dict[str, list[str]] | None = None,
    ) -> Contents:
        """Write the file, whole or not at all."""
        contents = Contents(
            path=str(path),
            size=0,
            workflows=len(self._workflows),
            workflows_total=total,
            jobs=self._jobs,
            jobs_timed=self._timed,
            jobs_total=sum(len(run.jobs) for run in self._workflows),
            chosen=chosen or {},
            failed=failed,
        )
        documents = {**self._documents, "start": json.dumps(start).encode()}
        page = _page(_embedded(documents), charts, self._study, contents.words).encode()
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            beside.write_bytes(page)
            beside.replace(path)
        except OSError as problem:
            raise UsageError(f"{path}: cannot be written: {problem.strerror}; check its folder, and its room") from None
        finally:
            beside.unlink(missing_ok=True)
        return msgspec.structs.replace(contents, size=len(page))


def _address(*parts: str) -> str:
    """As `encodeURIComponent` of the pages writes it."""
    return "/".join(quote(part, safe="!~*'()") for part in parts)


def _query(**asked: Any) -> str:
    """As `URLSearchParams` of the pages writes it."""
    return urlencode(asked, safe="*").replace("~", "%7E")


def _embedded(documents: Mapping[str, bytes]) -> str:
    """One JSON object that no HTML parser takes for an end or a beginning of anything."""
    text = ",\n".join(f"{json.dumps(key)}: {document.decode()}" for key, document in documents.items())
    for sign in ("<", "\u2028", "\u2029"):
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return f"{{{text}}}"


# --- the page --------------------------------------------------------------------------------------------------------


def modules() -> dict[str, str]:
    """The scripts of the pages by the names that they import each other by in one file."""
    paths = sorted(path.relative_to(_STATIC).as_posix() for path in _STATIC.rglob("*.js"))
    return {_bare(path): _rewritten(path) for path in paths}


def _bare(path: str) -> str:
    return f"panorama/{path}"


def _rewritten(path: str) -> str:
    """A module with the addresses of those that it imports turned into names: a `data:` address is below nothing."""

    def named(found: re.Match[str]) -> str:
        return f'{found[1]}"{_bare(posixpath.normpath(posixpath.join(posixpath.dirname(path), found[2])))}"'

    return _IMPORT.sub(named, (_STATIC / path).read_text(encoding="utf-8"))


def _charts() -> str:
    """The chart library.

    Raises
    ------
    EnvironmentMissingError
        plotly is not installed.
    """
    found = chart_library()
    if found is None:
        raise EnvironmentMissingError(
            "reports as HTML need plotly: pip install 'panorama-driver[web]', in a clone '.[web]'"
        )
    return found[0].read_text(encoding="utf-8").replace("</script", "<\\/script")


def _page(documents: str, charts: str, study: str, words: str) -> str:
    names = {name: _data(text, "text/javascript") for name, text in modules().items()}
    imports = json.dumps({"imports": names})
    begin = f'import "{_bare("app.js")}";'
    policy = _POLICY.format(hashes=" ".join(map(_hash, (imports, charts, begin))))
    icon = _data((_STATIC / "icon.svg").read_text(encoding="utf-8"), "image/svg+xml")
    body = _BODY.search((_STATIC / "index.html").read_text(encoding="utf-8"))
    assert body is not None
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<meta name="generator" content="panorama-driver {__version__}">
<title>panorama</title>
<link rel="icon" href="{icon}">
<style>
{(_STATIC / "style.css").read_text(encoding="utf-8")}</style>
<script type="importmap">{imports}</script>
</head>
<body>{body[1]}{_footer(study, words)}
<script type="application/json" id="panorama-report">{documents}</script>
<script>{charts}</script>
<script type="module">{begin}</script>
</body>
</html>
"""


def _footer(study: str, words: str) -> str:
    made = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    told = html.escape(f"Report of {study}, made {made} by panorama {__version__}. It holds {words}.")
    return f"<footer>{told} All others are shown by <code>panorama serve</code>, where the study is.</footer>"


def _data(text: str, media: str) -> str:
    return f"data:{media};base64,{base64.b64encode(text.encode()).decode()}"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
