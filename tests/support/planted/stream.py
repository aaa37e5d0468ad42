"""Defects of the stream: its numbers, who receives it, and that all receive the same."""

from __future__ import annotations

import msgspec

from resilience.protocol.effects import Broadcast, SendToClient
from resilience.protocol.messages import QuestionRevealed, SequencedMessage
from resilience.protocol.server.attendance import Attendance
from resilience.protocol.server.identities import CREATED, PendingJoin
from resilience.protocol.server.quiz_stream import QuizStream
from resilience.protocol.server.room import Room
from resilience.protocol.server.session import ServerSession

from .planting import Catalogue, Planter, Sound, every

DEFECTS = Catalogue()


@DEFECTS.defect("every fifth number of the stream is skipped", check="stream_shown_in_order")
def skips(plant: Planter) -> None:
    due = every(5)

    @plant.instead_of(QuizStream, "_broadcast")
    def broadcast(sound: Sound, self: QuizStream, message: SequencedMessage) -> None:
        sound(self, message)
        self.seq += due()


@DEFECTS.method(Attendance, "welcome", "a restored client receives no broadcast", check="restored_hear_what_follows")
def deaf(sound: Sound, self: Attendance, pending_join: PendingJoin, now: float) -> bool:
    is_welcome = bool(sound(self, pending_join, now))
    if pending_join.outcome != CREATED:
        self._subscribers.pop(pending_join.connection, None)
    return is_welcome


@DEFECTS.defect("a restored client receives broadcasts from the next phase on", check="stream_shown_in_order")
def subscribed_late(plant: Planter) -> None:
    waiting: dict[int, tuple[Attendance, ServerSession]] = {}

    @plant.instead_of(Attendance, "welcome")
    def welcome(sound: Sound, self: Attendance, pending_join: PendingJoin, now: float) -> bool:
        is_welcome = bool(sound(self, pending_join, now))
        session = pending_join.session
        if session.connection_no > 1 and self._subscribers.pop(pending_join.connection, None) is not None:
            waiting[pending_join.connection] = self, session
        return is_welcome

    @plant.instead_of(Attendance, "phase_entered")
    def phase_entered(sound: Sound, self: Attendance, *more: object) -> None:
        sound(self, *more)
        for connection, (owner, session) in waiting.items():
            if session.connection == connection:
                owner._subscribers[connection] = session
        waiting.clear()


@DEFECTS.method(Attendance, "broadcast", "every tenth client misses each broadcast", check="joined_hear_what_follows")
def dropped(_: Sound, self: Attendance, message: SequencedMessage) -> None:
    chosen = tuple(connection for i, connection in enumerate(self._subscribers, 1) if i % 10)
    self._effects.append(Broadcast(chosen, message))


@DEFECTS.defect("the last message is delivered again after a resume", check="stream_shown_in_order")
def repeated(plant: Planter) -> None:
    last: SequencedMessage | None = None

    @plant.instead_of(Attendance, "broadcast")
    def broadcast(sound: Sound, self: Attendance, message: SequencedMessage) -> None:
        nonlocal last
        last = message
        sound(self, message)

    @plant.instead_of(Room, "_welcome")
    def welcome(sound: Sound, self: Room, pending_join: PendingJoin, now: float) -> None:
        sound(self, pending_join, now)
        if last is not None and pending_join.session.connection_no > 1:
            self._effects.append(SendToClient(pending_join.connection, last))


@DEFECTS.method(Attendance, "broadcast", "clients are shown different right answers", check="stream_same_for_all")
def unequal(sound: Sound, self: Attendance, message: SequencedMessage) -> None:
    if not isinstance(message, QuestionRevealed):
        sound(self, message)
        return
    everyone = tuple(self._subscribers)
    other = msgspec.structs.replace(message, correct=message.correct + 1)
    self._effects += [Broadcast(everyone[::2], message), Broadcast(everyone[1::2], other)]


@DEFECTS.method(Room, "__init__", "a restarted server continues the name of the stream", check="epochs_change")
def epoch_kept(sound: Sound, self: Room, *arguments: object, **more: object) -> None:
    sound(self, *arguments, **{**more, "epoch": "only"})
