"""The numbers that Dakota asked for, out of a workflow's metrics and its output files.

A response of `study.yml` has one of three forms:

    chi2:     {output: fit.json, value: fit.chi2}             # a number in a JSON file; also peaks[0].width
    density:  {output: energies.txt, column: 2, row: -1}      # a number in a table; columns and rows count from 0
    io_share: sum(job.io_time for job in jobs if job.transformation == 'md') / workflow.cumulative_time

The last is an expression over `workflow`, `jobs` and `tasks`, the records of `panorama_driver.metrics`. What is
unknown never counts as 0: an expression that meets it fails with the reason, and so does the sum, mean or largest of
nothing.
"""

from __future__ import annotations

import ast
import difflib
import json
import math
import operator
import re
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Protocol, TypeVar

from .errors import ResponseError
from .metrics import (
    AttemptMetrics,
    DarshanFile,
    DarshanLustre,
    DarshanModule,
    DarshanSummary,
    JobMetrics,
    TaskMetrics,
    TcpSummary,
    WorkflowMetrics,
)

OUTPUT_LIMIT = 64 * 1024 * 1024
"""A larger output file is not read [bytes]."""
EXPRESSION_LIMIT = 1000
"""Longest expression [characters]."""
STEP_LIMIT = 500_000
"""Most records that the comprehensions of one expression may visit."""

_STEP = re.compile(r"\.?(?P<name>[^.\[\]]+)|\[(?P<index>-?\d+)\]")
_PATH = re.compile(r"([^.\[\]]+|\[-?\d+\])(\.[^.\[\]]+|\[-?\d+\])*")
_Darshan = DarshanSummary | DarshanModule | DarshanLustre | DarshanFile
_Record = WorkflowMetrics | JobMetrics | AttemptMetrics | TaskMetrics | TcpSummary | _Darshan
_NOT_METRICS = {"reasons", "sources"}
_NOUNS = {
    WorkflowMetrics: "workflow",
    JobMetrics: "a job",
    AttemptMetrics: "an attempt",
    TaskMetrics: "a task",
    TcpSummary: "tcp",
    DarshanSummary: "darshan",
    DarshanModule: "a module of darshan",
    DarshanLustre: "darshan.lustre",
    DarshanFile: "a file of darshan",
}
_T = TypeVar("_T")
_U = TypeVar("_U")


class Form(Protocol):
    """One way to come to a number."""

    def find(self, workflow: WorkflowMetrics, output_dir: Path) -> object:
        """Look it up; it has still to be checked for being a number."""


@dataclass(frozen=True)
class Responses:
    """What a study asks of each evaluation, checked before the first one runs.

    Attributes
    ----------
    forms : mapping of str to Form
        How each response is found, by its name, in the order of the study.
    gradients, hessians : mapping of str to JsonValue
        Where the workflow writes derivatives: an object of numbers by variable, or by variable and variable.
    """

    forms: Mapping[str, Form]
    gradients: Mapping[str, JsonValue] = field(default_factory=dict)
    hessians: Mapping[str, JsonValue] = field(default_factory=dict)

    @classmethod
    def parse(
        cls,
        responses: Mapping[str, object],
        gradients: Mapping[str, object] | None = None,
        hessians: Mapping[str, object] | None = None,
    ) -> Responses:
        """Read the mappings under `responses`, `gradients` and `hessians` in study.yml.

        Raises
        ------
        ResponseError
            One or more cannot work: a metric that does not exist, an expression that says something else than
            arithmetic, a form that is unknown. The message has a line for each.
        """
        if not isinstance(responses, Mapping) or not responses:
            raise ResponseError(
                "study.yml asks for no responses; write at least one, such as 'makespan: workflow.makespan'"
            )
        derivatives = [_for_each(wanted or {}, _derivative) for wanted in (gradients, hessians)]
        return cls(_for_each(responses, _form), *derivatives)

    def only(self, names: Collection[str]) -> Responses:
        """These responses and no others; names that are none are left out."""
        return Responses({name: form for name, form in self.forms.items() if name in names})

    def gradient(self, name: str, variables: Sequence[str], output_dir: Path) -> list[float]:
        """Derivatives of a response by each of `variables`, in their order.

        Raises
        ------
        ResponseError
            The output file lacks one of them.
        """
        return [self.gradients[name].below(variable).number(output_dir) for variable in variables]

    def hessian(self, name: str, variables: Sequence[str], output_dir: Path) -> list[list[float]]:
        """Second derivatives of a response, a row for each of `variables`.

        Raises
        ------
        ResponseError
            The output file lacks one of them.
        """
        place = self.hessians[name]
        return [[place.below(row).below(column).number(output_dir) for column in variables] for row in variables]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Output files that are read, each once."""
        found = (form.output for form in self.forms.values() if isinstance(form, JsonValue | TableValue))
        return tuple(dict.fromkeys(found))

    def evaluate(self, workflow: WorkflowMetrics, output_dir: Path) -> dict[str, float]:
        """Find the number of every response.

        Parameters
        ----------
        workflow : WorkflowMetrics
            What was measured.
        output_dir : Path
            Folder of the workflow's output files.

        Raises
        ------
        ResponseError
            One or more have no finite number: an output file or a value in it is missing, a metric is unknown. The
            message has a line for each.
        """
        return _for_each(self.forms, lambda form: _finite(form.find(workflow, output_dir)))


@dataclass(frozen=True)
class JsonValue:
    """A number in a JSON output file, at a path such as `fit.peaks[0].width`."""

    output: str
    value: str

    def __post_init__(self) -> None:
        _check_output(self.output)
        if not isinstance(self.value, str) or not _PATH.fullmatch(self.value):
            raise ResponseError(f"value {self.value!r} is no path of names and [numbers], such as fit.peaks[0].width")

    def below(self, name: str) -> JsonValue:
        """The value of that name in the object at this path."""
        return JsonValue(self.output, f"{self.value}.{name}")

    def number(self, output_dir: Path) -> float:
        """The value as a finite number."""
        return _finite(self._walked(output_dir))

    def find(self, workflow: WorkflowMetrics, output_dir: Path) -> object:
        """Walk down the path."""
        return self._walked(output_dir)

    def _walked(self, output_dir: Path) -> object:
        file = output_dir / self.output
        try:
            here = json.loads(_content(file))
        except (ValueError, RecursionError) as error:
            raise ResponseError(f"{file}: is not JSON: {error}") from error
        for step in _STEP.finditer(self.value):
            here = _walk(here, step, f"{file}: {self.value[: step.start()].rstrip('.') or 'the file'}")
        if isinstance(here, bool) or not isinstance(here, int | float):
            raise ResponseError(f"{file}: {self.value} is {_described(here)}, not a number")
        return here


@dataclass(frozen=True)
class TableValue:
    """A number in a table of blank-separated columns; empty lines and those that begin with `#` are no rows.

    Columns and rows count from 0, or from -1 backwards.
    """

    output: str
    column: int
    row: int = -1

    def __post_init__(self) -> None:
        _check_output(self.output)
        for name, number in (("column", self.column), ("row", self.row)):
            if isinstance(number, bool) or not isinstance(number, int):
                raise ResponseError(f"{name} {number!r} is not a whole number; the first {name} is 0, the last is -1")

    def find(self, workflow: WorkflowMetrics, output_dir: Path) -> object:
        """Find row and column."""
        file = output_dir / self.output
        lines = _content(file).decode("utf-8", "replace").splitlines()
        rows = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
        cells = _entry(rows, self.row, f"{file}: it", "rows").split()
        cell = _entry(cells, self.column, f"{file}: row {self.row}", "columns")
        try:
            return float(cell)
        except ValueError:
            raise ResponseError(f"{file}: row {self.row}, column {self.column} is {cell!r}, not a number") from None


_SCOPE = {
    "workflow": WorkflowMetrics,
    "jobs": tuple[JobMetrics, ...],
    "tasks": tuple[TaskMetrics, ...],
}
"""What an expression is over."""


@dataclass(frozen=True)
class Expression:
    """Arithmetic over the metrics of the workflow and its jobs."""

    text: str

    def __post_init__(self) -> None:
        if len(self.text) > EXPRESSION_LIMIT:
            raise ResponseError(f"the expression is longer than {EXPRESSION_LIMIT} characters")
        try:
            tree = ast.parse(self.text.strip(), mode="eval")
            _Checker(_SCOPE).check(tree.body)
        except ResponseError:
            raise
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ResponseError(f"{self.text!r} is no expression: {getattr(error, 'msg', error)}") from error

    def find(self, workflow: WorkflowMetrics, output_dir: Path) -> object:
        """Evaluate it."""
        import simpleeval

        simpleeval.MAX_COMPREHENSION_LENGTH = STEP_LIMIT
        seen = _View(workflow)
        names = {"workflow": seen, "jobs": seen.jobs, "tasks": tuple(task for job in seen.jobs for task in job.tasks)}
        evaluator = simpleeval.EvalWithCompoundTypes(
            operators=dict(_OPERATORS), functions=dict(_FUNCTIONS), names=names
        )
        try:
            result: object = evaluator.eval(self.text)
        except ResponseError:
            raise
        except ZeroDivisionError as error:
            raise ResponseError(f"{self.text!r} divides by zero") from error
        except (simpleeval.InvalidExpression, ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise ResponseError(f"{self.text!r} has no value: {error}") from error
        return result


def _for_each(items: Mapping[str, _T], find: Callable[[_T], _U]) -> dict[str, _U]:
    found: dict[str, _U] = {}
    problems: list[str] = []
    for name, item in items.items():
        try:
            found[name] = find(item)
        except ResponseError as error:
            problems.append(f"response {name!r}: {error}")
    if problems:
        raise ResponseError("\n".join(problems))
    return found


def _form(wanted: object) -> Form:
    if isinstance(wanted, str):
        return Expression(wanted)
    if isinstance(wanted, Mapping):
        keys = set(wanted)
        if keys == {"output", "value"}:
            return JsonValue(**wanted)
        if keys in ({"output", "column"}, {"output", "column", "row"}):
            return TableValue(**wanted)
    raise ResponseError(
        f"{wanted!r} is none of: an expression such as workflow.makespan; {{output: FILE, value: PATH}} for a JSON "
        "file; {output: FILE, column: N, row: N} for a table"
    )


def _derivative(wanted: object) -> JsonValue:
    form = _form(wanted)
    if not isinstance(form, JsonValue):
        raise ResponseError(f"{wanted!r} is not {{output: FILE, value: PATH}} of an object of derivatives by variable")
    return form


def _finite(found: object) -> float:
    if isinstance(found, bool) or not isinstance(found, int | float):
        hint = "; write '1 if ... else 0'" if isinstance(found, bool) else ""
        raise ResponseError(f"the result is {_described(found)}, not a number{hint}")
    try:
        number = float(found)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ResponseError(f"the result is {number}, not a finite number")
    return number


def _check_output(output: object) -> None:
    if not isinstance(output, str) or not output or PurePosixPath(output).is_absolute() or ".." in output.split("/"):
        raise ResponseError(f"output {output!r} is no file below the evaluation's output folder")


def _content(file: Path) -> bytes:
    try:
        size = file.stat().st_size
        if size > OUTPUT_LIMIT:
            raise ResponseError(f"{file}: has {size} bytes, more than the {OUTPUT_LIMIT} that are read")
        return file.read_bytes()
    except FileNotFoundError:
        raise ResponseError(f"{file}: there is no such output; {_listed(file.parent)}") from None
    except OSError as error:
        raise ResponseError(f"{file}: cannot be read: {error.strerror}") from error


def _listed(folder: Path) -> str:
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return f"nor is there a folder {folder}"
    return f"its folder has {', '.join(names[:10]) or 'no files'}{', ...' if len(names) > 10 else ''}"


def _walk(here: object, step: re.Match[str], where: str) -> object:
    name = step["name"]
    if name is None:
        if not isinstance(here, list):
            raise ResponseError(f"{where} is {_described(here)}, not a list, and has no {step[0]}")
        return _entry(here, int(step["index"]), where, "entries")
    if not isinstance(here, dict):
        raise ResponseError(f"{where} is {_described(here)}, not an object, and has no {name!r}")
    if name not in here:
        raise ResponseError(f"{where} has no {name!r}; {_nearest(name, list(here))}")
    return here[name]


def _entry(entries: Sequence[_T], index: int, where: str, noun: str) -> _T:
    try:
        return entries[index]
    except IndexError:
        raise ResponseError(f"{where} has {len(entries)} {noun}, and so none at {index}") from None


def _described(value: object) -> str:
    if value is None or isinstance(value, bool | int | float | str):
        text = json.dumps(value)
        return text if len(text) <= 60 else f"{text[:60]}..."
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    return "an object" if isinstance(value, dict) else "a record"


def _nearest(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f"nearest: {', '.join(close)}"
    return f"there are: {', '.join(sorted(names)[:40])}" if names else "it is empty"


class _View:
    """A record of metrics as an expression sees it: what is unknown raises with its reason."""

    __slots__ = ("_record", "_words")

    def __init__(self, record: _Record, words: str = "workflow") -> None:
        self._record = record
        self._words = words

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._record, name)
        if value is None and not _is_text(_hints(type(self._record))[name]):
            reason = getattr(self._record, "reasons", {}).get(name, "no reason was recorded")
            raise ResponseError(f"{self._words}: {name} is unknown: {reason}")
        if isinstance(value, tuple):
            return tuple(_View(entry, _title(entry)) if isinstance(entry, _Record) else entry for entry in value)
        return self._below(value, name) if isinstance(value, _Record) else value

    def _below(self, record: _Record, name: str) -> _View:
        """A record within this one; a sum that lacks some logs is a lower bound, which would mislead."""
        if isinstance(record, DarshanSummary) and not record.complete:
            raise ResponseError(f"{self._words}: {name} does not tell all: {'; '.join(record.problems)}")
        return _View(record, f"{self._words}: {name}")


def _title(record: _Record) -> str:
    match record:
        case AttemptMetrics():
            return f"attempt {record.attempt} of job {record.job_id}"
        case JobMetrics():
            return f"job {record.job_id}"
        case TaskMetrics():
            return f"task {record.task_id} of job {record.job_id}"
    return "workflow"


@cache
def _hints(record: type[_Record]) -> dict[str, Any]:
    """Names that an expression may use of a record, each with its type."""
    hints = {name: hint for name, hint in typing.get_type_hints(record).items() if name not in _NOT_METRICS}
    for name, value in vars(record).items():
        if isinstance(value, property):
            hints[name] = typing.get_type_hints(value.fget)["return"]
    return hints


def _is_text(hint: object) -> bool:
    """A name that is unknown equals no other name, which is all that an expression can ask of it."""
    hint = _known(hint)
    return hint is str or typing.get_origin(hint) is Literal


def _known(hint: object) -> object:
    """`X | None` is X: whether it is known shows only when it is looked up."""
    kinds = [kind for kind in typing.get_args(hint) if kind is not types.NoneType]
    return kinds[0] if isinstance(hint, types.UnionType) and len(kinds) == 1 else hint


def _number_operator(operation: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def apply(left: object, right: object) -> object:
        for side in (left, right):
            if not isinstance(side, int | float):
                raise TypeError(f"arithmetic with {_described(side)}, which is not a number")
        return operation(left, right)

    return apply


# math.pow computes in floating point, so that no power can take long.
_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    **{
        node: _number_operator(operation)
        for node, operation in {
            ast.Add: operator.add,
            ast.Sub: operator.sub,
            ast.Mult: operator.mul,
            ast.Div: operator.truediv,
            ast.FloorDiv: operator.floordiv,
            ast.Mod: operator.mod,
            ast.Pow: math.pow,
        }.items()
    },
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda one, many: one in many,
    ast.NotIn: lambda one, many: one not in many,
}


def _sum(values: Sequence[float]) -> float:
    return sum(_something(values))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(_something(values)) / len(values)


def _median(values: Sequence[float]) -> float:
    import statistics

    return statistics.median(_something(values))


def _something(values: Sequence[float]) -> Sequence[float]:
    """The sum of nothing is more often a misspelt name in a filter than a 0 that somebody meant."""
    if not len(values):
        raise ValueError("nothing passes the filter; where that is an answer, write '... if any(...) else 0'")
    return values


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sum": _sum,
    "min": min,
    "max": max,
    "len": len,
    "abs": abs,
    "mean": _mean,
    "median": _median,
    "sqrt": math.sqrt,
    "log": math.log,
    "log10": math.log10,
    "exp": math.exp,
    "round": round,
    "any": any,
    "all": all,
}


class _Checker:
    """Walks an expression before it is ever evaluated: what each part is, where that can be told.

    Only what is listed here is allowed: no calls but of `_FUNCTIONS`, no attributes but of metrics records.
    """

    def __init__(self, scope: Mapping[str, object]) -> None:
        self._scope = dict(scope)

    def check(self, node: ast.expr) -> object:
        """Type of the value of `node`; None where it depends on values.

        Raises
        ------
        ResponseError
            It has no metric of that name, or is nothing that an expression may contain.
        """
        match node:
            case ast.Constant(value=bool() | int() | float() | str() as value):
                return type(value)
            case ast.Name(id=name):
                return self._name(name)
            case ast.Attribute(value=owner, attr=name):
                return _metric(self.check(owner), name, ast.unparse(owner))
            case ast.Subscript(value=many, slice=index):
                self.check(index)
                return _element(self.check(many))
            case ast.GeneratorExp() | ast.ListComp():
                return self._comprehension(node)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
                self._all(arguments)
            case _:
                self._all(_operands(node))
        return None

    def _all(self, nodes: Sequence[ast.expr]) -> None:
        for node in nodes:
            self.check(node)

    def _name(self, name: str) -> object:
        if name not in self._scope:
            known = ", ".join([*self._scope, *(f"{function}()" for function in _FUNCTIONS)])
            raise ResponseError(f"{name!r} is not known; an expression has {known}")
        return self._scope[name]

    def _comprehension(self, node: ast.GeneratorExp | ast.ListComp) -> object:
        inner = _Checker(self._scope)
        for part in node.generators:
            many = inner.check(part.iter)
            if not isinstance(part.target, ast.Name) or part.is_async:
                raise ResponseError(f"{ast.unparse(node)!r}: write 'for NAME in ...'")
            inner._scope[part.target.id] = _element(many)
            inner._all(part.ifs)
        return types.GenericAlias(list, (inner.check(node.elt),))


def _operands(node: ast.expr) -> Sequence[ast.expr]:
    match node:
        case ast.BinOp(left=left, op=kind, right=right) if type(kind) in _OPERATORS:
            return left, right
        case ast.UnaryOp(op=kind, operand=operand) if type(kind) in _OPERATORS:
            return (operand,)
        case ast.Compare(left=left, ops=kinds, comparators=others) if all(type(kind) in _OPERATORS for kind in kinds):
            return left, *others
        case ast.BoolOp(values=parts) | ast.Tuple(elts=parts) | ast.List(elts=parts):
            return parts
        case ast.IfExp(test=test, body=body, orelse=otherwise):
            return test, body, otherwise
    raise ResponseError(f"{ast.unparse(node)!r} may not stand in an expression; {_ALLOWED}")


_ALLOWED = f"it may have numbers, metrics, arithmetic, comparisons, 'for ... in ... if ...', {', '.join(_FUNCTIONS)}"


def _element(many: object) -> object:
    hint = _known(many)
    return typing.get_args(hint)[0] if typing.get_origin(hint) in (tuple, list) else None


def _metric(owner: object, name: str, text: str) -> object:
    kind = _known(owner)
    if not isinstance(kind, type) or not issubclass(kind, _Record):
        raise ResponseError(
            f"'{text}.{name}': {text} is no record of metrics; take them of workflow, or of each job: "
            f"sum(job.{name} for job in jobs)"
        )
    hints = _hints(kind)
    if name not in hints:
        raise ResponseError(f"{_NOUNS[kind]} has no metric {name!r}; {_nearest(name, list(hints))}")
    return hints[name]
