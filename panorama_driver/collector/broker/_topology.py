"""What stands on the broker: the exchange of the published back end, our own queues, and the old ones.

    exchange (topic, durable) ──stampede.# kickstart.# transfer.# darshan.# anomalies.#──▶ panorama.events   (quorum)
              │                                                       given up by the broker ▼
              │                                            exchange panorama.dead ──▶ panorama.dead         (quorum)
              └──stampede.#──▶ panorama_stampede, and so on: the published queues (classic), only where asked for

Declaring is idempotent; what exists with other arguments is left alone and reported.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pika.channel import Channel

EXCHANGE = "monitoring"
"""The exchange of Panorama's back end, and so of monitord's and kickstart's addresses."""
FAMILIES = ("stampede", "kickstart", "transfer", "darshan", "anomalies")
"""First words of the routing keys that we take."""
EVENTS = "panorama.events"
"""Our queue, which every event comes to."""
DEAD = "panorama.dead"
"""Exchange and queue of what the broker itself gave up."""
PUBLISHED = {f"panorama_{family}": f"{family}.#" for family in FAMILIES[:3]}
"""The queues of Panorama's back end (2019), with their bindings."""
DELIVERY_LIMIT = 1000
"""How often the broker delivers a message: each death of a collector counts for all that it held."""

_KEY_LIMIT = 255  # bytes; a "short string" of AMQP 0-9-1
_QUORUM = {"x-queue-type": "quorum"}
_EVENTS_ARGUMENTS = _QUORUM | {
    "x-delivery-limit": DELIVERY_LIMIT,
    "x-dead-letter-exchange": DEAD,
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",  # the strategy needs it; no length is limited
}
_NAMED = re.compile(r"for (exchange|queue) '([^']*)' in vhost '([^']*)'")


class GivenUp(NamedTuple):
    """A message that the broker gave up: where it was published, and why."""

    exchange: str
    routing_key: str
    reason: str


def declare(channel: Channel, exchange: str, published_queues: bool) -> None:
    """Ask for exchanges, queues and bindings; the broker answers in order, or closes the channel."""
    channel.exchange_declare(exchange, "topic", durable=True)
    channel.exchange_declare(DEAD, "fanout", durable=True)
    channel.queue_declare(DEAD, durable=True, arguments=_QUORUM)
    channel.queue_bind(DEAD, DEAD, "")
    channel.queue_declare(EVENTS, durable=True, arguments=_EVENTS_ARGUMENTS)
    for family in FAMILIES:
        channel.queue_bind(EVENTS, exchange, f"{family}.#")
    if published_queues:
        for queue, key in PUBLISHED.items():
            channel.queue_declare(queue, durable=True)
            channel.queue_bind(queue, exchange, key)


def takes(routing_key: str) -> bool:
    """Whether a message can be sent with such a key, and a queue takes it."""
    known = routing_key.partition(".")[0] in FAMILIES
    return known and routing_key.isprintable() and len(routing_key.encode()) <= _KEY_LIMIT


def queues(published_queues: bool) -> tuple[str, ...]:
    """Queues to consume from."""
    return (EVENTS, DEAD, *PUBLISHED) if published_queues else (EVENTS, DEAD)


def given_up(exchange: str, routing_key: str, headers: dict[str, Any] | None) -> GivenUp:
    """Read `x-death` of a dead-lettered message (RabbitMQ's guide "Dead Lettering")."""
    deaths = (headers or {}).get("x-death")
    last = deaths[0] if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict) else {}
    keys = last.get("routing-keys")
    key = keys[0] if isinstance(keys, list) and keys and isinstance(keys[0], str) else routing_key
    why, queue = str(last.get("reason", "no reason told")), str(last.get("queue", "unknown"))
    told = f"delivered {DELIVERY_LIMIT} times without an acknowledgement" if why == "delivery_limit" else why
    return GivenUp(str(last.get("exchange") or exchange), key, f"the broker gave it up in queue {queue}: {told}")


def mending(text: str) -> str:
    """The command that removes what stands in the way, out of the broker's words."""
    found = _NAMED.search(text)
    if found is None:
        return "look into the broker's log"
    kind, name, vhost = found[1], *map(shlex.quote, found.group(2, 3))  # the broker's words, to be pasted into a shell
    if kind == "queue":
        return f"empty it and remove it with: rabbitmqctl -p {vhost} delete_queue {name}"
    return (
        f"name another exchange in the address, or remove it with: rabbitmqadmin -V {vhost} delete exchange name={name}"
    )
