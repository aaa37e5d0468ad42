"""A scripted participant that remembers what it was shown: the third source beside event log and database. Pure."""

from __future__ import annotations

import msgspec

from resilience.experiment.spec import Experiment
from resilience.lab.participants import EVENT, ParticipantSpec
from resilience.lab.scripted_client import ScriptedClient
from resilience.protocol.client.participant import Identity
from resilience.protocol.messages import (
    Joined,
    Message,
    QuestionOpened,
    QuestionRevealed,
    ScoreChanged,
    Snapshot,
    StateRestored,
)
from resilience.quiz.phases import Phase
from resilience.random_streams import random_for
from resilience.units import Instant, Seconds


class Observation(msgspec.Struct, frozen=True):
    """What a participant was shown at one moment.

    ``score`` is its own, over all questions before ``question`` while the ``phase`` is *question*, else with it;
    ``remaining`` is for how long the question was said to be open, ``correct`` the right choice, each if it was told.
    """

    t: Instant
    participant: str
    phase: Phase
    question: str | None
    score: int | None = None
    remaining: Seconds | None = None
    correct: int | None = None


class ObservingClient(ScriptedClient):
    """Plays, and keeps every :class:`Observation` in ``sights``."""

    observations: list[Observation]

    def _deliver(self, message: Message, now: Instant) -> None:
        """Remember it, then let the player have it."""
        who = self.participant or "?"
        match message:
            case Joined() | StateRestored():
                self.observations.append(_of_snapshot(message.snapshot, who, now))
            case QuestionOpened(question=shown):
                remaining = shown.remaining_ms / 1000
                self.observations.append(
                    Observation(now, who, Phase.QUESTION, shown.id, remaining=remaining, correct=shown.correct)
                )
            case QuestionRevealed():
                self.observations.append(Observation(now, who, Phase.REVEAL, message.question, correct=message.correct))
            case ScoreChanged():
                self.observations.append(Observation(now, who, Phase.REVEAL, message.question, message.score))
            case _:
                pass
        super()._deliver(message, now)


def _of_snapshot(snapshot: Snapshot, who: str, now: Instant) -> Observation:
    phase, question = Phase(snapshot.phase), snapshot.question
    if question is None:
        return Observation(now, who, phase, None, snapshot.score)
    remaining = question.remaining_ms / 1000 if phase is Phase.QUESTION else None
    return Observation(now, who, phase, question.id, snapshot.score, remaining, question.correct)


def make_observing_client(experiment: Experiment, participant: ParticipantSpec, seed: int) -> ObservingClient:
    """The machine of one participant, as :func:`~resilience.lab.participants.make_scripted_client`, with a memory."""
    identity = Identity(EVENT, participant.actor, participant.actor)
    made = ObservingClient(
        identity, experiment.client.rules, experiment.quiz.player, random_for(seed, participant.actor)
    )
    made.observations = []
    return made
