#!/usr/bin/env python3
"""Burns the processor time that it is asked for; writes 64 x 64 KiB, reads it back, and has 3 children do so."""

import json
import os
import sys
import time

BLOCK, BLOCKS, CHILDREN = 65536, 64, 3


def write_and_read(path):
    with open(path, "wb", buffering=0) as file:
        for _ in range(BLOCKS):
            file.write(bytes(BLOCK))
    with open(path, "rb", buffering=0) as file:
        while file.read(BLOCK):
            pass
    os.unlink(path)


def main(result):
    seconds = json.load(sys.stdin)["seconds"]
    write_and_read(f"{result}.own")
    command = [sys.executable, __file__, "child", result]
    children = [os.spawnv(os.P_NOWAIT, sys.executable, [*command, str(number)]) for number in range(CHILDREN)]
    while time.process_time() < seconds:
        sum(range(1000))
    failed = [os.waitpid(child, 0)[1] for child in children if child] != [0] * CHILDREN
    with open(result, "w") as file:
        json.dump({"written": (CHILDREN + 1) * BLOCKS * BLOCK}, file)
    sys.exit(failed)


if sys.argv[1] == "child":
    write_and_read(f"{sys.argv[2]}.{sys.argv[3]}")
else:
    main(sys.argv[1])
