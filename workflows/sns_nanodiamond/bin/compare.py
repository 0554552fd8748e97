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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Sums in the order of more threads are other bytes.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import h5py
import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]

DAMAGE = (ValueError, TypeError, LookupError)
"""What reading raises for a file that is not what it should be."""

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
REFERENCE = ("resolution_mev", "longest_lag_ps", "energy_mev", "q_per_angstrom", "intensity", "sigma")
"""What a reference holds: two numbers, two grids, and two tables over both grids."""
SETTINGS = ("incoherent", "coherent", "frame_ps", "reference", "fit", "spectrum")
"""What a configuration holds: names of files, and the time between two frames [ps]."""


class InputError(Exception):
    """A file is not what it should be."""


@contextmanager
def reading(path: str, remedy: str) -> Iterator[None]:
    """Say whatever is wrong with a file in one sentence that begins with its name and ends with what to do."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; {remedy}") from None
    except DAMAGE as error:
        raise InputError(f"{path}: {error}; {remedy}") from None


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
            f"the reference wants F(Q,t) up to {recipe.longest_lag:g} ps; raise prod_steps"
        )
    if np.abs(recipe.energies).max() * frame > np.pi * HBAR:
        raise InputError(
            f"a frame every {frame:g} ps shows energies up to {np.pi * HBAR / frame:.3g} meV, "
            f"the reference goes to {np.abs(recipe.energies).max():g} meV; lower dcd_freq or give another reference"
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
    with reading(path, "make it again"), h5py.File(path) as file:
        if missing := [name for name in ("qvectors", "fqt") if name not in file]:
            raise InputError(f"it has no dataset {' and no '.join(missing)}; make it again")
        sizes = np.linalg.norm(file["qvectors"][:], axis=1)
        fqt = file["fqt"][:, :, 0]
        if len(sizes) != len(fqt) or not np.isfinite(fqt).all() or not (fqt[:, 0] > 0).all():
            raise InputError("F(Q,0) is not a positive number at every Q; look at the trajectory that it was made of")
    order = np.argsort(sizes)
    return sizes[order], fqt[order]


def read_reference(path: str) -> Reference:
    """A reference out of its JSON."""
    with reading(path, "give a reference as `--make-reference` writes it"):
        found = json.loads(Path(path).read_text())
        if missing := [key for key in REFERENCE if key not in found]:
            raise InputError(f"it has no {' and no '.join(missing)}; write it as `--make-reference` does")
        resolution, lag, *grids = (np.array(found[key], dtype=np.float64) for key in REFERENCE)
        energies, q, intensity, sigma = grids
        if not intensity.size or not intensity.shape == sigma.shape == (len(q), len(energies)):
            raise InputError(
                f"intensity {intensity.shape} and sigma {sigma.shape} do not belong to "
                f"{len(q)} Q and {len(energies)} energies; give all four of one spectrum"
            )
        if not (all(np.isfinite(grid).all() for grid in grids) and (sigma > 0).all() and resolution > 0 and lag > 0):
            raise InputError("not every number is finite, or an error is not positive; mend it")
        return Reference(Recipe(float(resolution), float(lag), energies), q, intensity, sigma)


def read_settings(path: str) -> dict[str, Any]:
    """The configuration."""
    with reading(path, "give a configuration of this program's"):
        found: dict[str, Any] = json.loads(Path(path).read_text())
        if missing := [key for key in SETTINGS if key not in found]:
            raise InputError(f"it has no {' and no '.join(missing)}; add it")
        if not 0 < float(found["frame_ps"]) < np.inf:
            raise InputError(f"frame_ps is {found['frame_ps']}; give the time between two frames")
        return found


def write_json(path: str, content: Mapping[str, Any]) -> None:
    """Write under a temporary name, then rename: a reader never sees half a file."""
    partial = f"{path}.part"
    Path(partial).write_text(json.dumps(content, indent=1) + "\n")
    os.replace(partial, path)


def listed(values: Real) -> Any:
    """Values as lists with six significant digits."""
    return np.vectorize(lambda value: float(f"{value:.6g}"))(values).tolist()


def span(q: Real) -> str:
    """Momentum transfers in words."""
    return f"{len(q)} Q from {q.min():g} to {q.max():g} 1/Angstrom" if len(q) else "no Q"


def compare(settings: Mapping[str, Any]) -> None:
    """Write the fit and the spectrum."""
    reference = read_reference(settings["reference"])
    q, fqt = read_fqt(settings["incoherent"])
    if q.shape != reference.q.shape or not np.allclose(q, reference.q, atol=1e-4):
        raise InputError(
            f"{settings['incoherent']}: the trajectory was analysed at {span(q)}, the reference is at "
            f"{span(reference.q)}; set q_min, q_max and q_points to those or give another reference"
        )
    with reading(settings["incoherent"], "make it again"):
        intensity = spectrum(fqt, settings["frame_ps"], reference.recipe)
    by_q = chi_squared(intensity, reference)
    others, coherent = read_fqt(settings["coherent"])
    if others.shape != q.shape or not np.allclose(others, q):
        raise InputError(
            f"{settings['coherent']}: it is at {span(others)}, the incoherent part at {span(q)}; make both again"
        )
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
    with reading(settings["incoherent"], "make it again"):
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
        settings = read_settings(arguments[0])
        if len(arguments) == 3:
            make_reference(settings, arguments[2])
        else:
            compare(settings)
    except (InputError, OSError) as error:
        print(f"compare.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
