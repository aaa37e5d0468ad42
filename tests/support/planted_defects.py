"""Defects that a quiz server may have, each as a function that replaces one of its methods by a broken one.

``planted_server`` serves with some of them in a process of its own; tests of the virtual lane plant them in this one.
Each takes ``patch``, which is ``setattr`` or that of a ``pytest.MonkeyPatch``. Only the server's classes are touched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from resilience.policy.close_codes import CloseCode
from resilience.policy.failure_detectors import ServerFailureDetector
from resilience.protocol.effects import Broadcast, Disconnect, SendToClient
from resilience.protocol.messages import Answer, AnswerResult, Player, QuestionRevealed, Standing
from resilience.protocol.server.answers import PendingAnswers
from resilience.protocol.server.attendance import Attendance
from resilience.protocol.server.game_messages import GameMessages
from resilience.protocol.server.heartbeats import HeartbeatManager
from resilience.protocol.server.identities import CREATED, IdentityRegistry
from resilience.protocol.server.presence import PresenceTracker
from resilience.protocol.server.quiz_stream import QuizStream
from resilience.protocol.server.room import Room
from resilience.protocol.server.session import ServerSession
from resilience.protocol.server.snapshots import SnapshotBuilder
from resilience.protocol.server.tokens import TokenRegistry
from resilience.protocol.states import ConnectionState
from resilience.quiz.game import Game
from resilience.quiz.phases import Phase
from resilience.quiz.verdicts import AnswerVerdict

Patch = Callable[[Any, str, Any], None]
Plant = Callable[[Patch], None]

WRITE_BEHIND_S = 4.0
NEVER = 1e9


class Defect(NamedTuple):
    """One defect: what is wrong, how it is planted, and the check that names it."""

    name: str
    what: str
    plant: Plant
    check: str


def _replaced(owner: type, name: str, broken: Callable[..., Any]) -> Plant:
    """``broken`` in place of a method; its first argument is the sound one."""
    sound = getattr(owner, name)

    def plant(patch: Patch) -> None:
        def method(*arguments: Any, **more: Any) -> Any:  # noqa: ANN401 - handed on
            return broken(sound, *arguments, **more)

        patch(owner, name, method)

    return plant


def _changed_result(owner: type, name: str, change: Callable[[Any], Any]) -> Plant:
    """A method whose result is changed."""
    return _replaced(owner, name, lambda sound, *arguments, **more: change(sound(*arguments, **more)))


def _every(n: int) -> Callable[[], bool]:
    """Whether this is an ``n``-th call."""
    calls = 0

    def due() -> bool:
        nonlocal calls
        calls += 1
        return calls % n == 0

    return due


def _has_resumed(session: ServerSession) -> bool:
    return session.connection_no > 1


# answers --------------------------------------------------------------------------------------------------------------


def _write_behind(
    _: object, self: PendingAnswers, who: str, answer: Answer, connection: int, now: float, *, excused: bool = False
) -> None:
    held = self.__dict__.setdefault("held", [])
    verdict, stored = self._game.judge(who, answer.question, answer.key, answer.choice, now, excused=excused)
    if stored is not None:
        self._game.store(stored)
        held.append(stored)
    self._reply(who, connection, answer, verdict, now)
    due = [row for row in held if row.received_at < now - WRITE_BEHIND_S]
    if due:
        held[:] = held[len(due) :]
        self._commits.persist(tuple(due))


def _swallowed(sound: Any, self: Room, message: Any, session: ServerSession, *more: Any) -> None:  # noqa: ANN401
    if not (isinstance(message, Answer) and _has_resumed(session)):
        sound(self, message, session, *more)


def _accepts_late(_: object, self: Game, index: int, _at: float, *, excused: bool) -> bool:
    del excused
    return index == self.index


def _twice(sound: Any, self: PendingAnswers, *arguments: Any) -> None:  # noqa: ANN401
    sound(self, *arguments)
    sound(self, *arguments)


def _misdirected() -> Plant:
    last = [0]

    def send(sound: Any, self: PendingAnswers, connection: int, answer: Answer, verdict: AnswerVerdict) -> None:  # noqa: ANN401
        sound(self, connection, answer, verdict)
        if last[0] and last[0] != connection:
            self._effects.append(SendToClient(last[0], AnswerResult(answer.question, answer.key, verdict)))
        last[0] = connection

    return _replaced(PendingAnswers, "_send", send)


def _denied() -> Plant:
    due = _every(4)

    def send(sound: Any, self: PendingAnswers, connection: int, answer: Answer, verdict: AnswerVerdict) -> None:  # noqa: ANN401
        sound(self, connection, answer, AnswerVerdict.REJECTED_LATE if due() else verdict)

    return _replaced(PendingAnswers, "_send", send)


def _other_choice(result: tuple[AnswerVerdict, Any]) -> tuple[AnswerVerdict, Any]:
    verdict, stored = result
    return verdict, stored and msgspec.structs.replace(stored, choice=1 - min(stored.choice, 1))


# the stream -----------------------------------------------------------------------------------------------------------


def _skips() -> Plant:
    due = _every(5)

    def broadcast(sound: Any, self: QuizStream, message: Any) -> None:  # noqa: ANN401
        sound(self, message)
        self.seq += due()

    return _replaced(QuizStream, "_broadcast", broadcast)


def _deaf(sound: Any, self: Attendance, pending_join: Any, now: float) -> bool:  # noqa: ANN401
    is_welcome = bool(sound(self, pending_join, now))
    if pending_join.outcome != CREATED:
        self._subscribers.pop(pending_join.connection, None)
    return is_welcome


def _subscribed_late() -> list[Plant]:
    waiting: dict[int, tuple[Attendance, ServerSession]] = {}

    def welcome(sound: Any, self: Attendance, pending_join: Any, now: float) -> bool:  # noqa: ANN401
        is_welcome = bool(sound(self, pending_join, now))
        session = self._subscribers.pop(pending_join.connection, None) if _has_resumed(pending_join.session) else None
        if session is not None:
            waiting[pending_join.connection] = self, session
        return is_welcome

    def phase_entered(sound: Any, self: Attendance, *more: Any) -> None:  # noqa: ANN401
        sound(self, *more)
        for connection, (owner, session) in list(waiting.items()):
            if session.connection == connection:
                owner._subscribers[connection] = session
            del waiting[connection]

    return [_replaced(Attendance, "welcome", welcome), _replaced(Attendance, "phase_entered", phase_entered)]


def _dropped(_: object, self: Attendance, message: Any) -> None:  # noqa: ANN401
    chosen = tuple(connection for i, connection in enumerate(self._subscribers, 1) if i % 10)
    self._effects.append(Broadcast(chosen, message))


def _repeated() -> list[Plant]:
    last: list[Any] = []

    def broadcast(sound: Any, self: Attendance, message: Any) -> None:  # noqa: ANN401
        last[:] = [message]
        sound(self, message)

    def welcome(sound: Any, self: Room, pending_join: Any, now: float) -> None:  # noqa: ANN401
        sound(self, pending_join, now)
        if last and _has_resumed(pending_join.session):
            self._effects.append(SendToClient(pending_join.connection, last[0]))

    return [_replaced(Attendance, "broadcast", broadcast), _replaced(Room, "_welcome", welcome)]


def _unequal(sound: Any, self: Attendance, message: Any) -> None:  # noqa: ANN401
    if not isinstance(message, QuestionRevealed):
        sound(self, message)
        return
    everyone = tuple(self._subscribers)
    other = msgspec.structs.replace(message, correct=message.correct + 1)
    self._effects += [Broadcast(everyone[::2], message), Broadcast(everyone[1::2], other)]


def _epoch_kept(sound: Any, self: Room, *arguments: Any, **more: Any) -> None:  # noqa: ANN401
    sound(self, *arguments, **{**more, "epoch": "only"})


def _answer_leaks(sound: Any, self: GameMessages, now: float) -> Any:  # noqa: ANN401
    question = self._game.question
    return msgspec.structs.replace(sound(self, now), correct=question.correct if question else None)


def _other_event(leaders: tuple[Standing, ...]) -> tuple[Standing, ...]:
    return tuple(msgspec.structs.replace(line, participant=f"x{line.participant}") for line in leaders)


# snapshots and scores -------------------------------------------------------------------------------------------------


def _in_snapshot(change: Callable[[Any], Any]) -> Plant:
    return _changed_result(SnapshotBuilder, "snapshot", change)


def _later_deadline(snapshot: Any) -> Any:  # noqa: ANN401
    question = snapshot.question
    if question is None or not question.remaining_ms:
        return snapshot
    longer = msgspec.structs.replace(question, remaining_ms=question.remaining_ms + 3000)
    return msgspec.structs.replace(snapshot, question=longer)


def _other_answer(snapshot: Any) -> Any:  # noqa: ANN401
    return msgspec.structs.replace(snapshot, answer=None if snapshot.question is None else 3)


def _stale_phase(snapshot: Any) -> Any:  # noqa: ANN401
    return msgspec.structs.replace(snapshot, phase=Phase.LEADERBOARD) if snapshot.phase == Phase.QUESTION else snapshot


def _stale_position(snapshot: Any) -> Any:  # noqa: ANN401
    return msgspec.structs.replace(snapshot, seq=max(snapshot.seq - 4, 0))


def _one_more(score: Any) -> Any:  # noqa: ANN401
    return score and msgspec.structs.replace(score, score=score.score + 1)


def _resume_pays(sound: Any, self: Room, pending_join: Any, now: float) -> None:  # noqa: ANN401
    if pending_join.outcome != CREATED:
        self.game.scores[pending_join.session.participant] = (
            self.game.scores.get(pending_join.session.participant, 0) + 10
        )
    sound(self, pending_join, now)


def _no_reveal(sound: Any, self: Attendance, message_for: Callable[[str], Any]) -> None:  # noqa: ANN401
    resumed = {session.participant for session in self._subscribers.values() if _has_resumed(session)}
    sound(self, lambda participant: None if participant in resumed else message_for(participant))


# identities -----------------------------------------------------------------------------------------------------------


def _other_owner() -> Plant:
    due = _every(7)

    def find(sound: Any, self: TokenRegistry, presented: str) -> str | None:  # noqa: ANN401
        owner: str | None = sound(self, presented)
        if owner is None or not due():
            return owner
        return next((who for who in self._states if who != owner), owner)

    return _replaced(TokenRegistry, "find", find)


def _same_token() -> Plant:
    made: dict[str, str] = {}

    def rotate(sound: Any, self: TokenRegistry, participant: str, presented: str | None) -> str:  # noqa: ANN401
        if participant not in made:
            made[participant] = sound(self, participant, presented)
        else:
            self._states[participant].generation += 1
        return made[participant]

    return _replaced(TokenRegistry, "rotate", rotate)


def _forgotten(sound: Any, self: Attendance, session: ServerSession, now: float) -> None:  # noqa: ANN401
    sound(self, session, now)
    self._tokens.forget(session.participant)


def _other_name() -> Plant:
    due = _every(3)

    def join(sound: Any, self: IdentityRegistry, message: Any, *more: Any) -> Any:  # noqa: ANN401
        return sound(self, msgspec.structs.replace(message, name="another") if due() else message, *more)

    return _replaced(IdentityRegistry, "join", join)


def _renumbered(sound: Any, self: ServerSession, *arguments: Any) -> None:  # noqa: ANN401
    sound(self, *arguments)
    self.connection_no = min(self.connection_no, 2)


# presence and liveness ------------------------------------------------------------------------------------------------


def _announced_again(sound: Any, self: QuizStream, delta: Any, now: float) -> None:  # noqa: ANN401
    back = tuple(player for player in delta.changed if player.state == ConnectionState.CONNECTED)
    sound(self, msgspec.structs.replace(delta, joined=(*delta.joined, *back)), now)


def _never_announced(delta: Any) -> Any:  # noqa: ANN401
    return msgspec.structs.replace(delta, joined=())


def _other_is_away(sound: Any, self: PresenceTracker, player: Any, now: float) -> None:  # noqa: ANN401
    if player.state == ConnectionState.TEMPORARILY_DISCONNECTED and self._shown:
        here = [other for other in self._shown.values() if other.state == ConnectionState.CONNECTED]
        player = msgspec.structs.replace(min(here, key=lambda other: other.name, default=player), state=player.state)
    sound(self, player, now)


def _hangs_up() -> Plant:
    due = _every(25)

    def heard(sound: Any, self: Attendance, session: ServerSession, now: float) -> None:  # noqa: ANN401
        sound(self, session, now)
        if session.connection is not None and due():
            self._effects.append(Disconnect(session.connection, CloseCode.INTERNAL_ERROR, "tired"))

    return _replaced(Attendance, "heard", heard)


def _never_dead(self: ServerFailureDetector) -> float:
    return NEVER


def _quiet_after_resume(sound: Any, self: HeartbeatManager, heartbeat: Any, now: float, *more: Any) -> None:  # noqa: ANN401
    if heartbeat.connection_no > 1 and heartbeat.detector is not None:
        heartbeat.detector.heard(now)
    else:
        sound(self, heartbeat, now, *more)


def _old_end_detaches(sound: Any, self: Attendance, pending_join: Any, now: float) -> bool:  # noqa: ANN401
    is_welcome = bool(sound(self, pending_join, now))
    session = pending_join.session
    if is_welcome and _has_resumed(session):
        self._subscribers.pop(pending_join.connection, None)
        self._presence.update(Player(session.participant, session.name, ConnectionState.TEMPORARILY_DISCONNECTED), now)
        self._schedule_presence()
    return is_welcome


# the list -------------------------------------------------------------------------------------------------------------


def _all(plants: list[Plant]) -> Plant:
    def plant(patch: Patch) -> None:
        for each in plants:
            each(patch)

    return plant


def _defects() -> list[Defect]:
    r, c = _replaced, _changed_result
    return [
        Defect(
            "ack_first",
            "answers are acknowledged, and written 4 s later",
            r(PendingAnswers, "submit", _write_behind),
            "verdicts_match_storage",
        ),
        Defect("skips", "every fifth number of the stream is skipped", _skips(), "stream_shown_in_order"),
        Defect(
            "deaf",
            "a restored client receives no broadcast",
            r(Attendance, "welcome", _deaf),
            "restored_hear_what_follows",
        ),
        Defect(
            "swallowed",
            "answers of resumed sessions get no verdict",
            r(Room, "_receive_known", _swallowed),
            "verdicts_in_time",
        ),
        Defect("hangs_up", "connections are closed without a fault", _hangs_up(), "losses_have_causes"),
        Defect("other_owner", "every seventh token opens another session", _other_owner(), "identities_apart"),
        Defect(
            "one_more", "scores at the reveal are wrong", c(GameMessages, "score_of", _one_more), "live_scores_true"
        ),
        Defect(
            "leak",
            "an open question has its right answer",
            r(GameMessages, "question_at", _answer_leaks),
            "no_answer_before_reveal",
        ),
        Defect(
            "joined_again",
            "a reconnection is announced as a join, unlogged",
            r(QuizStream, "publish_presence", _announced_again),
            "joins_shown_once",
        ),
        Defect(
            "never_dead",
            "silent clients are not detected",
            lambda patch: patch(ServerFailureDetector, "dead_at", _never_dead),
            "dead_peers_detected",
        ),
        Defect(
            "later_deadline",
            "a snapshot says that the question is open for longer",
            _in_snapshot(_later_deadline),
            "deadlines_hold",
        ),
        Defect(
            "other_answer",
            "a snapshot has another answer than the client's",
            _in_snapshot(_other_answer),
            "previous_answers_true",
        ),
        Defect("stale_phase", "a snapshot has an earlier phase", _in_snapshot(_stale_phase), "snapshots_current"),
        Defect(
            "stale_position",
            "a snapshot has an earlier position",
            _in_snapshot(_stale_position),
            "stream_shown_in_order",
        ),
        Defect(
            "other_event",
            "the leaderboard is that of another event",
            c(GameMessages, "leaders", _other_event),
            "leaderboards_true",
        ),
        Defect(
            "repeated", "the last message is delivered again after a resume", _all(_repeated()), "stream_shown_in_order"
        ),
        Defect("resume_pays", "a resume changes the score", r(Room, "_welcome", _resume_pays), "live_scores_true"),
        Defect("accepts_late", "late answers are accepted", r(Game, "_in_time", _accepts_late), "late_answers_refused"),
        Defect("verdict_twice", "verdicts are sent twice", r(PendingAnswers, "_send", _twice), "answers_judged_once"),
        Defect("misdirected", "verdicts are sent to another client too", _misdirected(), "answers_judged_once"),
        Defect("denied", "a stored answer is said to be late", _denied(), "verdicts_match_storage"),
        Defect(
            "other_choice",
            "another choice is stored than was sent",
            c(Game, "judge", _other_choice),
            "stored_answers_sent",
        ),
        Defect(
            "other_away",
            "another participant is shown as away",
            r(PresenceTracker, "update", _other_is_away),
            "presence_true",
        ),
        Defect(
            "old_end",
            "the end of an old connection detaches the new one",
            r(Attendance, "welcome", _old_end_detaches),
            "restored_hear_what_follows",
        ),
        Defect(
            "subscribed_late",
            "a restored client receives broadcasts from the next phase on",
            _all(_subscribed_late()),
            "stream_shown_in_order",
        ),
        Defect(
            "renumbered",
            "connections are not numbered upwards",
            r(ServerSession, "attach", _renumbered),
            "newest_connection_wins",
        ),
        Defect(
            "epoch_kept",
            "a restarted server continues the name of the stream",
            r(Room, "__init__", _epoch_kept),
            "epochs_change",
        ),
        Defect(
            "dropped",
            "every tenth client misses each broadcast",
            r(Attendance, "broadcast", _dropped),
            "joined_hear_what_follows",
        ),
        Defect(
            "unequal",
            "clients are shown different right answers",
            r(Attendance, "broadcast", _unequal),
            "stream_same_for_all",
        ),
        Defect(
            "quiet",
            "heartbeats stop after a resume",
            r(HeartbeatManager, "_ping", _quiet_after_resume),
            "heartbeats_arrive",
        ),
        Defect(
            "forgotten",
            "a participant is forgotten after the clean-up",
            r(Attendance, "_expire", _forgotten),
            "sessions_survive",
        ),
        Defect(
            "no_reveal",
            "resumed clients are not shown their score",
            r(Attendance, "send_each", _no_reveal),
            "scores_shown_at_reveal",
        ),
        Defect("same_token", "tokens are not replaced", _same_token(), "tokens_rotate"),
        Defect("other_name", "participants are shown under another name", _other_name(), "identities_apart"),
        Defect(
            "never_announced",
            "new participants are not announced",
            c(PresenceTracker, "flush", _never_announced),
            "joins_shown",
        ),
    ]


DEFECTS: dict[str, Defect] = {defect.name: defect for defect in _defects()}
"""Every defect by its name. State that a defect keeps lasts as long as the process."""
