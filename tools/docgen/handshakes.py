"""The outcome of a handshake in each situation: the server's connection machine is asked, as a server asks it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from docgen.sources import table
from resilience.config import ServerConfig
from resilience.policy.handshake import HandshakePolicy, HandshakeRequest
from resilience.protocol.effects import Disconnect
from resilience.protocol.server.connection import ServerConnections
from resilience.protocol.server.event_location import EventLocation

OWN = HandshakeRequest("203.0.113.7", hosts=("quiz.example",))
BROWSER = msgspec.structs.replace(OWN, origins=("https://quiz.example",))
STRANGER = msgspec.structs.replace(OWN, origins=("https://other.example",))
ADDRESS = OWN.peer

Prepare = Callable[[HandshakePolicy], None]


def _nothing(policy: HandshakePolicy) -> None:
    """An idle server."""


def _drain(policy: HandshakePolicy) -> None:
    policy.draining_for = 3.0


def _fill(policy: HandshakePolicy) -> None:
    policy.capacity = 0


def _fail(policy: HandshakePolicy) -> None:
    while not policy.record_failure(ADDRESS, 0.0):
        pass


SITUATIONS: tuple[tuple[str, Prepare, float], ...] = (
    ("the server drains for another 3 s", _drain, 0.0),
    ("as many connections are open as `max_connections` allows", _fill, 0.0),
    ("the address has failed `address_failures` times within a minute", _fail, 0.0),
    ("the server runs 4 s late, where `admission_seconds` is 2", _nothing, 4.0),
    ("none of these", _nothing, 0.0),
)


def rejections() -> str:
    """What a program and a browser receive in each situation, and which cause is recorded."""
    rows = []
    for situation, prepare, lag in SITUATIONS:
        answer, cause = _judged(OWN, prepare, lag)
        rows.append([situation, answer, _judged(BROWSER, prepare, lag)[0], cause])
    answer, cause = _judged(STRANGER, _nothing, 0.0)
    rows.append(["the origin is not allowed", "", answer, cause])
    return table(["situation", "a program receives", "a browser receives", "cause"], rows)


def _judged(request: HandshakeRequest, prepare: Prepare, lag: float) -> tuple[str, str]:
    """What the client receives, and the cause in the record."""
    config = ServerConfig()
    policy = HandshakePolicy(config.handshake(1000))
    prepare(policy)
    server = ServerConnections(config.connection, policy, locate=lambda _: EventLocation.HERE)
    connection = server.open(1, 0.0)
    rejection = connection.handshake_received(request, 0.0, lag)
    if rejection is not None:
        wait = "" if rejection.retry_after is None else f", `Retry-After: {rejection.retry_after:.3f}`"
        return f"{rejection.status.value}{wait}", f"`{rejection.cause}`"
    connection.handshake_completed()
    effects = server.effects()
    closes = [effect for effect in effects if isinstance(effect, Disconnect)]
    if closes:
        return f"101, then close {closes[0].code} `{closes[0].reason}`", ""
    return "101", ""
