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
_PATTERNS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?P<before>\b[a-z][a-z0-9+.-]*://[^\s/:@\"']*:)(?P<secret>[^\s/@\"']+)(?=@)",
        r"(?P<before>\bauthorization\s*[:=]\s*[\"']?(?:(?:basic|bearer|digest)\s+)?)(?P<secret>[^\s\"',;&]+)",
        r"(?P<before>\bbearer\s+)(?P<secret>[a-z0-9._~+/=-]{16,})",
        rf"(?P<before>(?:\b|_|-){_NAME}[\"']?\s*[=:]\s*[\"']?)(?P<secret>[^\s\"',;&]{{4,}})",
        rf"(?P<before>--?(?:[a-z0-9]+-)*{_NAME}\s+)(?P<secret>[^\s\"'-][^\s\"']{{3,}})",
        r"(?P<before>[?&](?:x-amz-signature|x-amz-security-token|sig|signature)=)(?P<secret>[^\s\"'&]+)",
        r"(?P<before>-----BEGIN [A-Z ]*PRIVATE KEY-----)(?P<secret>.*?)(?=-----END|\Z)",
    )
)
_PATTERNS = (*_PATTERNS[:-1], re.compile(_PATTERNS[-1].pattern, re.IGNORECASE | re.DOTALL))
_HINTS = re.compile(
    r"://[^\s/]*@|passw|passphrase|secret|api.?key|token|authorization|bearer|signature|[?&]sig=|private key",
    re.IGNORECASE,
)
_KEYS = re.compile(rf"(?:.*[_.-])?{_NAME}", re.IGNORECASE)


def redacted(text: str) -> str:
    """A text without what looks like a secret."""
    if not _HINTS.search(text):
        return text
    for pattern in _PATTERNS:
        text = pattern.sub(lambda found: f"{found['before']}{LEFT_OUT}", text)
    return text


def without_secrets(value: Any) -> Any:
    """The same for whatever JSON can hold; the value itself where there was none."""
    match value:
        case str():
            return redacted(value)
        case dict():
            new = {key: _of_key(key, each) for key, each in value.items() if isinstance(each, _MAY)}
            return value if all(each is value[key] for key, each in new.items()) else value | new
        case list():
            items = [without_secrets(each) for each in value]
            return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    return value


_MAY = (str, dict, list)


def _of_key(key: str, value: Any) -> Any:
    if isinstance(value, str) and value and value != LEFT_OUT and _says_secret(key):
        return LEFT_OUT
    return without_secrets(value)


@functools.lru_cache(4096)
def _says_secret(key: str) -> bool:
    return _KEYS.fullmatch(key) is not None
