"""The tables of states."""

from __future__ import annotations

from itertools import product

import pytest

from resilience.errors import LocalProtocolError
from resilience.protocol.states import (
    CLIENT_TRANSITIONS,
    SERVER_CONNECTION_TRANSITIONS,
    SESSION_TRANSITIONS,
    ClientState,
    ConnectionState,
    S,
    ServerConnectionState,
    transition,
)


def test_every_state_of_a_client_is_in_its_table_and_can_be_reached() -> None:
    """From idle the table leads everywhere."""
    assert reachable(CLIENT_TRANSITIONS, ClientState.IDLE) == set(ClientState) == set(CLIENT_TRANSITIONS)


def test_every_state_of_a_session_is_in_its_table_and_can_be_reached() -> None:
    """From connected the table leads everywhere, and back."""
    for start in ConnectionState:
        assert reachable(SESSION_TRANSITIONS, start) == set(ConnectionState) == set(SESSION_TRANSITIONS)


def test_every_state_of_a_server_connection_is_in_its_table_and_leads_to_its_end() -> None:
    """From the handshake the table leads everywhere, never back, and from everywhere to closed."""
    everything = set(ServerConnectionState)
    assert reachable(SERVER_CONNECTION_TRANSITIONS, ServerConnectionState.HANDSHAKING) == everything
    assert set(SERVER_CONNECTION_TRANSITIONS) == everything
    for state, following in SERVER_CONNECTION_TRANSITIONS.items():
        assert state not in set().union(*(reachable(SERVER_CONNECTION_TRANSITIONS, after) for after in following))
        assert (ServerConnectionState.CLOSED in following) is (state is not ServerConnectionState.CLOSED)


def reachable(table: dict[S, frozenset[S]], start: S) -> set[S]:
    """Every state that the table leads to."""
    found, frontier = {start}, [start]
    while frontier:
        fresh = table[frontier.pop()] - found
        found |= fresh
        frontier += fresh
    return found


@pytest.mark.parametrize("current, following", list(product(ClientState, ClientState)))
def test_clients_move_by_the_table_only(current: ClientState, following: ClientState) -> None:
    """What the table does not list is an error in our own code."""
    if following in CLIENT_TRANSITIONS[current]:
        assert transition(CLIENT_TRANSITIONS, current, following) is following
    else:
        with pytest.raises(LocalProtocolError, match=f"from {current} to {following}"):
            transition(CLIENT_TRANSITIONS, current, following)


@pytest.mark.parametrize("current, following", list(product(ConnectionState, ConnectionState)))
def test_sessions_move_by_the_table_only(current: ConnectionState, following: ConnectionState) -> None:
    """Every absence can end in a return; no state follows itself."""
    allowed = current is not following and (current, following) != (
        ConnectionState.DISCONNECTED,
        ConnectionState.TEMPORARILY_DISCONNECTED,
    )
    assert (following in SESSION_TRANSITIONS[current]) is allowed


def test_closed_is_the_end() -> None:
    """A client that left or was superseded does nothing more."""
    assert CLIENT_TRANSITIONS[ClientState.CLOSED] == frozenset()


def test_giving_up_is_not_the_end() -> None:
    """A click on retry leads back to dialling."""
    assert CLIENT_TRANSITIONS[ClientState.GAVE_UP] == {ClientState.CONNECTING, ClientState.CLOSED}
