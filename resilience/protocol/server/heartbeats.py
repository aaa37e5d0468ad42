"""Heartbeats of one event's participants: due pings, round trips, grace period, clean-up. Pure; owns no connection.

The manager decides when a participant is pinged, silent or expired, and writes pings and their records. What silence
and expiry mean for session, presence and store is attendance's. One scheduler serves all participants.
"""

from __future__ import annotations

import functools
import zlib
from enum import Enum

from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.adaptive_heartbeat import AdaptiveBounds, RttEstimator, adapt_timeouts
from resilience.policy.failure_detectors import (
    HeartbeatTimeouts,
    LivenessAction,
    ServerFailureDetector,
    extended,
    first_ping_at,
)
from resilience.policy.return_window import ReturnWindow
from resilience.protocol.deadlines import DeadlineQueue
from resilience.protocol.effects import Record, SendToClient, ServerEffect
from resilience.protocol.messages import Ping
from resilience.random_streams import UniformSource
from resilience.units import Instant, Seconds


class LivenessChange(Enum):
    """What a passed deadline means for a participant."""

    SILENT = "silent"
    """The grace period ended without a sign of life: the connection is dead."""
    EXPIRED = "expired"
    """The clean-up time passed without a new connection."""


class _Heartbeat:
    """The heartbeat of one participant. ``detector`` exists while a connection is attached.

    ``asked_at`` is when the attached connection was pinged first after its last sign of life before that.
    """

    __slots__ = (
        "asked_at",
        "connection",
        "connection_no",
        "detector",
        "draw_key",
        "expires_at",
        "last_heard",
        "outstanding",
        "participant",
        "ping_id",
        "pings",
        "rtt",
        "watched",
    )

    def __init__(self, participant: str, instance: str) -> None:
        self.participant = participant
        self.draw_key = zlib.crc32((instance or participant).encode())  # a fifth of the cost of hash64
        self.connection = self.connection_no = self.ping_id = 0
        self.detector: ServerFailureDetector | None = None
        self.rtt: RttEstimator | None = None
        self.outstanding: tuple[tuple[int, Instant], ...] = ()
        self.pings = self.watched = False
        self.expires_at: Instant | None = None
        self.last_heard: Instant = 0.0
        self.asked_at: Instant = float("-inf")


class HeartbeatManager:
    """Tracks the heartbeat of every participant of one room.

    ``draw`` spreads first pings; its address is the participant's instance, so that no other participant moves them.
    With ``adaptive`` bounds the timeouts of a connection follow its round trips while a question is open.
    """

    def __init__(
        self,
        timeouts: HeartbeatTimeouts,
        effects: list[ServerEffect],
        draw: UniformSource,
        adaptive: AdaptiveBounds | None = None,
    ) -> None:
        self._timeouts, self._effects, self._draw, self._adaptive = timeouts, effects, draw, adaptive
        self._heartbeats: dict[str, _Heartbeat] = {}
        self._deadlines = DeadlineQueue()
        self._urgent = False

    # tracking ---------------------------------------------------------------------------------------------------------

    def restore(self, participant: str, instance: str, last_heard: Instant, now: Instant, *, expires: bool) -> None:
        """Track a stored participant without a connection; if it ``expires``, its clean-up time begins ``now``."""
        heartbeat = self._heartbeats[participant] = _Heartbeat(participant, instance)
        heartbeat.last_heard, heartbeat.watched = min(last_heard, now), True
        heartbeat.expires_at = now + self._timeouts.cleanup if expires else None
        self._schedule(heartbeat, now)

    def start(self, participant: str, instance: str, connection: int, connection_no: int, now: Instant) -> None:
        """Watch a newly attached connection. Nothing is sent over it before :meth:`enable_pings`."""
        heartbeat = self._heartbeats.get(participant)
        if heartbeat is None:
            heartbeat = self._heartbeats[participant] = _Heartbeat(participant, instance)
        heartbeat.connection, heartbeat.connection_no = connection, connection_no
        u = self._draw("first_ping", heartbeat.draw_key, connection_no)
        heartbeat.detector = ServerFailureDetector(self._timeouts, now, first_ping_at(u, now, self._timeouts.interval))
        heartbeat.outstanding, heartbeat.expires_at, heartbeat.pings = (), None, False
        heartbeat.asked_at = float("-inf")
        if self._adaptive is not None:
            heartbeat.rtt = RttEstimator()
            self._adapt(heartbeat, now)
        self._schedule(heartbeat, now)

    def enable_pings(self, participant: str, now: Instant) -> None:
        """The attached connection has its welcome: it may be pinged, and the participant is watched from now on."""
        heartbeat = self._heartbeats[participant]
        heartbeat.pings = heartbeat.watched = True
        self._schedule(heartbeat, now)

    def stop(self, participant: str, now: Instant, *, expires: bool = True) -> None:
        """The connection is gone. If the participant ``expires``, its clean-up time begins ``now``."""
        heartbeat = self._heartbeats[participant]
        heartbeat.last_heard = now
        self._detach(heartbeat, now + self._timeouts.cleanup if expires else None)
        if expires:
            self._schedule(heartbeat, now)
        else:
            self._deadlines.cancel(participant)

    def forget(self, participant: str) -> None:
        """Stop tracking a participant."""
        self._heartbeats.pop(participant, None)
        self._deadlines.cancel(participant)

    # signs of life ----------------------------------------------------------------------------------------------------

    def heard(self, participant: str, now: Instant) -> None:
        """An application message arrived over the attached connection."""
        detector = self._heartbeats[participant].detector
        if detector is not None:
            detector.heard(now)

    def pong_received(self, participant: str, ping_id: int, now: Instant) -> None:
        """Measure a round trip. A pong for a ping that was never sent, or was answered before, is no measurement."""
        heartbeat = self._heartbeats[participant]
        sent_at = dict(heartbeat.outstanding).get(ping_id)
        if sent_at is not None:
            heartbeat.outstanding = ()
            self._record(LogEventKind.HEARTBEAT_ACKED, heartbeat, now, now - sent_at)
            if heartbeat.rtt is not None:
                heartbeat.rtt.observe(now - sent_at)
        if self._adaptive is not None:
            self._adapt(heartbeat, now)
        self._schedule(heartbeat, now)

    def last_heard(self, participant: str) -> Instant:
        """The last sign of life: of the attached connection, or of the last one before it was detached."""
        heartbeat = self._heartbeats[participant]
        return heartbeat.last_heard if heartbeat.detector is None else heartbeat.detector.last_heard

    def absent_since(self, participant: str) -> Instant | None:
        """The begin of an absence that is proven; ``None`` while the participant may be there.

        Without a connection: the last sign of life before its end. With one: its first ping that is unanswered, since
        nothing else tells a connection that is dead from one that is idle.
        """
        heartbeat = self._heartbeats.get(participant)
        if heartbeat is None:
            return None
        if heartbeat.detector is None:
            return heartbeat.last_heard
        return heartbeat.asked_at if heartbeat.asked_at > heartbeat.detector.last_heard else None

    def set_urgent(self, now: Instant, *, urgent: bool) -> None:
        """Set whether a question is open, which tightens adaptive timeouts."""
        self._urgent = urgent
        for heartbeat in self._heartbeats.values() if self._adaptive is not None else ():
            self._adapt(heartbeat, now)

    # time -------------------------------------------------------------------------------------------------------------

    def next_deadline(self) -> Instant | None:
        """When :meth:`handle_timeout` has something to do; ``None`` for never."""
        return self._deadlines.next_deadline()

    def extend_by_lag(self, lag: Seconds, now: Instant) -> None:
        """Give ``lag`` seconds that the scheduler overslept until ``now`` back to every participant.

        An attached connection has so much more time to be heard, an absent participant so much more to return.
        """
        for heartbeat in self._heartbeats.values():
            if heartbeat.detector is not None:
                heartbeat.detector.extend_by_lag(lag, now)
            elif heartbeat.expires_at is not None:
                heartbeat.expires_at = extended(heartbeat.expires_at, lag, now, longest=self._timeouts.cleanup)

    def handle_timeout(self, now: Instant, window: ReturnWindow) -> list[tuple[str, LivenessChange]]:
        """Send due pings with the return window; returns the participants that fell silent or expired.

        A participant that fell silent is detached here; its clean-up time counts from its last sign of life.
        """
        changes = []
        for participant in self._deadlines.due(now):
            heartbeat = self._heartbeats[participant]
            change = self._check(heartbeat, now, window)
            if change is not None:
                changes.append((participant, change))
            self._schedule(heartbeat, now)
        return changes

    # the parts --------------------------------------------------------------------------------------------------------

    def _check(self, heartbeat: _Heartbeat, now: Instant, window: ReturnWindow) -> LivenessChange | None:
        detector = heartbeat.detector
        if detector is not None:
            due = detector.due(now)
            if due is LivenessAction.DEAD:
                heartbeat.last_heard = detector.last_heard
                self._detach(heartbeat, max(detector.counted_from + self._timeouts.cleanup, now))
                return LivenessChange.SILENT
            if due is LivenessAction.PING and heartbeat.pings:
                self._ping(heartbeat, now, window)
        elif heartbeat.expires_at is not None and now >= heartbeat.expires_at:
            heartbeat.expires_at = None
            return LivenessChange.EXPIRED
        return None

    def _ping(self, heartbeat: _Heartbeat, now: Instant, window: ReturnWindow) -> None:
        heartbeat.ping_id += 1
        if heartbeat.detector is not None and heartbeat.asked_at <= heartbeat.detector.last_heard:
            heartbeat.asked_at = now
        heartbeat.outstanding = (*heartbeat.outstanding[-1:], (heartbeat.ping_id, now))
        self._record(LogEventKind.HEARTBEAT_SENT, heartbeat, now)
        self._effects.append(SendToClient(heartbeat.connection, ping_with(heartbeat.ping_id, window)))

    def _detach(self, heartbeat: _Heartbeat, expires_at: Instant | None) -> None:
        heartbeat.detector, heartbeat.pings, heartbeat.expires_at = None, False, expires_at

    def _adapt(self, heartbeat: _Heartbeat, now: Instant) -> None:
        """Let the timeouts of one connection follow its round trips and the phase, if that is configured."""
        if self._adaptive is None or heartbeat.rtt is None or heartbeat.detector is None:
            return
        adapted = adapt_timeouts(self._timeouts, self._adaptive, heartbeat.rtt.timeout, urgent=self._urgent)
        if heartbeat.detector.set_timeouts(adapted, now):
            self._schedule(heartbeat, now)

    def _schedule(self, heartbeat: _Heartbeat, now: Instant) -> None:
        """Schedule the next ping or end of grace while attached, the clean-up while detached.

        A deadline that passed before it was scheduled is due now: it says nothing about the scheduler's lag.
        """
        if not heartbeat.watched:
            return
        detector = heartbeat.detector
        deadline = heartbeat.expires_at if detector is None else detector.next_deadline()
        if deadline is not None:
            self._deadlines.schedule(heartbeat.participant, max(deadline, now))

    def _record(self, kind: LogEventKind, heartbeat: _Heartbeat, now: Instant, value: float | None = None) -> None:
        self._effects.append(Record(kind, now, heartbeat.participant, heartbeat.connection_no, value=value))


def ping_with(ping_id: int, window: ReturnWindow) -> Ping:
    """A ping that carries the current return window, in whole milliseconds."""
    return Ping(ping_id, *_in_ms(window))


@functools.lru_cache(maxsize=1024)
def _in_ms(window: ReturnWindow) -> tuple[int, int, int]:
    return round(window.spread_s * 1000), round(window.step_s * 1000), round(window.cap_s * 1000)
