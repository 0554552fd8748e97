"""One spelling for a host: Pegasus, kickstart and the transfer tools use three, of which none is wrong."""

from __future__ import annotations

import ipaddress
import re

_AROUND = re.compile(r"^[\s\[\]]+|[\s\[\].]+$")


def short_name(name: str) -> str:
    """The first label of a host's name in lower case; an address stays what it is, in its shortest spelling.

    gethostname(2) gives `Nid00042`, getfqdn `nid00042.cluster.example.org`, kickstart's record either, and DNS may end
    it with a dot. Two hosts of one name in two domains are taken for one: jobs of one run never meet that.
    """
    bare = _AROUND.sub("", name)
    try:
        return _address(bare)
    except ValueError:
        return _AROUND.sub("", bare.partition(".")[0]).lower()


def place(host: str, slot_group: str | None) -> str:
    """A host as metrics and anomalies spell it: with the group of slots after a slash, where slots are in groups."""
    return f"{host}/{slot_group}" if slot_group else host


def is_address(name: str) -> bool:
    """Whether a host is called by its address."""
    try:
        _address(_AROUND.sub("", name))
    except ValueError:
        return False
    return True


def _address(bare: str) -> str:
    return str(ipaddress.ip_address(bare.partition("%")[0]))
