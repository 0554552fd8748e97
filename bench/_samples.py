"""One round of a contender, measured: a run of one evaluation, and a run of many."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from _accounting import Account, Cpu, run
from _contenders import ENVIRONMENT, Contender, ContenderError


@dataclass(frozen=True)
class Sample:
    """What one round of a contender gave.

    CPU times of an evaluation are the difference of the two runs, so that starting the tool is not in them.

    Attributes
    ----------
    cpu : float
        Of one more evaluation, all processes [s].
    wall : float
        From the first result to the last, by the evaluations between [s].
    cold_start : float
        From the start of the command to its first result [s].
    start_cpu : float
        Of the run besides its evaluations [s].
    command : Cpu
        The parts of `cpu` that are the command's own (Dakota's), and that of the processes it waited for (drivers).
    daemon : Cpu or None
        The same of the daemon that was left behind, if there was one: the study server's own, and that of its jobs.
    """

    cpu: float
    wall: float
    cold_start: float
    start_cpu: float
    command: Cpu
    daemon: Cpu | None


@dataclass(frozen=True)
class _Run:
    account: Account
    ended: list[float]


def measure(contender: Contender, evaluations: int, home: Path) -> Sample:
    """Run a contender twice in fresh folders below `home`: one evaluation, then `evaluations` times its scale.

    Raises
    ------
    ContenderError
        Not every evaluation has a result.
    TimeoutError
        It hangs.
    """
    evaluations *= contender.scale
    one, many = _run(contender, 1, home), _run(contender, evaluations, home)
    between = evaluations - 1
    cpu = (many.account.total - one.account.total) / between
    return Sample(
        cpu=cpu,
        wall=(many.ended[-1] - many.ended[0]) / between,
        cold_start=one.ended[0] - one.account.started,
        start_cpu=one.account.total - cpu,
        command=_each(many.account.command, one.account.command, between),
        daemon=_each(many.account.daemons[0], one.account.daemons[0], between) if one.account.daemons else None,
    )


def _each(more: Cpu, less: Cpu, between: int) -> Cpu:
    return Cpu((more.own - less.own) / between, (more.children - less.children) / between)


def warm(contender: Contender, home: Path) -> None:
    """Run once for the sake of file caches and compiled bytecode."""
    _run(contender, 1, home)


def _run(contender: Contender, evaluations: int, home: Path) -> _Run:
    with tempfile.TemporaryDirectory(prefix=f"{contender.name}-", dir=home) as name:
        folder = Path(name)
        argv = contender.prepare(folder, evaluations)
        output = folder / "output.txt"
        account = run(argv, folder, ENVIRONMENT, output)
        if account.status:
            raise ContenderError(f"ended with {account.status}: {_tail(output)}")
        ended = contender.ended(folder)
        if len(ended) != evaluations:
            raise ContenderError(f"{len(ended)} results of {evaluations} evaluations: {_tail(output)}")
        return _Run(account, ended)


def _tail(output: Path) -> str:
    return " | ".join(output.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:])
