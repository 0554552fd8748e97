#!/usr/bin/env python3
"""Compare a computed spectrum with a reference: F(Q,t) to S(Q,E) to chi-squared per point.

Usage: compare.py CONFIGURATION.json [--make-reference FILE]

The reference carries its momentum transfers, energies, resolution and errors with it, so that the spectrum is always
computed the way the reference was. The second form writes the spectrum of this trajectory down as a reference.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import h5py
import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]

HBAR = 0.6582119569
"""Planck's constant over 2 pi [meV ps] (CODATA 2018)."""
RESOLUTION = 2.0
"""Full width at half maximum of the Gaussian resolution of a reference made here [meV]."""
LONGEST_LAG = 3.0
"""F(Q,t) enters a reference made here up to this time [ps]: by then the resolution has damped it to 6e-4."""
ENERGIES = (-8.0, 8.0, 81)
"""First, last and number of the energies of a reference made here [meV]."""
RELATIVE_ERROR, FLOOR = 0.02, 0.002
"""Error of a reference made here: this share of the point, and of the highest point at its Q, in quadrature."""


class InputError(Exception):
    """A file is not what it should be."""


@dataclass(frozen=True)
class Recipe:
    """How a spectrum is made of F(Q,t)."""

    resolution: float
    """FWHM [meV]"""
    longest_lag: float
    """[ps]"""
    energies: Real
    """[meV]"""


@dataclass(frozen=True)
class Reference:
    """What the computed spectrum is held against."""

    recipe: Recipe
    q: Real
    """[1/Å]"""
    intensity: Real
    """S(Q,E) normalised to the elastic plus inelastic whole, [nq, nE] [1/meV]"""
    sigma: Real
    """Standard error of the intensity [1/meV]"""


def spectrum(fqt: Real, frame: float, recipe: Recipe) -> Real:
    """S(Q,E) [1/meV] of F(Q,t) [nq, nt] sampled every `frame` [ps].

    S(Q,E) = 1/(pi hbar) integral over t >= 0 of F(Q,t)/F(Q,0) R(t) cos(E t/hbar): F is even in t (classical), R is the
    Fourier transform of a Gaussian resolution. By the trapezoidal rule.
    """
    lags = round(recipe.longest_lag / frame) + 1
    if lags > fqt.shape[1]:
        raise InputError(
            f"the trajectory is {(fqt.shape[1] - 1) * frame:g} ps long, "
            f"the reference wants F(Q,t) up to {recipe.longest_lag:g} ps: raise prod_steps"
        )
    times = np.arange(lags) * frame
    width = recipe.resolution / (2 * np.sqrt(2 * np.log(2))) / HBAR
    weights = np.full(lags, frame)
    weights[[0, -1]] /= 2
    damped = fqt[:, :lags] / fqt[:, :1] * np.exp(-((times * width) ** 2) / 2) * weights
    return np.asarray(damped @ np.cos(np.outer(times, recipe.energies) / HBAR) / (np.pi * HBAR))


def chi_squared(intensity: Real, reference: Reference) -> Real:
    """Chi-squared per point at each Q [nq]."""
    return np.asarray((((intensity - reference.intensity) / reference.sigma) ** 2).mean(1))


def read_fqt(path: str) -> tuple[Real, Real]:
    """Lengths of the vectors [1/Å] and the real part of F(Q,t) [nq, nt], in order of Q.

    Sassena writes rows as they are done, which need not be the order they were asked for.
    """
    with h5py.File(path) as file:
        sizes = np.linalg.norm(file["qvectors"][:], axis=1)
        fqt = file["fqt"][:, :, 0]
    order = np.argsort(sizes)
    if not np.isfinite(fqt).all() or (fqt[:, 0] <= 0).any():
        raise InputError(f"{path}: F(Q,0) is not a positive number: the calculation before this one went wrong")
    return sizes[order], fqt[order]


def read_reference(path: str) -> Reference:
    """A reference out of its JSON."""
    found = json.loads(Path(path).read_text())
    recipe = Recipe(found["resolution_mev"], found["longest_lag_ps"], np.array(found["energy_mev"]))
    return Reference(recipe, *(np.array(found[key]) for key in ("q_per_angstrom", "intensity", "sigma")))


def write_json(path: str, content: Mapping[str, Any]) -> None:
    """Write under a temporary name, then rename: a reader never sees half a file."""
    partial = f"{path}.part"
    Path(partial).write_text(json.dumps(content, indent=1) + "\n")
    os.replace(partial, path)


def listed(values: Real) -> Any:
    """Values as lists with six significant digits."""
    return np.vectorize(lambda value: float(f"{value:.6g}"))(values).tolist()


def compare(settings: Mapping[str, Any]) -> None:
    """Write the fit and the spectrum."""
    reference = read_reference(settings["reference"])
    q, fqt = read_fqt(settings["incoherent"])
    if q.shape != reference.q.shape or not np.allclose(q, reference.q, atol=1e-4):
        raise InputError(
            f"the trajectory was analysed at Q = {q.round(4)} 1/Angstrom, the reference is at {reference.q}"
        )
    intensity = spectrum(fqt, settings["frame_ps"], reference.recipe)
    by_q = chi_squared(intensity, reference)
    _, coherent = read_fqt(settings["coherent"])
    fit = {
        "chi2": float(by_q.mean()),
        "points": intensity.size,
        "chi2_by_q": listed(by_q),
        "q_per_angstrom": listed(q),
        "coherent_share": listed(coherent[:, 0] / (coherent[:, 0] + fqt[:, 0])),
    }
    grids = {"q_per_angstrom": listed(q), "energy_mev": listed(reference.recipe.energies)}
    write_json(settings["spectrum"], {**grids, "intensity": listed(intensity)})
    write_json(settings["fit"], fit)
    print(f"chi2 {fit['chi2']:.4f} per point over {intensity.size} points")


def make_reference(settings: Mapping[str, Any], path: str) -> None:
    """Write the spectrum of this trajectory down as a measurement with errors."""
    recipe = Recipe(RESOLUTION, LONGEST_LAG, np.linspace(*ENERGIES))
    q, fqt = read_fqt(settings["incoherent"])
    intensity = spectrum(fqt, settings["frame_ps"], recipe)
    sigma = np.hypot(RELATIVE_ERROR * intensity, FLOOR * intensity.max(1, keepdims=True))
    content = {
        "resolution_mev": recipe.resolution,
        "longest_lag_ps": recipe.longest_lag,
        "q_per_angstrom": listed(q),
        "energy_mev": listed(recipe.energies),
        "intensity": listed(intensity),
        "sigma": listed(sigma),
    }
    write_json(path, content)
    print(f"reference of {intensity.size} points from {(fqt.shape[1] - 1) * settings['frame_ps']:g} ps")


def main(arguments: list[str]) -> int:
    """Do what the command line says; the exit status."""
    if len(arguments) not in {1, 3} or arguments[1:2] not in ([], ["--make-reference"]):
        print("usage: compare.py CONFIGURATION.json [--make-reference FILE]", file=sys.stderr)
        return 2
    try:
        settings = json.loads(Path(arguments[0]).read_text())
        if len(arguments) == 3:
            make_reference(settings, arguments[2])
        else:
            compare(settings)
    except (InputError, KeyError, ValueError, OSError) as error:
        print(f"Error: {arguments[0]}: {error!r}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
