#!/usr/bin/env python3
"""Writes what several files hold into one: join.py RESULT FILE..."""

import sys
from pathlib import Path

result, *names = sys.argv[1:]
Path(result).write_text("".join(Path(name).read_text() for name in names))
