"""HTCondor submit files, as far as the planner writes them: macros, quoted arguments, quoted environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_MACRO = re.compile(r"\$\(([\w.]+)(?::([^)]*))?\)")


class SubmitFile:
    """One submit file.

    Parameters
    ----------
    path : Path
        The file.
    given : mapping
        Macros from outside: `cluster`, `process`.

    Attributes
    ----------
    attributes : dict
        What `+Name = value` and `My.Name = value` lines put into the job's ClassAd.
    """

    def __init__(self, path: Path, given: Mapping[str, str]) -> None:
        self.path = path
        self._raw: dict[str, str] = dict(given)
        self.attributes: dict[str, Any] = {}
        for line in path.read_text().splitlines():
            key, equals, value = line.partition("=")
            if equals and not line.lstrip().startswith("#"):
                self._take(key.strip(), value.strip())

    def _take(self, key: str, value: str) -> None:
        if key.startswith("+") or key.lower().startswith("my."):
            self.attributes[key.removeprefix("+").removeprefix("My.")] = value
        else:
            before = self._raw.get(key.lower())
            self._raw[key.lower()] = _MACRO.sub(
                lambda match: (before or match[2] or "") if match[1].lower() == key.lower() else match[0], value
            )

    def get(self, key: str, default: str = "") -> str:
        """The value of a command, macros expanded."""
        return self._expand(self._raw.get(key, default))

    def attribute(self, name: str) -> Any:
        """An attribute of the ClassAd: a number or text."""
        text = self._expand(self.attributes.get(name, ""))
        return int(text) if re.fullmatch(r"-?\d+", text) else text.removeprefix('"').removesuffix('"')

    def _expand(self, text: str) -> str:
        for _ in range(10):
            new = _MACRO.sub(lambda match: self._raw.get(match[1].lower(), match[2] or ""), text)
            if new == text:
                break
            text = new
        return text

    @property
    def arguments(self) -> list[str]:
        """The words of the command line."""
        return words(self.get("arguments"))

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment that the job asks for; nothing of the submitter's is inherited."""
        text = self.get("environment")
        if self.attributes.get("remote_environment"):
            text = self._expand(self.attributes["remote_environment"])
        return dict(word.split("=", 1) for word in words(text) if "=" in word)

    def megabytes(self, key: str) -> int:
        """A request for memory or disk [MB]; disk without a unit is in KB, memory in MB."""
        match = re.fullmatch(r"(\d+)\s*([KMG]?)B?", self.get(key), re.IGNORECASE)
        if match is None:
            return 0
        unit = match[2].upper() or ("K" if key == "request_disk" else "M")
        return int(int(match[1]) * {"K": 1 / 1024, "M": 1, "G": 1024}[unit])


def words(text: str) -> list[str]:
    """Split `arguments` or `environment`: in double quotes apostrophes keep blanks (condor_submit manual)."""
    text = text.strip()
    if not (text.startswith('"') and text.endswith('"') and len(text) > 1):
        return text.split()
    text = text[1:-1].replace('""', '"')
    found: list[str] = []
    word: str | None = None
    at, quoted = 0, False
    while at < len(text):
        letter = text[at]
        if letter == "'" and quoted and text[at + 1 : at + 2] == "'":
            word, at = (word or "") + "'", at + 1
        elif letter == "'":
            word, quoted = word or "", not quoted
        elif letter.isspace() and not quoted:
            found += [] if word is None else [word]
            word = None
        else:
            word = (word or "") + letter
        at += 1
    return found + ([] if word is None else [word])


def quote(word: str) -> str:
    """Write one word for `arguments` or `environment` in the new syntax, without the outer double quotes."""
    text = word.replace('"', '""')
    return "'" + text.replace("'", "''") + "'" if not word or re.search(r"[\s']", word) else text
