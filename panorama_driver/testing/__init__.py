"""Stand-ins for the planner and the HTCondor commands, so that Pegasus runs can be tested where neither is installed.

They keep to what a real Pegasus 5.1.3 on a real HTCondor 23.9 did, traps included, and run a workflow's jobs for real:
`install` writes the commands into a folder, `manager.Manager` puts the released Ensemble Manager on top of them.
"""

from .settings import Settings, Slot
from .standins import Standins, install

__all__ = ["Settings", "Slot", "Standins", "install"]
