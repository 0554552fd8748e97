#!/usr/bin/env python3
"""Move one file to another name: `mv SOURCE TARGET`, for a site that does not say where its mv is."""

import os
import sys

if len(sys.argv) != 3:
    sys.exit("usage: mv SOURCE TARGET")
try:
    os.replace(sys.argv[1], sys.argv[2])
except OSError as error:
    sys.exit(f"mv: {sys.argv[1]}: {error.strerror}; it could not be moved to {sys.argv[2]}")
