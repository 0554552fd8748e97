"""What a new broker begins with, as RabbitMQ's definitions file: vhost, users, exchange, quorum queues, bindings.

Exchange and queues are those that the collector declares, asked from its own code; so they are there before it is, and
nothing that is published meanwhile is dropped.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from typing import Any

from ..collector.broker import EXCHANGE, declare

VHOST = "panorama"
COLLECTOR, PUBLISHER = "collector", "publisher"
_OURS = r"^(monitoring|panorama[._].*)$"
_RIGHTS = {
    COLLECTOR: {"configure": _OURS, "write": _OURS, "read": _OURS},
    # to bind a queue one must be able to read its exchange; no right to read panorama.events, which holds the events
    PUBLISHER: {"configure": _OURS, "write": _OURS, "read": r"^(monitoring|panorama\.dead)$"},
}


def definitions(passwords: Mapping[str, str]) -> dict[str, Any]:
    """The definitions of a broker with the users `collector`, who may take events, and `publisher`, who may send them.

    Parameters
    ----------
    passwords : mapping
        Of both; the file holds salted hashes of them (RabbitMQ's guide "Credentials and Passwords").
    """
    topology = _Topology()
    declare(topology, EXCHANGE, published_queues=False)
    return {
        "vhosts": [{"name": VHOST}],
        "users": [user(name, passwords[name]) for name in _RIGHTS],
        "permissions": [{"user": name, "vhost": VHOST} | rights for name, rights in _RIGHTS.items()],
        "exchanges": topology.exchanges,
        "queues": topology.queues,
        "bindings": topology.bindings,
    }


def without_users(given: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """Definitions without these users, who so keep the passwords and rights that they have."""
    left_out = {"users": "name", "permissions": "user", "topic_permissions": "user"}
    return {
        kind: [each for each in value if each.get(left_out[kind]) not in names] if kind in left_out else value
        for kind, value in given.items()
    }


class _Topology:
    """Takes down what is declared on it, as a channel would be asked."""

    def __init__(self) -> None:
        self.exchanges: list[dict[str, Any]] = []
        self.queues: list[dict[str, Any]] = []
        self.bindings: list[dict[str, Any]] = []

    def exchange_declare(self, name: str, kind: str, durable: bool) -> None:
        self.exchanges.append(
            {"name": name, "vhost": VHOST, "type": kind, "durable": durable}
            | {"auto_delete": False, "internal": False, "arguments": {}}
        )

    def queue_declare(self, name: str, durable: bool, arguments: Mapping[str, Any] | None = None) -> None:
        self.queues.append(
            {"name": name, "vhost": VHOST, "durable": durable, "auto_delete": False, "arguments": dict(arguments or {})}
        )

    def queue_bind(self, queue: str, exchange: str, key: str) -> None:
        self.bindings.append(
            {"source": exchange, "vhost": VHOST, "destination": queue, "destination_type": "queue"}
            | {"routing_key": key, "arguments": {}}
        )


def user(name: str, password: str, tags: str = "") -> dict[str, Any]:
    """A user, with a salted hash of the password (RabbitMQ's guide "Credentials and Passwords")."""
    salt = secrets.token_bytes(4)
    hashed = base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
    return {
        "name": name,
        "password_hash": hashed,
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": tags,
    }
