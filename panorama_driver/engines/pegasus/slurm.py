"""Which nodes a cluster's jobs may go to, where HTCondor hands them to Slurm: told by the options of sbatch."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ...errors import EnvironmentMissingError
from ...sources.hosts import short_name
from .condor import ask


def nodes() -> dict[str, str]:
    """Short name of each node to what Slurm calls it.

    Raises
    ------
    EnvironmentMissingError
        It cannot be asked from here: sbatch refuses a job that names a node which there is not.
    """
    done = ask(["sinfo", "--noheader", "--Node", "--format=%N"])
    if done is None or done.returncode:
        raise EnvironmentMissingError(
            "sinfo does not tell the nodes' names, without which none can be avoided; run the study where it does"
        )
    return {short_name(name): name for name in done.stdout.split()}


def profiles(hosts: Collection[str], known: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """What a site's profiles say for workflows that are still to be planned; `known` is what `nodes` gave.

    sbatch would refuse hosts that Slurm does not have: they are left out.
    """
    excluded = sorted(known[host] for host in hosts if host in known)
    return {"pegasus": {"glite.arguments": f"--exclude={','.join(excluded)}"}} if excluded else {}
