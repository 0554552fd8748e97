"""Which hosts the jobs in HTCondor's queue may go to: told by their own ads, so that no administrator is needed.

A job is kept off hosts by one condition on its `Requirements` that never changes; the hosts stand in attributes beside
it, `PanoramaAvoid` for all jobs of a study and `PanoramaLeft` for one that was taken from a host. What a job had asked
for before is kept in `PanoramaRequirements`. All of it is in the ClassAd language of HTCondor's manual, "ClassAds".
"""

from __future__ import annotations

import itertools
import logging
import os
import pwd
import re
from collections.abc import Collection, Iterable, Iterator, Mapping

import msgspec

from ...sources.hosts import short_name
from .condor import ask

_MACHINE = 'split(TARGET.Machine, ".")[0]'
_LISTS = ("PanoramaAvoid", "PanoramaLeft")
CONDITION = " && ".join(f"(stringListIMember({_MACHINE}, {name}) =!= true)" for name in _LISTS)
"""True of a machine that stands in neither list; one that is missing has nobody in it."""

_IDLE, _RUNNING, _VANILLA = 1, 2, 5
_FIT = re.compile(r"[a-z0-9_-]+")
_UUID = re.compile(r"[0-9A-Fa-f-]{36}")
_MOST = 500  # jobs of one condor_qedit: a command line has its limits
_log = logging.getLogger(__name__)


class _Job(msgspec.Struct, frozen=True):
    """A job in the queue; fields are the attributes of its ad, null where one is undefined."""

    ClusterId: int
    Requirements: str | bool | None = None
    PanoramaRequirements: str | bool | None = None
    PanoramaLeft: str | None = None

    @property
    def requirements(self) -> str:
        """What it asks for now."""
        return _expression(self.Requirements)

    @property
    def original(self) -> str:
        """What it asked for before it was told of hosts; empty where its plan had told it."""
        return _expression(self.PanoramaRequirements)

    @property
    def left(self) -> frozenset[str]:
        """Hosts that it was taken from."""
        return frozenset(filter(None, (self.PanoramaLeft or "").split(",")))


def unfit(hosts: Iterable[str]) -> list[str]:
    """Hosts that no `Machine` can be told by: an address, or what is no host name at all."""
    return sorted(host for host in hosts if not _FIT.fullmatch(host))


def profiles(hosts: Collection[str]) -> dict[str, str]:
    """What a site's condor profile says for workflows that are still to be planned."""
    return {"requirements": CONDITION, "+PanoramaAvoid": _listed(hosts)}


def pool() -> frozenset[str]:
    """Short names of the pool's machines; empty where the collector cannot be asked."""
    done = ask(["condor_status", "-af", "Machine"])
    return frozenset(map(short_name, (done.stdout if done and not done.returncode else "").split()))


def keep_off(wf_uuids: Collection[str], hosts: Collection[str]) -> int:
    """Have the idle jobs of these workflows go to none of these hosts, and to all others.

    Returns
    -------
    int
        How many jobs had to be told; those that were told before are not told again.
    """
    if not wf_uuids:
        return 0
    told = 0
    jobs = _queued(f"{_ours(wf_uuids)} && JobStatus == {_IDLE} && {_outdated(hosts)}")
    for _, alike in itertools.groupby(sorted(jobs, key=_asked), key=_asked):
        group = list(alike)
        for some in _batches([job.ClusterId for job in group]):
            if _edit(
                f"member(ClusterId, {{{', '.join(map(str, some))}}}) && JobStatus == {_IDLE}", _told(group[0], hosts)
            ):
                told += len(some)
    return told


def take_from(wf_uuid: str, sched_id: str, host: str, *, elsewhere: bool) -> bool:
    """End what a job does on a host, and have HTCondor start it again.

    It stays the same job and the same attempt of DAGMan's, which costs none of its retries. HTCondor kills it with all
    of its processes, stopped ones too, and forgets what it has written.

    Parameters
    ----------
    wf_uuid, sched_id : str
        Whose, and HTCondor's `cluster.process`.
    host : str
        Where it must run, else it is left alone.
    elsewhere : bool
        It may not go there again.

    Returns
    -------
    bool
        Whether it ran there.
    """
    cluster = int(sched_id.partition(".")[0])
    if unfit([host]):
        return False
    there = f'regexp("@{host}([.][^@]*)?$", RemoteHost, "i")'
    which = f"ClusterId == {cluster} && {_ours([wf_uuid])} && JobStatus == {_RUNNING} && {there}"
    job = next(iter(_queued(which)), None)
    if job is None:
        return False
    if elsewhere and not _edit(which, {"PanoramaLeft": _listed(job.left | {host}), **_with_condition(job)}):
        return False
    done = ask(["condor_vacate_job", "-fast", "-constraint", which])
    return done is not None and not done.returncode


def _ours(wf_uuids: Collection[str]) -> str:
    """What holds of jobs of these workflows that need a slot; nobody else's, whatever uuid they may show."""
    owner = pwd.getpwuid(os.getuid()).pw_name
    names = ", ".join(f'"{wf_uuid}"' for wf_uuid in sorted(wf_uuids) if _UUID.fullmatch(wf_uuid))
    return f'Owner == "{owner}" && JobUniverse == {_VANILLA} && member(pegasus_wf_uuid, {{{names}}})'


def _outdated(hosts: Collection[str]) -> str:
    known = f"PanoramaAvoid =!= {_listed(hosts)}"
    return known if hosts else f"PanoramaAvoid =!= undefined && {known}"


def _listed(hosts: Collection[str]) -> str:
    return f'"{",".join(sorted(hosts))}"'


def _asked(job: _Job) -> tuple[str, str, bool]:
    return job.requirements, job.original, bool(job.left)


def _told(job: _Job, hosts: Collection[str]) -> dict[str, str]:
    """What a job's ad has to say."""
    if not hosts and job.original and not job.left:
        bare = dict.fromkeys(("PanoramaAvoid", "PanoramaRequirements"), "undefined")
        return {"Requirements": job.original, **bare}
    return {"PanoramaAvoid": _listed(hosts), **_with_condition(job)}


def _with_condition(job: _Job) -> dict[str, str]:
    """The condition beside what it had asked for, unless it is there already: by the plan, or from the last time."""
    before = job.requirements
    if _LISTS[0] in before or not before:
        return {}
    return {"Requirements": f"({before}) && {CONDITION}", "PanoramaRequirements": before}


def _edit(which: str, values: Mapping[str, str]) -> bool:
    """All of it or nothing; jobs that have started or gone in the meantime are no mistake."""
    done = ask(["condor_qedit", "-constraint", which, *itertools.chain(*values.items())])
    if done is not None and done.returncode:
        _log.info("condor_qedit %s: %s", which, done.stderr.strip()[-400:])
    return done is not None and not done.returncode


def _queued(constraint: str) -> list[_Job]:
    done = ask(
        ["condor_q", "-allusers", "-constraint", constraint, "-attributes", ",".join(_Job.__struct_fields__), "-json"]
    )
    try:
        return msgspec.json.decode(done.stdout or "[]", type=list[_Job]) if done and not done.returncode else []
    except msgspec.DecodeError as problem:
        _log.warning("condor_q: cannot be understood: %s", problem)
        return []


def _expression(value: str | bool | None) -> str:
    """An expression as condor_q writes it into JSON, `/Expr(...)/`; a plain `true` is one of JSON's."""
    if isinstance(value, str):
        return value.removeprefix("/Expr(").removesuffix(")/")
    return "" if value is None else str(value).lower()


def _batches(clusters: list[int]) -> Iterator[list[int]]:
    yield from (clusters[at : at + _MOST] for at in range(0, len(clusters), _MOST))
