"""From where events come out to where they are kept, each exactly once; what is no event becomes a dead letter."""

from __future__ import annotations

from .files import Drained, RunFollower, drain
from .submitdir import SubmitDirFollower

__all__ = ["Drained", "RunFollower", "SubmitDirFollower", "drain"]
