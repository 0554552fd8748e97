#!/usr/bin/env python3
"""Hold a spectrum against a reference: chi-squared per point, outside the elastic line.

Usage: compare SPECTRUM.json REFERENCE.json FIT.json

chi2 is the mean over the bins of (I - R)^2 / (sigma_I^2 + sigma_R^2), of the bins in which both together have counted
anything and which lie wholly beyond the reference's `elastic_limit_mev`.
"""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

COLUMNS = ("energy_edges_mev", "intensity", "sigma")


class InputError(Exception):
    """A file is not what it should be."""


def read(path: str) -> dict[str, Any]:
    """A spectrum, checked."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as problem:
        raise InputError(f"{path}: not JSON: {problem}") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: not a spectrum; it must be an object as `reduce` writes it")
    for key in ("instrument", "sample", "elastic_limit_mev", *COLUMNS):
        if key not in found:
            raise InputError(f"{path}: no {key}; it must be a spectrum as `reduce` writes it")
    for key in COLUMNS:
        if not isinstance(found[key], list) or not all(_is_number(value) for value in found[key]):
            raise InputError(f"{path}: {key} must be a list of finite numbers")
    if not _is_number(found["elastic_limit_mev"]):
        raise InputError(f"{path}: elastic_limit_mev is {found['elastic_limit_mev']!r}; it must be a number of meV")
    bins = len(found["energy_edges_mev"]) - 1
    if not bins == len(found["intensity"]) == len(found["sigma"]):
        raise InputError(f"{path}: {bins} bins have {len(found['intensity'])} intensities")
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def compare(spectrum: dict[str, Any], reference: dict[str, Any], path: str) -> dict[str, Any]:
    """What goes into the fit."""
    for key in ("instrument", "sample"):
        if spectrum[key] != reference[key]:
            raise InputError(f"{path}: its {key} is {reference[key]!r}, the spectrum's {spectrum[key]!r}")
    edges, others = reference["energy_edges_mev"], spectrum["energy_edges_mev"]
    if len(edges) != len(others) or any(abs(a - b) > 1e-6 for a, b in zip(edges, others, strict=True)):
        raise InputError(
            f"{path}: its {len(edges) - 1} bins go from {edges[0]:g} to {edges[-1]:g} meV, the spectrum's "
            f"{len(others) - 1} from {others[0]:g} to {others[-1]:g}; set energy_min, energy_max, energy_step to match"
        )
    terms = [
        (mine - theirs) ** 2 / (error**2 + noise**2)
        for low, high, mine, error, theirs, noise in zip(
            edges[:-1],
            edges[1:],
            spectrum["intensity"],
            spectrum["sigma"],
            reference["intensity"],
            reference["sigma"],
            strict=True,
        )
        if min(abs(low), abs(high)) >= reference["elastic_limit_mev"] and low * high >= 0 and (error or noise)
    ]
    if not terms:
        raise InputError(f"{path}: no bin beyond its elastic limit has counts; there is nothing to compare")
    return {"chi2": math.fsum(terms) / len(terms), "points": len(terms), "chi2_total": math.fsum(terms)}


def main(arguments: list[str]) -> int:
    """Do what the command line says; the exit status."""
    if len(arguments) != 3:
        print("usage: compare SPECTRUM.json REFERENCE.json FIT.json", file=sys.stderr)
        return 2
    mine, theirs, target = arguments
    partial = f"{target}.{os.getpid()}.part"
    try:
        spectrum = read(mine)
        reference = read(theirs)
        fit = {**compare(spectrum, reference, theirs), "synthetic_reference": reference.get("synthetic") is True}
        shares = {key: spectrum[key] for key in ("elastic_fraction", "inelastic_fraction") if key in spectrum}
        Path(partial).write_text(json.dumps({**fit, **shares}, indent=1) + "\n", encoding="utf-8")
        os.replace(partial, target)
    except InputError as error:
        print(f"compare: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(
            f"compare: {error.filename}: {error.strerror}; a job before this one makes it, or data/ has it",
            file=sys.stderr,
        )
        return 1
    print(f"chi2 {fit['chi2']:.4f} per point over {fit['points']} points")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
