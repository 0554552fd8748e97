"""Stand-in for pegasus-exitcode, DAGMan's POST script: numbers a job's output and says whether it was well.

A program of its own that needs the standard library only.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from datetime import datetime
from pathlib import Path

_ENTRY = re.compile(r"^    (?P<name>\S[^\n]*):\n      lfn: \"(?P<lfn>.*)\"\n(?P<rest>(?:      .*\n)*)", re.MULTILINE)


class JobFailedError(Exception):
    """Why the job is not taken for a success."""


def rotate(out: Path) -> tuple[Path, Path, int]:
    """Rename NAME.out and NAME.err to NAME.out.NNN and NAME.err.NNN, the first number that is free."""
    number = next(n for n in range(1000) if not out.with_name(f"{out.name}.{n:03d}").exists())
    err = out.with_name(out.name.removesuffix(".out") + ".err")
    names = [path.with_name(f"{path.name}.{number:03d}") for path in (out, err)]
    for path, name in zip((out, err), names, strict=True):
        if path.exists():
            path.rename(name)
    return names[0], names[1], number


def check(out: Path, err: Path, wanted: list[str]) -> int:
    """Read the output; gives the raw status of the task.

    Raises
    ------
    JobFailedError
        There is no record, or one that tells of a failure.
    """
    text = out.read_text(errors="replace")
    if not text:
        raise JobFailedError("Empty stdout")
    both = text + (err.read_text(errors="replace") if err.exists() else "")
    if not all(words.replace("+", " ") in both for words in wanted):
        raise JobFailedError("Success message missing from output")
    raws = [int(raw) for raw in re.findall(r"raw: ([0-9]+)", text)]
    for raw in raws:
        if raw:
            raise JobFailedError(f"task exited with raw status {raw}")
    if not raws:
        raise JobFailedError("No successful kickstart records")
    return 0


def metadata(text: str) -> list[dict[str, object]]:
    """What the record says of the files that the job made."""
    found: list[dict[str, object]] = []
    for match in _ENTRY.finditer(text):
        entry = dict(line.strip().split(": ", 1) for line in match["rest"].splitlines() if ": " in line)
        if entry.get("output") == "True" and "sha256" in entry:
            attributes = {"user": entry["user"], "size": entry["size"], "ctime": entry["ctime"]}
            attributes |= {"checksum.type": "sha256", "checksum.value": entry["sha256"], "checksum.timing": "0.0"}
            found.append({"_id": match["lfn"], "_type": "file", "_attributes": attributes})
    return found


def judge(out: Path, returned: int, wanted: list[str], note: dict[str, object]) -> None:
    """Put the output away and look at it.

    Raises
    ------
    JobFailedError
        The job has failed.
    """
    if not out.is_file():
        raise JobFailedError(f"{note['name']} does not exist")
    meta = out.with_name(out.name.removesuffix("out") + "meta")
    out, err, note["retry"] = rotate(out)
    note["app_exitcode"] = returned
    if returned:
        raise JobFailedError(f"dagman reported non-zero exitcode: {returned}")
    note["app_exitcode"] = check(out, err, wanted)
    meta.write_text(json.dumps(metadata(out.read_text(errors="replace")), indent=2))


def main(words: list[str]) -> int:
    """Judge the job whose output the command line names: 0 or 1."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-r", type=int, default=0, dest="returned")
    parser.add_argument("-R", type=int, default=0, dest="retry")
    parser.add_argument("-s", action="append", default=[], dest="wanted")
    parser.add_argument("-l", dest="log")
    parser.add_argument("-M", dest="meta")
    parser.add_argument("out")
    options = parser.parse_args(words)
    stamp = datetime.now().isoformat()
    note: dict[str, object] = {
        "name": options.out,
        "timestamp": stamp,
        "exitcode": 0,
        "app_exitcode": None,
        "retry": None,
    }
    note |= {"job_retry": options.retry, "std_out": "", "std_err": ""}
    try:
        judge(Path(options.out), options.returned, options.wanted, note)
    except JobFailedError as problem:
        note |= {"exitcode": 1, "std_err": f"{problem}\n "}
    if options.log:
        line = json.dumps({key: value for key, value in note.items() if value is not None})
        with open(options.log, "a", encoding="utf-8") as log:
            log.write(line + "\n")
    return int(note["exitcode"] == 1)


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main(sys.argv[1:]))
