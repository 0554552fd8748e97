"""What study.in says of its objectives."""

from __future__ import annotations

import re
from pathlib import Path


def maximized(home: Path) -> list[bool]:
    """Of each objective in study.in, whether it is made large; one `sense` may stand for all of them."""
    text = without_comments(home / "study.in").lower()
    number = re.search(r"objective_functions[\s=]*(\d+)", text)
    count = int(number[1]) if number else 1
    listed = re.search(r"\bsense\b[\s=]*((?:['\"]\w+['\"][\s,]*)+)", text)
    senses = [word.startswith("max") for word in re.findall(r"\w+", listed[1])] if listed else [False]
    return senses if len(senses) == count else senses[:1] * count


def without_comments(study_in: Path) -> str:
    """Text of a study.in; empty where there is none."""
    text = study_in.read_text(encoding="utf-8", errors="replace") if study_in.is_file() else ""
    return re.sub(r"#.*", "", text)
