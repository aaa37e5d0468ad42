"""One participant's session at its server, in the explicit tier: requests, heartbeat, grace period, clean-up.

The production failure detector and the station decide. While the server's process stands still, what arrives waits
and no timer rings; then all is done in order, and after that the timers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from resilience.policy.failure_detectors import LivenessAction, ServerFailureDetector, first_ping_at
from resilience.units import Instant, Seconds

from .connection import Connection
from .standstill import Standstill
from .station import StationAnswer

if TYPE_CHECKING:
    from .explicit import ExplicitParticipant


class ExplicitSession:
    """``attached``: its connection, watched by the ``detector``; ``ready``: whether that has had its welcome.

    Without a connection it is cleaned up at ``expires``. ``silent_at``: when the grace period ends of a connection that
    the client has left unnoticed, and of which nothing else is known. ``connection_no`` counts connections.
    """

    __slots__ = ("_me", "_timer", "attached", "connection_no", "detector", "expires", "ready", "silent_at")

    def __init__(self, participant: ExplicitParticipant) -> None:
        self._me = participant
        self.attached: Connection | None = None
        self.detector: ServerFailureDetector | None = None
        self.connection_no = 0
        self.ready = False
        self.expires: Instant | None = None
        self.silent_at: Instant | None = None
        self._timer: Instant | None = None

    # beginnings -------------------------------------------------------------------------------------------------------

    def watch(self, detector: ServerFailureDetector, connection: Connection) -> None:
        """The server watches its end of this connection."""
        self.detector, self.attached, self.expires, self.silent_at = detector, connection, None, None
        self._timer = None
        self._set_timer()

    def attach(self, now: Instant, connection: Connection) -> None:
        """The session has this connection from now on."""
        self.connection_no += 1
        u = self._me.draw("first_ping", self.connection_no, 0)
        rules = self._me.world.rules.heartbeat
        self.ready = False
        self.watch(ServerFailureDetector(rules, now, first_ping_at(u, now, rules.interval)), connection)

    def expect_silence(self, grace_ends: Instant, expires: Instant) -> None:
        """The grace period of a client that has left ends at this instant; infinite: the server knows that it left."""
        self.expires, self.silent_at = expires, None
        if math.isfinite(grace_ends):
            self.silent_at = grace_ends
            self._me.at(grace_ends, self._grace_ends)

    def hear_at(self, connection: Connection, at: Instant) -> None:
        """The pong that was under way when this tier took over arrives then."""
        self._me.at(at, self._hear_pong, connection)

    def watch_standstills(self, since: Instant) -> None:
        """Let every standstill of the server that begins at ``since`` or later end."""
        for standstill in self._me.world.standstills:
            if standstill.start >= since:
                self._me.at(standstill.end, self._continues, standstill)

    def hand_back(self) -> None:
        """Leave it to the batch tier."""
        self.attached = self.detector = self._timer = None

    # requests ---------------------------------------------------------------------------------------------------------

    def request(self, now: Instant, connection: Connection) -> None:
        """A request is at the server, which does not know whether its client is still there."""
        me = self._me
        verdict, value = me.world.station.enter(now, me.response_deadline(), me.service_time())
        if verdict is StationAnswer.DROPPED:
            me.knock_again(connection)
            return
        connection.requested = connection.server = True
        if verdict is StationAnswer.REJECTED:
            self._reject(now, (connection, value))
        elif verdict is not StationAnswer.SKIPPED:
            me.world.count_departure(value)
            if verdict is StationAnswer.SERVED:
                me.at(value, self._served, connection)

    def _reject(self, now: Instant, request: tuple[Connection, Seconds]) -> None:
        if not self.is_done_later(now, self._reject, request):
            connection, advice = request
            late = self._me.deviations.response
            self._me.send(now, connection, self._me.is_rejected, advice, up=False, late=late)

    def _served(self, now: Instant, connection: Connection) -> None:
        if connection.server:
            late = self._me.deviations.response
            self._me.send(now, connection, self._me.dial_succeeds, None, up=False, late=late)

    def resume(self, now: Instant, connection: Connection, _: object) -> None:
        """The client asks for its session over a new connection; its welcome follows the commit."""
        late = self.expires is not None and now >= self.expires
        if self.attached is not None and self.attached is not connection:
            self.attached.server = False
        self.attach(now, connection)
        self._me.at(now + self._me.world.rules.commit, self._welcome, (connection, late))

    def _welcome(self, now: Instant, message: tuple[Connection, bool]) -> None:
        if self.is_done_later(now, self._welcome, message):
            return
        connection, late = message
        if connection is self.attached:
            self.ready = True
            self._me.quiz.attend_again(now)
            self._me.send(now, connection, self._me.restored, (late, now), up=False)

    # signs of life ----------------------------------------------------------------------------------------------------

    def hear(self, now: Instant, connection: Connection, what: str) -> None:
        """A message of the client arrives; a probe is answered."""
        if self.has_heard(now, connection) and what == "probe":
            self._me.send(now, connection, self._me.is_answered, None, up=False)

    def _hear_pong(self, now: Instant, connection: Connection) -> None:
        self.has_heard(now, connection)

    def has_heard(self, now: Instant, connection: Connection) -> bool:
        """A sign of life arrives; returns whether it came over the connection that is watched."""
        if connection is not self.attached or self.detector is None:
            return False
        self.detector.heard(now)
        return True

    def _set_timer(self) -> None:
        if self.detector is None:
            return
        at = self.detector.next_deadline()
        if self._timer is None or at < self._timer:
            self._timer = at
            self._me.at(at, self._wakes, at)

    def _wakes(self, now: Instant, meant: Instant) -> None:
        if meant == self._timer:
            self._timer = None
            if self._me.world.standstills.reads_at(now) == now:
                self._act(now)

    def _act(self, now: Instant) -> None:
        """Do what is due: ping, or end a connection of which nothing was heard for too long."""
        detector, connection = self.detector, self.attached
        if detector is None or connection is None:
            return
        due = detector.due(now)
        if due is LivenessAction.DEAD:
            self._declare_dead(now, detector, connection)
            return
        if due is LivenessAction.PING and self.ready:
            self._me.send(now, connection, self._me.is_pinged, None, up=False)
        self._set_timer()

    # ends -------------------------------------------------------------------------------------------------------------

    def _declare_dead(self, now: Instant, detector: ServerFailureDetector, connection: Connection) -> None:
        me = self._me
        self.expires = detector.counted_from + me.world.rules.heartbeat.cleanup
        if me.touched >= 0:
            me.world.episodes.grace_ended[me.touched] = True
        self.detector = self.attached = None
        connection.server = False
        arrives = me.link.close_passage(now)
        if arrives is not None:
            me.at(arrives, me.is_told, connection)

    def is_told(self, now: Instant, connection: Connection) -> None:
        """The client has ended this connection."""
        if not self.is_done_later(now, self.is_told, connection) and connection.server:
            self.lose(now, connection)

    def lose(self, now: Instant, connection: Connection) -> None:
        """The server sees this connection end."""
        connection.server = False
        if connection is self.attached:
            self.detector = self.attached = None
            self._begin_cleanup(now)

    def tear(self, now: Instant, connection: Connection | None) -> None:
        """End what is left of a connection that is not this one, the client's."""
        if self.attached is not None and self.attached is not connection:
            self.lose(now, self.attached)
        elif self.silent_at is not None:
            self.silent_at = None
            self._begin_cleanup(now)

    def _begin_cleanup(self, now: Instant) -> None:
        world = self._me.world
        self.expires = world.standstills.reads_at(now) + world.rules.heartbeat.cleanup

    def _grace_ends(self, now: Instant, _: object) -> None:
        me = self._me
        if self.silent_at == now and me.episode >= 0 and me.world.standstills.reads_at(now) == now:
            self.silent_at = None
            me.world.episodes.grace_ended[me.episode] = True

    # standstills ------------------------------------------------------------------------------------------------------

    def is_done_later(self, now: Instant, act: Callable[[Instant, Any], None], what: object) -> bool:
        """Whether the server's process stands still now; then it does this when it continues, in order."""
        at = self._me.world.standstills.reads_at(now)
        if at > now:
            self._me.at(at, act, what)
        return at > now

    def _continues(self, now: Instant, standstill: Standstill) -> None:
        """The server's process continues: its timers ring after all that it reads at this instant."""
        self._me.at(now, self._ring, standstill)

    def _ring(self, now: Instant, standstill: Standstill) -> None:
        rules = self._me.world.rules.heartbeat
        if self.detector is not None:
            if standstill.lag:
                self.detector.extend_by_lag(standstill.lag, now)
            self._act(now)
        elif self.silent_at is not None:
            later = standstill.extend(self.silent_at, rules.grace)
            self.expect_silence(later, (self.expires or 0.0) + (later - self.silent_at))
        elif self.expires is not None and self.expires >= standstill.start:
            self.expires = standstill.extend(self.expires, rules.cleanup)
