"""Flows of Tstat are joined to the transfers they were, by socket or by host and time, or to none."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace

from panorama_driver.events import Event
from panorama_driver.sources import expand
from panorama_driver.sources.tcp import Addresses, Joiner, Match, Unjoined, connection
from panorama_driver.sources.tstat import End, Flow

BEGIN = 1.7e9
SERVER = "198.51.100.7"
MIB = 1 << 20


def host_info(job: str, name: str, address: str, attempt: int = 1) -> Event:
    raw = {"event": "stampede.job_inst.host.info", "xwf_id": "w", "job_id": job, "job_inst_id": attempt, "ts": BEGIN}
    return expand({**raw, "hostname": name, "ip": address})[0]


def transfer(job: str, begin: float, end: float, size: int | None, host: str, **more: Any) -> Event:
    """A file that `host` fetched from the server; whole seconds, as the tool writes them."""
    raw = {
        "event": "transfer.inv.local.single",
        "wf_uuid": "w",
        "dag_job_id": job,
        "attempt": 1,
        "ts": int(end),
        "hostname": host,
        "status": 0,
        "source_url": f"https://{SERVER}/{job}/{size}/{begin}",
        "destination_url": "file:///scratch/f",
        "transfer_start_time": int(begin),
        "transfer_completion_time": int(end),
        "bytes_transferred": size,
        **more,
    }
    return expand(raw)[0]


def flow(client: str, begin: float, end: float, received: int, port: int = 40000, **more: Any) -> Flow:
    """A connection on which the client received so many bytes."""
    server = End(ip=more.pop("server", SERVER), port=more.pop("server_port", 443), bytes_uniq=received)
    asked = End(ip=client, port=port, bytes_uniq=more.pop("sent", 700))
    return Flow(client=asked, server=server, first=begin, last=end, duration=end - begin, **more)


def join(events: Sequence[Event], flows: Sequence[Flow], **more: Any) -> tuple[list[Match], Unjoined]:
    joiner = Joiner(events, **more)
    for each in flows:
        joiner.take(each)
    return joiner.matches()


WORKER = [host_info("j", "nid01.cluster.example.org", "192.0.2.1")]


def test_a_flow_belongs_to_the_transfer_of_its_hosts_at_its_time() -> None:
    events = [*WORKER, transfer("j", BEGIN, BEGIN + 10, 50 * MIB, "nid01")]
    [match], unjoined = join(events, [flow("192.0.2.1", BEGIN + 1, BEGIN + 9.5, 50 * MIB + 9000)])
    assert (match.join, match.confidence, match.owner.job_id, match.owner.attempt) == ("host+time", 1.0, "j", 1)
    assert unjoined == (0, 0)


def test_jobs_of_one_name_in_two_runs_are_on_their_own_hosts() -> None:
    events: list[Event] = []
    for run, address in (("w1", "192.0.2.1"), ("w2", "192.0.2.2")):
        host = replace(host_info("j", f"host-of-{run}", address), wf_uuid=run)
        events += [host, replace(transfer("j", BEGIN, BEGIN + 10, 50 * MIB, ""), wf_uuid=run)]
    for run, address in (("w1", "192.0.2.1"), ("w2", "192.0.2.2")):
        [match], _ = join(events, [flow(address, BEGIN + 1, BEGIN + 9.5, 50 * MIB)])
        assert match.owner.wf_uuid == run


def test_a_transfer_of_which_two_tools_tell_is_one() -> None:
    told = transfer("j", BEGIN, BEGIN + 10, 50 * MIB, "nid01")
    listed = replace(told, kind="transfer.inv.local.attempt", fields={**told.fields, "seq": 0})
    [match], _ = join([*WORKER, told, listed], [flow("192.0.2.1", BEGIN + 1, BEGIN + 9.5, 50 * MIB)])
    assert (match.confidence, match.transfer_id) == (1.0, listed.event_id)


def test_its_event_carries_tstats_columns_and_how_it_was_joined() -> None:
    events = [*WORKER, transfer("j", BEGIN, BEGIN + 10, 50 * MIB, "nid01")]
    [match], _ = join(events, [flow("192.0.2.1", BEGIN + 1, BEGIN + 9.5, 50 * MIB)])
    event = match.event()
    told = ("source", "join", "confidence", "c_ip", "s_port", "s_bytes_uniq", "transfer_id")
    assert [event.fields[name] for name in told] == [
        *("tstat", "host+time", 1.0, "192.0.2.1", 443, 50 * MIB),
        events[1].event_id,
    ]
    assert (event.kind, event.wf_uuid, event.job_id, event.attempt) == ("transfer.tcp", "w", "j", 1)
    seen = connection(event.fields)
    assert seen is not None
    assert (seen.first, seen.last, seen.moved) == (BEGIN + 1, BEGIN + 9.5, 50 * MIB + 700)


@pytest.mark.parametrize(
    "other",
    [
        flow("192.0.2.99", BEGIN + 1, BEGIN + 9, 50 * MIB),
        flow("192.0.2.1", BEGIN + 1, BEGIN + 9, 50 * MIB, server="203.0.113.1"),
        flow("192.0.2.1", BEGIN + 100, BEGIN + 109, 50 * MIB),
        flow("192.0.2.1", BEGIN - 3600, BEGIN + 3600, 50 * MIB),
    ],
    ids=["another worker", "another server", "another time", "much longer"],
)
def test_a_flow_of_something_else_belongs_to_nothing(other: Flow) -> None:
    matches, unjoined = join([*WORKER, transfer("j", BEGIN, BEGIN + 10, 50 * MIB, "nid01")], [other])
    assert (matches, unjoined) == ([], (0, 1))


def test_a_flow_that_fits_two_transfers_equally_goes_to_none_and_is_counted() -> None:
    twins = [transfer(job, BEGIN, BEGIN + 10, 50 * MIB, "nid01") for job in ("a", "b")]
    matches, unjoined = join([*WORKER, *twins], [flow("192.0.2.1", BEGIN + 1, BEGIN + 9, 50 * MIB)])
    assert (matches, unjoined) == ([], (1, 0))


def test_of_two_transfers_at_once_the_size_tells() -> None:
    both = [
        transfer("small", BEGIN, BEGIN + 10, 5 * MIB, "nid01"),
        transfer("big", BEGIN, BEGIN + 10, 90 * MIB, "nid01"),
    ]
    matches, _ = join(
        [*WORKER, *both],
        [
            flow("192.0.2.1", BEGIN + 1, BEGIN + 9, 90 * MIB + 4000),
            flow("192.0.2.1", BEGIN, BEGIN + 2, 5 * MIB, port=2),
        ],
    )
    assert [(match.owner.job_id, round(match.confidence, 2)) for match in matches] == [("small", 0.65), ("big", 0.95)]


def test_streams_of_one_transfer_are_all_its_own() -> None:
    events = [*WORKER, transfer("j", BEGIN, BEGIN + 10, 80 * MIB, "nid01")]
    streams = [flow("192.0.2.1", BEGIN + 1, BEGIN + 9, 40 * MIB, port=port) for port in (1, 2)]
    matches, _ = join(events, streams)
    assert [match.confidence for match in matches] == [0.5, 0.5]


def test_flows_that_together_moved_more_than_the_file_are_not_both_its_own() -> None:
    events = [*WORKER, transfer("j", BEGIN, BEGIN + 10, 50 * MIB, "nid01")]
    alike = [flow("192.0.2.1", BEGIN + 1, BEGIN + 9, 50 * MIB, port=port) for port in (1, 2)]
    assert join(events, alike) == ([], (2, 0))
    [match], unjoined = join(events, [alike[0], flow("192.0.2.1", BEGIN, BEGIN + 1, 25 * MIB, port=3)])
    assert (match.flow.client.port, unjoined) == (1, (1, 0))


def test_a_socket_that_was_seen_in_a_job_decides_whatever_the_hosts_are_called() -> None:
    seen = {
        "event": "transfer.tcp",
        "wf_uuid": "w",
        "dag_job_id": "j",
        "attempt": 2,
        "ts": BEGIN + 5,
        "seq": 4,
        "source": "tcp_info",
        "c_ip": "10.0.0.3",
        "c_port": 40000,
        "s_ip": SERVER,
        "s_port": 443,
        "first": BEGIN,
        "last": BEGIN + 5,
    }
    twins = [transfer(job, BEGIN, BEGIN + 10, 50 * MIB, "nid01") for job in ("a", "b")]
    told = [*expand(seen), *twins, host_info("a", "nid01", "10.0.0.3")]
    [match], _ = join(told, [flow("10.0.0.3", BEGIN + 1.5, BEGIN + 8, 50 * MIB)])
    assert (match.join, match.confidence, match.owner.job_id, match.owner.attempt) == ("socket", 1.0, "j", 2)
    assert join(told[:1], [flow("10.0.0.3", BEGIN + 900, BEGIN + 908, 50 * MIB)])[0] == []  # the port came again


def test_a_flow_that_was_joined_before_stays_as_it_was() -> None:
    events = [*WORKER, transfer("j", BEGIN, BEGIN + 10, 50 * MIB, "nid01")]
    each = flow("192.0.2.1", BEGIN + 1, BEGIN + 9.5, 50 * MIB)
    [match], _ = join(events, [each])
    joiner = Joiner([*events, match.event(), transfer("late", BEGIN, BEGIN + 10, 50 * MIB, "nid01")])
    joiner.take(each)
    assert (joiner.known, joiner.matches()) == (1, ([], (0, 0)))


def test_a_globus_task_is_joined_where_its_collections_addresses_are_told() -> None:
    task = {
        "event": "transfer.inv.go",
        "wf_uuid": "w",
        "dag_job_id": "stage_in",
        "task_id": "t",
        "status": "SUCCEEDED",
        "request_time": "2023-11-14T22:13:20+00:00",
        "completion_time": "2023-11-14T22:13:40+00:00",
        "source_endpoint_id": "e-1",
        "destination_endpoint_display_name": "Here",
        "bytes_transferred": 90 * MIB,
    }
    moved = flow("192.0.2.1", BEGIN + 1, BEGIN + 9, 90 * MIB, server_port=50123)
    assert join(expand(task), [moved]) == ([], (0, 1))
    [match], _ = join(expand(task), [moved], addresses={"E-1": [SERVER], "here": ["192.0.2.1"]})
    assert match.owner.job_id == "stage_in"
    assert match.confidence == pytest.approx(0.79, abs=0.01)  # it lasted 8 s of the 20


def test_hosts_are_known_by_their_three_spellings() -> None:
    book = Addresses({"dtn.example.org": ["2001:DB8::1"]})
    book.learn(host_info("j", "Nid01.cluster.example.org", "192.0.2.1"))
    book.learn(host_info("j", "nid02", "192.0.2.2"))
    book.learn(host_info("j", "unknown", "192.0.2.3"))
    assert [
        sorted(book.of(name)) for name in ("nid01", "NID02.cluster.example.org.", "unknown", "dtn.example.org")
    ] == [
        ["192.0.2.1"],
        ["192.0.2.2"],
        [],
        ["2001:db8::1"],
    ]
    assert book.of("dtn.elsewhere.org") == frozenset()
    assert book.of("[2001:DB8::2]") == {"2001:db8::2"}


class Truth(NamedTuple):
    """Generated traffic: what the store knows, what Tstat saw, and whose each flow is (None: nobody's)."""

    events: list[Event]
    flows: list[tuple[Flow, str | None]]


def traffic(seed: int, skew: float, workers: int, behind_nat: int) -> Truth:
    """Transfers of workers that come and go, beside those of strangers on the same hosts.

    Several streams a transfer now and then, failures that are repeated, requests that move nothing, protocol overhead
    of 0 to 4 %, clocks of Tstat's host and of the workers that differ by up to `skew`, and `behind_nat` of the workers
    with one address to the outside.
    """
    chance = random.Random(seed)
    shift = chance.uniform(-skew, skew)
    events: list[Event] = []
    flows: list[tuple[Flow, str | None]] = []
    for worker in range(workers):
        address = "192.0.2.250" if worker < behind_nat else f"192.0.2.{worker + 1}"
        name = f"nid{worker:02}"
        now = BEGIN + chance.uniform(0, 60)
        for number in range(12):
            job = f"stage_{worker}_{number}"
            size = int(10 ** chance.uniform(4.5, 8.5))
            took = chance.uniform(0.3, 20)
            events += [host_info(job, name, address), transfer(job, now, now + took, size, name)]
            streams = chance.choice([1, 1, 1, 1, 2, 4])
            for _ in range(streams):
                begin = now + chance.uniform(0, 0.1 * took) + shift
                moved = int(size / streams * (1 + chance.uniform(0, 0.04))) + 500
                seen = flow(
                    address, begin, now + took * chance.uniform(0.9, 1) + shift, moved, chance.randrange(1024, 65535)
                )
                flows.append((seen, job))
            if chance.random() < 0.3:  # somebody else on the same worker fetches something from the same server
                at = now + chance.uniform(-30, 30)
                alien = flow(
                    address,
                    at,
                    at + chance.uniform(0.1, 40),
                    int(10 ** chance.uniform(3, 9)),
                    chance.randrange(1024, 65535),
                )
                flows.append((alien, None))
            now += took * chance.uniform(0.2, 1.5)  # some overlap with the next
    return Truth(events, flows)


def scored(truth: Truth, **more: Any) -> Mapping[str, float]:
    """Precision of what was joined, recall of what should be, and the share of flows that went to none."""
    matches, unjoined = join(truth.events, [each for each, _ in truth.flows], **more)
    owner = {id(each): job for each, job in truth.flows}
    right = sum(owner[id(match.flow)] == match.owner.job_id for match in matches)
    mine = sum(job is not None for _, job in truth.flows)
    counted = len(matches) + unjoined.ambiguous + unjoined.foreign
    assert counted == len(truth.flows)
    return {"precision": right / len(matches), "recall": right / mine, "joined": len(matches) / len(truth.flows)}


@pytest.mark.parametrize(
    ("name", "skew", "behind_nat", "precision", "recall"),
    [
        ("clocks in step", 0.5, 0, 0.97, 0.65),
        ("clocks that differ by seconds", 3.0, 0, 0.97, 0.65),
        ("half of the workers behind one address", 0.5, 10, 0.97, 0.33),
    ],
)
def test_on_generated_traffic_joins_are_right(
    name: str, skew: float, behind_nat: int, precision: float, recall: float, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [scored(traffic(seed, skew, workers=20, behind_nat=behind_nat)) for seed in range(5)]
    mean = {key: sum(each[key] for each in found) / len(found) for key in found[0]}
    with capsys.disabled():
        print(f"\n  {name}: precision {mean['precision']:.3f}, recall {mean['recall']:.3f}")
    assert mean["precision"] >= precision
    assert mean["recall"] >= recall


def test_confidence_is_not_higher_than_what_comes_true() -> None:
    told: list[tuple[float, bool]] = []
    for seed in range(5):
        truth = traffic(seed, 3.0, workers=20, behind_nat=10)
        owner = {id(each): job for each, job in truth.flows}
        matches, _ = join(truth.events, [each for each, _ in truth.flows])
        told += [(match.confidence, owner[id(match.flow)] == match.owner.job_id) for match in matches]
    sure = [right for confidence, right in told if confidence >= 0.8]
    assert len(sure) > 200
    assert sum(sure) / len(sure) > 0.95
