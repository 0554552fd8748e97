"""What the scripts that `install` writes run: the stand-in that the first word names; what begins with `make-` is for
people."""

import importlib
import os
import sys

from .standins import COMMANDS as STANDINS

COMMANDS = STANDINS | {"manager": ["make-venv"], "opensearch": ["make-search"]}
os.umask(0o022)
name, *rest = sys.argv[1:] or [""]
module = next((module for module, names in COMMANDS.items() if name in names), "")
if not module or (name.startswith("make-") and {"-h", "--help"} & set(rest)):
    sys.exit("usage: python -m panorama_driver.testing make-venv [DIR] | make-search [DIR [RELEASE]]")
main = importlib.import_module(f"panorama_driver.testing.{module}").main
sys.exit(main([name, *rest] if len(COMMANDS[module]) > 1 else rest))
