#!/usr/bin/env python3
"""compare.py CURVE MEASURED FIT: mean squared distance of two curves, and its gradient."""

import json
import sys


def read(path):
    with open(path) as file:
        return [[float(word) for word in line.split()] for line in file if not line.startswith("#")]


pairs = zip(read(sys.argv[1]), read(sys.argv[2]), strict=True)
rows = [(model[1] - measured[1], model[2], model[3]) for model, measured in pairs]
n = len(rows)
fit = {
    "distance": sum(d * d for d, _, _ in rows) / n,
    "gradient": {
        "rate": sum(2 * d * by_rate for d, by_rate, _ in rows) / n,
        "ambient": sum(2 * d * by_ambient for d, _, by_ambient in rows) / n,
    },
}
with open(sys.argv[3], "w") as file:
    json.dump(fit, file, indent=1)
