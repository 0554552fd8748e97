"""Hosts that are one host get one name, and hosts that are not keep theirs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panorama_driver.sources.hosts import short_name


@pytest.mark.parametrize(
    ("spelled", "short"),
    [
        ("nid00042", "nid00042"),
        ("Nid00042.Cluster.example.org", "nid00042"),
        ("nid00042.cluster.example.org.", "nid00042"),
        ("192.0.2.17", "192.0.2.17"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("", ""),
    ],
)
def test_three_spellings_of_a_host_are_one_name(spelled: str, short: str) -> None:
    assert short_name(spelled) == short


@given(st.text())
def test_a_short_name_is_its_own_short_name_whatever_it_was(name: str) -> None:
    assert short_name(short_name(name)) == short_name(name)
