"""Defects of presence and liveness: who is shown as here or away, and whose silence is noticed."""

from __future__ import annotations

import msgspec

from resilience.policy.close_codes import CloseCode
from resilience.policy.failure_detectors import ServerFailureDetector
from resilience.protocol.effects import Disconnect
from resilience.protocol.messages import Player
from resilience.protocol.server.attendance import Attendance
from resilience.protocol.server.heartbeats import HeartbeatManager, _Heartbeat
from resilience.protocol.server.identities import PendingJoin
from resilience.protocol.server.presence import PresenceDelta, PresenceTracker
from resilience.protocol.server.quiz_stream import QuizStream
from resilience.protocol.server.session import ServerSession
from resilience.protocol.states import ConnectionState

from .planting import Catalogue, Planter, Sound, every

DEFECTS = Catalogue()
NEVER = 1e9
STEADY_S = 3.0
"""When the experiment has found its steady state, which a client that is away would end."""


@DEFECTS.method(
    QuizStream, "publish_presence", "a reconnection is announced as a join, unlogged", check="joins_shown_once"
)
def joined_again(sound: Sound, self: QuizStream, delta: PresenceDelta, now: float) -> None:
    back = tuple(player for player in delta.changed if player.state == ConnectionState.CONNECTED)
    sound(self, msgspec.structs.replace(delta, joined=(*delta.joined, *back)), now)


@DEFECTS.result(PresenceTracker, "flush", "new participants are not announced", check="joins_shown")
def never_announced(delta: PresenceDelta) -> PresenceDelta:
    return msgspec.structs.replace(delta, joined=())


@DEFECTS.method(PresenceTracker, "update", "another participant is shown as away", check="presence_true")
def other_away(sound: Sound, self: PresenceTracker, player: Player, now: float) -> None:
    if player.state == ConnectionState.TEMPORARILY_DISCONNECTED and self._shown:
        here = [other for other in self._shown.values() if other.state == ConnectionState.CONNECTED]
        player = msgspec.structs.replace(min(here, key=lambda other: other.name, default=player), state=player.state)
    sound(self, player, now)


@DEFECTS.method(
    Attendance,
    "welcome",
    "the end of an old connection detaches the new one",
    check="restored_hear_what_follows",
)
def old_end(sound: Sound, self: Attendance, pending_join: PendingJoin, now: float) -> bool:
    is_welcome = bool(sound(self, pending_join, now))
    session = pending_join.session
    if is_welcome and session.connection_no > 1:
        self._subscribers.pop(pending_join.connection, None)
        self._presence.update(Player(session.participant, session.name, ConnectionState.TEMPORARILY_DISCONNECTED), now)
        self._schedule_presence()
    return is_welcome


@DEFECTS.defect("connections are closed without a fault", check="losses_have_causes")
def hangs_up(plant: Planter) -> None:
    due = every(25)

    @plant.instead_of(Attendance, "heard")
    def heard(sound: Sound, self: Attendance, session: ServerSession, now: float) -> None:
        sound(self, session, now)
        if now > STEADY_S and session.connection is not None and due():
            self._effects.append(Disconnect(session.connection, CloseCode.INTERNAL_ERROR, "tired"))


@DEFECTS.method(ServerFailureDetector, "dead_at", "silent clients are not detected", check="absences_shown")
def never_dead(_: Sound, _self: ServerFailureDetector) -> float:
    return NEVER


@DEFECTS.method(HeartbeatManager, "_ping", "heartbeats stop after a resume", check="heartbeats_arrive")
def quiet(sound: Sound, self: HeartbeatManager, heartbeat: _Heartbeat, now: float, *more: object) -> None:
    if heartbeat.connection_no > 1 and heartbeat.detector is not None:
        heartbeat.detector.heard(now)
    else:
        sound(self, heartbeat, now, *more)
