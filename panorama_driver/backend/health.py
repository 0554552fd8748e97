"""Whether an address answers 200: a container's health check, `python -m panorama_driver.backend.health URL [CA]`."""

from __future__ import annotations

import http.client
import ssl
import sys
from collections.abc import Sequence
from urllib.parse import urlsplit

_PATIENCE = 4.0  # seconds


def answers(url: str, ca: str | None = None) -> bool:
    """Whether a GET is answered with 200 within 4 s; no proxy is asked, whatever the environment says.

    Parameters
    ----------
    url : str
        `http://` or `https://`.
    ca : str, optional
        PEM file of whom to trust in place of the system's.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    connection = (
        http.client.HTTPSConnection(host, parts.port, timeout=_PATIENCE, context=ssl.create_default_context(cafile=ca))
        if parts.scheme == "https"
        else http.client.HTTPConnection(host, parts.port, timeout=_PATIENCE)
    )
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def main(arguments: Sequence[str]) -> int:
    """Exit code: 0 it answers, 1 it does not."""
    return 0 if answers(*arguments) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
