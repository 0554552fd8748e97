"""The lines between driver and server: JSON like anybody's."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panorama_driver.study.wire import decode, encode

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(_values)
def test_what_is_written_is_read_again_by_us_and_by_others(value: object) -> None:
    line = encode(value)
    assert line.count(b"\n") == 1
    assert decode(line) == value
    assert json.loads(line) == value


@given(_values)
def test_what_others_write_is_read(value: object) -> None:
    assert decode(json.dumps(value, indent=1).encode()) == value


def test_what_is_not_a_number_stays_so() -> None:
    assert math.isnan(decode(encode(math.nan)))
    assert decode(encode(-math.inf)) == -math.inf


@pytest.mark.parametrize("line", [b"", b"{", b"[1,]", b'{"a" 1}', b"1 2", b"\xff", b"nonsense"])
def test_what_is_not_json_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (the words come from several places)
        decode(line)
