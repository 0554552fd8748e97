"""Stand-ins for the commands of HTCondor, over the queue that they share."""

from __future__ import annotations

import getpass
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from .classad import holds
from .dagman import VERSION
from .queue import COMPLETED, HELD, IDLE, REMOVED, RUNNING, SCHEDULER, UNIVERSES, Ad, Queue, ask
from .settings import load, root
from .submitfile import SubmitFile

_LETTERS = {IDLE: "I", RUNNING: "R", REMOVED: "X", COMPLETED: "C", HELD: "H"}
_WORDS = {COMPLETED: "completed", REMOVED: "removed", IDLE: "idle", RUNNING: "running", HELD: "held"}
_EXPRESSIONS = {"PeriodicRemove", "PeriodicRelease", "Requirements", "PanoramaRequirements"}
_INHERITED = ("PATH", "PYTHONPATH", "TZ", "HOME", "USER", "LANG", "LC_ALL", "XDG_RUNTIME_DIR")
_CONFIG = {
    "DAGMAN_COPY_TO_SPOOL": "false",
    "DAGMAN_USE_STRICT": "1",
    "MOUNT_UNDER_SCRATCH": "",
    "GRIDMANAGER_JOB_PROBE_INTERVAL": "60",
    "SCHEDD_NAME": "standin",
    "NEGOTIATOR_INTERVAL": "60",
    "DAGMAN_USER_LOG_SCAN_INTERVAL": "5",
}


def _queue() -> Queue:
    return Queue(root() / "pool")


def _selected(words: list[str]) -> tuple[list[Ad], list[str]]:
    """The jobs that the command line speaks of, and its other options."""
    ads = _queue().jobs()
    clusters, rest, constraint = set(), [], ""
    while words:
        word = words.pop(0)
        if word.startswith("-cons"):
            constraint = words.pop(0)
        elif word.replace(".", "", 1).isdigit():
            clusters.add(int(float(word)))
        else:
            rest.append(word)
    if clusters:
        ads = [ad for ad in ads if ad["ClusterId"] in clusters]
    return [ad for ad in ads if not constraint or holds(constraint, ad)], rest


def condor_q(words: list[str]) -> int:
    """List the queue: `-json`, `-af ATTRIBUTE...`, `-hold`, `-nobatch`, `-better-analyze`, or a table."""
    attributes = _attributes(words)
    ads, options = _selected(words)
    if "-hold" in options or "-held" in options:
        ads = [ad for ad in ads if ad["JobStatus"] == HELD]
    if any(option.startswith(("-better", "-ana")) for option in options):
        _analyze(ads)
    elif any(option.startswith(("-af", "-autof")) for option in options):
        for ad in ads:
            print(*(_bare(ad.get(name)) for name in attributes))
    elif "-json" in options:
        _json([{name: ad[name] for name in attributes if name in ad} if attributes else ad for ad in ads])
    else:
        _table(ads, reasons="-hold" in options)
    return 0


def _attributes(words: list[str]) -> list[str]:
    """Take the names behind `-af` or `-attributes` out of the command line."""
    for at, word in enumerate(words):
        if word.startswith("-attr"):
            names = words[at + 1].split(",")
            del words[at : at + 2]
            return [name.strip() for name in names]
        if word.startswith(("-af", "-autof")):
            end = next((n for n in range(at + 1, len(words)) if words[n].startswith("-")), len(words))
            names = words[at + 1 : end]
            del words[at + 1 : end]
            return names
    return []


def _bare(value: Any) -> str:
    return "undefined" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _json(ads: list[Ad]) -> None:
    """As the real one: nothing at all where there is no job."""
    if ads:
        shown = [{k: f"/Expr({v})/" if k in _EXPRESSIONS else v for k, v in sorted(ad.items())} for ad in ads]
        parts = [msgspec.json.format(msgspec.json.encode(ad), indent=2).decode() for ad in shown]
        print("[\n" + "\n,\n".join(parts) + "\n]")


def _table(ads: list[Ad], reasons: bool) -> None:
    print(f"\n\n-- Schedd: standin : <127.0.0.1:9618?... @ {time.strftime('%m/%d/%y %H:%M:%S')}")
    if reasons:
        print(" ID      OWNER          HELD_SINCE  HOLD_REASON")
    else:
        print(" ID      OWNER            SUBMITTED     RUN_TIME ST PRI SIZE CMD")
    for ad in ads:
        since = time.strftime("%m/%d %H:%M", time.localtime(ad["EnteredCurrentStatus" if reasons else "QDate"]))
        more = f"  0+00:00:00 {_LETTERS[ad['JobStatus']]}  {ad.get('JobPrio', 0):<4} 0.0 {Path(ad['Cmd']).name}"
        print(f"{ad['ClusterId']:>4}.0   {ad['Owner']:<14} {since} {ad.get('HoldReason', '') if reasons else more}")
    shown = [ad for ad in ads if ad["JobUniverse"] != SCHEDULER]  # the totals leave DAGMan's own job out
    count = {word: sum(ad["JobStatus"] == status for ad in shown) for status, word in _WORDS.items()}
    total = ", ".join(f"{number} {word}" for word, number in count.items())
    print(f"\nTotal for query: {len(shown)} jobs; {total}, 0 suspended \n")


def _analyze(ads: list[Ad]) -> None:
    slots = load(root()).slots
    wants = {"Disk": ("disk", 1024, "kb"), "Memory": ("memory", 1, "mb"), "Cpus": ("cpus", 1, "cores")}
    for ad in ads:
        job = f"{ad['ClusterId']:03d}.000"
        conditions = [f"TARGET.{name} >= Request{name}" for name in wants]
        print(f"\n\n-- Schedd: standin : <127.0.0.1:9618?...\nThe Requirements expression for job {job} is\n")
        print("    " + " && ".join(f"({condition})" for condition in conditions))
        print(f"\nJob {job} defines the following attributes:\n")
        for name, (_, _, unit) in wants.items():
            print(f"    Request{name} = {ad.get(f'Request{name}', 0)} ({unit})")
        print(f"\nThe Requirements expression for job {job} reduces to these conditions:\n")
        print("         Slots\nStep    Matched  Condition\n-----  --------  ---------")
        fits = {
            n: [getattr(slot, f) * unit >= ad.get(f"Request{n}", 0) for slot in slots]
            for n, (f, unit, _) in wants.items()
        }
        for step, (name, condition) in enumerate(zip(wants, conditions, strict=True)):
            print(f"[{step}]{sum(fits[name]):>12}  {condition}")
        able = sum(all(column) for column in zip(*fits.values(), strict=True))
        print(f"\n{job}:  Run analysis summary ignoring user priority.  Of {len(slots)} machines,")
        print(f"{len(slots) - able:>7} are rejected by your job's requirements")
        print(f"{able:>7} are able to run your job")
        if not able:
            print("\nWARNING:  Be advised:\n   No machines matched the jobs's constraints\n")


def condor_submit(words: list[str]) -> int:
    """Submit a DAGMan job, the only kind that pegasus-run submits; `-terse` prints its range of jobs."""
    path = Path(next(word for word in reversed(words) if not word.startswith("-")))
    if not path.is_file():
        print(f"ERROR: Can't open submit description file {path}", file=sys.stderr)
        return 1
    sub = SubmitFile(path, {})
    ad = {
        "JobUniverse": UNIVERSES[sub.get("universe", "vanilla")],
        "Owner": getpass.getuser(),
        "Cmd": sub.get("executable"),
        "Arguments": sub.get("arguments"),
        "Iwd": str(Path.cwd()),
        "UserLog": str(Path.cwd() / sub.get("log")),
        "RemoveKillSig": "SIGUSR1",
        **{name: sub.attribute(name) for name in sub.attributes},
    }
    if ad["JobUniverse"] != SCHEDULER:
        print("ERROR: this stand-in submits DAGMan jobs only; DAGMan submits the others", file=sys.stderr)
        return 1
    cluster = _queue().submit(ad)
    print(
        f"{cluster}.0 - {cluster}.0"
        if "-terse" in words
        else f"Submitting job(s).\n1 job(s) submitted to cluster {cluster}."
    )
    sys.stdout.flush()
    _start(sub, cluster)
    return 0


def _start(sub: SubmitFile, cluster: int) -> None:
    """Start pegasus-dagman as the schedd does: apart from us, with the environment that `getenv` names."""
    kept = {
        k: v for k, v in os.environ.items() if k in _INHERITED or k.startswith(("PEGASUS_", "_CONDOR_", "PANORAMA_"))
    }
    env = kept | sub.environment | {"CONDOR_ID": f"{cluster}.0"}
    with open(sub.get("output"), "ab") as out, open(sub.get("error"), "ab") as err:
        process = subprocess.Popen(
            [root() / "bin" / "pegasus-dagman", *sub.arguments],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    _queue().change(cluster, JobStatus=RUNNING, ServerPid=process.pid, JobStartDate=int(time.time()))


def condor_submit_dag(words: list[str]) -> int:
    """Only there so that the planner and the Ensemble Manager find it: DAGs are started by pegasus-run."""
    print("ERROR: start workflows by pegasus-run", file=sys.stderr)
    return 1


def _ask_for(what: str, done: str, words: list[str]) -> int:
    ads, _ = _selected(list(words))
    named = [word for word in words if word.replace(".", "", 1).isdigit()]
    if not ads:
        print("\n".join(f"Couldn't find/{what} job {word}" for word in named) or "There are no jobs", file=sys.stderr)
        return 1
    gone = [ad for ad in ads if what == "remove" and ad["JobStatus"] == REMOVED]
    for ad in ads:
        if ad not in gone:
            ask(_queue(), ad, what, f"via condor_{'rm' if what == 'remove' else what} (by user {ad['Owner']})")
    for ad in gone:
        print(f"Job {ad['ClusterId']}.0 already {done}", file=sys.stderr)
    if named:
        print("\n".join(f"Job {ad['ClusterId']}.0 {done}" for ad in ads if ad not in gone))
    else:
        print(f"All jobs matching constraint have been {done}")
    return int(bool(gone))


def condor_rm(words: list[str]) -> int:
    """Remove jobs."""
    return _ask_for("remove", "marked for removal", words)


def condor_hold(words: list[str]) -> int:
    """Hold jobs."""
    return _ask_for("hold", "held", words)


def condor_release(words: list[str]) -> int:
    """Release held jobs."""
    return _ask_for("release", "released", words)


def condor_vacate_job(words: list[str]) -> int:
    """Send running jobs back into the queue; `-fast` kills them, as this does always."""
    ads, rest = _selected(list(words))
    done = f"{'fast-' * ('-fast' in rest)}vacated"
    running = [ad for ad in ads if ad["JobStatus"] == RUNNING]
    for ad in running:
        ask(_queue(), ad, "vacate", "User requested the job to vacate")
    constraint = next((words[at + 1] for at, word in enumerate(words) if word.startswith("-cons")), None)
    if constraint is not None and running:
        print(f"All jobs matching constraint ({constraint}) have been {done}")
    elif constraint is not None:
        print(f"Couldn't find/{done.removesuffix('d')} all jobs matching constraint ({constraint})", file=sys.stderr)
    else:
        print("\n".join(f"Job {ad['ClusterId']}.0 {done}" for ad in running))
        idle = [f"Job {ad['ClusterId']}.0 not running to be {done}" for ad in ads if ad not in running]
        print("\n".join(idle or ["Job not found"] * (not running)), file=sys.stderr)
    return int(not running)


def condor_qedit(words: list[str]) -> int:
    """Change attributes of jobs: `-constraint EXPRESSION` or a cluster, then names and values."""
    queue, edits = _queue(), list(words)
    which = [edits.pop(0) for _ in range(2 if edits[0].startswith("-cons") else 1)]
    pairs = dict(zip(edits[::2], edits[1::2], strict=True))
    values = {name: _value(text) for name, text in pairs.items()}
    with queue.locked():
        ads, _ = _selected(list(which))
        for ad in ads:
            queue.change(ad["ClusterId"], **values)
    for name in pairs:
        if ads:
            print(f'Set attribute "{name}" for {len(ads)} matching jobs.')
    if not ads:
        print(f'Failed to set attribute "{next(iter(pairs))}" by constraint: ( ({which[-1]}) )', file=sys.stderr)
        print("Queue transaction failed.  No attributes were set.", file=sys.stderr)
    return int(not ads)


def _value(text: str) -> Any:
    """What an attribute is set to; an expression stays text, and is refused where it is none."""
    if text == "undefined":
        return None
    if re.fullmatch(r'"[^"]*"', text):
        return text[1:-1]
    holds(text, {})
    return int(text) if re.fullmatch(r"-?\d+", text) else text


def condor_version(words: list[str]) -> int:
    """Print the version."""
    print(f"{VERSION}\n$CondorPlatform: X86_64-Debian_13 $")
    return 0


def condor_config_val(words: list[str]) -> int:
    """Print values of the configuration."""
    unknown = 0
    for name in [word for word in words if not word.startswith("-")]:
        value = _CONFIG.get(name)
        if not value:
            print(f"Not defined: {name}", file=sys.stderr)
            unknown = 1
        else:
            print(value)
    return unknown


def condor_status(words: list[str]) -> int:
    """List the slots: `-json`, `-af ATTRIBUTE...`, or a table."""
    attributes = _attributes(words)
    slots = [
        {
            "Name": f"slot{number}@{slot.machine}",
            "Machine": slot.machine,
            "State": "Unclaimed",
            "Activity": "Idle",
            "PartitionableSlot": True,
        }
        | {"Cpus": slot.cpus, "TotalSlotCpus": slot.cpus, "Memory": slot.memory, "TotalSlotMemory": slot.memory}
        | {"Disk": slot.disk * 1024, "TotalSlotDisk": slot.disk * 1024}
        for number, slot in enumerate(load(root()).slots, 1)
    ]
    if any(word.startswith(("-af", "-autof")) for word in words):
        for slot in slots:
            print(*(_bare(slot.get(name)) for name in attributes))
    elif "-json" in words:
        _json([{name: slot[name] for name in attributes if name in slot} if attributes else slot for slot in slots])
    else:
        print("Name             OpSys      Arch   State     Activity LoadAv Mem   ActvtyTime\n")
        for slot in slots:
            print(f"{slot['Name']:<16} LINUX      X86_64 Unclaimed Idle      0.000 {slot['Memory']:>5}  0+00:00:00")
    return 0


def main(words: list[str]) -> int:
    """Run the command that the first word names."""
    command: Callable[[list[str]], int] = globals()[words[0]]
    try:
        return command(words[1:])
    except ValueError as problem:
        print(f"ERROR: {problem}", file=sys.stderr)
        return 1
