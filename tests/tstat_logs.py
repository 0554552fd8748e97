"""Logs as Tstat writes them: the columns of each version, with values that tests choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from panorama_driver.sources.tstat import VERSION_2, VERSION_3

CORE = VERSION_3[44]
FULL = VERSION_3[130]
ADVANCED = (*FULL, "c_msgsize_count", *(f"c_msgsize{n}" for n in range(1, 11)), "c_pkts_data", "c_pkts_data_avg")
"""The Advanced set, which names some columns of the Core set a second time."""
MOMENT = 1565238968842.783936
"""[ms since 1970], with the digits that Tstat writes."""
_TEXTS = {"http_res": "---", "c_tls_SNI": "-", "s_tls_SCN": "-", "fqdn": "dtn.example.org", "dns_rslv": "-"}


def values(**more: Any) -> dict[str, Any]:
    """Values of one connection: 126 MB from client to server in 3.25 s, as seen at the server."""
    return {
        "c_ip": "192.0.2.1",
        "c_port": 44508,
        "c_pkts_all": 51402,
        "c_bytes_uniq": 126107207,
        "c_pkts_data": 51382,
        "c_bytes_all": 126107208,
        "c_pkts_retx": 1,
        "c_bytes_retx": 1,
        "s_ip": "198.51.100.7",
        "s_port": 22,
        "s_bytes_uniq": 43068,
        "s_bytes_all": 43068,
        "s_pkts_data": 1110,
        "first": MOMENT,
        "last": MOMENT + 3251.456,
        "first_abs": MOMENT,
        "durat": 3251.456,
        "c_rtt_avg": 0.04763,
        "c_rtt_min": 0.002,
        "c_rtt_cnt": 8399,
        "s_rtt_avg": 30.346709,
        "s_rtt_cnt": 1100,
        "c_ttl_min": 63,
        "c_ttl_max": 63,
        "s_ttl_min": 64,
        "s_ttl_max": 64,
        "c_pkts_fc": 1,
        "c_cwin_max": 65160,
        **_TEXTS,
        **more,
    }


def header(columns: Sequence[str], mark: str = "#15#") -> str:
    return mark + " ".join(f"{name}:{number}" for number, name in enumerate(columns, 1))


def line(columns: Sequence[str] = FULL, told: Mapping[str, Any] | None = None) -> str:
    """A line; of a name that comes twice the second is a number of its own, and what nobody told is 0."""
    known, seen, words = values() if told is None else told, set[str](), list[str]()
    for name in columns:
        words.append("7777" if name in seen else _text(known.get(name, 0)))
        seen.add(name)
    return " ".join(words)


def log(columns: Sequence[str] = FULL, *flows: Mapping[str, Any], headed: bool = True) -> bytes:
    """A whole log."""
    lines = [header(columns)] if headed else []
    return "".join(f"{text}\n" for text in [*lines, *(line(columns, flow) for flow in flows or (values(),))]).encode()


def _text(value: Any) -> str:
    return f"{value:.6f}" if isinstance(value, float) else str(value)


__all__ = ["ADVANCED", "CORE", "FULL", "MOMENT", "VERSION_2", "VERSION_3", "header", "line", "log", "values"]
