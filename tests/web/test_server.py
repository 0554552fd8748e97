"""The server's own part: where it listens."""

from __future__ import annotations

import pytest

from panorama_driver.web import _server


def test_any_free_port_is_one_that_browsers_go_to(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    class Refused:
        def __contains__(self, port: int) -> bool:
            seen.append(port)
            return len(seen) <= 2

    monkeypatch.setattr(_server, "_REFUSED", Refused())
    with _server._listening("127.0.0.1", 0) as listener:
        assert listener.getsockname()[1] == seen[2]
    assert len(set(seen)) == 3
