"""The longest chain through a directed acyclic graph whose nodes weigh time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from graphlib import TopologicalSorter


def longest_chain(weights: Mapping[str, float], edges: Iterable[tuple[str, str]]) -> tuple[float, tuple[str, ...]]:
    """Weight and nodes of the heaviest chain along `edges` (parent, child); among equals the first by name.

    Raises
    ------
    graphlib.CycleError
        The edges are not acyclic.
    """
    parents: dict[str, set[str]] = defaultdict(set)
    for parent, child in edges:
        if parent in weights and child in weights:
            parents[child].add(parent)
    chains: dict[str, tuple[float, tuple[str, ...]]] = {}
    for node in TopologicalSorter({node: sorted(parents[node]) for node in sorted(weights)}).static_order():
        before = [chains[parent] for parent in sorted(parents[node])]
        weight, nodes = max(before, key=lambda chain: chain[0], default=(0.0, ()))
        chains[node] = (weight + weights[node], (*nodes, node))
    return max((chains[node] for node in sorted(chains)), key=lambda chain: chain[0], default=(0.0, ()))
