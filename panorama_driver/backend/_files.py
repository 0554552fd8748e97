"""Files that only their owner can read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def private(path: Path, text: str | bytes) -> None:
    """Write a file of mode 0600, whole or not at all."""
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(text.encode() if isinstance(text, str) else text)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
