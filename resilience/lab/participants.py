"""Who takes part in an experiment, as machines: the same names, dials and draws in every lane. Pure.

A client's randomness depends on the seed and its own name only, so cohorts can be added or split over processes freely.
"""

from __future__ import annotations

import msgspec

from resilience.experiment.spec import Experiment
from resilience.lab.scripted_client import ScriptedClient
from resilience.protocol.client.participant import Identity
from resilience.random_streams import random_for
from resilience.units import Instant

EVENT = "quiz"
"""The event that every lane's fleet takes part in."""


class ParticipantSpec(msgspec.Struct, frozen=True):
    """One participant of an experiment; ``index`` counts from 1 within its cohort, ``link`` names the link it uses."""

    actor: str
    cohort: str
    index: int
    link: str


def participants_of(experiment: Experiment, seed: int) -> list[ParticipantSpec]:
    """Every participant, cohort by cohort, in the order of their numbers."""
    links = {(group.cohort, index): group.name for group in experiment.links(seed) for index in group.indices}
    return [
        ParticipantSpec(client_name(cohort.name, i), cohort.name, i, links[cohort.name, i])
        for cohort in experiment.cohorts
        for i in range(1, cohort.clients + 1)
    ]


def client_names(experiment: Experiment) -> list[str]:
    """The names of all participants, in the same order."""
    return [client_name(cohort.name, i) for cohort in experiment.cohorts for i in range(1, cohort.clients + 1)]


def client_name(cohort: str, index: int) -> str:
    """The name, and actor in the log, of a cohort's client number ``index``, counted from 1."""
    return f"{cohort}-{index:04d}"


def tab_name(person: str, number: int) -> str:
    """The name, and actor in the log, of a participant's tab of this ``number``; its first one has its own name."""
    return f"{person}.tab{number}"


def next_tab(actor: str) -> str:
    """The name of the tab that the participant of this client opens after it."""
    person, _, tab = actor.partition(".tab")
    return tab_name(person, int(tab or 1) + 1)


def person_of(actor: str) -> str:
    """The name of the participant that this client plays for, whichever of its tabs it is."""
    return actor.partition(".")[0]


def make_scripted_client(experiment: Experiment, participant: ParticipantSpec, seed: int) -> ScriptedClient:
    """The machine of one participant."""
    identity = Identity(EVENT, participant.actor, participant.actor)
    return ScriptedClient(
        identity, experiment.client.rules, experiment.quiz.player, random_for(seed, participant.actor)
    )


def first_dial(experiment: Experiment, participant: ParticipantSpec, seed: int) -> Instant:
    """When this participant dials for the first time: its own moment of the ramp, seconds after the run's start."""
    return experiment.ramp * random_for(seed, participant.actor)("first_dial", 0, 0)
