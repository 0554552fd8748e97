#!/usr/bin/env python3
"""burn.py X NUMBER WORK REST OUTPUT [INPUT...]: so many pieces of work; what comes out is the same each time."""

import json
import sys
import time

x, number, work, rest, output = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), sys.argv[5]
state = 12345 + number
for path in sys.argv[6:]:
    with open(path, encoding="utf-8") as file:
        state ^= json.load(file)["state"]
for _ in range(work):
    for _ in range(10000):
        state = (state * 1103515245 + 12345) % 2147483648
    time.sleep(rest)
with open(output, "w", encoding="utf-8") as file:
    json.dump({"state": state, "y": (x - 0.3) ** 2}, file)
