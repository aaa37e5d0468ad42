"""State diagrams, drawn from the tables of transitions."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from docgen.sources import markdown, meaning, table
from resilience.protocol.states import (
    CLIENT_TRANSITIONS,
    SERVER_CONNECTION_TRANSITIONS,
    SESSION_TRANSITIONS,
    ClientState,
    ConnectionState,
    ServerConnectionState,
)
from resilience.quiz.phases import NEXT, Phase

STATES: tuple[type[StrEnum], ...] = (ClientState, ConnectionState, ServerConnectionState, Phase)

S = TypeVar("S", bound=StrEnum)


def client_states() -> str:
    """Where a client stands."""
    return _drawn(CLIENT_TRANSITIONS, ClientState.IDLE)


def session_states() -> str:
    """Where a participant stands, as the server sees it."""
    return _drawn(SESSION_TRANSITIONS, ConnectionState.CONNECTED)


def server_connection_states() -> str:
    """Where one WebSocket connection stands at the server."""
    return _drawn(SERVER_CONNECTION_TRANSITIONS, ServerConnectionState.HANDSHAKING)


def phases() -> str:
    """Where a quiz stands."""
    return _drawn(NEXT, Phase.LOBBY)


def states_in_tables() -> frozenset[str]:
    """Every state that a diagram may show."""
    return frozenset(str(state) for states in STATES for state in states)


def _drawn(moves: Mapping[S, frozenset[S]], first: S) -> str:
    kind = type(first)
    lines = [f"[*] --> {first}"]
    for state in kind:
        following = [after for after in kind if after in moves[state]]
        lines += [f"{state} --> {after}" for after in following] or [f"{state} --> [*]"]
    diagram = "\n".join(["```mermaid", "stateDiagram-v2", *(f"    {line}" for line in lines), "```"])
    rows = [[f"`{state}`", markdown(meaning(kind, state.name) or "", {})] for state in kind]
    return f"{diagram}\n\n{table(['state', 'meaning'], rows)}"
