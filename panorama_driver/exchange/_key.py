"""The key that pseudonyms are made with: a file for its owner alone, never stored with what is made by it."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

from ..errors import EnvironmentMissingError, UsageError

_LEAST = 16  # bytes: fewer can be guessed, and with them every name
_MOST = 4096
_SIZE = 32
_PERSON = b"panorama names"


class Key:
    """Makes digests that nobody can make or check without it.

    Parameters
    ----------
    secret : bytes
        16 bytes or more, of which nobody knows anything.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) < _LEAST:
            raise UsageError(f"a key of {len(secret)} bytes can be guessed; it needs {_LEAST} or more")
        self._secret = hashlib.blake2b(secret, digest_size=_SIZE).digest()

    def digest(self, sort: str, name: str, digits: int = 12) -> str:
        """Hexadecimal digits for a name of this sort: BLAKE2b (RFC 7693), keyed."""
        text = f"{sort}\0{name}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, key=self._secret, person=_PERSON, digest_size=(digits + 1) // 2).hexdigest()[
            :digits
        ]

    @property
    def fingerprint(self) -> str:
        """What tells two keys apart, and no more."""
        return self.digest("key", "", 16)

    def __repr__(self) -> str:
        return "Key(...)"


def key_file(path: Path) -> Key:
    """The key in a file; where there is none, a new one of 256 random bits, of mode 0600, in a folder that is made too.

    Raises
    ------
    UsageError
        Others may read it, or it is too short.
    EnvironmentMissingError
        It cannot be read or made.
    """
    try:
        _make(path)
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise UsageError(f"{path}: others may read this key: chmod 600 {path}")
            return Key(file.read(_MOST).strip())
    except OSError as problem:
        raise EnvironmentMissingError(
            f"{path}: the key cannot be read or made: {problem.strerror or problem}"
        ) from None


def _make(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    with os.fdopen(file, "w") as made:
        made.write(secrets.token_hex(_SIZE) + "\n")
