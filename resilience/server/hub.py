"""Drives one room: its timer, its sockets, its commits. The only holder of sockets; decides nothing.

Effects are carried out in the turn in which they arose, so a snapshot and its registration for broadcasts are one step.
Their order is the contract of :mod:`resilience.protocol.effects`; after a commit the log is flushed between its records
and its messages, so a killed server has sent nothing that its log does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from resilience.errors import FencedError, StoreError
from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol import codec
from resilience.protocol.effects import Broadcast, Disconnect, Persist, Record, SendToClient, ServerEffect
from resilience.protocol.messages import ClientMessage, ServerMessage
from resilience.protocol.server.room import Room
from resilience.runtime import DeadlineTimer, RecordSink, RunClock, ignore_record
from resilience.server.committer import CommitCallback, CommitRequest
from resilience.server.store import RunLease
from resilience.wire.frames import text_frame


class Peer(Protocol):
    """One socket, as the hub uses it: all calls return at once."""

    def send(self, frame: bytes) -> None:
        """Queue a whole frame."""

    def close(self, code: int, reason: str) -> None:
        """Close with this code without waiting for anybody."""

    def message_sent(self, message: ServerMessage) -> None:
        """The frame sent last is this message, meant for this connection alone."""


def _nothing() -> None:
    """Nothing to flush."""


class Hub:
    """One event's room on one loop, written for under ``lease``.

    ``submit`` takes what is to be committed; ``flush`` hands the log to the operating system; ``fenced`` is called when
    the run turns out to belong to another server.
    """

    def __init__(  # noqa: PLR0913 - all that a hub depends on
        self,
        room: Room,
        lease: RunLease,
        *,
        clock: RunClock,
        log: RecordSink,
        submit: Callable[[CommitRequest], None],
        flush: Callable[[], None] = _nothing,
        fenced: Callable[[Hub, FencedError], None] | None = None,
    ) -> None:
        self.room, self.lease = room, lease
        self._clock, self._log, self._submit, self._flush, self._fenced = clock, log, submit, flush, fenced
        self._peers: dict[int, Peer] = {}
        self._timer = DeadlineTimer(clock, self._on_deadline)
        self._on_commit: CommitCallback = self.on_commit
        self._is_over = self._timer_is_stopped = False
        self._is_pumping = self._flush_is_due = False

    def start(self) -> None:
        """Carry out the effects of recovering an earlier run."""
        self._pump()

    def received(self, message: ClientMessage, connection: int, peer: Peer) -> None:
        """A connection said something."""
        if self._is_over:
            return
        self._peers[connection] = peer
        self.room.receive(message, connection, self._clock.now())
        self._pump()

    def host(self, connection: int, peer: Peer) -> None:
        """A connection proved to be a host's."""
        if self._is_over:
            return
        self._peers[connection] = peer
        self.room.host(connection, self._clock.now())
        self._pump()

    def lost(self, connection: int, cause: str) -> None:
        """A connection ended."""
        self._peers.pop(connection, None)
        if not self._is_over:
            self.room.transport_lost(connection, cause, self._clock.now())
            self._pump()

    def on_commit(self, batch: Sequence[Persist], failure: StoreError | None) -> None:
        """A batch was committed, or was not."""
        if self._is_over:
            return
        now = self._clock.now()
        if failure is not None:
            self._log(Record(LogEventKind.COMMIT_FAILED, now, cause=str(failure), value=float(len(batch))))
        for order in batch:
            if failure is None:
                self.room.committed(order.ticket, now)
            else:
                self.room.commit_failed(order.ticket, now)
        self._pump(flush=True)
        if isinstance(failure, FencedError) and self._fenced is not None:
            self._fenced(self, failure)

    def is_waiting(self, connection: int) -> bool:
        """Whether this connection waits for a commit."""
        return self.room.is_waiting(connection)

    def stop_timer(self) -> None:
        """Do nothing more by the clock, whatever still arrives: the quiz stands still."""
        self._timer_is_stopped = True
        self._timer.stop()

    def save_unsaved(self) -> None:
        """Order the commit of everything that waits for a later one."""
        self.room.save_unsaved()
        self._pump()

    def abandon(self) -> None:
        """Fall silent at once, as the hub of a killed process: nothing is sent, logged or ordered any more."""
        self._timer.stop()
        self._log, self._is_over = ignore_record, True
        self._peers.clear()
        self.room.disband()

    def write_final_records(self, scores: Mapping[str, int]) -> None:
        """Write the closing records, every session's state and stored score; nothing is logged after them."""
        now, log = self._clock.now(), self._log
        for session in self.room.sessions.values():
            if session.welcomed:
                log(Record(LogEventKind.SESSION_STATE, now, session.participant, outcome=session.state))
        for participant, score in scores.items():
            log(Record(LogEventKind.SCORE_FINAL, now, participant, value=float(score)))
        self._log = ignore_record

    def close_all(self, code: int, reason: Callable[[int], str], *, keep: int = 0) -> None:
        """Close every connection but the one with the key ``keep``; ``reason`` is made per connection key."""
        for connection, peer in list(self._peers.items()):
            if connection != keep:
                peer.close(code, reason(connection))

    # carrying out -----------------------------------------------------------------------------------------------------

    def _on_deadline(self) -> None:
        self.room.handle_timeout(self._timer.fired())
        self._pump()

    def _pump(self, *, flush: bool = False) -> None:
        """Carry out what the room asks for; a call from within leaves that to the call under way, in order."""
        self._flush_is_due = self._flush_is_due or flush
        if self._is_pumping:
            return
        self._is_pumping = True
        try:
            while self._carry_out_batch():
                pass
        finally:
            self._is_pumping = False
        if not self._timer_is_stopped:
            self._timer.set_deadline(self.room.next_deadline())

    def _carry_out_batch(self) -> bool:
        """Carry out a batch: its records, a flush if one is due, its other effects; returns whether there was any."""
        effects = self.room.effects()
        for effect in effects:
            if isinstance(effect, Record):
                self._log(effect)
        if self._flush_is_due:
            self._flush_is_due = False
            self._flush()
        for effect in effects:
            self._carry_out(effect)
        return bool(effects)

    def _carry_out(self, effect: ServerEffect) -> None:
        match effect:
            case SendToClient():
                self._send_to_one(effect.connection, effect.message)
            case Broadcast():
                frame = text_frame(codec.encode(effect.message))
                for connection in effect.connections:
                    self._send(connection, frame)
            case Persist():
                self._submit(CommitRequest(self.lease, effect, self._on_commit))
            case Disconnect():
                peer = self._peers.get(effect.connection)
                if peer is not None:
                    peer.close(effect.code, effect.reason)

    def _send_to_one(self, connection: int, message: ServerMessage) -> None:
        peer = self._peers.get(connection)
        if peer is None:
            return
        peer.send(text_frame(codec.encode(message)))
        peer.message_sent(message)

    def _send(self, connection: int, frame: bytes) -> None:
        peer = self._peers.get(connection)
        if peer is not None:
            peer.send(frame)
