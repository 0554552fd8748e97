"""Dakota's parameters and results files: text in, plain records out, and back.

Formats as Dakota 6.24 writes and reads them (User's Manual, "Parameters to Responses: Interfaces" and "Responses").
Standard library only and little of it, because the analysis driver is started once per evaluation.

Which results format Dakota expects is written nowhere in a parameters file, and no text satisfies both readers; so
the rule is `results_style`: told by the driver's `--results-format`, else by a results file named `*.json`, else the
standard format, which is Dakota's own default whatever the format of the parameters.
"""

from __future__ import annotations

import os

from ..errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any, Literal, TypeAlias

    Value: TypeAlias = float | int | str
    Style: TypeAlias = Literal["standard", "json"]
    ParametersFormat: TypeAlias = Literal["standard", "aprepro", "json"]

FUNCTION, GRADIENT, HESSIAN = 1, 2, 4
"""Bits of an active set entry: what Dakota asks of one response."""

_SMALLEST = 2.2250738585072014e-308
_NUMBER = frozenset("0123456789+-.eE")
_SECTIONS = {
    "standard": ("variables", "functions", "derivative_variables", "analysis_components", "eval_id", "metadata"),
    "aprepro": (
        "DAKOTA_VARS",
        "DAKOTA_FNS",
        "DAKOTA_DER_VARS",
        "DAKOTA_AN_COMPS",
        "DAKOTA_EVAL_ID",
        "DAKOTA_METADATA",
    ),
}


class Evaluation:
    """One parameter set, as Dakota asks it to be evaluated.

    Attributes
    ----------
    eval_id : str
        `7`; in a batch `2:7`; with hierarchical tagging the ids of the outer models come before it.
    variables : dict
        Descriptor to value, in Dakota's order. The standard format has no types: text that reads as a number is one.
    texts : dict
        Descriptor to the value as it stands in the file (JSON: the value itself).
    asv : dict
        Response label to what is asked of it: a sum of FUNCTION, GRADIENT and HESSIAN.
    dvv : list of str
        Descriptors of the variables that derivatives are taken by.
    components : list of str
        `analysis_components` of the study.
    metadata : list of str
        Labels of the metadata asked for.
    """

    __slots__ = ("asv", "components", "dvv", "eval_id", "metadata", "texts", "variables")

    def __init__(
        self,
        eval_id: str,
        variables: dict[str, Value],
        texts: dict[str, Value],
        asv: dict[str, int],
        dvv: list[str],
        components: list[str],
        metadata: list[str],
    ) -> None:
        self.eval_id = eval_id
        self.variables = variables
        self.texts = texts
        self.asv = asv
        self.dvv = dvv
        self.components = components
        self.metadata = metadata

    def asked(self, what: int) -> list[str]:
        """Labels of the responses of which Dakota asks `what` (FUNCTION, GRADIENT or HESSIAN)."""
        return [label for label, bits in self.asv.items() if bits & what]


class Request:
    """All a parameters file holds: its format, its evaluations, and whether they are a batch."""

    __slots__ = ("batch", "evaluations", "format")

    def __init__(self, format: ParametersFormat, evaluations: list[Evaluation], batch: bool) -> None:
        self.format = format
        self.evaluations = evaluations
        self.batch = batch


class Answer:
    """What goes back for one evaluation; all of it asked for, nothing else. `failed` leaves no room for values."""

    __slots__ = ("failed", "functions", "gradients", "hessians", "metadata")

    def __init__(
        self,
        functions: Mapping[str, float],
        gradients: Mapping[str, Sequence[float]] | None = None,
        hessians: Mapping[str, Sequence[Sequence[float]]] | None = None,
        metadata: Mapping[str, float] | None = None,
        failed: bool = False,
    ) -> None:
        self.functions = functions
        self.gradients = gradients or {}
        self.hessians = hessians or {}
        self.metadata = metadata or {}
        self.failed = failed


def failure() -> Answer:
    """Say `fail` to Dakota. Not for batches: Dakota 6.24 aborts on it (standard) or asks again for ever (JSON)."""
    return Answer({}, failed=True)


def constant(evaluation: Evaluation, value: float, metadata: Mapping[str, float] | None = None) -> Answer:
    """Answer `value` for each function asked; derivatives and metadata that nobody knows are NaN."""
    nan, known = float("nan"), metadata or {}
    row = [nan] * len(evaluation.dvv)
    return Answer(
        dict.fromkeys(evaluation.asked(FUNCTION), value),
        dict.fromkeys(evaluation.asked(GRADIENT), row),
        dict.fromkeys(evaluation.asked(HESSIAN), [row] * len(row)),
        {label: known.get(label, nan) for label in evaluation.metadata},
    )


def results_style(results: str, told: str | None = None) -> Style:
    """Decide which format Dakota expects a results file in.

    Parameters
    ----------
    results : str
        Path of the results file; Dakota's tags after the name (`results.json.3.1`) do not count.
    told : str or None
        `json` or `standard`, where the user said so.

    Raises
    ------
    FormatError
        `told` is neither.
    """
    if told is not None and told not in ("json", "standard"):
        raise FormatError(f"results format {told!r} is not one of: standard, json")
    words = os.path.basename(results).lower().split(".")
    while words and words[-1].isdecimal():
        words.pop()
    return "json" if told == "json" or (told is None and len(words) > 1 and words[-1] == "json") else "standard"


def read_parameters_file(path: str, hints: Iterable[str] = ()) -> Request:
    """Read a parameters file of any format; `hints` as in `parse_parameters`.

    Raises
    ------
    FormatError
        The file is not a parameters file; the message names file, line and value.
    OSError
        The file cannot be read.
    """
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as stream:
        text = stream.read()
    return parse_parameters(text, path, hints)


def parse_parameters(text: str, source: str = "parameters", hints: Iterable[str] = ()) -> Request:
    """Read the text of a parameters file: standard, aprepro or JSON, one evaluation or a batch.

    Parameters
    ----------
    text : str
        All of the file. Line ends may be those of any system, the last one may be missing.
    source : str
        What messages call the file.
    hints : iterable of str
        Paths that carry Dakota's tag (results file, work directory): they tell the batch of one evaluation `1:1`
        from evaluation `1:1` of a hierarchical model.

    Raises
    ------
    FormatError
        It is not such a text.
    """
    start = text.lstrip("\ufeff").lstrip()
    if not start:
        raise FormatError(f"{source}: the parameters file is empty")
    if start[0] == "[" or (start[0] == "{" and start[1:].lstrip()[:1] in ('"', "}")):
        return _parse_json(start, source)
    format: ParametersFormat = "aprepro" if start[0] == "{" else "standard"
    lines = _Lines(text, source, format)
    evaluations = []
    while not lines.at_end():
        evaluations.append(_block(lines))
    return Request(format, evaluations, len(evaluations) > 1 or _is_batch_id(evaluations[0].eval_id, hints))


def _is_batch_id(eval_id: str, hints: Iterable[str]) -> bool:
    """`1:1` is a batch unless a file is tagged `.1.1`; hierarchical tagging makes `1:1:1`, in a batch `.1:1:1`."""
    if eval_id.startswith("."):
        return True
    tag = "." + eval_id.replace(":", ".")
    return eval_id.count(":") == 1 and not any(hint.endswith(tag) for hint in hints)


class _Lines:
    """Lines of a standard or aprepro file, taken one by one; blank ones are skipped."""

    def __init__(self, text: str, source: str, format: ParametersFormat) -> None:
        lines = text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._lines = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
        self._at = 0
        self._source = source
        self.sections = _SECTIONS[format]
        self.quoted = format == "aprepro"
        self._split = _split_aprepro if self.quoted else _split_standard

    def at_end(self) -> bool:
        return self._at == len(self._lines)

    def wrong(self, expected: str) -> FormatError:
        if self.at_end():
            return FormatError(f"{self._source}: the file ends where {expected} should stand")
        number, line = self._lines[self._at]
        return FormatError(f"{self._source}:{number}: expected {expected}, found {line.strip()!r}")

    def take(self, tag: str, expected: str) -> tuple[str, str]:
        """Label and value of the next line, whose label starts with `tag`."""
        found = None if self.at_end() else self._split(self._lines[self._at][1], tag)
        if found is None:
            raise self.wrong(expected)
        self._at += 1
        return found

    def next_is(self, section: str) -> bool:
        if self.at_end():
            return False
        found = self._split(self._lines[self._at][1], section)
        return found is not None and found[0] == section

    def count(self, section: str) -> int:
        """The number of entries that a section announces."""
        expected = f"the number of {section}"
        if not self.next_is(section):
            raise self.wrong(expected)
        _, text = self.take(section, expected)
        if not (text.isascii() and text.isdecimal()):
            self._at -= 1
            raise self.wrong(expected)
        return int(text)

    def whole(self, tag: str, expected: str, most: int) -> tuple[str, int]:
        """Label and whole number (at most `most`) of the next line."""
        label, text = self.take(tag, expected)
        if not (text.isascii() and text.isdecimal() and int(text) <= most):
            self._at -= 1
            raise self.wrong(expected)
        return label[len(tag) :], int(text)

    def value(self, text: str) -> Value:
        """The value of a variable: aprepro quotes its strings, the standard format leaves it to a guess."""
        if self.quoted and _is_quoted(text):
            return text[1:-1]
        number = _number(text)
        if number is not None:
            return number
        if self.quoted:
            self._at -= 1
            raise self.wrong("a number or a quoted string")
        return text


def _split_standard(line: str, tag: str) -> tuple[str, str] | None:
    """`<value> <label>`; both may hold blanks, but a label that does is known by its tag (`AC_1:`)."""
    if not tag:
        value, blank, label = line.rstrip().rpartition(" ")
        return (label, value.strip()) if blank else None
    at = line.find(" " + tag)
    return (line[at + 1 :].rstrip(), line[:at].strip()) if at >= 0 else None


def _split_aprepro(line: str, tag: str) -> tuple[str, str] | None:
    """`{ <label> = <value> }`; the label may hold blanks and `=`, a quoted value both and `}`."""
    line = line.strip()
    if not (line.startswith("{ " + tag) and line.endswith("}")):
        return None
    inner = line[1:-1].strip()
    at = inner.find(" = ")
    if inner.endswith('"'):
        while at >= 0 and not inner[at + 3 :].lstrip().startswith('"'):
            at = inner.find(" = ", at + 1)
    return (inner[:at].rstrip(), inner[at + 3 :].strip()) if at > 0 else None


def _number(text: str) -> float | int | None:
    """A number as Dakota writes one. Words as `nan` and `1_000`, which Python would take, stay text."""
    if not text or not _NUMBER.issuperset(text):
        return None
    try:
        return float(text) if set(text) & {".", "e", "E"} else int(text)
    except ValueError:
        return None


def _block(lines: _Lines) -> Evaluation:
    vars_, fns, der_vars, an_comps, id_, metadata = lines.sections
    texts: dict[str, Value] = {}
    variables: dict[str, Value] = {}
    for _ in range(lines.count(vars_)):
        label, text = lines.take("", "a variable and its value")
        variables[label] = lines.value(text)
        texts[label] = text[1:-1] if lines.quoted and _is_quoted(text) else text
    asv = dict(lines.whole(f"ASV_{i}:", "an active set entry", 7) for i in _indices(lines.count(fns)))
    dvv = [
        lines.whole(f"DVV_{i}:", "a derivative variable", len(variables))[0] for i in _indices(lines.count(der_vars))
    ]
    components = [_unquoted(lines, f"AC_{i}:", "an analysis component") for i in _indices(lines.count(an_comps))]
    eval_id = lines.take(id_, "the evaluation's id")[1]
    # Dakota before 6.16 has no metadata.
    asked = lines.count(metadata) if lines.next_is(metadata) else 0
    labels = [_unquoted(lines, f"MD_{i}", "a metadata label") for i in _indices(asked)]
    return Evaluation(eval_id, variables, texts, asv, dvv, components, labels)


def _indices(count: int) -> range:
    return range(1, count + 1)


def _unquoted(lines: _Lines, tag: str, expected: str) -> str:
    text = lines.take(tag, expected)[1]
    return text[1:-1] if lines.quoted and _is_quoted(text) else text


def _is_quoted(text: str) -> bool:
    return len(text) >= 2 and text[0] == text[-1] == '"'


def _parse_json(text: str, source: str) -> Request:
    import json  # 6 ms that the other formats need not pay

    try:
        content = json.loads(text)
    except ValueError as problem:
        raise FormatError(f"{source}: not JSON: {problem}") from None
    blocks = content if isinstance(content, list) else [content]
    if not blocks:
        raise FormatError(f"{source}: a batch without evaluations")
    evaluations = [_json_block(block, f"{source}: evaluation {i}") for i, block in enumerate(blocks, 1)]
    return Request("json", evaluations, isinstance(content, list))


def _json_block(block: Any, where: str) -> Evaluation:
    if not isinstance(block, dict):
        raise FormatError(f"{where}: expected an object, found {block!r:.80}")
    variables: dict[str, Value] = dict(_json_pairs(block, "variables", "label", "value", (int, float, str), where))
    names = list(variables)
    ids = _json_list(block, "derivative_variables", where)
    if not all(isinstance(i, int) and 1 <= i <= len(names) for i in ids):
        raise FormatError(f"{where}: derivative_variables {ids} are not ids of {len(names)} variables")
    eval_id = block.get("eval_id")
    if not isinstance(eval_id, (str, int)):
        raise FormatError(f"{where}: eval_id is {eval_id!r}, not an id")
    return Evaluation(
        str(eval_id),
        variables,
        variables,
        dict(_json_pairs(block, "responses", "label", "active_set", (int,), where)),
        [names[i - 1] for i in ids],
        [text for _, text in _json_pairs(block, "analysis_components", "driver", "component", (str,), where)],
        [str(label) for label in _json_list(block, "metadata", where, required=False)],
    )


def _json_list(block: dict[str, Any], key: str, where: str, required: bool = True) -> list[Any]:
    found = block.get(key, None if required else [])
    if not isinstance(found, list):
        raise FormatError(f"{where}: {key} is {found!r:.80}, not a list")
    return found


def _json_pairs(
    block: dict[str, Any], key: str, label: str, value: str, types: tuple[type, ...], where: str
) -> Iterator[tuple[str, Any]]:
    for item in _json_list(block, key, where):
        if not (isinstance(item, dict) and isinstance(item.get(label), str) and isinstance(item.get(value), types)):
            raise FormatError(f"{where}: {key} has {item!r:.80}, not an object of {label!r} and {value!r}")
        yield item[label], item[value]


def format_results(answers: Sequence[Answer], style: Style, batch: bool = False) -> str:
    """Write a results file's text.

    The standard text carries labels, so that both `results_format standard` and `standard labeled` accept it.

    Raises
    ------
    ValueError
        A failure in a batch, which Dakota 6.24 cannot take (`failure`); or answers that are not one.
    """
    if batch and any(answer.failed for answer in answers):
        raise ValueError("Dakota cannot be told of a failure inside a batch: answer with NaN or a penalty value")
    if not batch and len(answers) != 1:
        raise ValueError(f"{len(answers)} answers for one evaluation")
    if style == "json":
        return _format_json(answers, batch)
    if batch:
        return "".join("#\n" + (_standard_block(answer) or "\n") for answer in answers)
    return _standard_block(answers[0])


def _standard_block(answer: Answer) -> str:
    if answer.failed:
        return "FAIL\n"
    lines = [f"{_number_text(value)} {_word(label)}" for label, value in answer.functions.items()]
    lines += ["[ " + _row(row) + " ]" for row in answer.gradients.values()]
    lines += ["[[" + "\n  ".join(map(_row, rows)) + " ]]" for rows in answer.hessians.values()]
    lines += [f"{_number_text(value)} {_word(label)}" for label, value in answer.metadata.items()]
    return "".join(line + "\n" for line in lines)


def _row(row: Sequence[float]) -> str:
    return "".join(f"{_number_text(value):>25}" for value in row)


def _number_text(value: float) -> str:
    """17 digits, enough to come back the same. Dakota's reader aborts on a subnormal number, so that becomes 0."""
    if abs(value) < _SMALLEST:
        value = 0.0
    return f"{value:24.16E}" if value - value == 0 else f"{value:24}"


def _word(label: str) -> str:
    """A label without blanks: Dakota reads what follows one as the next value."""
    return "_".join(label.split())


def _format_json(answers: Sequence[Answer], batch: bool) -> str:
    import json  # see _parse_json

    blocks = [_json_answer(answer) for answer in answers]
    return json.dumps(blocks if batch else blocks[0], indent=1) + "\n"


def _json_answer(answer: Answer) -> dict[str, Any]:
    if answer.failed:
        return {"fail": True}
    return {
        "functions": {label: _json_number(value) for label, value in answer.functions.items()},
        "gradients": {label: [*map(_json_number, row)] for label, row in answer.gradients.items()},
        "hessians": {label: [[*map(_json_number, row)] for row in rows] for label, rows in answer.hessians.items()},
        "metadata": {label: _json_number(value) for label, value in answer.metadata.items()},
    }


def _json_number(value: float) -> float | str:
    value = float(value)
    if value - value == 0:
        return value
    return "NaN" if value != value else "Inf" if value > 0 else "-Inf"


def write_atomically(path: str, text: str) -> None:
    """Write a file that is whole or not there: temporary name in the same folder, fsync, rename, fsync of the folder.

    Raises
    ------
    OSError
        The folder is gone or full.
    """
    content = text.encode("utf-8", "surrogateescape")
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError:
        if os.path.lexists(temporary):
            os.unlink(temporary)
        raise
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
