"""`log_tcp_complete` of Tstat, in every set of columns: one line a TCP connection, as seen where its packets passed.

Formats: Tstat 3 (tstat.polito.it, "Log files", and `log_tcp_complete_descr.txt` of its packages) writes the sets Core,
End to End, P2P, Options, Layer 7 and Advanced in this order, those that `runtime.conf` switches on, and names them in a
line that begins with `#15#c_ip:1`; Tstat 2 writes all of the client, then all of the server, with the header
`#c_ip:1 ...` or without one. `c_` is the end that opened the connection, `s_` the other; what carries an end's prefix
is what that end sent, and `rtt` is the time from its data to the other's acknowledgement, as seen from the probe.
"""

from __future__ import annotations

import gzip
import ipaddress
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import msgspec

from ..errors import FormatError
from .hosts import is_address

LINE_LIMIT = 1 << 16
"""No line is longer, Advanced set and names of hosts included [bytes]."""
_MOST_COLUMNS = 1024
_HIGHEST_PORT = 65535
_GZIP = b"\x1f\x8b"
_HEAD = 400  # bytes of a damaged line that are kept
_LATEST = 1e14  # [ms since 1970]: beyond it a time is none

_ENDS = ("c_", "s_")
_MOST_UNKNOWN = 10  # lines without known columns, after which a file is given up


def _names(text: str) -> list[str]:
    return text.split()


_CORE = _names(
    "ip port pkts_all rst_cnt ack_cnt ack_cnt_p bytes_uniq pkts_data bytes_all pkts_retx bytes_retx pkts_ooo"
    " syn_cnt fin_cnt"
)
_CORE_BOTH = _names(
    "first last durat c_first s_first c_last s_last c_first_ack s_first_ack c_isint s_isint c_iscrypto s_iscrypto"
    " con_t p2p_t http_t"
)
_RTT = _names("rtt_avg rtt_min rtt_max rtt_std rtt_cnt ttl_min ttl_max")
_P2P = _names("p2p_st ed2k_data ed2k_sig ed2k_c2s ed2k_c2c ed2k_chat")
_NEGOTIATED = _names(
    "f1323_opt tm_opt win_scl sack_opt sack_cnt mss mss_max mss_min win_max win_min win_0 cwin_max cwin_min cwin_ini"
)
_LOSSES = _names("pkts_rto pkts_fs pkts_reor pkts_dup pkts_unk pkts_fc pkts_unrto pkts_unfs syn_retx")
_LAYER7 = _names(
    "http_req_cnt http_res_cnt http_res c_pkts_push s_pkts_push c_tls_SNI s_tls_SCN c_npnalpn s_npnalpn c_tls_sesid"
    " c_last_handshakeT s_last_handshakeT c_appdataT s_appdataT c_appdataB s_appdataB fqdn dns_rslv req_tm res_tm"
)
_TIMES_2 = _names(
    "durat first last c_first s_first c_last s_last c_first_ack s_first_ack first_abs c_isint s_isint con_t p2p_t"
)


def _of_both(names: Sequence[str]) -> list[str]:
    return [end + name for end in _ENDS for name in names]


_SET_CORE = _of_both(_CORE) + _CORE_BOTH
VERSION_2 = (*_of_both([*_CORE, *_NEGOTIATED, *_RTT, *_LOSSES]), *_TIMES_2, *_P2P, "http_t")
"""The 109 columns that every Tstat 2 writes; what it was built with adds up to four."""
_MOST_OF_VERSION_2 = len(VERSION_2) + 4


def _version_3() -> dict[int, tuple[str, ...]]:
    """The sets of columns that their number alone tells, were the header lost."""
    rtt, options = _of_both(_RTT), _of_both(_NEGOTIATED + _LOSSES)
    several = [[*a, *b, *c] for a in ([], rtt) for b in ([], _P2P) for c in ([], options)]
    every = [*several, [*rtt, *_P2P, *options, *_LAYER7]]
    return {len(_SET_CORE) + len(more): (*_SET_CORE, *more) for more in every}


VERSION_3 = _version_3()
"""Columns of Tstat 3 by their number, where that tells the sets."""


class End(msgspec.Struct, frozen=True, kw_only=True):
    """What one end of a connection sent; None where the log has no such column.

    Attributes
    ----------
    ip : str
        Address in its shortest spelling.
    port : int
        TCP port.
    pkts_all, pkts_data, ack_cnt, ack_cnt_p : int or None
        Segments: all, with payload, with the ACK flag, without anything but it.
    bytes_all, bytes_uniq : int or None
        [bytes] of payload, with and without what was sent again.
    pkts_retx, bytes_retx : int or None
        Retransmitted segments, [bytes] in them.
    pkts_ooo : int or None
        Segments out of sequence.
    rst_cnt, syn_cnt, fin_cnt : int or None
        Segments with these flags; `rst_cnt` is 0 or 1.
    rtt_avg, rtt_min, rtt_max, rtt_std : float or None
        [ms] from a segment of this end, as it passed the probe, to its acknowledgement.
    rtt_cnt : int or None
        Number of such times.
    ttl_min, ttl_max : int or None
        IP's time to live, of the segments of this end as they passed the probe.
    sack_cnt : int or None
        Selective acknowledgements that it sent.
    mss, mss_max, mss_min : int or None
        [bytes] largest segment: declared; largest and smallest observed.
    win_max, win_min : int or None
        [bytes] receiver window announced; `win_0` counts those of 0.
    win_0 : int or None
        Segments that announced no window.
    cwin_max, cwin_min, cwin_ini : int or None
        [bytes] in flight: largest, smallest, before the first acknowledgement.
    pkts_rto, pkts_fs : int or None
        Segments sent again after a timeout, after a fast retransmit.
    pkts_reor, pkts_dup : int or None
        Segments that the network reordered, doubled.
    pkts_unk : int or None
        Segments out of sequence or double of unknown cause.
    pkts_fc : int or None
        Segments sent again to probe a closed window.
    pkts_unrto, pkts_unfs : int or None
        Of `pkts_rto` and `pkts_fs` those that were not needed.
    """

    ip: str
    port: int
    pkts_all: int | None = None
    rst_cnt: int | None = None
    ack_cnt: int | None = None
    ack_cnt_p: int | None = None
    bytes_uniq: int | None = None
    pkts_data: int | None = None
    bytes_all: int | None = None
    pkts_retx: int | None = None
    bytes_retx: int | None = None
    pkts_ooo: int | None = None
    syn_cnt: int | None = None
    fin_cnt: int | None = None
    rtt_avg: float | None = None
    rtt_min: float | None = None
    rtt_max: float | None = None
    rtt_std: float | None = None
    rtt_cnt: int | None = None
    ttl_min: int | None = None
    ttl_max: int | None = None
    sack_cnt: int | None = None
    mss: int | None = None
    mss_max: int | None = None
    mss_min: int | None = None
    win_max: int | None = None
    win_min: int | None = None
    win_0: int | None = None
    cwin_max: int | None = None
    cwin_min: int | None = None
    cwin_ini: int | None = None
    pkts_rto: int | None = None
    pkts_fs: int | None = None
    pkts_reor: int | None = None
    pkts_dup: int | None = None
    pkts_unk: int | None = None
    pkts_fc: int | None = None
    pkts_unrto: int | None = None
    pkts_unfs: int | None = None


_FLOATS = frozenset({"rtt_avg", "rtt_min", "rtt_max", "rtt_std"})
_OF_END = frozenset(End.__struct_fields__)
_OF_FLOW = frozenset({"first", "last", "durat", "first_abs"})


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """One TCP connection.

    Attributes
    ----------
    client, server : End
        The end that opened it, and the other.
    first, last : float
        [s since 1970] first and last segment, on the probe's clock.
    duration : float
        [s] between the two.
    other : dict of str to int, float or str
        All other columns by Tstat's name; of those that a log names twice the first.
    """

    client: End
    server: End
    first: float
    last: float
    duration: float
    other: dict[str, int | float | str] = {}

    @property
    def vantage(self) -> str | None:
        """Which end the probe stood at, `client` or `server`; None where that cannot be told.

        Systems send with a time to live of 64, 128 or 255, and every router on the way takes one off.
        """
        fresh = [end.ttl_max in (64, 128, 255) and end.ttl_min == end.ttl_max for end in (self.client, self.server)]
        known = self.client.ttl_max is not None and self.server.ttl_max is not None
        if not known or fresh[0] == fresh[1]:
            return None
        return "client" if fresh[0] else "server"

    def columns(self) -> dict[str, int | float | str]:
        """All that is known, by Tstat's names; `first`, `last` in [s since 1970], `durat` in [s]."""
        told: dict[str, int | float | str] = {"first": self.first, "last": self.last, "durat": self.duration}
        for prefix, end in zip(_ENDS, (self.client, self.server), strict=True):
            told |= {prefix + name: value for name in _OF_END if (value := getattr(end, name)) is not None}
        return told | self.other


class Damage(NamedTuple):
    """A line that tells of no connection, with its number in the file and why; `unfinished` where more may follow.

    `head` is its beginning, `size` its whole length [bytes].
    """

    line: int
    reason: str
    head: bytes = b""
    size: int = 0
    unfinished: bool = False


class Columns:
    """What the columns of a line are: told by the header, else by their number and by what stands in them."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        place = {name: number for number, name in reversed(list(enumerate(names)))}
        times = ("first_abs", "durat") if "first_abs" in place else ("first", "last", "durat")
        missing = [name for name in ("c_ip", "c_port", "s_ip", "s_port", *times) if name not in place]
        if missing:
            raise FormatError(f"no log of TCP connections: its columns lack {', '.join(missing)}")
        self._place = place
        self._of_ends = [
            [(name, place[prefix + name]) for name in End.__struct_fields__ if prefix + name in place]
            for prefix in _ENDS
        ]
        known = _OF_FLOW | {prefix + name for prefix in _ENDS for name in _OF_END}
        self._other = [(name, number) for name, number in place.items() if name not in known]

    @classmethod
    def of_header(cls, line: str) -> Columns:
        """Columns that a header line names.

        Raises
        ------
        FormatError
            They are not those of TCP connections.
        """
        words = line.split()
        words[0] = words[0].rpartition("#")[2]
        if len(words) > _MOST_COLUMNS:
            raise FormatError(f"a header of {len(words)} columns")
        return cls([word.partition(":")[0] for word in words])

    @classmethod
    def of_values(cls, values: Sequence[str]) -> Columns:
        """Columns of a log without a header, by what stands in its first line.

        Raises
        ------
        FormatError
            It is neither the order of Tstat 2 nor sets of Tstat 3 that their number tells.
        """
        count = len(values)
        if count in VERSION_3 and is_address(values[14]) and _is_moment(values[28]):
            return cls(VERSION_3[count])
        if len(VERSION_2) <= count <= _MOST_OF_VERSION_2 and is_address(values[44]) and _is_moment(values[97]):
            more = [f"column_{number}" for number in range(len(VERSION_2) + 1, count + 1)]
            return cls([*VERSION_2, *more])
        raise FormatError(
            f"no header, and {count} columns are of no known order; put the header line of that Tstat before the first"
        )

    def flow(self, values: Sequence[str]) -> Flow:
        """The connection that a line tells of.

        Raises
        ------
        FormatError
            The line has too few or too many values, or one of them is not what it should be.
        """
        if len(values) != len(self.names):
            raise FormatError(f"{len(values)} values in {len(self.names)} columns")
        first, last = self._times(values)
        client, server = (
            _end_of(prefix, values, columns) for prefix, columns in zip(_ENDS, self._of_ends, strict=True)
        )
        return Flow(
            client=client,
            server=server,
            first=first,
            last=last,
            duration=last - first,
            other={name: _value(values[number]) for name, number in self._other if values[number].strip("-")},
        )

    def _times(self, values: Sequence[str]) -> tuple[float, float]:
        """First and last segment [s since 1970]; Tstat 2 counts `first` from the beginning of its own run."""
        duration = _milliseconds("durat", values[self._place["durat"]])
        absolute = "first_abs" if "first_abs" in self._place else "first"
        first = _milliseconds(absolute, values[self._place[absolute]])
        if absolute == "first_abs":
            return first / 1e3, (first + duration) / 1e3
        last = _milliseconds("last", values[self._place["last"]])
        if last < first:
            raise FormatError(f"it ends {(first - last) / 1e3:g} s before it begins")
        return first / 1e3, last / 1e3


def read(file: BinaryIO) -> Iterator[Flow | Damage]:
    """Read a log, which may be compressed and may still be written.

    Parameters
    ----------
    file : binary file
        At its beginning, and able to go back there. Two bytes tell whether it is gzip; of several members all are read.

    Yields
    ------
    Flow or Damage
        A connection a line; of a line that tells of none, and of the end of a file that cannot be read on, why.
    """
    compressed = file.read(2) == _GZIP
    file.seek(0)
    with gzip.GzipFile(fileobj=file) if compressed else _Kept(file) as text:
        yield from _flows(text)


class _Kept:
    """A file that stays open at the end of a `with`."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __enter__(self) -> BinaryIO:
        return self._file

    def __exit__(self, *_: object) -> None:
        pass


def _flows(text: BinaryIO | gzip.GzipFile) -> Iterator[Flow | Damage]:
    columns: Columns | None = None
    number = unknown = 0
    while unknown < _MOST_UNKNOWN:
        number += 1
        try:
            line = text.readline(LINE_LIMIT)
        except EOFError:
            yield Damage(number, "the compressed file ends within: it is still written, or was cut", unfinished=True)
            return
        except (gzip.BadGzipFile, zlib.error) as error:
            yield Damage(number, f"damaged compression, the rest cannot be read: {error}")
            return
        if not line:
            return
        if not line.endswith(b"\n"):
            whole = len(line) < LINE_LIMIT
            reason = (
                "the last line has no end yet" if whole else f"longer than {LINE_LIMIT} bytes, the rest is not read"
            )
            yield Damage(number, reason, line[:_HEAD], len(line), unfinished=whole)
            return
        try:
            columns, flow = _line(line, columns)
        except FormatError as error:
            yield Damage(number, str(error), line[:_HEAD], len(line))
            columns = None if line.startswith(b"#") else columns
            unknown += columns is None
            continue
        if flow is not None:
            yield flow


def _line(line: bytes, columns: Columns | None) -> tuple[Columns | None, Flow | None]:
    """Read one line: the columns from now on, and its connection; a Tstat started again writes a new header."""
    text = line.decode("utf-8", "replace").strip()
    if text.startswith("#"):
        return Columns.of_header(text), None
    if not text:
        return columns, None
    values = text.split()
    columns = columns or Columns.of_values(values)
    return columns, columns.flow(values)


def _is_moment(text: str) -> bool:
    """Whether this is a time in [ms since 1970] of this century."""
    try:
        return 9.4e11 < float(text) < 4.2e12
    except ValueError:
        return False


def _end_of(prefix: str, values: Sequence[str], columns: Iterable[tuple[str, int]]) -> End:
    told: dict[str, Any] = {}
    for name, number in columns:
        text = values[number]
        if name == "ip":
            told[name] = _address(text)
        else:
            told[name] = (_number if name in _FLOATS else _whole)(prefix + name, text)
    if not 0 <= told["port"] <= _HIGHEST_PORT:
        raise FormatError(f"{prefix}port is {told['port']}, no port")
    return End(**told)


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise FormatError(f"{text[:60]!r} is no address") from None


def _whole(name: str, text: str) -> int:
    """A count; Tstat's are unsigned 64 bits at most."""
    number = _number(name, text)
    if not number.is_integer() or abs(number) >= 2**64:
        raise FormatError(f"{name} is {text[:60]!r}, not a whole number")
    return int(text) if text.lstrip("-").isdecimal() else int(number)


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise FormatError(f"{name} is {text[:60]!r}, not a number")
    return number


def _milliseconds(name: str, text: str) -> float:
    number = _number(name, text)
    if not 0 <= number < _LATEST:
        raise FormatError(f"{name} is {text[:60]!r}, not a time in milliseconds")
    return number


def _value(text: str) -> int | float | str:
    """A value of a column that is only kept: a number where it is one that can be stored."""
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        return text
    whole = int(number) if number.is_integer() else None
    return whole if whole is not None and abs(whole) < 2**63 and "." not in text else number
