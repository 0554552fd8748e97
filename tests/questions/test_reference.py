"""The reference tells every table and every column, with type and unit, as they are."""

from __future__ import annotations

import re

import pytest

from panorama_driver.questions import FUNCTIONS, READY, TABLES
from panorama_driver.questions._columns import Table
from tests.test_docs import DOCS, first_column, section


@pytest.mark.parametrize("table", TABLES, ids=[table.name for table in TABLES])
def test_the_reference_lists_every_column_with_its_unit(table: Table) -> None:
    rows = [line.strip("| ").split(" | ") for line in section(f"Table {table.name}").splitlines() if "| `" in line]
    told = [tuple(cell.strip() for cell in row) for row in rows]
    known = [(f"`{c.name}`", "any" if c.type == "ANY" else c.type, c.unit, c.meaning) for c in table.columns]
    assert told == known


def test_the_reference_lists_every_function() -> None:
    assert first_column("Questions") == set(FUNCTIONS)


def test_the_page_on_analysis_lists_every_question() -> None:
    text = (DOCS / "analysis.md").read_text(encoding="utf-8").partition("\n## Questions\n")[2]
    told = {name for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE) for name in re.findall(r"`([\w-]+)`", row)}
    assert told == {each.name for each in READY}
