"""Who takes part in an experiment, as machines: the same names, dials and draws in every lane. Pure.

A client's randomness depends on the seed and its own name only, so cohorts can be added or split over processes freely.
"""

from __future__ import annotations

import msgspec

from resilience.draws import random_for
from resilience.experiment.spec import Experiment
from resilience.protocol.client import Identity
from resilience.protocol.participant import ScriptedParticipant
from resilience.units import Instant

EVENT = "quiz"
"""The event that every lane's fleet takes part in."""


class Member(msgspec.Struct, frozen=True):
    """One participant of an experiment; ``index`` counts from 1 within its cohort."""

    actor: str
    cohort: str
    index: int


def members(experiment: Experiment) -> list[Member]:
    """Everybody who takes part, cohort by cohort."""
    return [
        Member(f"{cohort.name}-{i:04d}", cohort.name, i)
        for cohort in experiment.cohorts
        for i in range(1, cohort.clients + 1)
    ]


def scripted(experiment: Experiment, member: Member, seed: int) -> ScriptedParticipant:
    """The machine of one member."""
    identity = Identity(EVENT, member.actor, member.actor)
    return ScriptedParticipant(
        identity, experiment.client.rules, experiment.quiz.player, random_for(seed, member.actor)
    )


def first_dial(experiment: Experiment, member: Member, seed: int) -> Instant:
    """When this member dials for the first time: its own moment of the ramp, seconds after the run's start."""
    return experiment.ramp * random_for(seed, member.actor)("first_dial", 0, 0)
