"""TCP connections of transfers, `transfer.tcp`: read as typed records, and flows of Tstat joined to what they moved.

A connection that our own watcher saw in a job's process is that job's. A flow of Tstat knows addresses and times only.
Where it has the four numbers of a connection that the watcher saw at that time, it is that one (`join: socket`, with
`confidence` 1). Otherwise (`join: host+time`) each transfer that it may belong to gets a score,

    score = ends * inside * span * bytes

    ends      1 where the addresses of both hosts are known and fit, 0.6 where those of one are not known; half of it
              where the URL names another port than the flow's server has; 0 where an address does not fit
    inside    share of the flow's duration that lies within the transfer's time, widened by the clocks' skew; 0 for
              less than a half
    span      1 where the flow lasted as long as the transfer, less the skew on both sides; down to a half for shorter
    bytes     with b what the flow moved in the transfer's direction, S the transfer's size, and room for protocols
              r = 0.05 S + 8 KiB: 1 for S - r <= b <= S + r; S / b for more; for less, as by one of several streams,
              b / S, but 0.15 at least; 0.75 where S is not known

and `confidence` is the best score times its share in the sum of all scores. A flow is joined only where that share is
more than a half, so that one that fits two transfers equally goes to none, and the confidence 0.2 at least. Flows
that together would have moved more than a transfer's size cannot all be its own: the best is kept if it is clearly
better than the next, else none. No name is looked up: which host has which address is learnt from
`stampede.job_inst.host.info` or told.
"""

from __future__ import annotations

import bisect
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec

from ..events import Event
from . import globus, plain, transfers
from .hosts import is_address, short_name
from .tstat import End, Flow

KIND = "transfer.tcp"
HOST_INFO = "stampede.job_inst.host.info"
TRANSFER_KINDS = frozenset({transfers.SINGLE, transfers.ATTEMPT, globus.TASK})
"""Kinds of transfers that flows are joined to."""
SKEW = 3.0
"""Two hosts' clocks differ by no more [s]; it covers the whole seconds of the transfer tools, too."""

_ONE_END, _OTHER_PORT = 0.6, 0.5
_LEAST_INSIDE, _SHORT = 0.5, 0.5
_PART, _UNKNOWN_SIZE = 0.15, 0.75
_ROOM, _ROOM_SHARE = 8192, 0.05
_LEAST_SHARE, _LEAST_CONFIDENCE = 0.5, 0.2
_CLEARLY = 1.25
_PORTS = {"http": 80, "https": 443, "webdav": 80, "webdavs": 443, "dav": 80, "davs": 443, "s3": 443, "s3s": 443} | {
    "gs": 443,
    "scp": 22,
    "sftp": 22,
    "ssh": 22,
    "root": 1094,
    "xroot": 1094,
}
"""Of protocols whose data take the connection of their URL; GridFTP's and FTP's take others."""
_LOCAL = re.compile(r"(?:file|symlink|moveto):|/")
_HIGHEST_PORT = 65535
_Tuple = tuple[str, int, str, int]


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """What one `transfer.tcp` event tells.

    Attributes
    ----------
    source : str
        `tstat`, or `tcp_info`: the kernel, as our probe asked it.
    client, server : End
        The end that opened the connection, and the other; the kernel knows what its own end sent again, not what the
        other did.
    first, last : float
        [s since 1970] first and last that was seen of it.
    vantage : str or None
        The end that the observer stood at, `client` or `server`.
    join : str or None
        How it was found to be this job's: `socket` or `host+time`.
    confidence : float
        That it is, in (0, 1].
    final : bool
        Whether these are the last counters; the kernel's word, always so of Tstat.
    loopback : bool
        Whether both ends are the same host.
    rtt : float or None
        [ms] round trip as the kernel has it smoothed; of Tstat, the mean of the direction that moved more.
    """

    source: str
    client: End
    server: End
    first: float
    last: float
    vantage: str | None = None
    join: str | None = None
    confidence: float = 1.0
    final: bool = True
    loopback: bool = False
    rtt: float | None = None

    @property
    def ends(self) -> _Tuple:
        """Addresses and ports of both ends."""
        return self.client.ip, self.client.port, self.server.ip, self.server.port

    @property
    def moved(self) -> int | None:
        """[bytes] of payload in both directions, each once; None where one is not known, as of kernels before 4.19."""
        sent, received = self.client.bytes_uniq, self.server.bytes_uniq
        return None if sent is None or received is None else sent + received


def connection(fields: Mapping[str, Any]) -> Connection | None:
    """Read the fields of a `transfer.tcp` event; what is not of its type is taken for not told.

    None where addresses or times are missing, without which it is no connection.
    """
    first, last = plain.number(fields.get("first")), plain.number(fields.get("last"))
    client, server = (_end(prefix, fields) for prefix in ("c_", "s_"))
    if client is None or server is None or first is None or last is None:
        return None
    confidence = plain.number(fields.get("confidence"))
    return Connection(
        source=plain.text(fields.get("source")) or "unknown",
        client=client,
        server=server,
        first=first,
        last=last,
        vantage=plain.text(fields.get("vantage")),
        join=plain.text(fields.get("join")),
        confidence=1.0 if confidence is None else min(1.0, confidence),
        final=fields.get("final") is not False,
        loopback=fields.get("loopback") is True or client.ip == server.ip,
        rtt=_rtt(plain.number(fields.get("rtt")), client, server),
    )


def _end(prefix: str, fields: Mapping[str, Any]) -> End | None:
    ip, port = plain.text(fields.get(prefix + "ip")), plain.number(fields.get(prefix + "port"))
    if ip is None or port is None or not port <= _HIGHEST_PORT:
        return None
    told: dict[str, Any] = {}
    for name in End.__struct_fields__:
        value = plain.number(fields.get(prefix + name))
        if value is not None and name not in ("ip", "port"):
            told[name] = value if name.startswith("rtt_") and name != "rtt_cnt" else int(value)
    return End(ip=ip, port=int(port), **told)


def _rtt(smoothed: float | None, client: End, server: End) -> float | None:
    if smoothed is not None:
        return smoothed
    busier = max((client, server), key=lambda end: end.bytes_uniq or 0)
    return busier.rtt_avg if busier.rtt_cnt else None


class Addresses:
    """Which addresses a host has, by its names.

    Parameters
    ----------
    told : mapping of str to collection of str, optional
        Addresses of hosts, or of Globus collections by their id or display name.
    """

    def __init__(self, told: Mapping[str, Collection[str]] | None = None) -> None:
        self._known: dict[str, set[str]] = defaultdict(set)
        self._short: dict[str, set[str]] = defaultdict(set)
        for name, addresses in (told or {}).items():
            self._known[name.strip().lower()].update(map(short_name, addresses))

    def learn(self, event: Event) -> None:
        """Take what a `stampede.job_inst.host.info` tells."""
        name, address = event.fields.get("hostname"), event.fields.get("ip")
        if isinstance(name, str) and isinstance(address, str) and name not in ("", "unknown") and is_address(address):
            self._known[name.strip().lower()].add(short_name(address))
            self._short[short_name(name)].add(short_name(address))

    def of(self, name: str) -> frozenset[str]:
        """Addresses of a host; none where they are not known. A worker may be called by its first label alone."""
        if is_address(name):
            return frozenset({short_name(name)})
        name = name.strip().rstrip(".").lower()
        found = self._known.get(name)
        if found is None and ("." not in name or short_name(name) in self._known):
            found = self._known.get(short_name(name), set()) | self._short.get(short_name(name), set())
        return frozenset(found or ())


class Owner(NamedTuple):
    """Whose a connection is."""

    wf_uuid: str
    job_id: str | None
    attempt: int | None
    condor_job_id: str | None = None


class Place(NamedTuple):
    """One end of a transfer: its host's addresses, none where they are not known, and the port of its URL."""

    addresses: frozenset[str]
    port: int | None = None


class Movement(NamedTuple):
    """A transfer that flows may belong to: `begin` and `end` [s since 1970], `size` [bytes] if that is known."""

    transfer_id: str
    owner: Owner
    begin: float
    end: float
    size: float | None
    source: Place
    destination: Place


class Match(NamedTuple):
    """A flow and whose it is; `transfer_id` is the `event_id` of the transfer's record, where it is known."""

    flow: Flow
    owner: Owner
    join: Literal["socket", "host+time"]
    confidence: float
    transfer_id: str | None = None

    def event(self) -> Event:
        """The `transfer.tcp` event of the flow, its columns under Tstat's names and times in [s since 1970]."""
        ids = {"condor_job_id": self.owner.condor_job_id, "transfer_id": self.transfer_id, "vantage": self.flow.vantage}
        told = {"source": "tstat", "join": self.join, "confidence": round(self.confidence, 4)}
        return Event(
            kind=KIND,
            wf_uuid=self.owner.wf_uuid,
            ts=self.flow.last,
            job_id=self.owner.job_id,
            attempt=self.owner.attempt,
            fields={**self.flow.columns(), **told, **{key: value for key, value in ids.items() if value is not None}},
        )


class Unjoined(NamedTuple):
    """How many flows belong to nothing: `ambiguous` fit several transfers, or too badly; `foreign` fit none."""

    ambiguous: int
    foreign: int


class Joiner:
    """Joins flows to the transfers and connections of some workflows.

    Parameters
    ----------
    events : iterable of Event
        Of those workflows: transfers, `transfer.tcp`, `stampede.job_inst.host.info`; others do no harm.
    addresses : mapping of str to collection of str, optional
        As for `Addresses`.
    skew : float
        By how much two hosts' clocks may differ [s].
    """

    def __init__(
        self,
        events: Iterable[Event],
        addresses: Mapping[str, Collection[str]] | None = None,
        skew: float = SKEW,
    ) -> None:
        self._skew = skew
        self._book = Addresses(addresses)
        self._sockets: dict[_Tuple, list[tuple[float, float, Owner]]] = defaultdict(list)
        self._known: dict[_Tuple, list[float]] = defaultdict(list)
        self._matches: list[tuple[float, Match]] = []
        self._ambiguous = self._foreign = self.known = 0
        movements = self._learn(events)
        self.placeless = sum(not (m.source.addresses or m.destination.addresses) for m in movements)
        self._by_address = _indexed(movements)
        self._sizes = {movement.transfer_id: movement.size for movement in movements}

    def take(self, flow: Flow) -> None:
        """Look for what a flow belongs to; one that an event tells of already stays as it is there."""
        key = (flow.client.ip, flow.client.port, flow.server.ip, flow.server.port)
        if any(abs(last - flow.last) < 1e-3 for last in self._known.get(key, ())):
            self.known += 1
            return
        self._known[key].append(flow.last)
        owners = {owner for begin, end, owner in self._sockets.get(key, ()) if self._meets(flow, begin, end)}
        if len(owners) == 1:
            self._matches.append((1.0, Match(flow, owners.pop(), "socket", 1.0)))
            return
        self._by_host(flow)

    def matches(self) -> tuple[list[Match], Unjoined]:
        """All that was joined, and how much was not."""
        by_transfer: dict[str | None, list[tuple[float, Match]]] = defaultdict(list)
        for score, match in self._matches:
            by_transfer[match.transfer_id].append((score, match))
        joined: list[Match] = []
        for transfer_id, found in by_transfer.items():
            joined += self._agreeing(found, self._sizes.get(transfer_id) if transfer_id else None)
        dropped = len(self._matches) - len(joined)
        joined.sort(key=lambda match: (match.flow.first, match.flow.client.ip, match.flow.client.port))
        return joined, Unjoined(self._ambiguous + dropped, self._foreign)

    def _learn(self, events: Iterable[Event]) -> list[Movement]:
        hosts: dict[tuple[str, str | None, int | None], str] = {}
        moved: list[Event] = []
        for event in events:
            if event.kind == HOST_INFO:
                self._book.learn(event)
                hosts[_try(event)] = str(event.fields.get("hostname") or event.fields.get("ip") or "")
            elif event.kind in TRANSFER_KINDS:
                moved.append(event)
            elif event.kind == KIND:
                self._learn_connection(event)
        found = (_movement(event, self._book, hosts.get(_try(event), "")) for event in _each_once(moved))
        return [movement for movement in found if movement is not None]

    def _learn_connection(self, event: Event) -> None:
        seen = connection(event.fields)
        if seen is None:
            return
        if seen.source == "tstat":
            self._known[seen.ends].append(seen.last)
            return
        for ends in (seen.ends, (*seen.ends[2:], *seen.ends[:2])):  # who opened it is a guess at times
            self._sockets[ends].append((seen.first, seen.last, owner_of(event)))

    def _meets(self, flow: Flow, begin: float, end: float) -> bool:
        return flow.first <= end + self._skew and flow.last >= begin - self._skew

    def _by_host(self, flow: Flow) -> None:
        scores = self._scores(flow)
        if not scores:
            self._foreign += 1
            return
        best, movement = max(scores, key=lambda scored: scored[0])
        share = best / sum(score for score, _ in scores)
        if share <= _LEAST_SHARE or best * share < _LEAST_CONFIDENCE:
            self._ambiguous += 1
            return
        self._matches.append((best, Match(flow, movement.owner, "host+time", best * share, movement.transfer_id)))

    def _scores(self, flow: Flow) -> list[tuple[float, Movement]]:
        near: dict[str, Movement] = {}
        for address in (flow.client.ip, flow.server.ip):
            for movement in self._by_address[address].around(flow, self._skew) if address in self._by_address else ():
                near[movement.transfer_id] = movement
        scored = ((score(flow, movement, self._skew), movement) for movement in near.values())
        return [(value, movement) for value, movement in scored if value > 0]

    def _agreeing(self, found: list[tuple[float, Match]], size: float | None) -> list[Match]:
        """Those of a transfer's flows that can be its own together."""
        moved = sum(max(m.flow.client.bytes_uniq or 0, m.flow.server.bytes_uniq or 0) for _, m in found)
        if size is None or len(found) == 1 or moved <= size * (1 + _ROOM_SHARE) + _ROOM * len(found):
            return [match for _, match in found]
        found.sort(key=lambda scored: scored[0], reverse=True)
        return [found[0][1]] if found[0][0] >= _CLEARLY * found[1][0] else []


def _try(event: Event) -> tuple[str, str | None, int | None]:
    """Which try of which job; runs of one workflow have jobs of the same names."""
    return event.wf_uuid, event.job_id, event.attempt


def _each_once(moved: Sequence[Event]) -> list[Event]:
    """Of a file that Pegasus' list and Panorama's record both tell of the list's alone, or a flow would fit two."""
    listed = {_of_file(event) for event in moved if event.kind == transfers.ATTEMPT}
    return [event for event in moved if event.kind != transfers.SINGLE or _of_file(event) not in listed]


def _of_file(event: Event) -> tuple[Any, ...]:
    urls = (event.fields.get(key) for key in ("source_url", "destination_url"))
    return event.wf_uuid, event.job_id, *map(plain.text, urls)


def owner_of(event: Event) -> Owner:
    """Whose an event is."""
    sched = event.fields.get("condor_job_id")
    return Owner(event.wf_uuid, event.job_id, event.attempt, sched if isinstance(sched, str) and sched else None)


def score(flow: Flow, movement: Movement, skew: float = SKEW) -> float:
    """How well a flow fits a transfer, in [0, 1], by the formula above."""
    inside = _inside(flow, movement, skew)
    if inside < _LEAST_INSIDE:
        return 0.0
    forward = _ends(flow.client, flow.server, movement, flow.server.port)
    backward = _ends(flow.server, flow.client, movement, flow.server.port)
    return (
        inside
        * _span(flow, movement, skew)
        * max(
            forward * _plausible(flow.client.bytes_uniq, movement.size),
            backward * _plausible(flow.server.bytes_uniq, movement.size),
        )
    )


def _span(flow: Flow, movement: Movement, skew: float) -> float:
    least = movement.end - movement.begin - 2 * skew
    return 1.0 if flow.duration >= least else _SHORT + (1 - _SHORT) * flow.duration / least


def _inside(flow: Flow, movement: Movement, skew: float) -> float:
    begin, end = movement.begin - skew, movement.end + skew
    if flow.duration <= 0:
        return float(begin <= flow.first <= end)
    return max(0.0, min(flow.last, end) - max(flow.first, begin)) / flow.duration


def _ends(sender: End, receiver: End, movement: Movement, port: int) -> float:
    source, destination = movement.source, movement.destination
    fits = 1.0
    for place, end in ((source, sender), (destination, receiver)):
        if not place.addresses:
            fits *= _ONE_END
        elif end.ip not in place.addresses:
            return 0.0
    told = source.port if source.port is not None else destination.port
    return fits * (_OTHER_PORT if told is not None and told != port else 1.0)


def _plausible(moved: int | None, size: float | None) -> float:
    if moved is None or size is None:
        return _UNKNOWN_SIZE
    room = _ROOM_SHARE * size + _ROOM
    if abs(moved - size) <= room:
        return 1.0
    return size / moved if moved > size else max(_PART, moved / size)


class _Timeline:
    """Transfers of one host in the order of their beginning, found by time."""

    def __init__(self, movements: Iterable[Movement]) -> None:
        self._movements = sorted(movements, key=lambda movement: movement.begin)
        self._begins = [movement.begin for movement in self._movements]
        self._longest = max(movement.end - movement.begin for movement in self._movements)

    def around(self, flow: Flow, skew: float) -> list[Movement]:
        start = bisect.bisect_left(self._begins, flow.first - skew - self._longest)
        stop = bisect.bisect_right(self._begins, flow.last + skew)
        return self._movements[start:stop]


def _indexed(movements: Iterable[Movement]) -> dict[str, _Timeline]:
    by_address: dict[str, list[Movement]] = defaultdict(list)
    for movement in movements:
        for address in movement.source.addresses | movement.destination.addresses:
            by_address[address].append(movement)
    return {address: _Timeline(found) for address, found in by_address.items()}


def _movement(event: Event, book: Addresses, host: str) -> Movement | None:
    """A transfer as far as it can be joined; None where it has no times, or moved nothing over a network."""
    if event.kind == globus.TASK:
        return _of_globus(event, book)
    single = transfers.single(event.fields)
    if single.begin is None or single.method not in (None, "copy"):
        return None
    source, destination = single.source or "", single.destination or ""
    if _LOCAL.match(source) and _LOCAL.match(destination):
        return None
    here = str(event.fields.get("hostname") or host)
    return Movement(
        transfer_id=event.event_id,
        owner=owner_of(event),
        begin=single.begin,
        end=max(single.begin, single.begin if single.end is None else single.end),
        size=single.moved if single.moved is not None else single.size,
        source=_place(source, book, here),
        destination=_place(destination, book, here),
    )


def _of_globus(event: Event, book: Addresses) -> Movement | None:
    task = globus.task(event.fields)
    if task.request_time is None or task.completion_time is None:
        return None
    names = (
        (task.source_endpoint_id, task.source_endpoint_display_name),
        (task.destination_endpoint_id, task.destination_endpoint_display_name),
    )
    source, destination = (Place(frozenset().union(*(book.of(name) for name in both if name))) for both in names)
    return Movement(
        transfer_id=event.event_id,
        owner=owner_of(event),
        begin=task.request_time,
        end=max(task.request_time, task.completion_time),
        size=task.bytes_transferred,
        source=source,
        destination=destination,
    )


def _place(url: str, book: Addresses, here: str) -> Place:
    """Where a URL leads; a local file is on the host that ran the tool."""
    if _LOCAL.match(url):
        return Place(book.of(here) if here else frozenset())
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return Place(frozenset())
    return Place(book.of(host) if host else frozenset(), port or _PORTS.get(parts.scheme.lower()))
