"""Documents as bytes, whatever texts are in them: names of files and words of jobs need not be UTF-8 (PEP 383)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ..store._base import printable


def to_json(document: Any) -> bytes:
    """A document as JSON."""
    return _encoded(msgspec.json.encode, document)


def packed(document: Any) -> bytes:
    """A document as MessagePack."""
    return _encoded(msgspec.msgpack.encode, document)


def _encoded(encode: Callable[[Any], bytes], document: Any) -> bytes:
    """What is no UTF-8 in it as backslashes; looked for only where there is some, since that takes long."""
    try:
        return encode(document)
    except UnicodeEncodeError:
        return encode(_printable(msgspec.to_builtins(document, builtin_types=(bytes,))))


def _printable(value: Any) -> Any:
    match value:
        case str():
            return printable(value)
        case dict():
            return {_printable(key): _printable(each) for key, each in value.items()}
        case list() | tuple():
            return [_printable(each) for each in value]
    return value
