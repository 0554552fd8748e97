#!/usr/bin/env python3
"""Superpose a trajectory on its first frame: the three lines of cpptraj that the published workflow uses.

Usage: ptraj.py TOPOLOGY < SCRIPT

    trajin FILE                               DCD to read
    rms first [MASK] [out FILE [time STEP]]   least-squares fit of every frame on the first, without mass weights
    trajout FILE charmm                       DCD to write

MASK is `@NAME,NAME*...` (atom names, a star stands for any ending); without one all atoms count. The topology is a PSF.
"""

from __future__ import annotations

import fnmatch
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# Sums in the order of more threads are other bytes.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.float64]

DAMAGE = (ValueError, LookupError, StopIteration)
"""What reading raises for a file that is not what it should be."""


class ScriptError(Exception):
    """The script asks for something this program cannot do, or a file is not what it should be."""


@contextmanager
def reading(path: str, remedy: str) -> Iterator[None]:
    """Say whatever is wrong with a file in one sentence that begins with its name and ends with what to do."""
    try:
        yield
    except ScriptError as error:
        raise ScriptError(f"{path}: {error}") from None
    except OSError as error:
        raise ScriptError(f"{path}: {error.strerror or error}; {remedy}") from None
    except DAMAGE as error:
        raise ScriptError(f"{path}: {error}; {remedy}") from None


@dataclass(frozen=True)
class Script:
    """What a script asks for."""

    source: str
    target: str
    mask: str | None = None
    fit: str | None = None
    step: float = 1.0


def parse(text: str) -> Script:
    """A script of trajin, rms first and trajout."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if not words:
            continue
        if words[0] not in {"trajin", "rms", "trajout"} or words[0] in found or len(words) < 2:
            raise ScriptError(
                f"{line.strip()!r}: this program takes one each of trajin, rms first, trajout; use cpptraj"
            )
        found[words[0]] = words[1:]
    if missing := {"trajin", "rms", "trajout"} - found.keys():
        raise ScriptError(f"the script has no {' and no '.join(sorted(missing))}; add it")
    if found["trajin"][1:] or found["trajout"][1:] != ["charmm"]:
        raise ScriptError("only `trajin FILE` and `trajout FILE charmm` are known, whole CHARMM DCD files; use cpptraj")
    return Script(found["trajin"][0], found["trajout"][0], *parse_rms(found["rms"]))


def parse_rms(words: list[str]) -> tuple[str | None, str | None, float]:
    """Mask, file and time step of an `rms first`."""
    mask, fit, step = None, None, 1.0
    rest = iter(words)
    if next(rest) != "first":
        raise ScriptError("this program fits on the first frame only; write `rms first` or use cpptraj")
    for word in rest:
        if word.startswith("@") and mask is None:
            mask = word
        elif word in {"out", "time"} and (value := next(rest, None)) is not None:
            fit, step = (value, step) if word == "out" else (fit, _number(value))
        else:
            raise ScriptError(f"rms: {word!r} is not understood; use cpptraj")
    return mask, fit, step


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise ScriptError(f"rms: {word!r} is not a number; write one") from None


def atom_names(psf: str) -> list[str]:
    """Atom names in the order of a PSF."""
    lines = iter(psf.splitlines())
    for line in lines:
        if "!NATOM" in line:
            return [next(lines).split()[4] for _ in range(int(line.split()[0]))]
    raise ScriptError("it has no !NATOM section; give a PSF")


def selected(mask: str | None, names: list[str]) -> NDArray[np.intp]:
    """Which atoms the fit is made on."""
    patterns = mask[1:].split(",") if mask else ["*"]
    chosen = [i for i, name in enumerate(names) if any(fnmatch.fnmatchcase(name, p) for p in patterns)]
    if not chosen:
        raise ScriptError(f"rms: {mask}: no atom has such a name; name some that the topology has")
    return np.array(chosen, dtype=np.intp)


def superpose(frames: Frames, chosen: NDArray[np.intp]) -> tuple[Frames, NDArray[np.float64]]:
    """Every frame moved and turned onto the first, and what is left [Å].

    Kabsch, Acta Cryst. A32, 922 (1976), with the determinant's sign against mirror images.
    """
    centres = frames[:, chosen].mean(1, keepdims=True)
    centred = frames - centres
    reference = centred[0, chosen]
    u, _, vt = np.linalg.svd(np.einsum("fni,nj->fij", centred[:, chosen], reference))
    vt[:, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    turned = centred @ (u @ vt)
    left = np.sqrt(((turned[:, chosen] - reference) ** 2).sum(-1).mean(-1))
    return turned + centres[0], left


# --- CHARMM DCD ------------------------------------------------------------------------------------------------------


def records(raw: bytes) -> Iterator[bytes]:
    """The Fortran records of a file."""
    place = 0
    while place < len(raw):
        length = int.from_bytes(raw[place : place + 4], "little")
        if raw[place + 4 + length : place + 8 + length] != raw[place : place + 4]:
            raise ScriptError(f"it ends in the middle of a record at byte {place}; make it again")
        yield raw[place + 4 : place + 4 + length]
        place += length + 8


def read_dcd(path: str) -> tuple[list[bytes], list[bytes], Frames]:
    """The three header records, the cell of each frame (none without a unit cell), and positions [Å]."""
    with reading(path, "make it again"):
        found = list(records(Path(path).read_bytes()))
        if len(found) < 3 or found[0][:4] != b"CORD":
            raise ScriptError("it is no DCD trajectory; give one")
        cells = bool(int.from_bytes(found[0][44:48], "little"))
        per_frame, announced = 3 + cells, int.from_bytes(found[0][4:8], "little")
        if not found[3:] or len(found[3:]) % per_frame or announced > len(found[3:]) // per_frame:
            raise ScriptError(f"it ends before the last of its {announced} frames; make it again")
        bodies = [found[i : i + per_frame] for i in range(3, len(found), per_frame)]
        axes = [[np.frombuffer(axis, dtype="<f4") for axis in body[cells:]] for body in bodies]
        frames = np.array(axes, dtype=np.float64).transpose(0, 2, 1)
    return found[:3], [body[0] for body in bodies] if cells else [], frames


def dcd(header: list[bytes], cells: list[bytes], frames: Frames) -> bytes:
    """The bytes of a DCD with the header and cells of another."""
    parts = [record(part) for part in header]
    for number, frame in enumerate(frames):
        parts += [record(cells[number])] if cells else []
        parts += [record(axis.tobytes()) for axis in frame.T.astype("<f4")]
    return b"".join(parts)


def record(content: bytes) -> bytes:
    """A Fortran record: its length before and after."""
    length = len(content).to_bytes(4, "little")
    return length + content + length


def write_whole(path: str, content: bytes) -> None:
    """Write under a temporary name, then rename: a reader never sees half a file."""
    partial = f"{path}.part"
    with open(partial, "wb") as out:
        out.write(content)
    os.replace(partial, path)


def run(topology: str, script: Script) -> None:
    """Do what the script says."""
    with reading(topology, "give a whole PSF"):
        names = atom_names(Path(topology).read_text())
    header, cells, frames = read_dcd(script.source)
    if frames.shape[1] != len(names):
        raise ScriptError(
            f"{script.source}: it has {frames.shape[1]} atoms, {topology} has {len(names)}; "
            "give two that belong together"
        )
    fitted, left = superpose(frames, selected(script.mask, names))
    if script.fit:
        rows = "".join(f"{script.step * (i + 1):8.3f} {value:12.4f}\n" for i, value in enumerate(left))
        write_whole(script.fit, f"#Frame    RMSD_00001\n{rows}".encode())
    write_whole(script.target, dcd(header, cells, fitted))
    print(f"{len(frames)} frames of {len(names)} atoms superposed, rms {left.max():.3f} Angstrom at most")


def main(arguments: list[str]) -> int:
    """Read the script from standard input; the exit status."""
    if len(arguments) != 1:
        print("usage: ptraj.py TOPOLOGY < SCRIPT", file=sys.stderr)
        return 2
    try:
        with reading("standard input", "give a script of cpptraj's"):
            script = parse(sys.stdin.read())
        run(arguments[0], script)
    except (ScriptError, OSError) as error:
        print(f"ptraj.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
