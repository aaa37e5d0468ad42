"""The numbers that the model adds to the experiment's own. Values only; how they are used is not known here."""

from __future__ import annotations

import math

import msgspec

from resilience.errors import ConfigError
from resilience.units import Seconds

_DURATIONS = (
    "latency",
    "connect",
    "handshake",
    "message",
    "commit",
    "startup",
    "close_timeout",
    "timer",
    "injection",
    "injection_call",
    "kill",
    "healing",
)


class ModelCosts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What links and the server cost; all durations in seconds.

    The defaults are assumed: orders of magnitude for one loopback machine, to be fitted by calibration to a real run.
    Raises :class:`~resilience.errors.ConfigError` if one is negative or not finite, or if there is no handshake slot.

    ``latency``: one way from client to server, through the proxy, which is half way.
    ``connect``: until a client knows that the proxy accepted or refused its TCP connection.
    ``handshake``: server CPU of one WebSocket upgrade; ``handshake_slots`` of them are served at once.
    ``message``: server CPU of one frame sent, so that a broadcast reaches its last receiver later than its first.
    ``commit``: one database transaction, whatever the number of rows in it.
    ``startup``: from the start of a server process until it listens.
    ``close_timeout``: how long the server waits for the reply to its close frame before it ends the TCP connection;
    the production server's close timeout.
    ``wasted_work``: whether a handshake whose client has left still costs its full service, as it does if the
    request is in the socket's buffer; without it such a request is skipped at no cost.
    ``timer``: how late a client's timers ring, those that detect a silent peer and those that retry.
    ``injection``: from the order to close a link's connections until they are closed; ``injection_call``: until the
    order is reported as carried out; ``healing``: from the order to lift a condition of a link until it is lifted;
    ``kill``: from the order to kill the server until its connections end.
    """

    latency: Seconds = 0.0005
    connect: Seconds = 0.0003
    handshake: Seconds = 0.0004
    handshake_slots: int = 1
    message: Seconds = 0.00002
    commit: Seconds = 0.003
    startup: Seconds = 0.6
    close_timeout: Seconds = 1.0
    wasted_work: bool = True
    timer: Seconds = 0.0
    injection: Seconds = 0.0
    injection_call: Seconds = 0.0
    kill: Seconds = 0.0
    healing: Seconds = 0.0

    def __post_init__(self) -> None:
        """Check each rule once."""
        for key in _DURATIONS:
            value = getattr(self, key)
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(key, value, "must be a finite number of seconds, at least 0")
        if self.handshake_slots < 1:
            raise ConfigError("handshake_slots", self.handshake_slots, "must be at least 1")
