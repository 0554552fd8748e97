"""Runs as a picture: each at its two main components, coloured by kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import EnvironmentMissingError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .workflows import Analysis

_LONGEST = 140


def draw(analyses: Sequence[Analysis], path: Path) -> bool:
    """Draw runs, a panel a workflow; gives whether there was anything to draw.

    Raises
    ------
    EnvironmentMissingError
        matplotlib is not installed.
    """
    shown = [analysis for analysis in analyses if analysis.points]
    if not shown:
        return False
    try:
        import matplotlib
    except ImportError:
        raise EnvironmentMissingError(
            "pictures need matplotlib: pip install 'panorama-driver[plots]', in a clone '.[plots]'"
        ) from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(shown), figsize=(7.5 * len(shown), 5.5), squeeze=False)
    for axis, analysis in zip(axes[0], shown, strict=True):
        _fill(axis, analysis)
    figure.tight_layout()
    figure.savefig(path, dpi=120, bbox_inches="tight")
    pyplot.close(figure)
    return True


def _fill(axis: Axes, analysis: Analysis) -> None:
    places = dict(zip(analysis.runs, analysis.points, strict=True))
    for kind in analysis.kinds:
        _scatter(axis, [places[run] for run in kind.runs], f"kind {kind.number}, {len(kind.runs)} runs", "o")
    _scatter(axis, [places[run] for run in analysis.alone], "in no kind", "x")
    unlike = [places[found.wf_uuid] for found in analysis.unlike]
    if unlike:
        x, y = zip(*unlike, strict=True)
        axis.scatter(x, y, s=90, facecolors="none", edgecolors="black", linewidths=0.8, label="unlike the usual ones")
    axis.set_title(_plain(analysis.label or "(unnamed)"), parse_math=False)  # a $ in a name is no formula
    axis.set_xlabel(_plain(analysis.axes[0]), parse_math=False, fontsize=8)
    axis.set_ylabel(_plain(analysis.axes[1]), parse_math=False, fontsize=8)
    axis.legend(fontsize=8)


def _plain(name: str) -> str:
    """A name from outside as far as it can be drawn."""
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in name[:_LONGEST])


def _scatter(axis: Axes, places: Sequence[tuple[float, float]], label: str, marker: str) -> None:
    if places:
        x, y = zip(*places, strict=True)
        axis.scatter(x, y, s=24, marker=marker, label=label, alpha=0.8)
