"""What tells a name from a word, and where in a text hosts, users and paths stand."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split()) | {""}


NOBODY = _words(
    "unknown none null nobody root daemon localhost localhost.localdomain localdomain local n/a "
    "127.0.0.1 ::1 0.0.0.0 ::"
)
"""Hosts and users that are nobody's."""
COMMON = NOBODY | _words(
    "pegasus condor htcondor slurm globus panorama dakota darshan kickstart compute main site transfer workflow study "
    "job user host node test data input output run runs python bash sh info debug error warning file start end true "
    "false"
)
"""Words of the field: somebody of such a name is told from the word only where a field says that it is a name."""
PLAIN = _words(
    "usr bin sbin lib lib32 lib64 libexec share local opt etc dev proc sys tmp var run home homes users mnt media "
    "scratch data work projects project global spool condor execute log logs cache src include python python3 pegasus "
    "panorama evaluations inputs outputs output submit wf shm null stdin stdout stderr site-packages . .. ~"
)
"""What paths are made of everywhere."""
HOMES = frozenset({"home", "homes", "users"})
SYSTEM = re.compile(r"/(?:usr(?!/local)|bin|sbin|lib|lib32|lib64|proc|sys|dev|etc)(?:/|$)")
COUNTED = re.compile(r"\d+|run\d+|\d+-[0-9a-f]{8}|python\d[\d.]*", re.IGNORECASE)
SUFFIX = re.compile(r"(?:\.[A-Za-z0-9]{1,6}){1,2}$")
OPAQUE = re.compile(r"[A-Za-z0-9+/=_-]{256,}")
"""Nothing can be looked for in what is encoded."""

HOST_KEYS = re.compile(r"(?:.*_)?(?:host|hostname|hostaddr|nodename|node|ip|fqdn)", re.IGNORECASE)
USER_KEYS = re.compile(r"(?:.*_)?(?:user|username|owner|uid|gid|email|logname|identity|grid_dn)", re.IGNORECASE)
PATH_KEYS = re.compile(r"(?:.*_)?(?:dir|directory|path|file|exe|executable|cwd|pfn|dax|log|from)", re.IGNORECASE)
PUBLIC_KEYS = frozenset({"lfn_id", "lfn", "filename", "transformation", "xformation"})

IN_PATH = r"[^\s\"'<>|:;,()\[\]{}=&?*#%\\`$@]"
_LABELS = r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,40}"
_ENDS = "edu|gov|org|com|net|mil|int|local|lan|internal|localdomain|arpa|example"
SIGHTS = (
    r"(?P<url>\b[A-Za-z][A-Za-z0-9+.-]{0,30}://[^\s\"'<>|,;()\[\]{}\\`]*)"
    r"|(?P<mail>[A-Za-z0-9._+-]{1,64}@[A-Za-z0-9][A-Za-z0-9.-]*)"
    rf"|(?P<path>(?<![A-Za-z0-9_./~*-])/{IN_PATH}+)"
    r"|(?P<ip>(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])|(?<![\w:])(?:[0-9a-f]{0,4}:){4,7}[0-9a-f]{0,4}(?![\w:]))"
    rf"|(?P<fqdn>\b{_LABELS}(?:{_ENDS})\b(?!\())"
)
"""What is a name at sight. Each part has a bound, as RFC 1035 and 5321 have them: else a long word takes hours."""
URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{0,30}://)(?:(?P<user>[^/@]*)@)?(?P<host>\[[^\]]*\]|[^/:?#]*)(?P<port>:\d+)?"
    r"(?P<path>[^?#]*)(?P<rest>.*)",
    re.DOTALL,
)
HOME = re.compile(r"/(?:home|homes|users)/(?:[a-z]/)?([^/\s\"':;,]+)", re.IGNORECASE)
SLOT = re.compile(r"slot\d+(?:_\d+)?", re.IGNORECASE)
HOST_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:-]*")

_SHORT = 5
"""Names of fewer letters are found where they are words, longer ones inside of words as well."""
_DEEPEST = 64
"""Letters of a name that the tree of all names has a level each for: neither Python nor `re` takes any number."""


def is_address(name: str) -> bool:
    """Whether this is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def any_of(names: Iterable[str]) -> str | None:
    """A pattern that finds these names in a text, the longest first, in a time that does not grow with their number."""
    known = [name for name in set(names) if len(name) > 1]
    short, long = ([n for n in known if (len(n) < _SHORT) is few] for few in (True, False))
    parts = [rf"(?<![A-Za-z0-9])(?:{_trie(short)})(?![A-Za-z0-9])"] if short else []
    parts += [rf"(?:{_trie(long)})"] if long else []
    return "|".join(parts) or None


def _trie(names: Iterable[str], after: str = "", depth: int = 0) -> str:
    """The names as one expression in which no two alternatives begin alike; `node1` is not found in `node10`."""
    if depth == _DEEPEST:
        return _flat(names, after)
    tails: dict[str, list[str]] = {}
    ends = False
    for name in names:
        if name:
            tails.setdefault(name[0], []).append(name[1:])
        else:
            ends = True
    parts = [re.escape(first) + _trie(rest, first, depth + 1) for first, rest in sorted(tails.items())]
    if ends:
        parts.append(_end(after))
    return f"(?:{'|'.join(parts)})" if len(parts) > 1 else parts[0]


def _flat(names: Iterable[str], after: str) -> str:
    """The same of what is left of names that go on for long, the longest first."""
    parts = [re.escape(name) + _end(name[-1:] or after) for name in sorted(names, key=lambda n: (-len(n), n))]
    return f"(?:{'|'.join(parts)})"


def _end(after: str) -> str:
    return r"(?!\d)" if after.isdigit() else ""
