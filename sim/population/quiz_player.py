"""One participant's part in the quiz, message by message: broadcasts, its answers and their verdicts.

As the production client does: a question is answered once, at its moment after it was shown, connected or not; an
answer waits for its verdict and is sent again after each return.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from resilience.lab.scripted_client import plan_answer
from resilience.quiz.questions import CHOICES
from resilience.units import Instant, Seconds

from ..profiles.timelines import TICK_S
from .connection import Connection
from .quiz import QuizSchedule
from .rules import tick

if TYPE_CHECKING:
    from .explicit import ExplicitParticipant

RESENT = -1
"""Instead of a question: answers that were sent again at the return, whichever they are."""


_NO_CAST = -1
"""Instead of the next broadcast, where there is no connection for it."""


class Plan(NamedTuple):
    """An answer that is still to be given."""

    at: Instant
    question: int


class QuizPlayer:
    """``pending``: answers without a verdict, in the order of their questions. ``plan``: the next answer."""

    __slots__ = ("_me", "_next_cast", "_quiz", "_seen", "pending", "plan")

    def __init__(self, participant: ExplicitParticipant, quiz: QuizSchedule) -> None:
        self._me, self._quiz = participant, quiz
        self._seen = -1
        self._next_cast = _NO_CAST
        self.pending: list[int] = []
        self.plan: Plan | None = None

    @property
    def _commit(self) -> Seconds:
        return self._me.world.rules.commit

    def answer_delay(self, question: int) -> Seconds | None:
        """How long after this question is shown its answer comes; ``None`` without an answer."""
        quiz = self._quiz
        planned = plan_answer(quiz.player, quiz.ids[question], CHOICES, quiz.time, self._me.draw)
        return None if planned is None else tick(planned.after)

    def regular_answer(self, question: int) -> Instant | None:
        """When this question is answered if the link delays nothing."""
        after, quiz, latency = self.answer_delay(question), self._quiz, self._me.link.latency
        if after is None:
            return None
        return max(float(quiz.opens[question]) + after, float(quiz.shown[question])) + latency

    # beginnings -------------------------------------------------------------------------------------------------------

    def attend(self, now: Instant) -> None:
        """The connection is ready: from now on the server broadcasts to it."""
        self._expect_broadcast(int(self._quiz.casts.searchsorted(now)))

    def attend_again(self, now: Instant) -> None:
        """The same, of a connection that was made ready after what left the server at this instant."""
        self._expect_broadcast(int(self._quiz.casts.searchsorted(now, side="right")))

    def resume_steady(self, now: Instant, connection: Connection, answered: Instant) -> None:
        """The client is open and steady; what it sent at ``answered`` or before has been replied to."""
        me, quiz = self._me, self._quiz
        latency = me.link.latency
        self.attend(now)
        for index in range(int(quiz.casts.searchsorted(now - latency)), int(quiz.casts.searchsorted(now))):
            if quiz.casts[index] + latency > now:
                me.deliver(float(quiz.casts[index]) + latency, connection, self._hears_broadcast, index, up=False)
        self._seen = int(quiz.shown.searchsorted(now - latency, side="right")) - 1
        at = self._answer_after(answered)
        if at is None or at <= answered:
            return
        if at >= now:
            self._plan(Plan(at, self._seen))
        else:
            self._resume_pending(now, connection, at, self._seen)

    def resume_resent(self, now: Instant, connection: Connection, sent: Instant) -> None:
        """The client has returned at ``sent`` and sent its answers again then."""
        self._resume_pending(now, connection, sent, RESENT)

    def _resume_pending(self, now: Instant, connection: Connection, sent: Instant, question: int) -> None:
        """An answer sent at this instant has its verdict already, or something of the exchange is still to come."""
        me = self._me
        latency = me.link.latency
        at_server = sent + latency
        leaves = at_server + self._commit
        if leaves + latency < now:
            return
        self.pending.append(question)
        me.ask(sent)
        if at_server >= now:
            me.deliver(at_server, connection, self._server_judges, question, up=True)
        elif leaves >= now:
            me.under_way += 1
            me.at(leaves, self._verdict_leaves, (connection, question))
        else:
            me.deliver(leaves + latency, connection, self._hears_verdict, question, up=False)

    def resume_away(self, now: Instant, lost_from: Instant) -> None:
        """The client is away since an outage that began, while it was steady, at ``lost_from``."""
        quiz, latency = self._quiz, self._me.link.latency
        self._seen = int(quiz.shown.searchsorted(lost_from - latency)) - 1
        at = self._answer_after(lost_from - (2 * latency + self._commit))
        if at is None or at + 2 * latency + self._commit < lost_from:
            return
        if at <= now:
            self.pending.append(self._seen)
        else:
            self._plan(Plan(at, self._seen))

    def _answer_after(self, instant: Instant) -> Instant | None:
        """The regular answer to the question that was seen last, unless it is known to come before this instant."""
        if self._seen < 0:
            return None
        last = max(float(self._quiz.closes[self._seen]), float(self._quiz.shown[self._seen]))
        return self.regular_answer(self._seen) if last + self._me.link.latency + TICK_S >= instant else None

    @property
    def is_steady(self) -> bool:
        """Whether arithmetic can tell its next answer: no verdict is due, and none comes later than usual."""
        return not self.pending and (self.plan is None or self.plan.at == self.regular_answer(self.plan.question))

    # broadcasts -------------------------------------------------------------------------------------------------------

    def _expect_broadcast(self, index: int) -> None:
        """Let this broadcast be the next one, and each that follows it while a connection is there for it."""
        if index < len(self._quiz.casts) and index != self._next_cast:
            self._next_cast = index
            self._me.at(float(self._quiz.casts[index]), self._broadcast, index)

    def _broadcast(self, now: Instant, index: int) -> None:
        me = self._me
        if me.is_handed_back or index != self._next_cast:
            return
        self._next_cast = _NO_CAST
        if me.session.attached is not None and me.session.ready:
            self._expect_broadcast(index + 1)
            me.send(now, me.session.attached, self._hears_broadcast, index, up=False)

    def _hears_broadcast(self, now: Instant, connection: Connection, index: int) -> None:
        if self._me.is_open(connection):
            self._me.client.heard(now)
            self._show_broadcast(now, int(self._quiz.question[index]))

    def _show_broadcast(self, now: Instant, question: int) -> None:
        if question >= 0:
            late = float(self._quiz.shown[question]) - float(self._quiz.opens[question])
            self._show(now, question, now - late)

    def return_to(self, now: Instant, connection: Connection, sent: Instant) -> None:
        """The session is open again: send every answer without a verdict; the snapshot left the server at ``sent``."""
        for question in self.pending:
            self._submit(now, connection, question)
        shown = self._quiz.open_at(sent)
        if shown >= 0:
            self._show(now, shown, now - (sent - float(self._quiz.opens[shown])))

    def _show(self, now: Instant, question: int, opened_at: Instant) -> None:
        if question <= self._seen:
            return
        self._seen = question
        after = self.answer_delay(question)
        if after is not None:
            self._plan(Plan(max(opened_at + after, now), question))

    # answers ----------------------------------------------------------------------------------------------------------

    def _plan(self, plan: Plan) -> None:
        self.plan = plan
        self._me.at(plan.at, self._answer, plan)

    def _answer(self, now: Instant, plan: Plan) -> None:
        me = self._me
        if plan is not self.plan or me.is_handed_back or me.is_suspended:
            return
        self.plan = None
        self.pending.append(plan.question)
        if me.connection is not None and me.is_open(me.connection):
            self._submit(now, me.connection, plan.question)

    def answer_due(self, now: Instant) -> None:
        """Give the planned answer if its moment has come."""
        if self.plan is not None and self.plan.at <= now:
            self._answer(now, self.plan)

    def _submit(self, now: Instant, connection: Connection, question: int) -> None:
        self._me.send(now, connection, self._server_judges, question, up=True)
        self._me.ask(now)

    def _server_judges(self, now: Instant, connection: Connection, question: int) -> None:
        me = self._me
        if me.session.has_heard(now, connection):
            me.under_way += 1
            me.at(now + self._commit, self._verdict_leaves, (connection, question))

    def _verdict_leaves(self, now: Instant, message: tuple[Connection, int]) -> None:
        if self._me.session.is_done_later(now, self._verdict_leaves, message):
            return
        connection, question = message
        self._me.under_way -= 1
        if connection.server:
            self._me.send(now, connection, self._hears_verdict, question, up=False)

    def _hears_verdict(self, now: Instant, connection: Connection, question: int) -> None:
        if not self._me.is_open(connection):
            return
        self._me.client.heard(now)
        if question in self.pending:
            self.pending.remove(question)
            self._me.client.answered(now, owing=bool(self.pending))
