"""The program that Dakota starts for each evaluation: panorama-driver [--results-format standard|json] PARAMS RESULTS.

It reads the parameters file, asks the study server to run the workflow, and ALWAYS leaves a complete results file and
exits 0: a driver that leaves none, or dies, takes the whole study with it. Standard library only, and little of it.

In a study:  analysis_drivers = 'panorama-driver'   analysis_components = 'study.yml'

--results-format  say `json` where study.in says `results_format json` and the results file is not named `*.json`
"""

from __future__ import annotations

import os
import sys

from ..errors import EvaluationCancelledError, EvaluationError, PanoramaError, ResponseError, UsageError
from . import _formats as formats

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping, Sequence
    from types import FrameType
    from typing import Any

    Reply = Mapping[str, Any]
else:
    import _signal as signal  # `signal` makes enums of all constants: 2 ms of a start that may take 30

_VARIABLES = ("DAKOTA_PARAMETERS_FILE", "DAKOTA_RESULTS_FILE")
_CANCELLING: dict[int, str] = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "SIGINT"}
_DERIVATIVES = {
    formats.GRADIENT: ("gradients", "gradient", "numerical_gradients"),
    formats.HESSIAN: ("hessians", "Hessian", "numerical_hessians"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Answer one parameters file of Dakota.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the program's name. The last two are the parameters and the results file; without them
        DAKOTA_PARAMETERS_FILE and DAKOTA_RESULTS_FILE are taken from the environment.

    Returns
    -------
    int
        0, whatever became of the evaluation; 2 only where no results file is named, so that none can be left.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    if args in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    try:
        call = _Call(args)
    except UsageError as problem:
        say(str(problem))
        return 2
    _catch_signals()
    try:
        text = call.answer()
        _ignore_signals()
    # Whatever went wrong, even a mistake of ours, must not cost the user the study: this is the one guard.
    except (Exception, KeyboardInterrupt) as problem:  # noqa: BLE001
        _ignore_signals()
        call.say(_described(problem))
        text = call.failure()
    try:
        formats.write_atomically(call.results, text)
    except (OSError, ValueError) as problem:
        call.say(
            f"the results file cannot be written, so Dakota will abort: {call.results}: {problem}; "
            "what has been evaluated is kept: once this is mended, start Dakota again with -read_restart"
        )
    return 0


class _Call:
    """One start of the driver: two paths, and what the parameters file turned out to hold."""

    def __init__(self, args: list[str]) -> None:
        self.told, files = _without_options(args)
        names = files[-2:] if len(files) >= 2 else [os.environ.get(name) for name in _VARIABLES]
        if not (names[0] and names[1]):
            raise UsageError(
                "no parameters and results file: Dakota gives them as the last two arguments "
                f"and as {' and '.join(_VARIABLES)}; see panorama-driver --help"
            )
        self.parameters, self.results = names[0], names[1]
        self.request: formats.Request | None = None

    def answer(self) -> str:
        """Text of the results file, after the workflows have run."""
        style = formats.results_style(self.results, self.told)
        self.request = formats.read_parameters_file(self.parameters, (self.results, os.getcwd()))
        answers = [
            self._judged(evaluation, reply)
            for evaluation, reply in zip(self.request.evaluations, ask(self.request.evaluations, self.say), strict=True)
        ]
        return formats.format_results(answers, style, self.request.batch)

    def _judged(self, evaluation: formats.Evaluation, reply: Reply) -> formats.Answer:
        batch = self.request is not None and self.request.batch
        try:
            return answer(evaluation, reply)
        except (EvaluationError, ResponseError) as problem:
            say(str(problem), [evaluation])
            return failed(evaluation, reply, batch)

    def failure(self) -> str:
        """Text of the results file where there are no answers."""
        style = "json" if self.told == "json" else formats.results_style(self.results)
        if self.request is None or not self.request.batch:
            return formats.format_results([formats.failure()], style)
        answers = [failed(evaluation, {}, batch=True) for evaluation in self.request.evaluations]
        return formats.format_results(answers, style, batch=True)

    def say(self, message: str) -> None:
        """Tell the user, naming the evaluation or the batch."""
        say(message, self.request.evaluations if self.request is not None else ())


def _without_options(args: list[str]) -> tuple[str | None, list[str]]:
    """What --results-format says, and the arguments besides."""
    files, told = list(args), None
    while files and files[0].partition("=")[0] == "--results-format":
        _, equals, told = files.pop(0).partition("=")
        if not equals:
            told = files.pop(0) if files else ""
    return told, files


def ask(evaluations: Sequence[formats.Evaluation], report: Any) -> list[Reply]:
    """Have the study server run each evaluation; one reply for each, in the same order.

    Parameters
    ----------
    evaluations : sequence of Evaluation
        What a parameters file holds.
    report : callable
        Takes a line of progress.

    Raises
    ------
    StudyError
        There is no study.yml.
    ServerError, EvaluationCancelledError
        See `panorama_driver.study.client.evaluate`.
    """
    from ..study import client  # the socket module costs more than all before

    study_file = _study_file(evaluations[0].components, client.find_study)
    replies: list[Reply] = list(client.evaluate(study_file, [_request(each) for each in evaluations], report))
    if len(replies) != len(evaluations):
        raise EvaluationError(f"the study server gave {len(replies)} replies to {len(evaluations)} evaluations")
    return replies


def _study_file(components: Sequence[str], find_study: Any) -> str:
    names = [name for name in components if name.endswith((".yml", ".yaml"))]
    return str(find_study(os.getcwd(), names[0] if names else "study.yml"))


def _request(evaluation: formats.Evaluation) -> dict[str, Any]:
    return {
        "eval_id": evaluation.eval_id,
        "variables": evaluation.variables,
        "asv": evaluation.asv,
        "dvv": evaluation.dvv,
        "components": evaluation.components,
        "metadata": evaluation.metadata,
    }


def answer(evaluation: formats.Evaluation, reply: Reply) -> formats.Answer:
    """Pick from a reply what Dakota asks for; metadata that the reply lacks are NaN, as Dakota needs each.

    Raises
    ------
    EvaluationError
        The evaluation failed or was cancelled.
    ResponseError
        The reply lacks something asked for, or has it in the wrong shape.
    """
    if reply.get("state") != "ok":
        raise EvaluationError(f"{reply.get('state', 'no state')}: {reply.get('message') or 'no reason given'}")
    given = reply.get("responses") or {}
    width = len(evaluation.dvv)
    gradients = {label: _vector(row, label, width) for label, row in _derivatives(evaluation, reply, formats.GRADIENT)}
    hessians = {
        label: [_vector(row, label, width) for row in _sized(rows, label, width)]
        for label, rows in _derivatives(evaluation, reply, formats.HESSIAN)
    }
    functions = {}
    for label in evaluation.asked(formats.FUNCTION):
        if label not in given:
            raise ResponseError(
                f"no value for response {label!r}: name it under responses: in the study file "
                f"(there are {', '.join(sorted(given)) or 'none'})"
            )
        functions[label] = _float(given[label], label)
    return formats.Answer(functions, gradients, hessians, _metadata(evaluation, reply))


def _derivatives(evaluation: formats.Evaluation, reply: Reply, what: int) -> list[tuple[str, Any]]:
    key, word, keyword = _DERIVATIVES[what]
    given = reply.get(key) or {}
    labels = evaluation.asked(what)
    missing = [label for label in labels if label not in given]
    if missing:
        raise ResponseError(
            f"Dakota asks for the {word} of {', '.join(missing)}, which the workflow does not give: "
            f"write {keyword} in the responses block of study.in, so that Dakota takes differences itself"
        )
    return [(label, given[label]) for label in labels]


def _sized(row: Any, label: str, width: int) -> Sequence[Any]:
    if not isinstance(row, (list, tuple)) or len(row) != width:
        raise ResponseError(f"derivatives of response {label!r} are {row!r:.80}, not {width} long")
    return row


def _vector(row: Any, label: str, width: int) -> list[float]:
    return [_float(value, label) for value in _sized(row, label, width)]


def _float(value: Any, label: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ResponseError(f"response {label!r} is {value!r:.80}, not a number") from None


def _metadata(evaluation: formats.Evaluation, reply: Reply) -> dict[str, float]:
    given = reply.get("metadata") or {}
    return {label: _float(given.get(label, "nan"), label) for label in evaluation.metadata}


def failed(evaluation: formats.Evaluation, reply: Reply, batch: bool) -> formats.Answer:
    """Answer a failure as the study chose: `fail`, `nan`, or a penalty value.

    A batch cannot hold a `fail` (see `formats.failure`): there it becomes NaN. So does a choice that is none.
    """
    choice = reply.get("on_failure", "fail")
    if choice == "fail" and not batch:
        return formats.failure()
    try:
        penalty = float("nan" if choice == "fail" else choice)
        return formats.constant(evaluation, penalty, _metadata(evaluation, reply))
    except (TypeError, ValueError):
        return formats.constant(evaluation, float("nan"))


def _catch_signals() -> None:
    def cancel(number: int, frame: FrameType | None) -> None:
        _ignore_signals()
        raise EvaluationCancelledError(f"cancelled by {_CANCELLING[number]}")

    for number in _CANCELLING:
        signal.signal(number, cancel)


def _ignore_signals() -> None:
    """From here on the results file is being written, which no signal shall stop."""
    for number in _CANCELLING:
        signal.signal(number, signal.SIG_IGN)


def _described(problem: BaseException) -> str:
    """Our errors and the system's speak for themselves; of others the kind is needed to find the mistake."""
    text = str(problem)
    return text if text and isinstance(problem, (PanoramaError, OSError)) else f"{type(problem).__name__}: {text}"


def say(message: str, evaluations: Sequence[formats.Evaluation] = ()) -> None:
    """Write a line to stderr that names the evaluations it is about."""
    ids = [evaluation.eval_id for evaluation in evaluations]
    about = f"evaluation {ids[0]}: " if len(ids) == 1 else f"evaluations {ids[0]} to {ids[-1]}: " if ids else ""
    try:
        print(f"panorama-driver: {about}{message}", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        # A closed or full stderr must not cost the results file.
        return


def run() -> None:
    """Entry point: `main`, and then out at once, since to take the interpreter down in order costs 2 ms."""
    code = main()
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    run()
