"""JSON by the interpreter's own C routines: the package `json` loads `re` and `enum`, at 9 ms a start of the driver."""

from _json import encode_basestring_ascii, make_encoder, make_scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Rules:
    """What `json.JSONDecoder` tells the scanner: plain JSON, nothing special."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float  # NaN, Infinity and -Infinity are texts that float reads


def _refuse(value: object) -> "Any":
    raise TypeError(f"{value!r} cannot be written as JSON")


_encode = make_encoder(None, _refuse, encode_basestring_ascii, None, ":", ",", False, False, True)
_scan = make_scanner(_Rules)  # type: ignore[arg-type]  # any object with these attributes will do


def encode(value: object) -> bytes:
    """One line of JSON, with its end."""
    return "".join(_encode(value, 0)).encode() + b"\n"


def decode(line: bytes) -> "Any":
    """The value that a line of JSON holds.

    Raises
    ------
    ValueError
        It is not JSON.
    """
    text = line.decode()
    try:
        value, end = _scan(text, 0)
    except StopIteration:
        raise ValueError(f"not JSON: {text[:80]!r}") from None
    if text[end:].strip():
        raise ValueError(f"not one value of JSON: {text[:80]!r}")
    return value
