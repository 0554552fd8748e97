"""How to see that a server is well: it answers in its own protocol, and soon."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from .rabbitmq import GREETING

Check = Callable[[], Awaitable[str]]
"""Says what is not well, in a few words; empty where all is."""

WITHIN = 5.0
"""An answer that takes longer is none [s]."""

_HOST = "127.0.0.1"


def naming_nodes(port: int) -> Check:
    """Erlang's port mapper answers there: NAMES_REQ of "Erlang Distribution Protocol"."""
    return lambda: _answer(_HOST, port, b"\x00\x01n", bool)


def speaking_amqp(port: int) -> Check:
    """A broker greets there: the port is open before the broker has started."""
    return lambda: _answer(_HOST, port, GREETING, bool)


def speaking_http(host: str, port: int, path: str) -> Check:
    """A server says there that all is well."""
    question = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode()
    return lambda: _answer(host, port, question, lambda answer: answer.startswith(b"HTTP/1.1 200 "))


async def _answer(host: str, port: int, question: bytes, well: Callable[[bytes], bool]) -> str:
    where = f"{host}:{port}"
    try:
        async with asyncio.timeout(WITHIN):
            answer = await _asked(host, port, question)
    except TimeoutError:
        return f"no answer at {where} within {WITHIN:g} s"
    except OSError as problem:
        return f"no answer at {where}: {problem.strerror or problem}"
    return "" if well(answer) else f"a wrong answer at {where}: {answer[:80]!r}"


async def _asked(host: str, port: int, question: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(question)
        return await reader.read(4096)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
