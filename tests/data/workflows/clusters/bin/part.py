#!/usr/bin/env python3
"""Writes a file of its own name, unless it is the one in trouble: part.py FILE SECONDS TROUBLE."""

import os
import sys
import time
from pathlib import Path

name, pause, trouble = sys.argv[1:]
print(f"part of {Path('seed.txt').read_text().strip()}: {name}", flush=True)
time.sleep(float(pause))
if trouble == name:
    sys.exit(f"part.py: {name}: asked to fail")
if trouble != f"no:{name}":
    with open(name, "w") as file:
        file.write(f"{name} {os.environ['OMP_NUM_THREADS']}\n")
