"""Questions about studies and stores: SQL over evaluations, jobs, attempts and metrics, and ready-made ones.

The room stands beside `report`: it reads journals and stores, and keeps what it made of them in the user's cache.
"""

from __future__ import annotations

from ._aggregates import FUNCTIONS
from ._asking import READY, Answer, Questions, Ready, named
from ._columns import TABLES, Column
from ._kept import Place
from ._sql import ROWS, TIMEOUT

__all__ = [
    "FUNCTIONS",
    "READY",
    "ROWS",
    "TABLES",
    "TIMEOUT",
    "Answer",
    "Column",
    "Place",
    "Questions",
    "Ready",
    "named",
]
