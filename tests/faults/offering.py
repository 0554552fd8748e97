"""Offers messages to a broker in a process of its own: `python offering.py URL NETRC SPOOL FILE FROM TO LOT RATE`.

FILE holds a message a line, `routing key<tab>body`; those from FROM to TO are offered, LOT at once under the first
one's key, RATE a second or, with 0, as fast as it goes. For each lot that was accepted it writes how many messages of
the file are now, and how long `offer` took [s]; when the broker has confirmed everything, it writes `confirmed` and the
most memory that it had [bytes], and ends.
"""

import os
import sys
import time
from itertools import islice
from pathlib import Path

from panorama_driver.collector.broker import Address, Publisher


def _tell(sentence: str) -> None:
    os.write(2, f"{time.monotonic():.3f} {sentence}\n".encode())


def _most_memory() -> int:
    """`ru_maxrss` would be that of whoever started us, if it was larger."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def main() -> None:
    url, credentials, spool, file, *numbers = sys.argv[1:]
    start, end, lot, rate = map(int, numbers)
    where = Address.read(url, credentials)
    with open(file, "rb") as lines, Publisher(where, Path(spool), tell=_tell) as publisher:
        began, accepted = time.monotonic(), start
        rest = islice(lines, start, end)
        while some := [line.rstrip().split(b"\t", 1) for line in islice(rest, lot)]:
            if rate:
                time.sleep(max(0.0, began + (accepted - start) / rate - time.monotonic()))
            asked = time.perf_counter()
            publisher.offer(some[0][0].decode(), [body for _, body in some])
            accepted += len(some)
            os.write(1, f"{accepted} {time.perf_counter() - asked:.6f}\n".encode())
        if publisher.flush(240):
            os.write(1, f"confirmed {_most_memory()}\n".encode())


if __name__ == "__main__":
    main()
