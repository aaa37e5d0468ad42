"""States of both ends and the tables of their transitions. Pure; the docs' diagrams are drawn from these tables."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from resilience.errors import LocalProtocolError


class ClientState(StrEnum):
    """Where a client stands."""

    IDLE = "idle"
    """Not started."""
    CONNECTING = "connecting"
    """A dial is under way."""
    JOINING = "joining"
    """The transport is open, the welcome not here yet."""
    OPEN = "open"
    """The session is up."""
    BACKING_OFF = "backing_off"
    """Waiting for the next attempt."""
    GAVE_UP = "gave_up"
    """A budget is spent; only the application, a wake-up or the network's return starts again."""
    CLOSED = "closed"
    """Over: left, or told never to come back."""


class ConnectionState(StrEnum):
    """Where a participant stands, as the server sees it (SPEC S3)."""

    CONNECTED = "connected"
    """Here, as far as the server knows."""
    TEMPORARILY_DISCONNECTED = "temporarily_disconnected"
    """Absent for less than the clean-up time."""
    DISCONNECTED = "disconnected"
    """Gone for longer, or left on purpose."""


class ServerConnectionState(StrEnum):
    """Where one WebSocket connection stands at the server."""

    HANDSHAKING = "handshaking"
    """The transport is open, the opening handshake is not complete."""
    AWAITING_FIRST_MESSAGE = "awaiting_first_message"
    """The handshake is complete; neither join, resume nor host has come."""
    JOINING = "joining"
    """A join or resume was passed to the event's room, which has not welcomed the connection."""
    PARTICIPANT = "participant"
    """The room has welcomed the connection as a participant's."""
    HOST = "host"
    """The connection has presented the host key."""
    DRAINING = "draining"
    """The server stops and has closed the connection with a Retry-After; its messages are ignored."""
    CLOSED = "closed"
    """The server has closed the connection for another reason, or the transport is gone; messages are ignored."""


CLIENT_TRANSITIONS: dict[ClientState, frozenset[ClientState]] = {
    ClientState.IDLE: frozenset({ClientState.CONNECTING, ClientState.CLOSED}),
    ClientState.CONNECTING: frozenset(
        {
            ClientState.CONNECTING,  # woken: a stale dial is given up for a fresh one
            ClientState.JOINING,
            ClientState.BACKING_OFF,
            ClientState.GAVE_UP,
            ClientState.CLOSED,
        }
    ),
    ClientState.JOINING: frozenset(
        {
            ClientState.CONNECTING,  # same
            ClientState.OPEN,
            ClientState.BACKING_OFF,
            ClientState.GAVE_UP,
            ClientState.CLOSED,
        }
    ),
    ClientState.OPEN: frozenset({ClientState.BACKING_OFF, ClientState.GAVE_UP, ClientState.CLOSED}),
    ClientState.BACKING_OFF: frozenset({ClientState.CONNECTING, ClientState.CLOSED}),
    ClientState.GAVE_UP: frozenset({ClientState.CONNECTING, ClientState.CLOSED}),
    ClientState.CLOSED: frozenset(),
}

SESSION_TRANSITIONS: dict[ConnectionState, frozenset[ConnectionState]] = {
    ConnectionState.CONNECTED: frozenset({ConnectionState.TEMPORARILY_DISCONNECTED, ConnectionState.DISCONNECTED}),
    ConnectionState.TEMPORARILY_DISCONNECTED: frozenset({ConnectionState.CONNECTED, ConnectionState.DISCONNECTED}),
    ConnectionState.DISCONNECTED: frozenset({ConnectionState.CONNECTED}),
}

_ENDS = (ServerConnectionState.DRAINING, ServerConnectionState.CLOSED)

SERVER_CONNECTION_TRANSITIONS: dict[ServerConnectionState, frozenset[ServerConnectionState]] = {
    ServerConnectionState.HANDSHAKING: frozenset(
        {ServerConnectionState.AWAITING_FIRST_MESSAGE, ServerConnectionState.CLOSED}
    ),
    ServerConnectionState.AWAITING_FIRST_MESSAGE: frozenset(
        {ServerConnectionState.JOINING, ServerConnectionState.HOST, *_ENDS}
    ),
    ServerConnectionState.JOINING: frozenset({ServerConnectionState.PARTICIPANT, *_ENDS}),
    ServerConnectionState.PARTICIPANT: frozenset(_ENDS),
    ServerConnectionState.HOST: frozenset(_ENDS),
    ServerConnectionState.DRAINING: frozenset({ServerConnectionState.CLOSED}),
    ServerConnectionState.CLOSED: frozenset(),
}

S = TypeVar("S", ClientState, ConnectionState, ServerConnectionState)


def transition(table: dict[S, frozenset[S]], current: S, following: S) -> S:
    """``following``, when the table allows it after ``current``; else an error in our own code."""
    if following not in table[current]:
        raise LocalProtocolError(f"no transition from {current} to {following}")
    return following
