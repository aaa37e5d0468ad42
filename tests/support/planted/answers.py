"""Defects of answers: their verdicts, and what is stored of them."""

from __future__ import annotations

import msgspec

from resilience.protocol.effects import SendToClient
from resilience.protocol.messages import Answer, AnswerResult, ClientMessage
from resilience.protocol.server.answers import PendingAnswers
from resilience.protocol.server.room import Room
from resilience.protocol.server.session import ServerSession
from resilience.quiz.game import Game, StoredAnswer
from resilience.quiz.verdicts import AnswerVerdict

from .planting import Catalogue, Planter, Sound, every

DEFECTS = Catalogue()
WRITE_BEHIND_S = 4.0


@DEFECTS.defect("answers are acknowledged, and written 4 s later", check="verdicts_match_storage")
def ack_first(plant: Planter) -> None:
    held: list[StoredAnswer] = []

    @plant.instead_of(PendingAnswers, "submit")
    def submit(
        _: Sound, self: PendingAnswers, who: str, answer: Answer, connection: int, now: float, *, excused: bool = False
    ) -> None:
        verdict, stored = self._game.judge(who, answer.question, answer.key, answer.choice, now, excused=excused)
        if stored is not None:
            self._game.store(stored)
            held.append(stored)
        self._reply(who, connection, answer, verdict, now)
        due = [row for row in held if row.received_at < now - WRITE_BEHIND_S]
        if due:
            held[:] = held[len(due) :]
            self._commits.persist(tuple(due))


@DEFECTS.method(Room, "_receive_known", "answers of resumed sessions get no verdict", check="verdicts_in_time")
def swallowed(sound: Sound, self: Room, message: ClientMessage, session: ServerSession, *more: object) -> None:
    if not (isinstance(message, Answer) and session.connection_no > 1):
        sound(self, message, session, *more)


@DEFECTS.method(Game, "_in_time", "late answers are accepted", check="late_answers_refused")
def accepts_late(_: Sound, self: Game, index: int, _at: float, *, excused: bool) -> bool:
    del excused
    return index == self.index


@DEFECTS.method(PendingAnswers, "_send", "verdicts are sent twice", check="answers_judged_once")
def verdict_twice(sound: Sound, self: PendingAnswers, *arguments: object) -> None:
    sound(self, *arguments)
    sound(self, *arguments)


@DEFECTS.defect("verdicts are sent to another client too", check="answers_judged_once")
def misdirected(plant: Planter) -> None:
    last = 0

    @plant.instead_of(PendingAnswers, "_send")
    def send(sound: Sound, self: PendingAnswers, connection: int, answer: Answer, verdict: AnswerVerdict) -> None:
        nonlocal last
        sound(self, connection, answer, verdict)
        if last and last != connection:
            self._effects.append(SendToClient(last, AnswerResult(answer.question, answer.key, verdict)))
        last = connection


@DEFECTS.defect("a stored answer is said to be late", check="verdicts_match_storage")
def denied(plant: Planter) -> None:
    due = every(4)

    @plant.instead_of(PendingAnswers, "_send")
    def send(sound: Sound, self: PendingAnswers, connection: int, answer: Answer, verdict: AnswerVerdict) -> None:
        sound(self, connection, answer, AnswerVerdict.REJECTED_LATE if due() else verdict)


@DEFECTS.result(Game, "judge", "another choice is stored than was sent", check="stored_answers_sent")
def other_choice(judged: tuple[AnswerVerdict, StoredAnswer | None]) -> tuple[AnswerVerdict, StoredAnswer | None]:
    verdict, stored = judged
    return verdict, stored and msgspec.structs.replace(stored, choice=1 - min(stored.choice, 1))
