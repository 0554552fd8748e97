"""For users' own Python drivers: parameters and results as objects, and `evaluate`, which runs the workflow for them.

The names and behaviours are those of Sandia's `dakota.interfacing` (User's Manual, "The Python dakota.interfacing
module"), which is in no wheel; a driver written for one works with the other, and `evaluate` takes the objects of both.
What differs on purpose: without arguments `read_parameters_file` takes the last two of the command line, and
`Results.write` knows when Dakota expects JSON (`_formats.results_style`).
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any, Literal, NamedTuple, TextIO, overload

from ..errors import EvaluationError, FormatError, ResponseError, UsageError
from . import _formats as formats
from .driver import answer, ask, failed, say

__all__ = [
    "APREPRO",
    "DIRECT",
    "JSON",
    "STANDARD",
    "UNNAMED",
    "BadTypesOverride",
    "BatchParameters",
    "BatchResults",
    "BatchSettingError",
    "BatchWriteError",
    "MissingSourceError",
    "Parameters",
    "ParamsFormatError",
    "Response",
    "ResponseError",
    "Results",
    "ResultsError",
    "ResultsUpdateError",
    "evaluate",
    "python_interface",
    "read_parameters_file",
]

STANDARD, APREPRO, JSON, DIRECT = 1, 2, 3, 4
"""Values of `format`."""

UNNAMED = ""
"""As `results_file`: there is none, `write` will be given a stream."""

_FORMATS = {"standard": STANDARD, "aprepro": APREPRO, "json": JSON}

ParamsFormatError = FormatError

Types = Sequence[Callable[[Any], Any]] | Mapping[str, Callable[[Any], Any]]


class ResultsError(UsageError):
    """Results lack something that Dakota asks for."""


class MissingSourceError(UsageError):
    """No parameters or results file is named."""


class BatchSettingError(UsageError):
    """`batch` is not what the parameters file is."""


class BatchWriteError(UsageError):
    """Results of a batch can only be written together."""


class ResultsUpdateError(UsageError):
    """Results put into a batch belong to another evaluation."""


class BadTypesOverride(UsageError):  # noqa: N818 - the name upstream gives it
    """`types` does not fit the variables."""


class Asv(NamedTuple):
    """What Dakota asks of a response."""

    function: bool
    gradient: bool
    hessian: bool


class Parameters:
    """The variables of one evaluation, by descriptor or by index; iteration gives descriptors.

    Attributes
    ----------
    an_comps, metadata : list of str
        Analysis components, and labels of the metadata that Dakota asks for.
    eval_id : str
        The evaluation's id, in a batch `<batch>:<evaluation>`.
    format : int
        STANDARD, APREPRO or JSON.
    batch : bool
        Whether this is one of a batch.
    """

    def __init__(
        self, evaluation: formats.Evaluation, variables: Mapping[str, Any], format: int = STANDARD, batch: bool = False
    ) -> None:
        self._variables = dict(variables)
        self.an_comps = list(evaluation.components)
        self.metadata = list(evaluation.metadata)
        self.eval_id = evaluation.eval_id
        self.format = format
        self.batch = batch

    def __getitem__(self, key: str | int) -> Any:
        return self._variables[_label(self._variables, key)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)

    def __contains__(self, descriptor: object) -> bool:
        return descriptor in self._variables

    def items(self) -> Iterator[tuple[str, Any]]:
        """Each descriptor with its value."""
        return iter(self._variables.items())

    def values(self) -> Iterator[Any]:
        """Each value."""
        return iter(self._variables.values())

    @property
    def descriptors(self) -> list[str]:
        """Descriptors of the variables, in Dakota's order."""
        return list(self._variables)

    @property
    def num_variables(self) -> int:
        """How many variables there are."""
        return len(self._variables)

    @property
    def num_an_comps(self) -> int:
        """How many analysis components there are."""
        return len(self.an_comps)

    @property
    def num_metadata(self) -> int:
        """How many metadata Dakota asks for."""
        return len(self.metadata)

    @property
    def eval_num(self) -> int:
        """Number of the evaluation: the last part of its id."""
        return int(self.eval_id.rpartition(":")[2])


class Response:
    """One response: what Dakota asks of it (`asv`), and what it is told.

    Setting what was not asked for, or not in its shape, raises ResponseError.
    """

    def __init__(self, label: str, bits: int, width: int, ignore_asv: bool = False) -> None:
        self.asv = Asv(*(bool(bits & bit) for bit in (formats.FUNCTION, formats.GRADIENT, formats.HESSIAN)))
        self._label = label
        self._width = width
        self._ignore_asv = ignore_asv
        self._function: float | None = None
        self._gradient: list[float] | None = None
        self._hessian: list[list[float]] | None = None

    @property
    def function(self) -> float | None:
        """Value of the response; None until it is set."""
        return self._function

    @function.setter
    def function(self, value: Any) -> None:
        self._check_asked("function")
        self._function = self._float(value)

    @property
    def gradient(self) -> list[float] | None:
        """Derivative by each of the derivative variables."""
        return self._gradient

    @gradient.setter
    def gradient(self, values: Iterable[Any]) -> None:
        self._check_asked("gradient")
        self._gradient = self._row(values)

    @property
    def hessian(self) -> list[list[float]] | None:
        """Second derivatives by the derivative variables, a row each."""
        return self._hessian

    @hessian.setter
    def hessian(self, rows: Iterable[Iterable[Any]]) -> None:
        self._check_asked("hessian")
        self._hessian = self._sized([self._row(row) for row in rows])

    def missing(self) -> list[str]:
        """What Dakota asks for and nobody has set."""
        return [word for word in Asv._fields if getattr(self.asv, word) and getattr(self, word) is None]

    def _check_asked(self, what: str) -> None:
        if not (self._ignore_asv or getattr(self.asv, what)):
            raise ResponseError(f"Dakota does not ask for the {what} of response {self._label!r}")

    def _row(self, values: Iterable[Any]) -> list[float]:
        return self._sized([self._float(value) for value in values])

    def _sized(self, values: list[Any]) -> list[Any]:
        if len(values) != self._width:
            raise ResponseError(
                f"derivatives of response {self._label!r} have {len(values)} entries for {self._width} variables"
            )
        return values

    def _float(self, value: Any) -> float:
        try:
            return float(value)
        except (TypeError, ValueError):
            raise ResponseError(f"response {self._label!r} cannot be {value!r:.80}: it is not a number") from None


class Metadata(MutableMapping[str | int, Any]):
    """Metadata of an evaluation, by label or by index; None until set."""

    def __init__(self, labels: Iterable[str]) -> None:
        self._values: dict[str, Any] = dict.fromkeys(labels)

    def __getitem__(self, key: str | int) -> Any:
        return self._values[_label(self._values, key)]

    def __setitem__(self, key: str | int, value: Any) -> None:
        self._values[_label(self._values, key)] = value

    def __delitem__(self, key: str | int) -> None:
        self[key] = None

    def __iter__(self) -> Iterator[str | int]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class Results:
    """The responses of one evaluation, by descriptor or by index; iteration gives descriptors.

    Attributes
    ----------
    eval_id : str
        The evaluation's id.
    deriv_vars : list of str
        Descriptors of the variables that derivatives are taken by.
    metadata : Metadata
        Values to set, each of which Dakota asks for.
    results_file : str
        Name of the file that `write` makes; UNNAMED where there is none.
    format : int
        Format of the parameters file.
    """

    def __init__(
        self,
        evaluation: formats.Evaluation,
        results_file: str = UNNAMED,
        format: int = STANDARD,
        ignore_asv: bool = False,
        batch: bool = False,
    ) -> None:
        self._evaluation = evaluation
        width = len(evaluation.dvv)
        self._responses = {label: Response(label, bits, width, ignore_asv) for label, bits in evaluation.asv.items()}
        self._ignore_asv = ignore_asv
        self._failed = False
        # A driver may change its directory before it writes.
        self._path = os.path.abspath(results_file) if results_file else ""
        self.eval_id = evaluation.eval_id
        self.deriv_vars = list(evaluation.dvv)
        self.metadata = Metadata(evaluation.metadata)
        self.results_file = results_file
        self.format = format
        self.batch = batch

    def __getitem__(self, key: str | int) -> Response:
        return self._responses[_label(self._responses, key)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._responses)

    def __len__(self) -> int:
        return len(self._responses)

    def __contains__(self, descriptor: object) -> bool:
        return descriptor in self._responses

    def items(self) -> Iterator[tuple[str, Response]]:
        """Each descriptor with its response."""
        return iter(self._responses.items())

    def responses(self) -> Iterator[Response]:
        """Each response."""
        return iter(self._responses.values())

    @property
    def descriptors(self) -> list[str]:
        """Descriptors of the responses, in Dakota's order."""
        return list(self._responses)

    @property
    def num_responses(self) -> int:
        """How many responses there are."""
        return len(self._responses)

    @property
    def num_deriv_vars(self) -> int:
        """How many variables derivatives are taken by."""
        return len(self.deriv_vars)

    @property
    def eval_num(self) -> int:
        """Number of the evaluation: the last part of its id."""
        return int(self.eval_id.rpartition(":")[2])

    def fail(self) -> None:
        """Report the evaluation as failed: Dakota does what its `failure_capture` says. In a batch: all NaN."""
        self._failed = True

    def failed(self) -> bool:
        """Whether `fail` was called."""
        return self._failed

    def format_matches(self, other: Results) -> bool:
        """Whether `other` is asked the same things of the same responses."""
        mine, theirs = self._evaluation, other._evaluation
        return (mine.asv, mine.dvv, mine.metadata) == (theirs.asv, theirs.dvv, theirs.metadata)

    def direct_results_dict(self, ignore_asv: bool | None = None) -> dict[str, Any]:
        """What Dakota's linked Python interface takes; in it NaN stands for what is not asked.

        Raises
        ------
        EvaluationError
            `fail` was called: raised out of the driver, this is how Dakota learns of it. In a batch all is NaN.
        ResponseError, ResultsError
            As `write`.
        """
        given = self._answer(ignore_asv)
        if given.failed:
            raise EvaluationError(f"evaluation {self.eval_id} failed")
        nan, width = float("nan"), len(self.deriv_vars)
        unknown = [nan] * width
        direct: dict[str, Any] = {"fns": [given.functions.get(label, nan) for label in self]}
        if given.gradients:
            direct["fnGrads"] = [given.gradients.get(label, unknown) for label in self]
        if given.hessians:
            direct["fnHessians"] = [given.hessians.get(label, [unknown] * width) for label in self]
        if given.metadata:
            direct["metadata"] = list(given.metadata.values())
        return direct

    def write(self, stream: TextIO | None = None, ignore_asv: bool | None = None, json: bool | None = None) -> None:
        """Write the results file, whole or not at all.

        Parameters
        ----------
        stream : text stream, optional
            Where to write instead of the results file.
        ignore_asv : bool, optional
            Write what is set even if Dakota asks for more.
        json : bool, optional
            Whether study.in says `results_format json`. By default it is taken to, where the results file is
            named `*.json`; the format of the parameters says nothing about it.

        Raises
        ------
        BatchWriteError
            The evaluation is one of a batch: write the BatchResults.
        ResponseError, ResultsError
            A response or a metadata value is missing.
        MissingSourceError
            The results file is UNNAMED and there is no stream.
        """
        if self.batch:
            raise BatchWriteError(f"evaluation {self.eval_id} is one of a batch: call write() of the BatchResults")
        _write([self._answer(ignore_asv)], self._path, stream, json, batch=False)

    def _answer(self, ignore_asv: bool | None) -> formats.Answer:
        if self._failed:
            return formats.constant(self._evaluation, float("nan")) if self.batch else formats.failure()
        if not (self._ignore_asv if ignore_asv is None else ignore_asv):
            self._check_complete()
        return formats.Answer(
            {label: each.function for label, each in self.items() if each.function is not None},
            {label: each.gradient for label, each in self.items() if each.gradient is not None},
            {label: each.hessian for label, each in self.items() if each.hessian is not None},
            {str(label): self._metadata_value(label) for label in self.metadata},
        )

    def _check_complete(self) -> None:
        for label, response in self.items():
            missing = response.missing()
            if missing:
                raise ResponseError(f"Dakota asks for the {' and '.join(missing)} of response {label!r}: set it")

    def _metadata_value(self, label: str | int) -> float:
        value = self.metadata[label]
        try:
            return float(value)
        except (TypeError, ValueError):
            raise ResultsError(f"metadata {label!r} is {value!r}, and Dakota asks for a number: set it") from None


class BatchParameters(Sequence[Parameters]):
    """Parameters of each evaluation of a batch; `batch_id` is its id."""

    def __init__(self, members: Iterable[Parameters], batch_id: str) -> None:
        self._members = list(members)
        self.batch_id = batch_id

    def __getitem__(self, index: Any) -> Any:
        return self._members[index]

    def __len__(self) -> int:
        return len(self._members)


class BatchResults(Sequence[Results]):
    """Results of each evaluation of a batch; `batch_id` is its id."""

    def __init__(self, members: Iterable[Results], batch_id: str, results_file: str = UNNAMED) -> None:
        self._members = list(members)
        self._path = os.path.abspath(results_file) if results_file else ""
        self.batch_id = batch_id
        self.results_file = results_file

    def __getitem__(self, index: Any) -> Any:
        return self._members[index]

    def __setitem__(self, index: int, results: Results) -> None:
        present = self._members[index]
        if results.eval_id != present.eval_id or not results.format_matches(present):
            raise ResultsUpdateError(
                f"results of evaluation {results.eval_id} do not fit at the place of {present.eval_id}"
            )
        self._members[index] = results

    def __len__(self) -> int:
        return len(self._members)

    def write(self, stream: TextIO | None = None, ignore_asv: bool | None = None, json: bool | None = None) -> None:
        """Write the results file of the batch; as `Results.write`."""
        _write([each._answer(ignore_asv) for each in self._members], self._path, stream, json, batch=True)


@overload
def read_parameters_file(
    parameters_file: str | os.PathLike[str] | None = None,
    results_file: str | os.PathLike[str] | None = None,
    ignore_asv: bool = False,
    batch: Literal[False] = False,
    infer_types: bool = True,
    types: Types | None = None,
) -> tuple[Parameters, Results]: ...
@overload
def read_parameters_file(
    parameters_file: str | os.PathLike[str] | None = None,
    results_file: str | os.PathLike[str] | None = None,
    ignore_asv: bool = False,
    *,
    batch: Literal[True],
    infer_types: bool = True,
    types: Types | None = None,
) -> tuple[BatchParameters, BatchResults]: ...
def read_parameters_file(
    parameters_file: str | os.PathLike[str] | None = None,
    results_file: str | os.PathLike[str] | None = None,
    ignore_asv: bool = False,
    batch: bool = False,
    infer_types: bool = True,
    types: Types | None = None,
) -> tuple[Parameters, Results] | tuple[BatchParameters, BatchResults]:
    """Read a parameters file of any of Dakota's formats.

    Parameters
    ----------
    parameters_file, results_file : path, optional
        By default the last two arguments of the command line, where Dakota puts them, or what it puts into the
        environment. `results_file` may be UNNAMED.
    ignore_asv : bool
        Let everything be set and left out, whatever Dakota asks for.
    batch : bool
        Whether study.in says `batch`.
    infer_types : bool
        Take text that reads as a number for one; otherwise values stay text. JSON carries types and needs no guess.
    types : sequence or mapping, optional
        Type of each variable, or of those named; applied to the text in the file.

    Raises
    ------
    MissingSourceError
        No file is named.
    ParamsFormatError
        The file is no parameters file.
    BatchSettingError
        `batch` is not what the file is.
    BadTypesOverride
        `types` does not fit the variables.
    """
    source = _named(parameters_file, -2, "DAKOTA_PARAMETERS_FILE")
    target = _named(results_file, -1, "DAKOTA_RESULTS_FILE")
    request = formats.read_parameters_file(source, (target, os.getcwd()))
    return _objects(request, ignore_asv, batch, target, infer_types, types)


def _read_parameters_stream(
    stream: TextIO,
    ignore_asv: bool = False,
    batch: bool = False,
    results_file: str | None = None,
    infer_types: bool = True,
    types: Types | None = None,
) -> tuple[Parameters, Results] | tuple[BatchParameters, BatchResults]:
    request = formats.parse_parameters(stream.read())
    return _objects(request, ignore_asv, batch, results_file or UNNAMED, infer_types, types)


def python_interface(driver: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    """Make a driver of Parameters and Results one that Dakota's linked Python interface can call.

    Parameters
    ----------
    driver : callable
        Takes Parameters and Results (in a batch BatchParameters and BatchResults) and returns the latter.

    Returns
    -------
    callable
        Takes the dict, or in a batch the list of dicts, that Dakota gives; returns what it expects back.
    """

    @functools.wraps(driver)
    def linked(given: Any) -> Any:
        batch = isinstance(given, list)
        pairs = [_read_params_from_dict(each, batch) for each in (given if batch else [given])]
        if not batch:
            return driver(*pairs[0]).direct_results_dict()
        batch_id = pairs[0][0].eval_id.rpartition(":")[0]
        parameters = BatchParameters((each for each, _ in pairs), batch_id)
        results = driver(parameters, BatchResults((each for _, each in pairs), batch_id))
        return [each.direct_results_dict() for each in results]

    return linked


def _read_params_from_dict(given: Mapping[str, Any], batch: bool = False) -> tuple[Parameters, Results]:
    values = {
        label: value
        for kind in ("cv", "div", "dsv", "drv")
        for label, value in zip(given[f"{kind}_labels"], given[kind], strict=True)
    }
    labels = list(given["variable_labels"])
    variables = {label: values[label] for label in labels}
    evaluation = formats.Evaluation(
        str(given["eval_id"]),
        variables,
        variables,
        {label: int(bits) for label, bits in zip(given["function_labels"], given["asv"], strict=True)},
        [labels[number - 1] for number in given["dvv"]],
        list(given["analysis_components"]),
        list(given["metadata_labels"]),
    )
    return Parameters(evaluation, variables, DIRECT, batch), Results(evaluation, format=DIRECT, batch=batch)


def _named(path: str | os.PathLike[str] | None, place: int, variable: str) -> str:
    if path is not None:
        return os.fspath(path)
    found = sys.argv[place] if len(sys.argv) > 2 else os.environ.get(variable)
    if not found:
        raise MissingSourceError(f"no file is named: neither as an argument, nor by Dakota in {variable}")
    return found


def _objects(
    request: formats.Request, ignore_asv: bool, batch: bool, target: str, infer_types: bool, types: Types | None
) -> tuple[Parameters, Results] | tuple[BatchParameters, BatchResults]:
    _check_batch(request, batch)
    format = _FORMATS[request.format]
    all_parameters = [
        Parameters(each, _typed(each, infer_types or format == JSON, types), format, batch)
        for each in request.evaluations
    ]
    all_results = [Results(each, target, format, ignore_asv, batch) for each in request.evaluations]
    if not batch:
        return all_parameters[0], all_results[0]
    batch_id = request.evaluations[0].eval_id.rpartition(":")[0]
    return BatchParameters(all_parameters, batch_id), BatchResults(all_results, batch_id, target)


def _check_batch(request: formats.Request, batch: bool) -> None:
    """One evaluation `1:1` can be a batch or one of a hierarchical model: there the caller knows best."""
    open_to_both = len(request.evaluations) == 1 and request.format != "json" and ":" in request.evaluations[0].eval_id
    if batch != request.batch and not open_to_both:
        raise BatchSettingError(
            f"the parameters file is {'' if request.batch else 'not '}a batch: set batch={not batch}"
        )


def _typed(evaluation: formats.Evaluation, infer: bool, types: Types | None) -> dict[str, Any]:
    texts = evaluation.texts
    values: dict[str, Any] = dict(evaluation.variables if infer else texts)
    if types is None:
        return values
    if not isinstance(types, Mapping):
        if len(types) != len(texts):
            raise BadTypesOverride(f"{len(types)} types for {len(texts)} variables")
        types = dict(zip(texts, types, strict=True))
    unknown = [label for label in types if label not in texts]
    if unknown:
        raise BadTypesOverride(f"types for {', '.join(unknown)}; the variables are {', '.join(texts)}")
    return values | {label: convert(texts[label]) for label, convert in types.items()}


def _write(answers: Sequence[formats.Answer], path: str, stream: TextIO | None, json: bool | None, batch: bool) -> None:
    told = None if json is None else "json" if json else "standard"
    text = formats.format_results(answers, formats.results_style(path, told), batch)
    if stream is not None:
        stream.write(text)
    elif path:
        formats.write_atomically(path, text)
    else:
        raise MissingSourceError("the results file is UNNAMED: give write() a stream")


def _label(values: Mapping[str, Any], key: str | int) -> str:
    return list(values)[key] if isinstance(key, int) else key


def evaluate(params: Any, results: Any) -> None:
    """Run the study's workflow with `params` and put what came out of it into `results`; you call `results.write()`.

    A failed evaluation ends as study.yml chooses: `results.fail()`, NaN, or a penalty value; why is said on stderr.

    Parameters
    ----------
    params : Parameters or BatchParameters
        Of this module or of `dakota.interfacing`.
    results : Results or BatchResults
        The one that came with it.

    Raises
    ------
    StudyError
        There is no study.yml here or above.
    ServerError
        The study server cannot be started or reached.
    EvaluationCancelledError
        The process was told to end.
    """
    batch = hasattr(results, "batch_id")
    pairs = list(zip(params, results, strict=True)) if batch else [(params, results)]
    evaluations = [_evaluation(*pair) for pair in pairs]
    replies = ask(evaluations, lambda message: say(message, evaluations))
    for evaluation, (_, each), reply in zip(evaluations, pairs, replies, strict=True):
        try:
            _fill(each, answer(evaluation, reply))
        except (EvaluationError, ResponseError) as problem:
            say(str(problem), [evaluation])
            _fill(each, failed(evaluation, reply, batch))


def _evaluation(params: Any, results: Any) -> formats.Evaluation:
    variables = dict(params.items())
    asv = {label: _bits(response.asv) for label, response in results.items()}
    return formats.Evaluation(
        str(params.eval_id),
        variables,
        variables,
        asv,
        list(results.deriv_vars),
        list(params.an_comps),
        list(params.metadata),
    )


def _bits(asv: Any) -> int:
    return (
        bool(asv.function) * formats.FUNCTION
        + bool(asv.gradient) * formats.GRADIENT
        + bool(asv.hessian) * formats.HESSIAN
    )


def _fill(results: Any, given: formats.Answer) -> None:
    if given.failed:
        results.fail()
        return
    for label, value in given.functions.items():
        results[label].function = value
    for label, row in given.gradients.items():
        results[label].gradient = row
    for label, rows in given.hessians.items():
        results[label].hessian = rows
    for label, value in given.metadata.items():
        results.metadata[label] = value
