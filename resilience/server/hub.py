"""Drives one room: its timer, its sockets, its commits. The only holder of sockets; decides nothing.

Effects are carried out in the turn in which they arose, so a snapshot and its registration for broadcasts are one step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from resilience.errors import StoreError
from resilience.events import EventKind
from resilience.protocol import codec
from resilience.protocol.effects import Broadcast, Disconnect, Persist, Record, SendDown, ServerEffect
from resilience.protocol.messages import ClientMessage
from resilience.protocol.room import Room
from resilience.runtime import DeadlineTimer, Log, RunClock, discard
from resilience.server.committer import Committer


class Peer(Protocol):
    """One socket, as the hub uses it: all calls return at once."""

    def send(self, text: bytes) -> None:
        """Queue a text frame; UTF-8."""

    def end(self, code: int, reason: str) -> None:
        """Close with this code without waiting for anybody."""


class Hub:
    """One event's room on one loop. ``commit`` takes a batch of orders, in a worker thread."""

    def __init__(self, room: Room, *, clock: RunClock, log: Log, committer: Callable[[Hub], Committer]) -> None:
        self.room = room
        self._clock, self._log = clock, log
        self._peers: dict[int, Peer] = {}
        self._timer = DeadlineTimer(clock, self._on_deadline)
        self._committer = committer(self)

    def received(self, message: ClientMessage, connection: int, peer: Peer) -> None:
        """A connection said something."""
        self._peers[connection] = peer
        self.room.receive(message, connection, self._clock.now())
        self._pump()

    def lost(self, connection: int, cause: str) -> None:
        """A connection ended."""
        self._peers.pop(connection, None)
        self.room.transport_lost(connection, cause, self._clock.now())
        self._pump()

    def settled(self, batch: Sequence[Persist], failure: StoreError | None) -> None:
        """A batch was committed, or was not."""
        now = self._clock.now()
        if failure is not None:
            self._log(Record(EventKind.COMMIT_FAILED, now, cause=str(failure), value=float(len(batch))))
        for order in batch:
            if failure is None:
                self.room.committed(order.ticket, now)
            else:
                self.room.commit_failed(order.ticket)
        self._pump()

    async def drained(self) -> None:
        """Ask for nothing new; wait until every commit that was ordered is settled."""
        self._timer.stop()
        await self._committer.drained()

    def close_log(self, scores: Mapping[str, int]) -> None:
        """Write the closing records, every session's state and stored score; nothing is logged after them."""
        now, log = self._clock.now(), self._log
        for session in self.room.sessions.values():
            if session.welcomed:
                log(Record(EventKind.SESSION_STATE, now, session.participant, outcome=session.state))
        for participant, score in scores.items():
            log(Record(EventKind.SCORE_FINAL, now, participant, value=float(score)))
        self._log = discard

    def end_all(self, code: int, reason: Callable[[int], str]) -> None:
        """Close every connection; ``reason`` is made per connection key."""
        for connection, peer in list(self._peers.items()):
            peer.end(code, reason(connection))

    # carrying out -----------------------------------------------------------------------------------------------------

    def _on_deadline(self) -> None:
        self.room.handle_timeout(self._timer.fired())
        self._pump()

    def _pump(self) -> None:
        for effect in self.room.effects():
            self._carry_out(effect)
        self._timer.aim(self.room.next_deadline())

    def _carry_out(self, effect: ServerEffect) -> None:
        match effect:
            case Record():
                self._log(effect)
            case SendDown():
                self._send(effect.connection, codec.encode(effect.message))
            case Broadcast():
                text = codec.encode(effect.message)
                for connection in effect.connections:
                    self._send(connection, text)
            case Persist():
                self._committer.submit(effect)
            case Disconnect():
                peer = self._peers.get(effect.connection)
                if peer is not None:
                    peer.end(effect.code, effect.reason)

    def _send(self, connection: int, text: bytes) -> None:
        peer = self._peers.get(connection)
        if peer is not None:
            peer.send(text)
