"""The way through a message broker: events are published with confirms, and consumed with commit before acknowledge."""

from __future__ import annotations

from ._address import Address
from ._topology import EXCHANGE, declare, takes
from .consumer import Consumer, Counts
from .publisher import Publisher

__all__ = ["EXCHANGE", "Address", "Consumer", "Counts", "Publisher", "declare", "takes"]
