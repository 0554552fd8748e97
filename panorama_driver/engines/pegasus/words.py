"""Why something failed, in the words of the program that knew: the lines of a long log that a person would look for."""

from __future__ import annotations

import re
from pathlib import Path

_TAIL = 64 * 1024
_MOST = 400
_CAUSE = re.compile(r"^\s*\[\d+\] (?:[\w.$]+(?:Exception|Error): )?(.*?)(?: at [\w.$]+\([\w.]+(?::\d+)?\))?\s*$")
_FRONT = re.compile(r"^(LOG: )?([\d.:/ -]{8,24}(UTC:?|[+-]\d{4})?:?\s+)?(\[?(FATAL|ERROR|WARNING)( ERROR)?\]?:?\s*)?")
_GRAVE = re.compile(
    r"already running|FATAL|\bERROR\b|[Ee]rror:|Exception|plan\.sh:|[Cc]annot|Unable|refuse|denied|not found|No such"
)
_NOISE = re.compile(r"^\s+at [\w.$]+\(|\.{3} \d+ more|pegasus-analyzer|logging metrics")


def complaint(text: str) -> str:
    """What went wrong, out of a log of the planner, of the manager or of pegasus-run; nothing where it does not say.

    The planner numbers the causes of an error, each with its Java class and place (`[1] java.lang.RuntimeException:
    WORDS at edu.isi...`); elsewhere the first lines that sound like trouble have to do.
    """
    lines = [line for line in text.splitlines() if not _NOISE.search(line)]
    causes = [match[1] for line in lines if (match := _CAUSE.match(line.removeprefix("LOG: ")))]
    grave = causes or [_FRONT.sub("", line).strip() for line in lines if _GRAVE.search(line)]
    words = "; ".join([words for words in dict.fromkeys(grave) if words][:3])
    return words if len(words) <= _MOST else words[: _MOST - 1] + "…"


def tail(path: Path) -> str:
    """The end of a log; nothing where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _TAIL))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
