"""Acts on what analysis sees while workflows run: each step with its reason, written down before it is taken."""

from __future__ import annotations

from .journal import NAME, Action, Actions, read
from .load import Load, Pressure
from .policies import Adapter, Candidate, Hands

__all__ = ["NAME", "Action", "Actions", "Adapter", "Candidate", "Hands", "Load", "Pressure", "read"]
