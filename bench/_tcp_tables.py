"""The labelled Tstat tables of TCPprotocolstudy, read by the product's own parser.

G. Papadimitriou, M. Kiran, C. Wang, A. Mandal, E. Deelman: Training Classifiers to Identify TCP Signatures in
Scientific Workflows. INDIS 2019, 10.1109/INDIS49552.2019.00012. They have no licence, and are read where they lie.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from panorama_driver.analysis.tcp import Sight, sight_of_flow
from panorama_driver.errors import FormatError
from panorama_driver.sources.tstat import Columns, Damage, read

VARIANTS = ("cubic", "reno", "hamilton", "bbr")
SIZES = ("elephant", "mice")
VANTAGES = ("destination", "source")
ANOMALIES = ("loss_0.1", "loss_0.5", "loss_1", "duplicate_1", "duplicate_5", "reorder_25", "reorder_50")
CONDITIONS = ("normal", *ANOMALIES)
_ALIASES = {"dup": "duplicate", "reord": "reorder"}

Key = tuple[str, str, str, str]
"""Variant, size, vantage, condition."""


def tables(path: Path) -> dict[Key, list[Sight]]:
    """The tables of `indis_2019`, each in the order of time."""
    found = {}
    for variant in VARIANTS:
        for vantage in VANTAGES:
            for condition in CONDITIONS:
                for size in SIZES:
                    log = path / "indis_2019" / variant / vantage / "processed" / condition / f"{size}.log"
                    found[variant, size, vantage, condition] = sorted(_sights(log, variant), key=lambda s: s.first)
    return found


def _sights(log: Path, variant: str) -> Iterator[Sight]:
    with log.open("rb") as file:
        for told in read(file):
            if not isinstance(told, Damage):
                yield sight_of_flow(told, variant)


def final_tables(path: Path) -> dict[tuple[str, str], list[Sight]]:
    """The tables of `nersctransferdata`, by variant and condition; what is no connection is left out."""
    found = {}
    for table in sorted((path / "nersctransferdata").glob("*/*.csv")):
        word = re.match(r"[a-z]+", table.stem)
        condition = _ALIASES.get(word[0], word[0]) if word else table.stem
        variant = table.parent.name
        with table.open(newline="", encoding="utf-8", errors="replace") as file:
            found[variant, condition] = sorted(_rows(csv.reader(file), variant), key=lambda s: s.first)
    return found


def _rows(rows: Iterable[list[str]], variant: str) -> Iterator[Sight]:
    columns: Columns | None = None
    for row in rows:
        if columns is None or (row and row[0].startswith("#")):
            columns = Columns.of_header(" ".join(row))
            continue
        try:
            yield sight_of_flow(columns.flow(row), variant)
        except FormatError:
            continue
