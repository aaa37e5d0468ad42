"""Where answers wait for their commit, and get exactly one verdict each. Pure.

The same answer may arrive twice at once, over an old and a new connection: both wait for the one row.
"""

from __future__ import annotations

from collections.abc import Container

from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol.effects import Record, Row, SendToClient, ServerEffect
from resilience.protocol.messages import Answer, AnswerResult, ScoreChanged
from resilience.quiz.game import Game, StoredAnswer
from resilience.quiz.phases import Phase
from resilience.quiz.verdicts import AnswerVerdict
from resilience.units import Instant


class PendingAnswers:
    """Takes submissions for one game. ``effects`` is the room's list."""

    def __init__(self, game: Game, effects: list[ServerEffect]) -> None:
        self._game = game
        self._effects = effects
        self._waiting: dict[tuple[str, str], list[tuple[int, Answer]]] = {}
        self._tickets: dict[int, StoredAnswer] = {}

    def __contains__(self, ticket: object) -> bool:
        return ticket in self._tickets

    def submit(
        self, participant: str, answer: Answer, connection: int, now: Instant, *, excused: bool = False
    ) -> tuple[StoredAnswer, ...]:
        """Judge a submission. Returns the row to persist; none when it was answered at once or joined a waiting one."""
        waiting = self._waiting.get((participant, answer.question))
        if waiting is not None:
            waiting.append((connection, answer))
            return ()
        verdict, stored = self._game.judge(
            participant, answer.question, answer.key, answer.choice, now, excused=excused
        )
        if stored is None:
            self._reply(participant, connection, answer, verdict, now)
            return ()
        self._waiting[participant, answer.question] = [(connection, answer)]
        return (stored,)

    def waiting_for(self, ticket: int, row: Row) -> None:
        """The row of a submission is being committed under this ticket."""
        if isinstance(row, StoredAnswer):
            self._tickets[ticket] = row

    def committed(self, ticket: int, now: Instant) -> bool:
        """The answer is durable: it counts, and all who wait for it are told. Returns whether standings changed."""
        stored = self._tickets.pop(ticket, None)
        if stored is None:
            return False
        self._game.store(stored)
        who, ref = stored.participant, f"{stored.question}/{stored.key}"
        verdict, won = AnswerVerdict.ACCEPTED, float(stored.points)
        self._effects.append(Record(LogEventKind.ANSWER_COMMITTED, now, who, outcome=verdict, value=won, ref=ref))
        (first, original), *others = self._waiting.pop((who, stored.question))
        self._send(first, original, AnswerVerdict.ACCEPTED)
        self._tell_score(first, stored)
        for connection, answer in others:
            same = answer.key == stored.key
            self._reply(who, connection, answer, AnswerVerdict.ACCEPTED if same else AnswerVerdict.DUPLICATE, now)
            self._tell_score(connection, stored)
        return not self._is_secret(stored)

    def commit_failed(self, ticket: int) -> list[int]:
        """The answer was not stored: it counts as never given. Returns the connections that wait for it."""
        stored = self._tickets.pop(ticket, None)
        if stored is None:
            return []
        return [connection for connection, _ in self._waiting.pop((stored.participant, stored.question))]

    def is_waiting(self, connections: Container[int]) -> bool:
        """Whether an answer that came over one of these connections has no verdict yet."""
        return any(connection in connections for queue in self._waiting.values() for connection, _ in queue)

    def _reply(self, who: str, connection: int, answer: Answer, verdict: AnswerVerdict, now: Instant) -> None:
        """Answer what needed no commit of its own."""
        ref = f"{answer.question}/{answer.key}"
        self._effects.append(Record(LogEventKind.ANSWER_REPLIED, now, who, outcome=verdict, ref=ref))
        self._send(connection, answer, verdict)

    def _send(self, connection: int, answer: Answer, verdict: AnswerVerdict) -> None:
        self._effects.append(SendToClient(connection, AnswerResult(answer.question, answer.key, verdict)))

    def _tell_score(self, connection: int, stored: StoredAnswer) -> None:
        """An answer whose commit outlasted its question missed the reveal's scores."""
        if not self._is_secret(stored):
            score = self._game.scores[stored.participant]
            self._effects.append(SendToClient(connection, ScoreChanged(stored.question, stored.points, score)))

    def _is_secret(self, stored: StoredAnswer) -> bool:
        question = self._game.question
        return self._game.phase is Phase.QUESTION and question is not None and question.id == stored.question
