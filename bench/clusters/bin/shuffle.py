#!/usr/bin/env python3
"""shuffle.py MIB RESULT: writes that much to the disk, and reads it again."""

import os
import sys
from pathlib import Path

BLOCK = os.urandom(2**18)
size, result = int(sys.argv[1]) * 2**20, sys.argv[2]
data = Path(f"{result}.data")
with data.open("wb") as file:
    for _ in range(size // len(BLOCK)):
        file.write(BLOCK)
        file.flush()
        os.fsync(file.fileno())
read = 0
with data.open("rb") as file:
    while block := file.read(2**16):
        read += sum(block[::512])
data.unlink()
Path(result).write_text(f"{read}\n")
