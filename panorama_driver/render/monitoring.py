"""Monitoring enabled by rendering, on a released and unmodified Pegasus.

Every job gets the probe as an input file and kickstart is told to put it in front of the program (KICKSTART_WRAPPER of
pegasus-kickstart.c). What the probe saw comes home in the job's own record: no open port on the worker is needed.
A build of Pegasus with Panorama's own monitor is told to use that instead.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config import Monitoring, duration
from ..errors import SiteError
from ..probe import PROBE
from .clusters import job_name, together
from .site import Site

PROBE_FILE = PROBE.name
_PANORAMA = "panorama"
_HEAD_START = 2.0  # [s] kickstart's KILL reaches only the probe: what ignores a TERM must have ended by then


def enable(abstract: dict[str, Any], site: Site, monitoring: Monitoring, planner: str) -> None:
    """Change the jobs of an abstract workflow so that they are watched.

    Parameters
    ----------
    abstract : dict
        The workflow; changed in place.
    site : Site
        Where its jobs run.
    monitoring : Monitoring
        What study.yml asks for.
    planner : str
        What `pegasus-version` says; empty if unknown.

    Raises
    ------
    SiteError
        Samples shall be sent at once, from a site whose workers can send none.
    """
    if monitoring.online and not site.notes.online and not monitoring.online.startswith("file:"):
        raise SiteError(f"site {site.name!r}: its workers reach no {monitoring.online}; leave out monitoring.online")
    for members in together(abstract["jobs"]):
        if uses_own_monitor(monitoring, planner):
            for job in members:
                _use_own_monitor(job, monitoring)
            continue
        variables = _environment(members, site, monitoring)
        for job in members:
            job["uses"] = [*job.get("uses", []), _use(PROBE_FILE, "input")]
            job["profiles"]["env"] = variables | job["profiles"].get("env", {})
        if monitoring.trace == "full":
            members[-1]["uses"].append(_use(_trace_file(members), "output"))


def _use_own_monitor(job: dict[str, Any], monitoring: Monitoring) -> None:
    profiles = job.setdefault("profiles", {})
    interval = max(1, round(duration(monitoring.interval)))  # its -m takes whole seconds
    profiles.setdefault("pegasus", {})["gridstart.arguments"] = f"-m {interval}"
    profiles.setdefault("env", {})["KICKSTART_MON_URL"] = monitoring.online


def uses_own_monitor(monitoring: Monitoring, planner: str) -> bool:
    """Whether the planner's kickstart is one of Panorama's, and can be used: its `-m` fails a job without an address,
    and it knows of no credentials but those in the address itself."""
    return _PANORAMA in planner and monitoring.online is not None and monitoring.worker_credentials is None


def with_published_transfers(catalog: dict[str, Any], planner: str) -> dict[str, Any]:
    """A site catalog with which the transfer tool of a Panorama build tells what it moved; others are left as they are.

    Where the site's environment has no PEGASUS_AMQP_URL, it tells so in its own record.
    """
    if _PANORAMA not in planner:
        return catalog
    for site in catalog["sites"]:
        site.setdefault("profiles", {}).setdefault("env", {})["PEGASUS_TRANSFER_PUBLISH"] = "1"
    return catalog


def provide_probe(inputs: Path) -> None:
    """Copy the probe among a bundle's input files."""
    shutil.copyfile(PROBE, inputs / PROBE_FILE)


def broker_properties(monitoring: Monitoring) -> Iterable[str]:
    """Properties that make monitord send every event to the broker; plan.sh adds the address with its credentials."""
    if monitoring.broker is None:
        return []
    return ["pegasus.catalog.workflow.amqp.events = stampede.*\n", "pegasus.catalog.workflow.amqp.timeout = 30\n"]


def _environment(members: Sequence[dict[str, Any]], site: Site, monitoring: Monitoring) -> dict[str, str]:
    """Variables of one job, or of those that run as one and so have one environment."""
    taken = {stream for stream in ("stderr", "stdout") for job in members if stream in job}
    variables = {
        "KICKSTART_WRAPPER": f"{site.notes.probe_python} -IS {PROBE_FILE}",
        "PANORAMA_PROBE_INTERVAL": f"{duration(monitoring.interval):g}",
        "PANORAMA_PROBE_PAYLOAD": "1",
        "PANORAMA_PROBE_MARKER": next((stream for stream in ("stderr", "stdout") if stream not in taken), ""),
    }
    profiles = [job["profiles"].get("pegasus", {}) for job in members]
    graces = [_grace(profile) for profile in profiles if "runtime" in profile]
    if graces:
        variables["PANORAMA_PROBE_KILL_AFTER"] = f"{max(1.0, min(graces) - _HEAD_START):g}"
    if monitoring.online:
        variables["KICKSTART_MON_URL"] = monitoring.online
    if monitoring.worker_credentials:
        variables["PANORAMA_PROBE_CREDENTIALS"] = monitoring.worker_credentials
    if monitoring.darshan == "auto" and site.notes.darshan:
        variables["PANORAMA_PROBE_DARSHAN"] = site.notes.darshan
    if monitoring.tcp == "auto":
        variables["PANORAMA_PROBE_TCP"] = "1"
    if monitoring.trace == "full":
        variables["PANORAMA_PROBE_TRACE"] = _trace_file(members)
    return {name: value for name, value in variables.items() if value}


def _grace(profile: Mapping[str, Any]) -> float:
    """How long kickstart waits between TERM and KILL [s]: half of what is left then (Kickstart.java of Pegasus 5.1)."""
    runtime = profile["runtime"]
    told = 60 * profile["checkpoint.time"] if "checkpoint.time" in profile else runtime - 10
    return float((runtime - told) // 2)


def _trace_file(members: Sequence[dict[str, Any]]) -> str:
    """The probes of a clustered job write into one file, one after the other."""
    return f"{job_name(members[0])}.trace.full.jsonl"


def _use(lfn: str, kind: str) -> dict[str, Any]:
    made = {"stageOut": True} if kind == "output" else {}
    return {"lfn": lfn, "type": kind, "registerReplica": False, **made}
