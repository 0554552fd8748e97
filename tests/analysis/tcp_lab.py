"""Real TCP transfers between two network namespaces, through a forwarder that loses, doubles or reorders segments.

Each namespace has a TUN device; what one sends the forwarder hands to the other, late by the same time in both
directions. Kernels do the rest: what they tell of the connection (TCP_INFO) is read at both ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import heapq
import multiprocessing
import os
import random
import select
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, Literal

from panorama_driver.probe import panorama_probe

Fault = Literal["loss", "duplication", "reordering"]
CLIENT, SERVER = "192.0.2.1", "192.0.2.2"
DELAY = 0.004
"""From one end to the other [s]."""
LATE = 0.003
"""By which a reordered segment comes later [s]."""
_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 1, 0x1000
_TCP_INFO_BYTES = 256


def unavailable() -> str:
    """Why there can be no lab here; empty where there can."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "needs root, for network namespaces"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "needs /dev/net/tun"
    libc = ctypes.CDLL(None, use_errno=True)
    child = os.fork()
    if not child:
        os._exit(1 if libc.unshare(_CLONE_NEWNET) else 0)
    return "may not make network namespaces" if os.waitpid(child, 0)[1] else ""


class Lab:
    """Two hosts and what is between them.

    Parameters
    ----------
    seed : int
        Of the forwarder's choices.
    """

    def __init__(self, seed: int = 0) -> None:
        self._chance = random.Random(seed)
        self._fault: Fault | None = None
        self._share = 0.0
        self._backward = False
        self._ends: list[tuple[Connection, int]] = []
        self._processes: list[multiprocessing.process.BaseProcess] = []
        self._stop_read, self._stop_write = os.pipe()
        self._forwarder = threading.Thread(target=self._forward, daemon=True)

    def open(self) -> None:
        context = multiprocessing.get_context("spawn")
        for address, other, work in ((SERVER, CLIENT, _serve), (CLIENT, SERVER, _send)):
            ours, theirs = context.Pipe()
            near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            process = context.Process(target=_host, args=(address, other, work, theirs, far), daemon=True)
            process.start()
            _, fds, _, _ = socket.recv_fds(near, 1, 1)
            near.close()
            self._processes.append(process)
            self._ends.append((ours, fds[0]))
        self._forwarder.start()

    def transfer(
        self, size: int, fault: Fault | None = None, share: float = 0.0, *, backward: bool = False
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Send `size` bytes from client to server, and give the `transfer.tcp` fields that both kernels tell.

        `share` of the segments with data meets `fault`; of those from server to client where `backward`, when the
        server is what sends.
        """
        self._fault, self._share, self._backward = fault, share, backward
        (server, _), (client, _) = self._ends
        for end in (server, client):
            end.send((size, backward))
            assert end.poll(60), "the transfer did not get through in a minute"
            end.recv()  # the server listens before the client begins
        told = [end.recv() for end in (client, server)]
        for end in (client, server):
            end.send("close")  # before, one that is closed would have taken the other's counters along
        return told[0], told[1]

    def close(self) -> None:
        os.write(self._stop_write, b".")
        self._forwarder.join(10)
        for (pipe, fd), process in zip(self._ends, self._processes, strict=True):
            pipe.close()
            os.close(fd)
            process.terminate()
            process.join(10)
        os.close(self._stop_read)
        os.close(self._stop_write)

    def _forward(self) -> None:
        server, client = (fd for _, fd in self._ends)
        waiting: list[tuple[float, int, int, bytes]] = []
        number = 0
        while True:
            left = max(0.0, waiting[0][0] - time.monotonic()) if waiting else 1.0
            ready, _, _ = select.select([server, client, self._stop_read], [], [], left)
            if self._stop_read in ready:
                return
            for fd in ready:
                packet = os.read(fd, 65536)
                for due in self._copies(packet, fd == (server if self._backward else client)):
                    number += 1
                    heapq.heappush(waiting, (due, number, client if fd == server else server, packet))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, fd, packet = heapq.heappop(waiting)
                os.write(fd, packet)

    def _copies(self, packet: bytes, struck: bool) -> list[float]:
        """When a segment arrives, as often as it does."""
        due = time.monotonic() + DELAY
        if not struck or len(packet) < 200 or self._fault is None or self._chance.random() >= self._share:
            return [due]
        if self._fault == "loss":
            return []
        return [due, due] if self._fault == "duplication" else [due + LATE]


@contextmanager
def lab(seed: int = 0) -> Iterator[Lab]:
    opened = Lab(seed)
    opened.open()
    try:
        yield opened
    finally:
        opened.close()


def _host(address: str, other: str, work: Any, pipe: Connection, far: socket.socket) -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", b"lab0", _IFF_TUN | _IFF_NO_PI))
    for words in (f"address add {address} peer {other} dev lab0", "link set lab0 up txqueuelen 10000"):
        subprocess.run(["ip", *words.split()], check=True)
    socket.send_fds(far, [b"."], [tun])
    far.close()
    os.close(tun)
    with contextlib.suppress(EOFError, ConnectionResetError):  # the lab closes
        work(pipe)


def _serve(pipe: Connection) -> None:
    with socket.create_server((SERVER, 5001)) as listening:
        while True:
            size, backward = pipe.recv()
            pipe.send("listening")
            connection, _ = listening.accept()
            with connection:
                pipe.send(_move(connection, size, "server", sends=backward))
                pipe.recv()


def _send(pipe: Connection) -> None:
    while True:
        size, backward = pipe.recv()
        pipe.send("begins")
        with socket.create_connection((SERVER, 5001)) as connection:
            pipe.send(_move(connection, size, "client", sends=not backward))
            pipe.recv()


def _move(connection: socket.socket, size: int, vantage: str, *, sends: bool) -> dict[str, Any]:
    """Send that many bytes, or receive all up to the end of data, which leaves after all that was sent again.

    The receiver asks its kernel first; the sender when it knows that.
    """
    begun = time.time()
    if sends:
        connection.sendall(bytes(size))
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)
        return _fields(connection, vantage, begun)
    while connection.recv(1 << 20):
        pass
    told = _fields(connection, vantage, begun)
    connection.sendall(b".")
    return told


def _fields(connection: socket.socket, vantage: str, begun: float) -> dict[str, Any]:
    """As the probe tells of a connection."""
    here, there = ("c_", "s_") if vantage == "client" else ("s_", "c_")
    (local, port), (remote, other) = connection.getsockname(), connection.getpeername()
    info = panorama_probe.tcp_info(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES))
    congestion = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()
    return {
        "source": "tcp_info",
        "vantage": vantage,
        "final": True,
        "first": begun,
        "last": time.time(),
        here + "ip": local,
        here + "port": port,
        there + "ip": remote,
        there + "port": other,
        "congestion": congestion,
        **panorama_probe._as_tstat(info, False, here, there),
    }
