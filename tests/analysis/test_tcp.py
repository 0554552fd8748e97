"""What is said of transfers: named by what deviates, normal only where it would have been seen."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panorama_driver.analysis.records import as_event
from panorama_driver.analysis.tcp import Model, Verdict, judge, judge_both, judge_sights, learn, pairs, sight_of
from panorama_driver.events import Event
from tests.analysis.tcp_flows import ANSWERS, SEGMENTS, flow, normals, sight

pytest.importorskip("sklearn")

LOSS_SENT = {"c_pkts_retx": 500, "c_pkts_fs": 400, "c_pkts_rto": 100, "s_sack_cnt": 1500}
LOSS_ARRIVED = {"c_pkts_ooo": 480, "c_pkts_fs": 470, "s_sack_cnt": 1500}
DOUBLED_ARRIVED = {"c_pkts_dup": 100, "c_pkts_unk": 400, "c_pkts_retx": 500, "s_sack_cnt": 500}
LATE_ARRIVED = {"c_pkts_ooo": 12_500, "c_pkts_fs": 9_000, "c_pkts_reor": 3_000, "s_sack_cnt": 13_000}
ANSWERED = {"s_sack_cnt": 1500}


@pytest.fixture(scope="module")
def model() -> Model:
    """Normal transfers from both ends and from nowhere in particular."""
    return learn([*normals("receiver"), *normals("sender"), *normals("nowhere", c_rtt_cnt=0, s_ttl_max=0)])[0]


def verdict(model: Model, place: str, **more: Any) -> Verdict:
    (found,) = judge_sights([sight(place, **more)], model)
    return found


def test_rates_are_counts_over_segments_with_data() -> None:
    seen = sight("receiver", c_pkts_ooo=500, s_pkts_retx=20)
    assert seen.data.rate("ooo") == 500 / SEGMENTS
    assert seen.acks.rate("retx") == 20 / ANSWERS


def test_merged_packets_are_counted_as_the_segments_that_their_bytes_make() -> None:
    seen = sight("sender", c_pkts_data=2_000, c_bytes_all=146_000_000, c_mss=1460, s_mss=8960)
    assert seen.data.segments == 100_000


def test_the_probes_place_is_told_by_round_trips_and_by_the_time_to_live() -> None:
    assert (sight("receiver").place, sight("sender").place) == ("receiver", "sender")
    assert sight("receiver", c_rtt_cnt=0).place == "receiver", "the time to live alone"
    assert sight("receiver", c_rtt_min=20.0).place == "receiver", "round trips tell nothing"
    assert sight("receiver", c_rtt_min=30.0, s_rtt_min=0.01).place == "unknown", "they contradict each other"


@pytest.mark.parametrize(
    ("place", "counts", "name"),
    [
        ("receiver", {}, "normal"),
        ("receiver", LOSS_ARRIVED, "loss"),
        ("receiver", DOUBLED_ARRIVED, "duplication"),
        ("receiver", LATE_ARRIVED, "reordering"),
        ("sender", LOSS_SENT, "loss"),
        ("sender", ANSWERED | {"c_sack_cnt": 20}, "duplication"),
        ("sender", ANSWERED | {"c_sack_cnt": 100, "s_pkts_ooo": 50}, "reordering"),
    ],
)
def test_what_deviates_is_named(model: Model, place: str, counts: dict[str, int], name: str) -> None:
    found = verdict(model, place, **counts)
    assert found.name == name
    assert found.confidence > 0.9


def test_the_numbers_that_speak_for_it_come_along_with_what_was_expected(model: Model) -> None:
    found = verdict(model, "receiver", **DOUBLED_ARRIVED)
    told = {evidence.metric: evidence for evidence in found.evidence}
    assert told["c_pkts_dup per data segment"].observed == 100 / SEGMENTS
    assert told["c_pkts_dup per data segment"].expected == 0
    assert "60 normal transfers" in told["c_pkts_dup per data segment"].basis
    assert found.direction == "client to server"


def test_the_sending_end_never_says_that_nothing_was_doubled(model: Model) -> None:
    found = verdict(model, "sender")
    assert (found.name, found.confidence) == ("not observable", 0)
    assert set(found.hidden) == {"duplication"}
    normal = 1  # segment sent again, of 99 % of the normal transfers
    loss = normal + 3 * normal**0.5 + 3
    assert found.absent == {"loss": pytest.approx(loss / SEGMENTS, rel=0.01), "reordering": 3 / SEGMENTS}


def test_without_selective_acknowledgements_the_sending_end_sees_no_reordering_either(model: Model) -> None:
    assert set(verdict(model, "sender", s_sack_opt=0).hidden) == {"duplication", "reordering"}


def test_answers_without_anything_sent_again_leave_two_suspects_at_the_sending_end(model: Model) -> None:
    found = verdict(model, "sender", **ANSWERED)
    assert found.name == "not observable"
    assert set(found.suspects) == {"duplication", "reordering"}


def test_a_probe_that_is_near_no_end_cannot_call_a_transfer_normal(model: Model) -> None:
    assert verdict(model, "nowhere", c_rtt_cnt=0, s_ttl_max=0).name == "not observable"


def test_too_few_segments_tell_nothing(model: Model) -> None:
    found = verdict(model, "receiver", c_pkts_data=100)
    assert found.name == "not observable"
    assert "100 segments" in found.message


def test_what_nothing_was_learnt_of_is_not_judged() -> None:
    only_sent, _ = learn(normals("sender"))
    assert verdict(only_sent, "receiver", **LOSS_ARRIVED).name == "not observable"


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["sender", "nowhere"]),
    st.dictionaries(st.sampled_from(["c_pkts_retx", "s_sack_cnt", "c_sack_cnt", "s_pkts_ooo"]), st.integers(0, 10**6)),
)
def test_where_not_all_can_be_seen_nothing_is_ever_normal(model: Model, place: str, counts: dict[str, int]) -> None:
    more = {"c_rtt_cnt": 0, "s_ttl_max": 0} if place == "nowhere" else {}
    assert verdict(model, place, **counts, **more).name != "normal"


@pytest.mark.parametrize(
    ("sent", "arrived", "name", "rate"),
    [
        (101_000_000, 100_000_000, "loss", 1 / 101),
        (100_000_000, 105_000_000, "duplication", 0.05),
        (100_000_000, 100_000_000, "normal", None),
        (100_000_001, 100_000_000, "normal", None),
    ],
)
def test_both_ends_together_tell_the_direction_and_how_much(
    sent: int, arrived: int, name: str, rate: float | None
) -> None:
    seen = [sight("sender", c_bytes_all=sent), sight("receiver", c_bytes_all=arrived)]
    ((one, other),) = pairs(seen)
    found = judge_both(one, other)
    assert found.name == name
    assert found.rates.get("client to server") == (None if rate is None else pytest.approx(rate))
    assert found.direction == (None if rate is None else "client to server")


def test_both_ends_together_tell_late_segments_from_lost_ones() -> None:
    ((one, other),) = pairs([sight("sender"), sight("receiver", c_pkts_ooo=5_000)])
    found = judge_both(one, other)
    assert (found.name, found.rates) == ("reordering", {"client to server": 5_000 / SEGMENTS})


def test_other_times_or_the_same_end_twice_make_no_pair() -> None:
    later = sight("receiver", first=1.6e12, last=1.6e12 + 1000, durat=1000)
    assert not list(pairs([sight("sender"), later]))
    assert not list(pairs([sight("sender"), sight("sender")]))


def kernel(vantage: str, **more: Any) -> dict[str, Any]:
    """What a kernel tells, 50,000 segments from client to server."""
    ends = {"c_ip": "192.0.2.1", "c_port": 5000, "s_ip": "198.51.100.7", "s_port": 22, "first": 10.0, "last": 20.0}
    sent = {"c_bytes_uniq": 70_000_000, "s_bytes_uniq": 0, "c_pkts_data": SEGMENTS, "s_pkts_data": 0}
    own = (
        {"c_pkts_retx": 0, "dsack_dups": 0, "reord_seen": 0, "total_rto": 0, "s_pkts_ooo": 0}
        if vantage == "client"
        else {"c_pkts_ooo": 0}
    )
    return {
        "source": "tcp_info",
        "vantage": vantage,
        "congestion": "cubic",
        "final": True,
        **ends,
        **sent,
        **own,
        **more,
    }


@pytest.fixture(scope="module")
def kernels() -> Model:
    sights = [sight_of(kernel(v, c_pkts_data=SEGMENTS + n)) for v in ("client", "server") for n in range(40)]
    return learn([seen for seen in sights if seen])[0]


@pytest.mark.parametrize(
    ("vantage", "counts", "name"),
    [
        ("client", {}, "normal"),
        ("client", {"c_pkts_retx": 500}, "loss"),
        ("client", {"dsack_dups": 500}, "duplication"),
        ("client", {"reord_seen": 900, "c_pkts_retx": 40, "dsack_dups": 40}, "reordering"),
        ("server", {}, "not observable"),
        ("server", {"c_pkts_ooo": 700}, "not observable"),
    ],
)
def test_kernels_see_the_other_way_round(kernels: Model, vantage: str, counts: dict[str, int], name: str) -> None:
    seen = sight_of(kernel(vantage, **counts))
    assert seen
    (found,) = judge_sights([seen], kernels)
    assert found.name == name
    assert set(found.suspects) == ({"loss", "reordering"} if counts and vantage == "server" else set(found.suspects))


def test_a_runs_transfers_become_anomalies_of_their_jobs(kernels: Model) -> None:
    events = [
        Event(kind="transfer.tcp", wf_uuid="w", ts=15.0, job_id="get", attempt=1, fields=kernel("client") | {"seq": 0}),
        Event(
            kind="transfer.tcp",
            wf_uuid="w",
            ts=20.0,
            job_id="get",
            attempt=1,
            fields=kernel("client", c_pkts_retx=500, last=21.0) | {"seq": 1, "hostname": "n1"},
        ),
        Event(kind="stampede.inv.end", wf_uuid="w", ts=20.0),
    ]
    (judged,) = judge(events, kernels)
    anomaly = judged.anomaly
    assert anomaly is not None
    assert (anomaly.kind, anomaly.job_id, anomaly.attempt, anomaly.host) == ("tcp_loss", "get", 1, "n1")
    assert (anomaly.since, anomaly.found) == (10.0, 21.0)
    assert 0 < anomaly.confidence < 1
    assert anomaly.evidence[0].metric == "c_pkts_retx per data segment"
    assert as_event(anomaly).kind == "anomalies.tcp_loss"


def test_tstats_connection_takes_the_variant_that_a_kernel_told(model: Model) -> None:
    fields = flow("receiver", **LOSS_ARRIVED).columns()
    fields |= {"source": "tstat", "vantage": "server", "first": 10.0, "last": 20.0}
    same = {name: fields[name] for name in ("c_ip", "c_port", "s_ip", "s_port")}
    events = [
        Event(kind="transfer.tcp", wf_uuid="w", ts=20.0, job_id="get", attempt=1, fields=kernel("client") | same),
        Event(kind="transfer.tcp", wf_uuid="w", ts=20.0, job_id="get", attempt=1, fields=fields),
    ]
    by_source = {judged.sight.source: judged for judged in judge(events, model)}
    assert by_source["tstat"].sight.variant == "cubic"
    assert by_source["tstat"].verdict.name == "loss"


def test_connections_within_a_host_are_not_judged(kernels: Model) -> None:
    event = Event(kind="transfer.tcp", wf_uuid="w", ts=1.0, fields=kernel("client") | {"loopback": True})
    assert judge([event], kernels) == []
