"""`panorama analyse tcp`: what the network did to the segments of transfers, and from what it is told."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import EnvironmentMissingError, UsageError
from ._common import json_option, open_chosen, safe, store_option, study_option, write_json
from ._runs import workflow_in

if TYPE_CHECKING:
    from ..analysis.tcp import Judged, Model, Sight, Verdict

_QUIET = 2.0  # s, after which what is done is told
_SHOWN = 200  # transfers in the table
_TOLD = Callable[[str], None]
_Log = tuple[str | None, Path]
_Row = tuple["Sight", "Verdict", "Judged | None"]


@click.command("tcp")
@click.argument("logs", metavar="[[VARIANT=]LOG...]", nargs=-1)
@click.option("--learn", "learning", is_flag=True, help="The LOGs are of normal transfers: learn them, with -o.")
@click.option(
    "-o", "output", metavar="FILE", type=click.Path(path_type=Path), help="Where the learnt model goes (JSON)."
)
@click.option("--model", "model_path", metavar="FILE", type=click.Path(path_type=Path), help="Model to judge with.")
@click.option("--seed", default=0, show_default=True, help="Of the forests that are learnt.")
@click.option(
    "--false-positives", default=0.01, show_default=True, help="Share of normal transfers that may be called otherwise."
)
@click.option("--run", "which", metavar="WF", help="Judge only that run of the store, by its uuid or the beginning.")
@click.option("--all", "everything", is_flag=True, help="List normal transfers too.")
@study_option
@store_option
@json_option
def command(
    logs: tuple[str, ...],
    learning: bool,
    output: Path | None,
    model_path: Path | None,
    seed: int,
    false_positives: float,
    which: str | None,
    everything: bool,
    study: Path,
    store: str | None,
    as_json: bool,
) -> None:
    """Tell whether the network lost, doubled or reordered segments of transfers, or that it cannot be told.

    LOGs are Tstat's log_tcp_complete, or directories with such; VARIANT is the TCP variant of their transfers, which
    Tstat does not know. Without a LOG the connections in the store of a study are judged. A connection that was seen
    from both its ends needs no --model.

    \b
    Examples:
      panorama analyse tcp --learn cubic=normal/cubic bbr=normal/bbr -o model.json
      panorama analyse tcp --model model.json cubic=today/log_tcp_complete
      panorama analyse tcp sender/log_tcp_complete receiver/log_tcp_complete
      panorama analyse tcp --model model.json --store panorama.db --json
    """
    told = _teller()
    if learning:
        if not logs or output is None or model_path:
            raise UsageError("--learn needs LOGs of normal transfers and -o FILE, and no --model")
        _learn(_named(logs), output, (seed, false_positives), as_json, told)
        return
    if output:
        raise UsageError("-o is where --learn writes; to judge, give --model")
    model = _loaded(model_path)
    rows = _of_logs(_named(logs), model, told) if logs else _of_store(study, store, which, model, told)
    if as_json:
        write_json({"transfers": [_facts(*row) for row in rows]})
        return
    _table(rows, everything)


def _learn(
    paths: Sequence[_Log],
    output: Path,
    parameters: tuple[int, float],
    as_json: bool,
    told: _TOLD,
) -> None:
    from ..analysis.tcp import Parameters, learn

    seed, false_positives = parameters
    try:
        chosen = Parameters(seed=seed, false_positives=false_positives)
    except ValueError as problem:
        raise UsageError(f"--seed {seed}, --false-positives {false_positives:g}: {problem}") from None
    sights = list(_sights(paths, told))
    told(f"learning from {len(sights)} transfers")
    model, left_out = learn(sights, chosen)
    model.save(output)
    kinds = [{**kin._asdict(), "transfers": len(normals.counts)} for kin, normals in sorted(model.kinds.items())]
    if as_json:
        few = [{**kin._asdict(), "transfers": number} for kin, number in sorted(left_out.items())]
        write_json({"model": str(output), "kinds": kinds, "left_out": few})
        return
    for kind in kinds:
        click.echo(
            "{transfers:6} normal transfers of {variant}, 1e{magnitude} bytes, seen at the {place} end".format(**kind)
        )
    click.echo(f"{output}: written")
    for kin, number in sorted(left_out.items()):
        words = f"{number} transfers of {safe(kin.variant)}, 1e{kin.magnitude} bytes, at the {kin.place} end"
        click.echo(f"panorama: {words}: too few to learn from", err=True)


def _loaded(path: Path | None) -> Model | None:
    from ..analysis.tcp import load

    if path is not None and not path.is_file():
        raise EnvironmentMissingError(f"{path}: there is no such model; make one with --learn")
    return load(path) if path else None


def _of_logs(paths: Sequence[_Log], model: Model | None, told: _TOLD) -> list[_Row]:
    """Verdicts on the connections of logs; those that two logs have from both ends are judged once, by both."""
    from ..analysis.tcp import judge_all

    sights = list(_sights(paths, told))
    if not sights:
        raise UsageError("no connection of Tstat's is in these logs")
    told(f"judging {len(sights)} connections")
    judged = judge_all(sights, model)
    if not judged:
        raise UsageError("no connection was seen from both its ends; those seen from one need --model")
    return [(sight, verdict, None) for sight, verdict in judged]


def _of_store(study: Path, store: str | None, which: str | None, model: Model | None, told: _TOLD) -> list[_Row]:
    from ..analysis.tcp import judge
    from ..sources.tcp import KIND

    with open_chosen(study, store, readonly=True) as opened:
        runs = [workflow_in(opened, which)] if which else [run.wf_uuid for run in opened.workflows()]
        found: list[Judged] = []
        for number, run in enumerate(runs, 1):
            told(f"run {number} of {len(runs)}")
            found += judge(opened.events(run, {KIND}), model)
    return [(judged.sight, judged.verdict, judged) for judged in found]


def _sights(paths: Iterable[_Log], told: _TOLD) -> Iterator[Sight]:
    """The connections of logs, and a word on those that have damaged lines."""
    from ..analysis.tcp import sight_of_flow
    from ..sources.tstat import Damage, read

    for variant, path in _files(paths):
        damaged = 0
        with path.open("rb") as file:
            for number, flow in enumerate(read(file), 1):
                if isinstance(flow, Damage):
                    damaged += 1
                    continue
                yield sight_of_flow(flow, variant)
                if not number % 1000:
                    told(f"{safe(str(path))}: {number} connections")
        if damaged:
            click.echo(f"panorama: {safe(str(path))}: {damaged} lines tell of no connection", err=True)


def _named(words: Iterable[str]) -> list[_Log]:
    """Logs with the TCP variant that was told for each.

    Raises
    ------
    UsageError
        There is no such log.
    """
    found: list[_Log] = []
    for word in words:
        variant, equals, path = word.partition("=")
        told = (variant, Path(path)) if equals and not Path(word).exists() else (None, Path(word))
        if not told[1].exists():
            raise UsageError(f"{word!r}: there is no such log; give a file or directory, or VARIANT=LOG")
        found.append(told)
    return found


def _files(paths: Iterable[_Log]) -> Iterator[_Log]:
    from ..collector.tstat import logs

    for variant, path in paths:
        for file in logs(path) if path.is_dir() else [path]:
            yield variant, file


def _facts(sight: Sight, verdict: Verdict, judged: Judged | None) -> dict[str, Any]:
    import msgspec

    whose = {} if judged is None else {name: getattr(judged, name) for name in ("wf_uuid", "job_id", "attempt")}
    ends = {"client": _address(sight.client), "server": _address(sight.server)}
    times = {"first": sight.first, "last": sight.last, "bytes": sight.size, "source": sight.source}
    told = msgspec.to_builtins(verdict)
    return {**whose, **ends, **times, "variant": sight.variant, **told}


def _table(rows: Sequence[_Row], everything: bool) -> None:
    if not rows:
        click.echo("no TCP connection is stored there")
    for name, number in Counter(row[1].name for row in rows).most_common():
        click.echo(f"{number:6} {name}")
    listed = [row for row in rows if everything or _worth(row[1])]
    for sight, verdict, _ in listed[:_SHOWN]:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(sight.first))
        sure = f" ({verdict.confidence:.2f})" if verdict.confidence else ""
        click.echo(f"{when}  {_address(sight.client)} -> {_address(sight.server)}  {verdict.name}{sure}")
        click.echo(f"    {safe(verdict.message)}")
        for one in verdict.evidence[:3] if _worth(verdict) else ():
            expected = "" if one.expected is None else f", expected {one.expected:.4g}"
            click.echo(f"    {safe(one.metric)}: {one.observed:.4g}{expected} {safe(one.basis and f'({one.basis})')}")
    if len(listed) > _SHOWN:
        click.echo(f"and {len(listed) - _SHOWN} more; --json has all")


def _worth(verdict: Verdict) -> bool:
    """Whether something happened."""
    return bool(verdict.suspects)


def _address(end: tuple[str, int]) -> str:
    return f"[{end[0]}]:{end[1]}" if ":" in end[0] else f"{end[0]}:{end[1]}"


def _teller() -> _TOLD:
    """Tells on a terminal what is done, from the second on that it takes."""
    begun = last = time.monotonic()

    def tell(words: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - begun > _QUIET and now - last > 1 and sys.stderr.isatty():
            click.echo(f"\r\033[K{words}", err=True, nl=False)
            last = now

    return tell
