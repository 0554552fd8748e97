"""The page on analysis tells every question that is ready made."""

from __future__ import annotations

import re
from pathlib import Path

from panorama_driver.questions import READY

PAGE = Path(__file__).parents[2] / "docs" / "analysis.md"


def test_the_page_on_analysis_lists_every_question() -> None:
    text = PAGE.read_text(encoding="utf-8").partition("\n## Questions\n")[2]
    told = {name for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE) for name in re.findall(r"`([\w-]+)`", row)}
    assert told == {each.name for each in READY}
