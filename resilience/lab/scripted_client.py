"""A client that plays by script: the client machine and a scripted player behind one interface. Pure.

What every lane's fleet drives. The player answers each question it is shown once, when its moment has come, whether or
not there is a connection at that moment.
"""

from __future__ import annotations

import msgspec

from resilience.protocol.client.participant import ClientRules, Identity, ParticipantClient, open_question
from resilience.protocol.messages import Message, OpenQuestion
from resilience.protocol.states import ClientState
from resilience.quiz.answer_behaviour import AnswerBehaviour
from resilience.random_streams import UniformSource, hash64
from resilience.units import Instant, Seconds


class PlannedAnswer(msgspec.Struct, frozen=True):
    """What to answer, and how many seconds after the question was opened."""

    choice: int
    after: Seconds


def plan_answer(
    rules: AnswerBehaviour, question_id: str, choices: int, time_s: Seconds, draw: UniformSource
) -> PlannedAnswer | None:
    """This participant's answer to this question; ``None`` when it lets it pass."""
    address = hash64(question_id)
    if draw("answers", address, 0) >= rules.answer_share:
        return None
    moment = rules.fastest + (rules.slowest - rules.fastest) * draw("moment", address, 0)
    return PlannedAnswer(int(draw("choice", address, 0) * choices), moment * time_s)


class ScriptedClient(ParticipantClient):
    """A :class:`ParticipantClient` whose application is a script.

    The script shows no countdown, so a question that was held on its way costs it no connection.
    """

    def __init__(self, identity: Identity, rules: ClientRules, player: AnswerBehaviour, draw: UniformSource) -> None:
        super().__init__(identity, rules, draw)
        self._player = player
        self._planned: tuple[Instant, str, int] | None = None
        self._seen: set[str] = set()

    def next_deadline(self) -> Instant | None:
        """The machine's next deadline, or the next planned answer if that comes first."""
        machine = super().next_deadline()
        if self._planned is None or self.state is ClientState.CLOSED:
            return machine
        return self._planned[0] if machine is None else min(machine, self._planned[0])

    def handle_timeout(self, now: Instant) -> None:
        """A deadline has come: answer if it is time, and let the machine do what is due."""
        if self._planned is not None and now >= self._planned[0]:
            _, question, choice = self._planned
            self._planned = None
            self.answer(question, choice, now)
        super().handle_timeout(now)

    def _question_held(self, now: Instant) -> None:
        """Nothing shows the time that is left."""

    def _deliver(self, message: Message, now: Instant) -> None:
        """Show it to the player instead of to an application."""
        question = open_question(message)
        if question is not None:
            self._plan(question, now)

    def _plan(self, question: OpenQuestion, now: Instant) -> None:
        if question.id in self._seen:
            return
        self._seen.add(question.id)
        planned = plan_answer(self._player, question.id, len(question.choices), question.time_ms / 1000, self._draw)
        if planned is not None:
            opened_at = now - (question.time_ms - question.remaining_ms) / 1000
            self._planned = (max(opened_at + planned.after, now), question.id, planned.choice)
