"""What is known of normal transfers, and its file: JSON with the transfers that were learnt from, never a pickle.

A file holds features, training rows, parameters and the library's version. Forests are grown again from them when they
are needed, and must give the stored scores to the first rows; otherwise the file is refused.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from ..errors import FormatError, UsageError
from ._tcp_forest import LEAST_ROWS, MOST_ROWS, Kin, Normals, Parameters, isolation_forest
from ._tcp_sights import FEATURES, Place, Sight

FORMAT = "panorama tcp model 1"
ANY = "any"
"""Variant of transfers of which none was told."""
_MOST_BYTES = 256 << 20
_MOST_KINDS = 500
_SAME = 1e-9
_LARGEST = 2.0**63


class Stored(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One kind of normal transfers in a model's file.

    `rows` has for each transfer the segments of the data, those of the acknowledgements, then a count for each of
    `features`; `held_out` are scores of rows by forests that had not seen them, `checks` scores of the first rows.
    """

    source: str
    place: Place
    variant: str
    magnitude: int
    features: tuple[str, ...]
    rows: list[list[float]]
    held_out: list[float]
    checks: list[float]


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: str
    library: str
    parameters: Parameters
    kinds: list[Stored]


class Model:
    """Normal transfers by source, vantage, TCP variant and size class.

    Parameters
    ----------
    kinds : mapping of Kin to Normals
        What was learnt.
    parameters : Parameters
        How forests are grown.
    """

    def __init__(self, kinds: dict[Kin, Normals], parameters: Parameters) -> None:
        self.kinds = kinds
        self.parameters = parameters
        self._pooled: dict[Kin, Normals] = {}
        self._unchecked: dict[Kin, tuple[list[float], str]] = {}

    def near(self, sight: Sight) -> tuple[Kin, Normals] | None:
        """The normal transfers to compare one with: of its variant, or of all where none of it was learnt; of the
        nearest size class. None where nothing was learnt of its source and vantage."""
        alike = [kin for kin in self.kinds if (kin.source, kin.place) == (sight.source, sight.place)]
        own = [kin for kin in alike if kin.variant == sight.variant]
        if not alike:
            return None
        best = min(own or alike, key=lambda kin: (abs(kin.magnitude - sight.magnitude), kin.magnitude))
        if own:
            self._check(best)
            return best, self.kinds[best]
        return self._of_all(best._replace(variant=ANY), [kin for kin in alike if kin.magnitude == best.magnitude])

    def _of_all(self, pooled: Kin, kins: Sequence[Kin]) -> tuple[Kin, Normals]:
        if len(kins) == 1:
            self._check(kins[0])
            return kins[0], self.kinds[kins[0]]
        if pooled not in self._pooled:
            self._pooled[pooled] = _joined([self.kinds[kin] for kin in kins], self.parameters)
        return pooled, self._pooled[pooled]

    def _check(self, kin: Kin) -> None:
        """Compare a forest's scores with those in the file; once, for it must be grown first."""
        if kin not in self._unchecked:
            return
        wanted, library = self._unchecked.pop(kin)
        if any(abs(one - two) > _SAME for one, two in zip(wanted, self.kinds[kin].checks, strict=False)):
            here = _library()
            raise FormatError(
                f"the model's transfers {_named(kin)} get other scores here than where they were learnt: the file says"
                f" {library}, here is {here}; learn it again from the same logs, or use that version"
            )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it, whole or not at all.

        Raises
        ------
        OSError
            It cannot be written.
        """
        whole = _File(
            format=FORMAT,
            library=_library(),
            parameters=self.parameters,
            kinds=[_stored(kin, normals) for kin, normals in sorted(self.kinds.items())],
        )
        place = Path(path)
        unfinished = place.with_name(f".{place.name}.{os.getpid()}")
        try:
            unfinished.write_bytes(msgspec.json.encode(whole) + b"\n")
            unfinished.replace(place)
        finally:
            unfinished.unlink(missing_ok=True)


def learn(sights: Iterable[Sight], parameters: Parameters | None = None) -> tuple[Model, dict[Kin, int]]:
    """Learn from normal transfers, each kind by itself.

    Returns
    -------
    model : Model
        What was learnt.
    left_out : dict of Kin to int
        Kinds with too few transfers, and how many each has.

    Raises
    ------
    UsageError
        No kind has enough transfers.
    """
    told = parameters or Parameters()
    by_kin: dict[Kin, list[Sight]] = defaultdict(list)
    for sight in sights:
        by_kin[Kin(sight.source, sight.place, sight.variant or ANY, sight.magnitude)].append(sight)
    enough = {kin: alike for kin, alike in by_kin.items() if len(alike) >= LEAST_ROWS}
    left_out = {kin: len(alike) for kin, alike in by_kin.items() if kin not in enough}
    if not enough:
        most = max(left_out.values(), default=0)
        raise UsageError(
            f"no kind of transfer has {LEAST_ROWS} normal ones, the most has {most}; a kind is seen from one vantage,"
            " of one variant, and of sizes within a power of ten"
        )
    return Model({kin: Normals.of(alike, told) for kin, alike in enough.items()}, told), left_out


def load(path: str | os.PathLike[str]) -> Model:
    """Read a model's file.

    Raises
    ------
    FormatError
        It is no such file, or damaged. That forests give other scores here shows when they are first used.
    OSError
        It cannot be read.
    """
    place = Path(path)
    if place.stat().st_size > _MOST_BYTES:
        raise FormatError(f"{place}: larger than {_MOST_BYTES >> 20} MiB, which no model is")
    try:
        whole = msgspec.json.decode(place.read_bytes(), type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise FormatError(f"{place}: no model of transfers: {problem}") from None
    if whole.format != FORMAT:
        raise FormatError(
            f"{place}: its format is {whole.format[:60]!r}, this program reads {FORMAT!r}; learn it again"
        )
    if not whole.kinds or len(whole.kinds) > _MOST_KINDS:
        raise FormatError(f"{place}: {len(whole.kinds)} kinds of transfers; 1 to {_MOST_KINDS} can be")
    model = Model({}, whole.parameters)
    for stored in whole.kinds:
        kin = Kin(stored.source, stored.place, stored.variant, stored.magnitude)
        damage = "told twice" if kin in model.kinds else _damage(stored)
        if damage:
            raise FormatError(f"{place}: transfers {_named(kin)}: {damage}")
        model.kinds[kin] = _normals(stored, whole.parameters)
        model._unchecked[kin] = stored.checks, whole.library[:60]
    return model


def _damage(stored: Stored) -> str:
    """What is wrong with a kind of transfers that somebody else wrote; empty where nothing is."""
    features, rows = stored.features, stored.rows
    if not features or len(set(features)) != len(features) or not set(features) <= set(FEATURES):
        return "its features are not those of this program"
    if not LEAST_ROWS <= len(rows) <= MOST_ROWS:
        return f"{len(rows)} rows; {LEAST_ROWS} to {MOST_ROWS} can be"
    for number, row in enumerate(rows):
        if len(row) != len(features) + 2:
            return f"row {number} has {len(row)} values for {len(features)} features"
        if not all(0 <= value <= _LARGEST for value in row) or min(row[:2]) < 1:
            return f"row {number} has a value that is no count, or no segments"
    if len(stored.held_out) != len(rows) or not all(map(math.isfinite, stored.held_out)) or not stored.checks:
        return "the scores do not fit its rows"
    return ""


def _normals(stored: Stored, parameters: Parameters) -> Normals:
    import numpy as np

    rows = np.array(stored.rows, dtype=np.float64)
    segments = rows[:, [0 if name.startswith("data.") else 1 for name in stored.features]]
    return Normals(stored.features, rows[:, 2:], segments, parameters, stored.held_out)


def _stored(kin: Kin, normals: Normals) -> Stored:
    places = [
        next((n for n, f in enumerate(normals.features) if f.startswith(way)), None) for way in ("data.", "acks.")
    ]
    rows = [
        [1.0 if place is None else float(segments[place]) for place in places] + [float(count) for count in counts]
        for counts, segments in zip(normals.counts, normals.segments, strict=True)
    ]
    return Stored(
        **kin._asdict(),
        features=normals.features,
        rows=rows,
        held_out=[float(score) for score in normals.held_out],
        checks=normals.checks,
    )


def _joined(several: Sequence[Normals], parameters: Parameters) -> Normals:
    """Normal transfers of several kinds as one, with the features that all of them have."""
    import numpy as np

    features = [name for name in several[0].features if all(name in one.features for one in several)]
    if not features:
        return several[0]
    places = [[one.features.index(name) for name in features] for one in several]
    counts, segments = (
        np.vstack([table[:, place] for table, place in zip(tables, places, strict=True)])
        for tables in ([one.counts for one in several], [one.segments for one in several])
    )
    step = -(-len(counts) // MOST_ROWS)
    return Normals(features, counts[::step], segments[::step], parameters)


def _named(kin: Kin) -> str:
    return f"of {kin.variant[:60]!r}, 1e{kin.magnitude} bytes, {kin.source[:20]} at the {kin.place} end"


def _library() -> str:
    from importlib.metadata import version

    isolation_forest()
    return f"scikit-learn {version('scikit-learn')}"
