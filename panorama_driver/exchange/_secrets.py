"""Passwords, tokens and private keys in texts, which are never exported.

Nothing of ours writes any into an event; but what a user's program printed, or a URL that somebody gave a transfer
tool, may have some.
"""

from __future__ import annotations

import functools
import re
from typing import Any

LEFT_OUT = "LEFT-OUT"

_NAME = (
    r"(?:passw(?:or)?d|passphrase|secret(?:[_-]?(?:access[_-]?)?key)?|api[_-]?key"
    r"|(?:(?:access|auth|refresh)[_-]?)?token)"
)
_NAMED = rf"(?:(?:\b|_|-|(?-i:(?<=[a-z0-9])(?=[AST]))){_NAME}|passw(?:or)?d|passphrase)"
"""That name as the end of a longer one: `db_token`, `clientSecret`, `PGPASSWORD`."""
_PRIVATE_KEY = re.compile(
    r"(?P<before>-----BEGIN [A-Z ]*PRIVATE KEY-----)(?P<secret>.*?)(?=-----END|\Z)", re.IGNORECASE | re.DOTALL
)
_PATTERNS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?P<before>\b[a-z][a-z0-9+.-]{0,30}://[^\s/:@\"']*:)(?P<secret>[^\s/@\"']+)(?=@)",
        r"(?P<before>\bauthorization\s*[:=]\s*[\"']?(?:(?:basic|bearer|digest)\s+)?)(?P<secret>[^\s\"',;&]+)",
        r"(?P<before>\bbearer\s+)(?P<secret>[a-z0-9._~+/=-]{16,})",
        rf"(?P<before>{_NAMED}[\"']?\s*[=:]\s*[\"']?)(?P<secret>[^\s\"',;&]{{4,}})",
        rf"(?P<before>--?[a-z0-9-]{{0,40}}?{_NAME}\s+)(?P<secret>[^\s\"'-][^\s\"']{{3,}})",
        r"(?P<before>[?&](?:x-amz-signature|x-amz-security-token|sig|signature)=)(?P<secret>[^\s\"'&]+)",
    )
)
_HINTS = re.compile(
    r"://[^\s/]*@|passw|passphrase|secret|api.?key|token|authorization|bearer|signature|[?&]sig=|private key",
    re.IGNORECASE,
)
_KEYS = re.compile(rf"{_NAMED}\Z", re.IGNORECASE)
_OPTION = re.compile(rf"--?[a-z0-9-]{{0,40}}?{_NAME}", re.IGNORECASE)


def redacted(text: str) -> str:
    """A text without what looks like a secret."""
    if not _HINTS.search(text):
        return text
    for pattern in _PATTERNS:
        text = pattern.sub(_left_out, text)
    return without_private_keys(text)


def without_private_keys(text: str) -> str:
    """A text without private keys (PEM), which go over many lines."""
    return _PRIVATE_KEY.sub(_left_out, text)


def _left_out(found: re.Match[str]) -> str:
    return f"{found['before']}{LEFT_OUT}"


def without_secrets(value: Any) -> Any:
    """The same for whatever JSON can hold; the value itself where there was none."""
    match value:
        case str():
            return redacted(value)
        case dict():
            new = {key: _of_key(key, each) for key, each in value.items() if isinstance(each, _MAY)}
            return value if all(each is value[key] for key, each in new.items()) else value | new
        case list():
            items = [_of_item(before, each) for before, each in zip([None, *value], value, strict=False)]
            return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    return value


_MAY = (str, dict, list)


def _of_key(key: str, value: Any) -> Any:
    if isinstance(value, str) and value and value != LEFT_OUT and _says_secret(key):
        return LEFT_OUT
    return without_secrets(value)


def _of_item(before: Any, value: Any) -> Any:
    """One of a list, which may be the words of a command."""
    if isinstance(value, str) and isinstance(before, str) and _OPTION.fullmatch(before):
        return LEFT_OUT
    return without_secrets(value)


@functools.lru_cache(4096)
def _says_secret(key: str) -> bool:
    return _KEYS.search(key) is not None
