"""What a study's files say, read anew when one of them changes, and the key that an evaluation has under them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from ..config import Scalar, Study, load_study
from ..errors import ParameterError, StudyError
from ..objective import Responses
from ..render import Site, WorkflowFolder, find_site, find_workflow
from .bounds import check_stoppable

VALUE, GRADIENT, HESSIAN = 1, 2, 4
_MOST_INPUTS = 10_000


class Request(msgspec.Struct, frozen=True):
    """One evaluation as Dakota asks for it.

    Attributes
    ----------
    eval_id : str
        Dakota's number of it.
    variables : dict
        Values by descriptor.
    asv : dict
        Response to its active set: 1 value, 2 gradient, 4 Hessian, and sums of them.
    dvv : list of str
        Variables that derivatives are taken by.
    components : list of str
        Analysis components.
    metadata : list of str
        Metadata that Dakota wants.
    priority : int or None
        Among the workflows of an ensemble, where it is not the study's; it changes nothing of what runs.
    """

    eval_id: str = "1"
    variables: dict[str, Scalar] = {}
    asv: dict[str, int] = {}
    dvv: list[str] = []
    components: list[str] = []
    metadata: list[str] = []
    priority: int | None = None


class Definition:
    """A study as its files define it now.

    Parameters
    ----------
    path : Path
        study.yml.

    Raises
    ------
    UsageError
        study.yml, the workflow folder, the site file or a response is wrong.
    EnvironmentMissingError
        The site has no program for a transformation.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = path.stat().st_mtime_ns if path.exists() else 0
        self.study: Study = load_study(path)
        self.folder: WorkflowFolder = find_workflow(self.study.workflow, path.parent)
        self.site: Site = find_site(self.study.site, path.parent, self.study.site_variables)
        self.site.check_engine(self.study.engine)
        self.responses = Responses.parse(self.study.responses, self.study.gradients, self.study.hessians)
        if self.study.adapt.stop_hopeless:
            check_stoppable(self.responses, path)
        self.folder.values(self.study.parameters, self.study.options)
        self.inputs = self.study.input_folders(path.parent)
        self._check_inputs()
        self._input_files = _stamps(self.inputs)
        self.programs = {
            name: self.site.choose(name, transformation.candidates)[0].name
            for name, transformation in self.folder.spec.transformations.items()
        }

    @property
    def stale(self) -> bool:
        """Whether a file has changed since it was read."""
        try:
            changed = self._path.stat().st_mtime_ns != self._stamp
        except FileNotFoundError:
            return True
        return changed or self.folder.stale or self.site.stale or _stamps(self.inputs) != self._input_files

    def _check_inputs(self) -> None:
        for folder in self.inputs:
            if not folder.is_dir():
                raise StudyError(f"{self._path}: inputs: {folder}: no such folder; make it, or correct its name")
            if self._path.resolve().is_relative_to(folder.resolve()):
                raise StudyError(
                    f"{self._path}: inputs: {folder}: the study itself is in it, and all that its evaluations write; "
                    "put the input files into a folder of their own"
                )

    def values(self, variables: Mapping[str, Scalar]) -> tuple[dict[str, Scalar], dict[str, Scalar]]:
        """Parameters and options of one evaluation: what Dakota varies over what study.yml fixes.

        Raises
        ------
        ParameterError
            A variable is unknown, of the wrong type or out of its bounds.
        """
        parameters, options = self.folder.split(variables)
        return self.folder.values(self.study.parameters | parameters, self.study.options | options)

    def check_request(self, request: Request) -> None:
        """Refuse what a workflow cannot give.

        Raises
        ------
        ParameterError
            Derivatives are asked for, or a response that study.yml does not define.
        """
        for label, active in request.asv.items():
            if label not in self.responses.forms:
                raise ParameterError(
                    f"response {label!r} of study.in is not in {self._path}; "
                    f"it defines {', '.join(self.responses.forms)}"
                )
            self._check_derivatives(label, active)

    def _check_derivatives(self, label: str, active: int) -> None:
        known = (GRADIENT, self.responses.gradients, "gradients"), (HESSIAN, self.responses.hessians, "hessians")
        for bit, places, word in known:
            if active & bit and label not in places:
                raise ParameterError(
                    f"response {label!r}: Dakota asks for {word} (active set {active}), which {self._path} does not "
                    f"name; write numerical_{word} or no_{word} in study.in, or say under {word} where the workflow "
                    "writes them"
                )

    @property
    def fingerprint(self) -> str:
        """Hash of all that evaluations have in common: workflow, programs, site, engine, and what study.yml fixes.

        Of the study's own input files it holds path, size and time of change: to read gigabytes would take too long.
        """
        own = [self._input_files] if self.inputs else []
        return _hash(
            [self.folder.spec.name, self.folder.digest],
            self.programs,
            [self.site.name, self.site.digest],
            self.study.engine,
            self.study.parameters,
            self.study.options,
            *own,
        )

    @property
    def formulas(self) -> str:
        """Hash of how responses are made: values that were made otherwise cannot be compared."""
        return _hash(self.study.responses)

    def key(self, request: Request) -> str:
        """Hash of all that decides what an evaluation runs.

        Responses, active set, time limits and slots are left out: what they ask for is found in what was stored, and
        nothing has to run again for it.

        Raises
        ------
        ParameterError
            A variable is unknown, of the wrong type or out of its bounds.
        """
        return _hash(self.fingerprint, *self.values(request.variables))


def _stamps(folders: Iterable[Path]) -> list[list[str | int]]:
    """Path, size [bytes] and time of change [ns] of every file below some folders."""
    return [[path, s.st_size, s.st_mtime_ns] for folder in folders for path, s in sorted(_files(os.fspath(folder)))]


def _files(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    """Files below a folder, through links too; a link to a folder above itself leads no further.

    They are looked at again for each evaluation: of many, on a file system of a cluster, that would take minutes.
    """
    seen = 0
    for base, folders, names in os.walk(folder, followlinks=True):
        seen += 1 + len(names)
        if seen > _MOST_INPUTS:
            raise StudyError(
                f"inputs: {folder}: has more than {_MOST_INPUTS} files and folders below it; "
                "name one that has only what the workflow reads"
            )
        above = f"{os.path.realpath(base)}/"
        folders[:] = [name for name in folders if not above.startswith(f"{os.path.realpath(f'{base}/{name}')}/")]
        for name in names:
            path = os.path.join(base, name)
            with contextlib.suppress(OSError):  # a link that leads nowhere, or a file that has gone meanwhile
                if stat.S_ISREG((found := os.stat(path)).st_mode):
                    yield path, found


def _hash(*parts: object) -> str:
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
