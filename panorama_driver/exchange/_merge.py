"""Makes one repository of several: their studies side by side, and those that several have put together."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from ..errors import UsageError
from ..store import open_store
from ._events import bury_all, put_all
from ._export import unfinished, write
from ._layout import STUDY_FILES, place
from ._manifest import read_manifest
from ._parquet import needs
from ._restore import make_study
from ._stage import Staged, counted
from .records import About, Manifest, Progress, Study


def merge(folders: Sequence[Path], folder: Path, *, about: About, progress: Progress) -> Manifest:
    """As `panorama_driver.exchange.merge`."""
    needs()
    manifests = [read_manifest(each) for each in folders]
    if len(folders) < 2:
        raise UsageError("one repository alone cannot be merged; name two or more")
    _check(folders, manifests)
    with unfinished(folder) as (made, work):
        staged = _Merging(work, progress)
        for each, manifest in zip(folders, manifests, strict=True):
            staged.take(each, manifest)
        told = _together(manifests, about)
        return write(staged.found(manifests), made, work, told, manifests[0].pseudonyms, progress)


def _check(folders: Sequence[Path], manifests: Sequence[Manifest]) -> None:
    first = manifests[0].pseudonyms
    for where, each in zip(folders, manifests, strict=True):
        if each.pseudonyms != first:
            raise UsageError(
                f"{folders[0]} and {where} do not have the same pseudonyms: a host of one would not be found in the "
                "other; anonymise both with the same key"
            )


def _together(manifests: Sequence[Manifest], about: About) -> About:
    """What is told of all, and else what can be said of all: whoever uses the data keeps to each of the licences."""
    told = {name: value for name, value in msgspec.structs.asdict(about).items() if value}
    licences = list(dict.fromkeys(each.license for each in manifests))
    named = [f"({each})" if " " in each and len(licences) > 1 else each for each in licences if each]
    common = About(
        title=" + ".join(dict.fromkeys(each.title for each in manifests)),
        description="\n\n".join(dict.fromkeys(each.description for each in manifests if each.description)),
        license=" AND ".join(named) if len(named) == len(licences) else None,
        creators=list({msgspec.json.encode(c): c for each in manifests for c in each.creators}.values()),
        keywords=list(dict.fromkeys(word for each in manifests for word in each.keywords)),
    )
    return msgspec.structs.replace(common, **told)


class _Merging:
    """Studies as they are put together."""

    def __init__(self, work: Path, progress: Progress) -> None:
        self._work, self._progress = work, progress
        self._studies: dict[str, Study] = {}

    def take(self, folder: Path, manifest: Manifest) -> None:
        """Take in a repository."""
        for study in manifest.studies:
            known = self._studies.get(study.id)
            if known is None:
                make_study(folder, manifest, study, place(self._work, study), self._progress)
                self._studies[study.id] = study
            else:
                self._add(folder, manifest, study, known)

    def _add(self, folder: Path, manifest: Manifest, study: Study, known: Study) -> None:
        """Add what another repository has of a study: its events, and its journal where that goes further."""
        if study.kind != known.kind:
            raise UsageError(f"{folder}: {study.id} is a {study.kind} here and a {known.kind} elsewhere")
        there, later = place(self._work, known), self._work / "other"
        other = place(later, study)
        later.mkdir()
        make_study(folder, manifest, study, other, self._progress)
        with open_store(there.store) as store, open_store(other.store, readonly=True) as more:
            put_all(store, more.kept(), self._counted(study))
            bury_all(store, more.dead_letters())
        if there.home and other.home:
            _keep_longer(there.home, other.home, folder)
        shutil.rmtree(later)

    def _counted(self, study: Study) -> Callable[[int], None]:
        return lambda number: self._progress(f"{study.name}: events added", number, study.events)

    def found(self, manifests: Iterable[Manifest]) -> list[Staged]:
        """All studies, as copies that can be written."""
        software = {each for manifest in manifests for each in manifest.software if each.role != "exporter"}
        copies = [(study, place(self._work, study)) for study in self._studies.values()]
        return [Staged(counted(study, source), source, software) for study, source in copies]


def _keep_longer(there: Path, other: Path, folder: Path) -> None:
    """Of two states of each journal the later one; study.yml and study.in are those of the study's later one.

    Raises
    ------
    UsageError
        They are of different histories.
    """
    later = {name: _is_later(there / where, other / where, folder) for name, where in STUDY_FILES.items()}
    for name, where in STUDY_FILES.items():
        if later[name if name.endswith(".jsonl") else "journal.jsonl"] and (other / where).is_file():
            shutil.copyfile(other / where, there / where)


def _is_later(there: Path, other: Path, folder: Path) -> bool:
    """Whether a journal goes further than another; one that is not there has not begun."""
    if there.suffix != ".jsonl":
        return False
    ours, theirs = (path.read_bytes() if path.is_file() else b"" for path in (there, other))
    if not (ours.startswith(theirs) or theirs.startswith(ours)):
        raise UsageError(
            f"{folder}: {there.relative_to(there.parents[2])} went on in another way than in the repositories before; "
            "they cannot be put together"
        )
    return len(theirs) > len(ours)
