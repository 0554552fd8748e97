#!/usr/bin/env python3
"""job.py PROGRAM SECONDS SEED: does the work of a kind that takes so long where nothing holds it up.

It joins a control group of its own, a disk of known speed, where BENCH_DISK tells how to make one (JSON: the folder of
all such groups, and what to write into which file). Where the folder BENCH_FOLDER has a file leak.ATTEMPT, it begins to
leak memory and writes since when into it. What it writes goes past the page cache, to the disk itself.
"""

import json
import mmap
import os
import random
import sys
import time

program, seconds, draws = sys.argv[1], float(sys.argv[2]), random.Random(int(sys.argv[3]))
attempt = os.environ["PANORAMA_ATTEMPT"]
folder = os.environ["BENCH_FOLDER"]
signal = os.path.join(folder, f"leak.{attempt}")
RATE = 20e6  # bytes/s that leak
leaked, since = [], 0.0
if os.environ.get("BENCH_DISK"):
    groups, rules = json.loads(os.environ["BENCH_DISK"])
    own = os.path.join(groups, f"panorama-bench-{os.environ['PEGASUS_WF_UUID']}-{attempt}")
    os.mkdir(own)
    for name, text in [*rules, ("cgroup.procs", "0")]:
        with open(os.path.join(own, name), "w") as file:
            file.write(text)
block = mmap.mmap(-1, 1 << 20)
data = os.open(os.path.join(folder, f"data.{attempt}"), os.O_CREAT | os.O_RDWR | os.O_DIRECT)
os.unlink(os.path.join(folder, f"data.{attempt}"))
seconds *= draws.uniform(0.9, 1.1)
base = bytearray(draws.randrange(5, 15) << 20)


def leak():
    global since
    if not since and os.path.exists(signal):
        since = time.time()
        with open(signal, "w") as file:
            file.write(repr(since))
    while since and len(leaked) * 2**20 < RATE * (time.time() - since):
        leaked.append(b"x" * 2**20)


def burn(cpu):
    end = time.process_time() + cpu
    while time.process_time() < end:
        sum(range(5000))
        leak()


def write(blocks):
    for number in range(blocks):
        os.pwrite(data, block, (number % 64) << 20)
        leak()


def sleep(length):
    end = time.monotonic() + length
    while time.monotonic() < end:
        time.sleep(min(0.1, max(0.0, end - time.monotonic())))
        leak()


def burner():
    burn(seconds)


def mix():
    for _ in range(int(seconds / 0.1)):
        burn(0.05)
        write(10)  # 0.1 s at 100 MB/s, of which the disk has had half already while it computed


def phases():
    for _ in range(2):
        burn(0.2 * seconds)
        write(int(10 * seconds))
        sleep(0.1 * seconds)
        burn(0.1 * seconds)


def sleeper():
    for _ in range(int(seconds)):
        sleep(0.8)
        burn(0.2)


def bursty():
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        draws.choice([burn, sleep])(draws.uniform(0.05, 1.2))
        write(draws.randrange(3))


globals()[program]()
