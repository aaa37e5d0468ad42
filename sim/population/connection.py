"""One connection of the explicit tier, what is under way over it, and the states of a client. Decides nothing."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

from resilience.units import Instant


class State(Enum):
    """Of one participant's client."""

    OPEN = "open"
    BACKING_OFF = "backing off"
    DIALLING = "dialling"
    JOINING = "joining"
    GAVE_UP = "gave up"
    HANDED_BACK = "handed back"


class Connection:
    """One dial. ``client``, ``server``: whether that end holds it; ``packet``: which first packet is answered."""

    __slots__ = ("client", "packet", "requested", "server")

    def __init__(self) -> None:
        self.client, self.server, self.requested, self.packet = True, False, False, 0


Receive = Callable[[Instant, Connection, Any], None]


class Delivery(NamedTuple):
    """What is under way: to the server (``up``) or to the client; ``held``: an outage kept it."""

    connection: Connection
    receive: Receive
    what: object
    up: bool
    held: bool
