#!/usr/bin/env python3
"""crunch.py ROUNDS TROUBLE DRAW RESULT: computes; half way, fails when it is told to.

`sometimes` fails the first try of about half of the jobs, `always` every try of one of them.
"""

import random
import sys
from pathlib import Path

JOBS = 7


def compute(rounds):
    total = 0
    for _ in range(rounds):
        total += sum(number * number % 7 for number in range(200_000))
    return total


def fails(trouble, draw, result):
    if trouble == "always":
        return result == f"crunched{draw % JOBS}.txt"
    tried = Path(f"{result}.tried")
    first = not tried.exists()
    tried.touch()
    return trouble == "sometimes" and first and random.Random(f"{draw} {result}").random() < 0.5


rounds, trouble, draw, result = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
total = compute(rounds // 2)
if fails(trouble, draw, result):
    sys.exit("crunch.py: told to fail")
total += compute(rounds - rounds // 2)
Path(result).write_text(f"{total}\n")
