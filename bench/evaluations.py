"""What an evaluation costs around its job: panorama-driver beside what a user would pick instead, from one run.

Every evaluation runs one process that does nothing. All contenders run in turn, then all of them again, so that what
else the machine does meets each of them alike. CPU times are of all processes, daemons included; a busy machine makes
them longer too, though less than wall times: the bare interpreter of the same run tells by how much.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import _imports
import _machine
import _peers
from _accounting import become_reaper
from _contenders import DRIVERS, PEERS, Contender, ContenderError, Dakota, Peer
from _results import Results, as_data, as_text
from _samples import measure, warm

HOME = Path(__file__).resolve().parent.parent / ".bench"
CONCURRENCIES = (1, 4)
STARTS = 5
NAMES = [*DRIVERS, *PEERS, "imports"]


def main() -> int:
    """Measure and print; gives the exit status: 0 whatever the numbers are, 3 where there are none."""
    args = _arguments()
    HOME.mkdir(exist_ok=True)
    (HOME / ".gitignore").write_text("*\n", encoding="utf-8")
    results = Results(_machine.describe(), args.evaluations)
    contenders = [*_under_dakota(args.only), *_without_dakota(args.only, results)]
    become_reaper()
    with tempfile.TemporaryDirectory(dir=HOME) as home:
        _Bench(Path(home), results, contenders, "imports" in args.only).run(args.rounds)
    results.machine["load after"] = _machine.load()
    print(json.dumps(as_data(results), indent=2) if args.json else as_text(results))
    return 0 if results.samples or results.imports else 3


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=_at_least(1), default=3, help="rounds of every contender (default: 3)")
    parser.add_argument("--evaluations", type=_at_least(2), default=100, help="evaluations in a run (default: 100)")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, help=", ".join(NAMES), metavar="NAME")
    parser.add_argument("--json", action="store_true", help="print every sample as JSON instead of tables")
    return parser.parse_args()


def _at_least(smallest: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if int(text) < smallest:
            raise argparse.ArgumentTypeError(f"{text} is less than {smallest}")
        return int(text)

    return number


def _under_dakota(names: list[str]) -> list[Contender]:
    return [Dakota(name, concurrency) for concurrency in CONCURRENCIES for name in DRIVERS if name in names]


def _without_dakota(names: list[str], results: Results) -> list[Contender]:
    chosen = [name for name in PEERS if name in names]
    if not chosen:
        return []
    _say("installing the peers, unless they are there")
    try:
        python = _peers.interpreter(HOME)
    except _peers.PeersMissingError as problem:
        results.skipped |= dict.fromkeys(chosen, str(problem))
        return []
    return [Peer(name, concurrency, python) for concurrency in CONCURRENCIES for name in chosen]


class _Bench:
    """Rounds of all contenders, each left out from where it fails."""

    def __init__(self, home: Path, results: Results, contenders: list[Contender], imports: bool) -> None:
        self._home = home
        self._results = results
        self._contenders = contenders
        self._imports = imports

    def run(self, rounds: int) -> None:
        """Warm up, then measure round by round."""
        _say("warming up")
        for contender in list(self._contenders):
            self._try(contender, lambda it: warm(it, self._home))
        for number in range(1, rounds + 1):
            _say(f"round {number} of {rounds}")
            for contender in list(self._contenders):
                self._try(contender, self._measure)
            self._start_programs()

    def _try(self, contender: Contender, act: Callable[[Contender], None]) -> None:
        try:
            act(contender)
        except (ContenderError, OSError) as problem:
            self._contenders.remove(contender)
            self._results.skipped[contender.label] = str(problem)
            _say(f"  {contender.label} is out: {problem}")

    def _measure(self, contender: Contender) -> None:
        sample = measure(contender, self._results.evaluations, self._home)
        self._results.samples.setdefault(contender, []).append(sample)
        _say(f"  {contender.label:18} {sample.cpu * 1e3:7.1f} ms CPU, {sample.wall * 1e3:7.1f} ms an evaluation")

    def _start_programs(self) -> None:
        if not self._imports:
            return
        try:
            for words, argv in list(_imports.commands().items()) * STARTS:
                self._results.imports.setdefault(words, []).append(_imports.cpu(argv, self._home))
        except ContenderError as problem:
            self._imports = False
            self._results.skipped["imports"] = str(problem)


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
