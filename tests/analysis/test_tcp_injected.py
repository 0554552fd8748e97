"""Real transfers over a network that really loses, doubles or reorders segments, as both kernels tell of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from panorama_driver.analysis.tcp import Model, Sight, judge_both, judge_sights, learn, pairs, sight_of
from tests.analysis.tcp_lab import Fault, Lab, lab, unavailable

pytest.importorskip("sklearn")
pytestmark = pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "can be had")

SIZE = 4_000_000
NORMAL = 32


@pytest.fixture(scope="module")
def network() -> Iterator[Lab]:
    with lab(seed=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def model(network: Lab) -> Model:
    return learn([seen for _ in range(NORMAL) for seen in transfer(network)])[0]


def transfer(network: Lab, fault: Fault | None = None, share: float = 0.0, backward: bool = False) -> list[Sight]:
    seen = [sight_of(fields) for fields in network.transfer(SIZE, fault, share, backward=backward)]
    return [one for one in seen if one]


def test_nothing_happens_to_a_healthy_transfer(network: Lab, model: Model) -> None:
    at_sender, at_receiver = judge_sights(transfer(network), model)
    assert at_sender.name == "normal"
    assert at_receiver.name == "not observable"


@pytest.mark.parametrize(("fault", "share"), [("loss", 0.02), ("duplication", 0.02), ("reordering", 0.2)])
def test_what_was_done_to_segments_is_named(network: Lab, model: Model, fault: Fault, share: float) -> None:
    seen = transfer(network, fault, share)
    at_sender, at_receiver = judge_sights(seen, model)
    assert (at_sender.name, at_sender.direction) == (fault, "client to server")
    assert at_receiver.name == "not observable"
    ((one, other),) = pairs(seen)
    both = judge_both(one, other)
    assert (both.name, both.direction) == (fault, "client to server")
    if fault != "reordering":
        assert both.rates["client to server"] == pytest.approx(share, rel=0.7)


def test_the_direction_is_that_of_the_data(network: Lab) -> None:
    ((one, other),) = pairs(transfer(network, "loss", 0.02, backward=True))
    both = judge_both(one, other)
    assert (both.name, both.direction) == ("loss", "server to client")
