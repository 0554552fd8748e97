#!/usr/bin/env python3
"""Reads x on stdin and the offset from right.out; writes result.json."""

import json
import os
import signal
import sys
from pathlib import Path

trouble = sys.argv[1]
x = float(sys.stdin.read())
offset = float(Path("right.out").read_text())
if trouble == "fail" or (trouble == "once" and not Path("tried").exists()):
    Path("tried").touch()
    sys.exit("square.py: asked to fail")
if trouble == "crash":
    os.kill(os.getpid(), signal.SIGSEGV)
if trouble != "no-output":
    derivatives = {"gradient": {"x": 2 * (x - offset)}, "hessian": {"x": {"x": 2.0}}}
    result = {} if trouble == "no-value" else {"y": (x - offset) ** 2, "inputs": [x, offset], **derivatives}
    Path("result.json").write_text(json.dumps(result))
