"""No input, however damaged or hostile, makes a parser crash or hang: it gives records, or says why there are none.

Here a few thousand inputs a parser, made of real ones with a fixed seed. `python -m tests.fuzz`, which `make nightly`
runs, gives them a million, half of which are guided by coverage.
"""

from __future__ import annotations

import faulthandler
import random
import time

import pytest

from .harness import mutated, target, target_names

INPUTS = 2000
LONGEST = 2.0
"""No input of a few kilobytes may take longer [s]."""


@pytest.mark.parametrize("name", target_names())
def test_a_parser_survives_whatever_it_is_given(name: str) -> None:
    parser = target(name)
    chance = random.Random(name)
    faulthandler.enable()
    for number in range(INPUTS):
        data = mutated(parser.SEEDS, chance)
        began = time.process_time()
        try:
            parser.one(data)
        except Exception as error:
            raise AssertionError(f"{name}, input {number}: {data!r}") from error
        took = time.process_time() - began
        assert took < LONGEST, f"{name}, input {number} took {took:.1f} s: {data!r}"
