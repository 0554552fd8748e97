"""`python -m tests.fuzz [--inputs N] [NAME...]`: N inputs in all, shared by the parsers, each in a process of its own.

With atheris (`pip install -e '.[fuzz]'`) half of the inputs are guided by coverage; the rest, and without it all, are
damaged at random. A crash prints its input; the exit code is the number of parsers that failed.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .harness import mutated, target, target_names


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__, formatter_class=_AsWritten)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="in all; default: a million")
    parser.add_argument("--how", choices=["random", "guided"], help="run the one parser named in this process, so")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(target_names())}; default: all")
    told = parser.parse_args()
    if told.how:
        (_guided if told.how == "guided" else _random)(told.names[0], told.inputs)
        return 0
    ways = ["random", "guided"] if importlib.util.find_spec("atheris") else ["random"]
    names = told.names or target_names()
    each = -(-told.inputs // (len(names) * len(ways)))
    runs = [(name, how) for name in names for how in ways]
    failed = [f"{name} ({how})" for name, how in runs if subprocess.run(_command(name, how, each)).returncode]
    print(f"{each * len(runs)} inputs to {len(names)} parsers, {' and '.join(ways)}; failed: {', '.join(failed) or 0}")
    return len(failed)


_AsWritten = argparse.RawDescriptionHelpFormatter


def _command(name: str, how: str, inputs: int) -> list[str]:
    return [sys.executable, "-m", "tests.fuzz", "--how", how, "--inputs", str(inputs), name]


def _random(name: str, inputs: int) -> None:
    parser = target(name)
    began = time.process_time()
    chance = random.Random(name)
    for _ in range(inputs):
        data = mutated(parser.SEEDS, chance)
        try:
            parser.one(data)
        except Exception:  # whatever it is: the input is told, and the error goes on
            print(f"{name}: {data!r}", flush=True)
            raise
    print(f"{name}: {inputs} inputs, {time.process_time() - began:.0f} s of CPU", flush=True)


def _guided(name: str, inputs: int) -> None:
    import atheris

    with atheris.instrument_imports(include=["panorama_driver"]):
        parser = target(name)
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(parser.SEEDS):
            Path(corpus, str(number)).write_bytes(seed)
        options = [f"-runs={inputs}", "-timeout=20", "-max_len=65536", "-verbosity=1", f"-artifact_prefix={corpus}/"]
        atheris.Setup([sys.argv[0], *options, corpus], parser.one)
        atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
