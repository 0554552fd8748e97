"""The embedded engine: runs a bundle on this machine, with the study's slots, and tells it as Pegasus would."""

from .process import Watch
from .run import run_bundle
from .slots import Slots, machine_slots

__all__ = ["Slots", "Watch", "machine_slots", "run_bundle"]
