"""Defects of what the server says about the game: snapshots, questions, scores, leaderboards."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from resilience.protocol.messages import OpenQuestion, ScoreChanged, ServerMessage, Snapshot, Standing
from resilience.protocol.server.attendance import Attendance
from resilience.protocol.server.game_messages import GameMessages
from resilience.protocol.server.identities import CREATED, PendingJoin
from resilience.protocol.server.room import Room
from resilience.protocol.server.snapshots import SnapshotBuilder
from resilience.quiz.phases import Phase

from .planting import Catalogue, Sound

DEFECTS = Catalogue()
SNAPSHOT = SnapshotBuilder, "snapshot"


@DEFECTS.result(*SNAPSHOT, "a snapshot says that the question is open for longer", check="deadlines_hold")
def later_deadline(snapshot: Snapshot) -> Snapshot:
    question = snapshot.question
    if question is None or not question.remaining_ms:
        return snapshot
    longer = msgspec.structs.replace(question, remaining_ms=question.remaining_ms + 3000)
    return msgspec.structs.replace(snapshot, question=longer)


@DEFECTS.result(*SNAPSHOT, "a snapshot has another answer than the client's", check="previous_answers_true")
def other_answer(snapshot: Snapshot) -> Snapshot:
    return msgspec.structs.replace(snapshot, answer=None if snapshot.question is None else 3)


@DEFECTS.result(*SNAPSHOT, "a snapshot has an earlier phase", check="snapshots_current")
def stale_phase(snapshot: Snapshot) -> Snapshot:
    return msgspec.structs.replace(snapshot, phase=Phase.LEADERBOARD) if snapshot.phase == Phase.QUESTION else snapshot


@DEFECTS.result(*SNAPSHOT, "a snapshot has an earlier position", check="stream_shown_in_order")
def stale_position(snapshot: Snapshot) -> Snapshot:
    return msgspec.structs.replace(snapshot, seq=max(snapshot.seq - 4, 0))


@DEFECTS.method(GameMessages, "question_at", "an open question has its right answer", check="no_answer_before_reveal")
def leak(sound: Sound, self: GameMessages, now: float) -> OpenQuestion:
    question = self._game.question
    shown: OpenQuestion = sound(self, now)
    return msgspec.structs.replace(shown, correct=question.correct if question else None)


@DEFECTS.result(GameMessages, "score_of", "scores at the reveal are wrong", check="live_scores_true")
def one_more(score: ScoreChanged | None) -> ScoreChanged | None:
    return score and msgspec.structs.replace(score, score=score.score + 1)


@DEFECTS.method(Room, "_welcome", "a resume changes the score", check="live_scores_true")
def resume_pays(sound: Sound, self: Room, pending_join: PendingJoin, now: float) -> None:
    if pending_join.outcome != CREATED:
        who, scores = pending_join.session.participant, self.game.scores
        scores[who] = scores.get(who, 0) + 10
    sound(self, pending_join, now)


@DEFECTS.method(Attendance, "send_each", "resumed clients are not shown their score", check="scores_shown_at_reveal")
def no_reveal(sound: Sound, self: Attendance, message_for: Callable[[str], ServerMessage | None]) -> None:
    resumed = {session.participant for session in self._subscribers.values() if session.connection_no > 1}
    sound(self, lambda participant: None if participant in resumed else message_for(participant))


@DEFECTS.result(GameMessages, "leaders", "the leaderboard is that of another event", check="leaderboards_true")
def other_event(leaders: tuple[Standing, ...]) -> tuple[Standing, ...]:
    return tuple(msgspec.structs.replace(line, participant=f"x{line.participant}") for line in leaders)
