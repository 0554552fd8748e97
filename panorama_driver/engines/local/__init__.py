"""The embedded engine: runs a bundle on this machine, with the study's slots, and tells it as Pegasus would."""

from .log import hostname
from .process import Watch
from .run import Running, run_bundle
from .slots import Group, Slots, machine_slots

__all__ = ["Group", "Running", "Slots", "Watch", "hostname", "machine_slots", "run_bundle"]
