"""A scripted participant that records what it was shown, a source besides event log and database. Pure."""

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
    """What a client was shown at one moment, as ``participant``.

    ``actor`` is the client's name in the experiment. ``score`` is its own, over all questions before ``question`` while
    the ``phase`` is *question*, else with it; ``remaining`` is for how long the question was said to be open,
    ``correct`` the right choice, each where the message contained it.
    """

    t: Instant
    actor: str
    participant: str
    phase: Phase
    question: str | None
    score: int | None = None
    remaining: Seconds | None = None
    correct: int | None = None


class ObservingClient(ScriptedClient):
    """A scripted client that keeps every :class:`Observation` in ``observations``."""

    observations: list[Observation]

    def _deliver(self, message: Message, now: Instant) -> None:
        """Remember what the message shows, then let the script have it."""
        observation = _observation_of(message, self.identity.instance, self.participant or "?", now)
        if observation is not None:
            self.observations.append(observation)
        super()._deliver(message, now)


def _observation_of(message: Message, actor: str, who: str, now: Instant) -> Observation | None:
    match message:
        case Joined() | StateRestored():
            return _of_snapshot(message.snapshot, actor, who, now)
        case QuestionOpened(question=shown):
            remaining = shown.remaining_ms / 1000
            return Observation(now, actor, who, Phase.QUESTION, shown.id, remaining=remaining, correct=shown.correct)
        case QuestionRevealed():
            return Observation(now, actor, who, Phase.REVEAL, message.question, correct=message.correct)
        case ScoreChanged():
            return Observation(now, actor, who, Phase.REVEAL, message.question, message.score)
        case _:
            return None


def _of_snapshot(snapshot: Snapshot, actor: str, who: str, now: Instant) -> Observation:
    phase, question = Phase(snapshot.phase), snapshot.question
    if question is None:
        return Observation(now, actor, who, phase, None, snapshot.score)
    remaining = question.remaining_ms / 1000 if phase is Phase.QUESTION else None
    return Observation(now, actor, who, phase, question.id, snapshot.score, remaining, question.correct)


def make_observing_client(experiment: Experiment, participant: ParticipantSpec, seed: int) -> ObservingClient:
    """The machine of one participant, as :func:`~resilience.lab.participants.make_scripted_client`, with a memory."""
    identity = Identity(EVENT, participant.actor, participant.actor)
    made = ObservingClient(
        identity, experiment.client.rules, experiment.quiz.player, random_for(seed, participant.actor)
    )
    made.observations = []
    return made
