#!/usr/bin/env python3
"""Reads x on stdin and the offset from right.out; writes result.json."""
import json
import os
import signal
import sys

trouble = sys.argv[1]
x = float(sys.stdin.read())
offset = float(open("right.out").read())
if trouble == "fail" or (trouble == "once" and not os.path.exists("tried")):
    open("tried", "w").close()
    sys.exit("square.py: asked to fail")
if trouble == "crash":
    os.kill(os.getpid(), signal.SIGSEGV)
if trouble != "no-output":
    with open("result.json", "w") as file:
        json.dump({} if trouble == "no-value" else {"y": (x - offset) ** 2, "inputs": [x, offset]}, file)
