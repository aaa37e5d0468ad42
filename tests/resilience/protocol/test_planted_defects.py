"""The invariants find real defects: each is planted into the room, and the same run that is clean without it is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol.messages import ClientMessage, Join, OpenQuestion, Resume, Snapshot
from resilience.protocol.server.answers import PendingAnswers
from resilience.protocol.server.game_messages import GameMessages
from resilience.protocol.server.identities import PendingJoin
from resilience.protocol.server.room import Room
from resilience.protocol.server.session import ServerSession
from resilience.protocol.states import ConnectionState
from resilience.quiz.verdicts import AnswerVerdict
from resilience.units import Instant
from tests.resilience.protocol import pair_checks
from tests.resilience.protocol.fault_schedules import hammered


def before_attaching(room: Room, change: Callable[[PendingJoin], None]) -> None:
    """Have every pending join changed before its connection is attached."""
    honest = room._attendance._attach

    def changed(pending_join: PendingJoin, now: Instant) -> None:
        change(pending_join)
        honest(pending_join, now)

    room._attendance._attach = changed  # type: ignore[method-assign]


class WithoutFencing(Room):
    """Old connections are neither cut off nor ignored."""

    def receive(self, message: ClientMessage, connection: int, now: Instant) -> None:
        session = self._attendance.session_of(connection)
        if session is None or isinstance(message, Join | Resume):
            super().receive(message, connection, now)
        else:
            self._receive_known(message, session, connection, now)

    def transport_lost(self, connection: int, cause: str, now: Instant) -> None:
        session = self._attendance.session_of(connection)
        if session is not None and session.state is ConnectionState.CONNECTED:
            session.connection = connection
        super().transport_lost(connection, cause, now)

    def __init__(self, *arguments: Any, **more: Any) -> None:  # noqa: ANN401 - handed on
        super().__init__(*arguments, **more)
        before_attaching(self, lambda pending_join: setattr(pending_join.session, "connection", None))


class WithoutRotationGrace(Room):
    """A token is retired as soon as its successor is made."""

    def __init__(self, *arguments: Any, **more: Any) -> None:  # noqa: ANN401 - handed on
        super().__init__(*arguments, **more)
        before_attaching(self, lambda pending_join: setattr(pending_join, "presented", None))


class _EagerAnswers(PendingAnswers):
    def submit(self, *arguments: Any, **more: Any) -> None:  # noqa: ANN401 - handed on
        before = len(self._pending)
        super().submit(*arguments, **more)
        _, answer, connection, *_ = arguments
        if len(self._pending) > before:
            self._send(connection, answer, AnswerVerdict.ACCEPTED)


class AckBeforeCommit(Room):
    """An answer is acknowledged when it is received."""

    def __init__(self, *arguments: Any, **more: Any) -> None:  # noqa: ANN401 - handed on
        super().__init__(*arguments, **more)
        stream = self._stream
        stream._answers = _EagerAnswers(self.game, self._effects, self._commits, stream._on_answer_stored)


class RegisteredLate(Room):
    """A connection is registered for broadcasts when something happens at a later time than its snapshot was made."""

    _late: tuple[tuple[Instant, int, ServerSession], ...] = ()

    def _welcome(self, arrival: Any, now: Instant) -> None:  # noqa: ANN401 - handed on
        super()._welcome(arrival, now)
        session = self._attendance._subscribers.pop(arrival.connection, None)
        if session is not None:
            self._late = (*self._late, (now, arrival.connection, session))

    def receive(self, message: ClientMessage, connection: int, now: Instant) -> None:
        super().receive(message, connection, now)
        self._register(now)

    def committed(self, ticket: int, now: Instant) -> None:
        super().committed(ticket, now)
        self._register(now)

    def handle_timeout(self, now: Instant) -> None:
        super().handle_timeout(now)
        self._register(now)

    def _register(self, now: Instant) -> None:
        due = [(connection, session) for since, connection, session in self._late if since < now]
        self._late = tuple(entry for entry in self._late if entry[0] >= now)
        self._attendance._subscribers.update({key: session for key, session in due if session.connection == key})


class WrongSnapshot(Room):
    """A restored score is not the one in the answer log."""

    def __init__(self, *arguments: Any, **more: Any) -> None:  # noqa: ANN401 - handed on
        super().__init__(*arguments, **more)
        honest = self._stream.snapshot

        def wrong(participant: str, roster: msgspec.Raw, now: Instant) -> Snapshot:
            snapshot = honest(participant, roster, now)
            return msgspec.structs.replace(snapshot, score=snapshot.score + 1)

        self._stream.snapshot = wrong  # type: ignore[method-assign]


class _LeakyMessages(GameMessages):
    def question_at(self, now: Instant) -> OpenQuestion:
        shown = super().question_at(now)
        assert self._game.question is not None
        return msgspec.structs.replace(shown, correct=self._game.question.correct)


class LeakyGameMessages(Room):
    """An open question is sent with its right answer."""

    def __init__(self, *arguments: Any, **more: Any) -> None:  # noqa: ANN401 - handed on
        super().__init__(*arguments, **more)
        leaky = _LeakyMessages(self.game, 10, self._attendance.name_of)
        self._stream._game_messages = self._stream._snapshots._game_messages = leaky


PLANTED: list[tuple[type[Room], str]] = [
    (WithoutFencing, "one_live_connection"),
    (WithoutRotationGrace, "identities_kept"),
    (AckBeforeCommit, "acknowledged_after_commit"),
    (RegisteredLate, "stream_without_gap"),
    (WrongSnapshot, "restored_state_true"),
    (LeakyGameMessages, "a right answer left"),
]


@pytest.mark.parametrize("seed", [1, 2])
def test_the_run_is_clean_without_a_defect(seed: int) -> None:
    """The reference for the runs with a defect; it contains enough that can go wrong."""
    pair = hammered(seed=seed)
    assert pair_checks.broken(pair) == []
    assert len([event for event in pair.log if event.kind is LogEventKind.SESSION_RESTORED]) > 20


@pytest.mark.parametrize("room_type, complaint", PLANTED)
def test_each_planted_defect_is_found(room_type: type[Room], complaint: str) -> None:
    """By the invariant that is meant to find it."""
    assert any(complaint in line for line in pair_checks.broken(hammered(room_type)))
