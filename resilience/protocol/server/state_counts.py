"""How many participants are in each connection state, counted as they change: reading it costs nothing. Pure."""

from __future__ import annotations

from resilience.protocol.server.session import ServerSession
from resilience.protocol.states import ConnectionState


class StateCounts:
    """The number of participants by connection state; those without a durable join do not count."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(ConnectionState, 0)
        self._counted: dict[str, ConnectionState] = {}

    def update(self, session: ServerSession) -> None:
        """Count a participant in its present state."""
        self.forget(session.participant)
        if session.welcomed:
            self._counted[session.participant] = session.state
            self._counts[session.state] += 1

    def forget(self, participant: str) -> None:
        """Count a participant no more."""
        state = self._counted.pop(participant, None)
        if state is not None:
            self._counts[state] -= 1

    def by_state(self) -> dict[str, int]:
        """The number of participants in each state."""
        return {state.value: count for state, count in self._counts.items()}
