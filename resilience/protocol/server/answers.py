"""Answers on their way to the store: each submission gets exactly one verdict, after the commit of its row. Pure.

The same answer may arrive twice at once, over an old and a new connection: both wait for one row.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol.effects import Record, SendToClient, ServerEffect
from resilience.protocol.messages import Answer, AnswerResult, ScoreChanged
from resilience.protocol.server.pending_commits import PendingCommits, try_again_later
from resilience.quiz.game import Game, StoredAnswer
from resilience.quiz.phases import Phase
from resilience.quiz.verdicts import AnswerVerdict
from resilience.units import Instant


class _PendingAnswer(msgspec.Struct):
    """An answer until its commit, with every submission that waits for it; continues in its ``owner``."""

    owner: PendingAnswers
    stored: StoredAnswer
    submissions: list[tuple[int, Answer]]
    ticket: int = 0

    def committed(self, now: Instant) -> None:
        self.owner.committed(self.stored, now)

    def commit_failed(self, _now: Instant) -> None:
        self.owner.commit_failed(self.stored)


class PendingAnswers:
    """The submissions of one game. ``effects`` is the room's list.

    ``on_stored`` is called after each stored answer, with the time and whether it changed the visible standings.
    """

    def __init__(
        self,
        game: Game,
        effects: list[ServerEffect],
        commits: PendingCommits,
        on_stored: Callable[[Instant, bool], None],
    ) -> None:
        self._game, self._effects, self._commits, self._on_stored = game, effects, commits, on_stored
        self._pending: dict[tuple[str, str], _PendingAnswer] = {}

    def submit(self, participant: str, answer: Answer, connection: int, now: Instant, *, excused: bool = False) -> None:
        """Judge a submission: reply at once, order its commit, or let it wait for the commit of an equal one."""
        pending = self._pending.get((participant, answer.question))
        if pending is not None:
            pending.submissions.append((connection, answer))
            self._commits.wait_for(pending.ticket, connection)
            return
        verdict, stored = self._game.judge(
            participant, answer.question, answer.key, answer.choice, now, excused=excused
        )
        if stored is None:
            self._reply(participant, connection, answer, verdict, now)
            return
        pending = self._pending[participant, answer.question] = _PendingAnswer(self, stored, [(connection, answer)])
        pending.ticket = self._commits.persist_then((stored,), connection, pending)

    def has_pending(self, participant: str) -> bool:
        """Whether an answer of this participant is being stored."""
        return any(who == participant for who, _ in self._pending)

    def committed(self, stored: StoredAnswer, now: Instant) -> None:
        """The answer is durable: count it and send the verdict to every connection that waits."""
        self._game.store(stored)
        who, ref = stored.participant, stored.ref
        verdict, won = AnswerVerdict.ACCEPTED, float(stored.points)
        self._effects.append(Record(LogEventKind.ANSWER_COMMITTED, now, who, outcome=verdict, value=won, ref=ref))
        (first, original), *others = self._pending.pop((who, stored.question)).submissions
        is_secret = self._is_secret(stored)
        self._send(first, original, AnswerVerdict.ACCEPTED)
        if not is_secret:
            self._send_score(first, stored)
        for connection, answer in others:
            same = answer.key == stored.key
            self._reply(who, connection, answer, AnswerVerdict.ACCEPTED if same else AnswerVerdict.DUPLICATE, now)
            if not is_secret:
                self._send_score(connection, stored)
        self._on_stored(now, not is_secret)

    def commit_failed(self, stored: StoredAnswer) -> None:
        """The answer was not stored and does not count: its clients retry."""
        for connection, _ in self._pending.pop((stored.participant, stored.question)).submissions:
            self._effects.append(try_again_later(connection, "the answer could not be stored"))

    def _reply(self, who: str, connection: int, answer: Answer, verdict: AnswerVerdict, now: Instant) -> None:
        """Send the verdict on a submission that needs no commit of its own."""
        ref = f"{answer.question}/{answer.key}"
        self._effects.append(Record(LogEventKind.ANSWER_REPLIED, now, who, outcome=verdict, ref=ref))
        self._send(connection, answer, verdict)

    def _send(self, connection: int, answer: Answer, verdict: AnswerVerdict) -> None:
        self._effects.append(SendToClient(connection, AnswerResult(answer.question, answer.key, verdict)))

    def _send_score(self, connection: int, stored: StoredAnswer) -> None:
        """Send the score for an answer whose commit outlasted its question: it missed the scores of the reveal."""
        score = self._game.scores[stored.participant]
        self._effects.append(SendToClient(connection, ScoreChanged(stored.question, stored.points, score)))

    def _is_secret(self, stored: StoredAnswer) -> bool:
        question = self._game.question
        return self._game.phase is Phase.QUESTION and question is not None and question.id == stored.question
