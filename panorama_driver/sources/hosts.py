"""One spelling for a host: Pegasus, kickstart and the transfer tools use three, of which none is wrong."""

from __future__ import annotations

import ipaddress


def short_name(name: str) -> str:
    """The first label of a host's name in lower case; an address stays what it is, in its shortest spelling.

    gethostname(2) gives `Nid00042`, getfqdn `nid00042.cluster.example.org`, kickstart's record either, and DNS may end
    it with a dot. Two hosts of one name in two domains are taken for one: jobs of one run never meet that.
    """
    name = name.strip().strip("[]").rstrip(".")
    try:
        return str(ipaddress.ip_address(name.partition("%")[0]))
    except ValueError:
        return name.partition(".")[0].lower()
