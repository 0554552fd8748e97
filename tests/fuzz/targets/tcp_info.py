"""What a kernel says of sockets: messages of netlink, one socket in each, with its struct tcp_info."""

from __future__ import annotations

import struct

from panorama_driver.probe import panorama_probe as probe


def _message(info: bytes) -> bytes:
    """One socket, as `struct inet_diag_msg` with two attributes."""
    ends = struct.pack(">HH", 40000, 443) + bytes([192, 0, 2, 1]) + bytes(12) + bytes([198, 51, 100, 7]) + bytes(12)
    head = struct.pack("=BBBB", 2, 1, 0, 0) + ends + bytes(4) + struct.pack("=Q", 7) + struct.pack("=5I", 0, 0, 0, 0, 9)
    told = struct.pack("=HH", 4 + len(info), 2) + info + struct.pack("=HH8s", 10, 4, b"cubic\0")
    return struct.pack("=IHHII", 16 + len(head + told), 18, 2, 0, 0) + head + told


SEEDS = [
    _message(bytes(280)),
    _message(bytes(range(248))) + _message(bytes(104)),
    struct.pack("=IHHIIi", 20, 2, 0, 0, 0, -1),
]


def one(data: bytes) -> None:
    """Connections that can be told, or nothing."""
    for _, content in probe.messages(data):
        try:
            socket = probe.Socket(content)
        except ValueError:
            continue
        connection = probe.Connection(socket, 1, False, 1.0)
        connection.take(socket, 2.0)
        connection.end(socket, 3.0)
        assert probe.json(connection.record()).startswith('{"event":"transfer.tcp"')
        assert connection.moved() >= 0
