"""Tstat's logs of TCP connections: every set of columns, compressed or not, whole or still being written."""

from __future__ import annotations

import gzip
import io
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panorama_driver.sources.tstat import LINE_LIMIT, Damage, Flow, read
from tests.tstat_logs import ADVANCED, CORE, FULL, MOMENT, VERSION_2, VERSION_3, header, line, log, values

OLD_HEADER = "#"


def told(text: bytes) -> list[Flow | Damage]:
    return list(read(io.BytesIO(text)))


def one(text: bytes) -> Flow:
    [flow] = told(text)
    assert isinstance(flow, Flow), flow
    return flow


@pytest.mark.parametrize("columns", [*VERSION_3.values(), ADVANCED], ids=len)
def test_every_set_of_columns_is_read_by_its_header(columns: Sequence[str]) -> None:
    flow = one(log(columns))
    assert (flow.client.ip, flow.client.port, flow.server.ip, flow.server.port) == (
        "192.0.2.1",
        44508,
        "198.51.100.7",
        22,
    )
    assert (flow.client.bytes_all, flow.client.bytes_uniq, flow.client.pkts_retx) == (126107208, 126107207, 1)
    assert (flow.first, flow.duration) == pytest.approx((MOMENT / 1e3, 3.251456))


@pytest.mark.parametrize("columns", [*VERSION_3.values(), VERSION_2, (*VERSION_2, "x", "y")], ids=len)
def test_a_log_without_header_is_known_by_its_columns(columns: Sequence[str]) -> None:
    assert one(log(columns, headed=False)).columns().items() >= one(log(columns)).columns().items() - {
        ("x", 0),
        ("y", 0),
    }


def test_version_2_counts_its_times_from_another_zero() -> None:
    flow = one(log(VERSION_2, values(first=812.5, last=4063.9)))
    assert (flow.first, flow.last) == pytest.approx((MOMENT / 1e3, MOMENT / 1e3 + 3.251456))
    assert flow.server.rtt_avg == pytest.approx(30.346709)


def test_the_header_of_version_2_has_a_mark_of_its_own() -> None:
    text = f"{header(VERSION_2, OLD_HEADER)}\n{line(VERSION_2)}\n".encode()
    assert one(text).client.cwin_max == 65160


def test_a_set_that_is_switched_off_leaves_no_zeros() -> None:
    flow = one(log(CORE))
    assert (flow.client.rtt_avg, flow.client.pkts_fs, flow.server.ttl_max, flow.vantage) == (None, None, None, None)
    assert "c_rtt_avg" not in flow.columns()


def test_all_other_columns_are_kept_by_name() -> None:
    flow = one(log(FULL))
    assert flow.other["fqdn"] == "dtn.example.org"
    assert "http_res" not in flow.other  # "---" is Tstat's word for nothing
    assert len(flow.columns()) == len(FULL) - sum(word in ("-", "---") for word in line().split())


def test_of_a_column_that_is_named_twice_the_first_counts() -> None:
    assert one(log(ADVANCED)).client.pkts_data == 51382


def test_the_end_whose_packets_passed_no_router_is_where_the_probe_stood() -> None:
    assert one(log(FULL)).vantage == "server"
    near = one(log(FULL, values(c_ttl_min=64, c_ttl_max=64)))
    assert near.vantage is None  # both ends on one link


def test_addresses_have_one_spelling() -> None:
    flow = one(log(FULL, values(c_ip="2001:DB8:0:0:0:0:0:1", s_ip="2001:db8::2")))
    assert (flow.client.ip, flow.server.ip) == ("2001:db8::1", "2001:db8::2")


def test_gzip_is_known_by_its_first_bytes_and_may_have_several_members() -> None:
    again = gzip.compress(f"{line()}\n".encode())
    assert len(told(gzip.compress(log()) + again)) == 2


def test_a_tstat_that_was_started_again_writes_a_new_header() -> None:
    flows = told(log(FULL) + log(CORE))
    assert [isinstance(flow, Flow) and flow.client.rtt_cnt for flow in flows] == [8399, None]


def test_a_line_still_being_written_waits() -> None:
    whole = log(FULL, values(), values(c_port=1))
    [flow, damage] = told(whole[:-30])
    assert isinstance(flow, Flow)
    assert isinstance(damage, Damage)
    assert damage[:2] == (3, "the last line has no end yet")
    assert damage.unfinished


def test_a_compressed_file_still_being_written_gives_what_there_is() -> None:
    packed = gzip.compress(log(FULL, *(values(c_port=port) for port in range(1, 2000))))
    *flows, damage = told(packed[: len(packed) // 2])
    assert len(flows) > 500
    assert isinstance(damage, Damage)
    assert damage.unfinished


@pytest.mark.parametrize(
    ("damaged", "reason"),
    [
        ("1 2 3", "3 values in 130 columns"),
        (line(told=values(c_port=70000)), "c_port is 70000, no port"),
        (line(told=values(c_ip="nowhere")), "'nowhere' is no address"),
        (line(told=values(c_bytes_all="nan")), "c_bytes_all is 'nan', not a number"),
        (line(told=values(c_bytes_all="1.5")), "c_bytes_all is '1.5', not a whole number"),
        (line(told=values(last=MOMENT - 5000)), "it ends 5 s before it begins"),
        (line(told=values(first="-1")), "first is '-1', not a time in milliseconds"),
    ],
)
def test_a_damaged_line_is_told_with_its_number_and_reason(damaged: str, reason: str) -> None:
    text = f"{header(FULL)}\n{line()}\n{damaged}\n{line()}\n".encode()
    first, damage, last = told(text)
    assert isinstance(first, Flow)
    assert isinstance(last, Flow)
    assert isinstance(damage, Damage)
    assert (damage.line, damage.reason) == (3, reason)


def test_a_log_of_something_else_is_refused_in_a_sentence() -> None:
    [damage, *rest] = told(b"GET / HTTP/1.1\n" * 1000)
    assert isinstance(damage, Damage)
    assert damage.reason.startswith("no header, and 3 columns are of no known order")
    assert len(rest) < 20


def test_a_header_of_udp_flows_is_refused() -> None:
    [damage] = told(b"#c_ip:1 c_port:2 c_first_abs:3 s_ip:10 s_port:11\n")
    assert isinstance(damage, Damage)
    assert damage.reason == "no log of TCP connections: its columns lack first, last, durat"


def test_a_line_without_end_takes_no_memory() -> None:
    [damage] = told(gzip.compress(b"x" * (50 * LINE_LIMIT)))
    assert isinstance(damage, Damage)
    assert "longer than" in damage.reason


@given(
    client=st.integers(1, 65535),
    counts=st.lists(st.integers(0, 2**63 - 1), min_size=4, max_size=4),
    columns=st.sampled_from([*VERSION_3.values(), VERSION_2]),
    headed=st.booleans(),
)
def test_what_was_written_is_what_is_read(client: int, counts: list[int], columns: Sequence[str], headed: bool) -> None:
    names = ("c_bytes_all", "c_bytes_uniq", "s_pkts_all", "s_bytes_uniq")
    flow = one(log(columns, values(c_port=client, **dict(zip(names, counts, strict=True))), headed=headed))
    read_back = (flow.client.bytes_all, flow.client.bytes_uniq, flow.server.pkts_all, flow.server.bytes_uniq)
    assert (flow.client.port, read_back) == (client, tuple(counts))
