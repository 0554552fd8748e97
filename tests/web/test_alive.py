"""Whether a study's server is there, whatever state it is in."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from panorama_driver.study.client import SOCKET
from panorama_driver.web._alive import Watch


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[Path]:
    """The folder of a server that takes no more connections, as one that was stopped does."""
    with ExitStack() as opened:
        server = opened.enter_context(socket.socket(socket.AF_UNIX))
        before = os.open(".", os.O_RDONLY)
        os.chdir(tmp_path)
        opened.callback(os.close, before)
        opened.callback(os.fchdir, before)
        server.bind(SOCKET)
        server.listen(0)
        opened.enter_context(socket.socket(socket.AF_UNIX)).connect(SOCKET)
        yield tmp_path


def test_a_server_that_answers_nobody_is_there_and_is_not_waited_for(stopped: Path) -> None:
    begin = time.monotonic()
    assert Watch(stopped).alive()
    assert time.monotonic() - begin < 5
