"""What a fault is, whatever its kind: when it strikes and whom, what is done at both ends of a window. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

import msgspec

from resilience.eventlog.vocabulary import Lane
from resilience.experiment.primitives import Condition, Direction, FaultTarget, Impose, Lift, Operation, Symptom
from resilience.units import Instant, Seconds

EVERY_LANE = frozenset((Lane.REAL, Lane.VIRTUAL, Lane.MODEL))
AND_POPULATION = EVERY_LANE | {Lane.POPULATION}
"""Those of a fault that is one outage for each client, which arrays of outages can hold."""
CODE_LANES = frozenset((Lane.REAL, Lane.VIRTUAL))
"""Those that run the product's own code over connections that carry bytes; the model's carry messages."""


class FaultEdge(StrEnum):
    """One of the two ends of a fault window."""

    BEGIN = "begin"
    END = "end"


class Composition(msgspec.Struct, frozen=True):
    """What is done when a window begins and when it ends, in this order, and what a canary must see meanwhile."""

    begin: tuple[Operation, ...]
    symptom: Symptom
    end: tuple[Operation, ...] = ()


def holding(condition: Condition, symptom: Symptom) -> Composition:
    """A condition that holds from the window's begin to its end."""
    return Composition(begin=(Impose(condition),), end=(Lift(condition),), symptom=symptom)


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all kinds share: when the fault strikes, and whom.

    ``at``: seconds after the run's start. ``cohorts``: whose links or clients; a fault of the server names none.
    ``times`` repetitions, ``every`` so many seconds; or, instead of both, repetitions with independent seeded gaps of
    ``mean_gap`` seconds on average (a Poisson process), from ``at`` on, none later than ``until``. ``flaps``: each
    repetition strikes so often, ``flap_every`` seconds apart. ``rolling``: each further cohort is struck so many
    seconds later. ``jitter`` moves each repetition later by a seeded, uniform part of so many seconds. ``share``: the
    seeded part of each cohort's clients that is struck.

    ``connections_end``: by which end of the window every connection that it touches is closed; ``None`` for a kind that
    a connection can survive. ``holds_back``: whether bytes arrive, or are read, but late.
    ``disturbs``: whether a loss within its window is its work; ``fleet_only``: whether it needs this program's own
    clients. ``lanes``: those that can carry the kind.
    """

    at: Seconds
    cohorts: tuple[str, ...] = ()
    times: int = 1
    every: Seconds | None = None
    mean_gap: Seconds | None = None
    until: Instant | None = None
    flaps: int = 1
    flap_every: Seconds | None = None
    rolling: Seconds = 0.0
    jitter: Seconds = 0.0
    share: float = 1.0

    target: ClassVar[FaultTarget] = FaultTarget.LINK
    connections_end: ClassVar[FaultEdge | None] = None
    holds_back: ClassVar[bool] = False
    disturbs: ClassVar[bool] = True
    fleet_only: ClassVar[bool] = False
    lanes: ClassVar[frozenset[Lane]] = EVERY_LANE

    @property
    def kind(self) -> str:
        """The fault's name in experiment files, logs and reports."""
        return str(self.__struct_config__.tag)

    @property
    def length(self) -> Seconds:
        """How long one strike lasts; 0 for one that is over at once."""
        return float(getattr(self, "duration", 0.0))

    @property
    def lasts(self) -> Seconds | None:
        """How long the fault lasts once it has begun, within its window; ``None``: to the window's end."""
        return None

    @property
    def silent_ways(self) -> tuple[Direction, ...]:
        """The directions in which nothing arrives on an open connection while the window holds."""
        return ()

    @property
    def own(self) -> tuple[tuple[str, object], ...]:
        """The values that only this kind has and that are not at rest: names and numbers, the duration apart."""
        shared = {*Fault.__struct_fields__, "duration"}
        values = ((name, getattr(self, name)) for name in self.__struct_fields__ if name not in shared)
        return tuple((name, value) for name, value in values if isinstance(value, int | float | str) and value)

    def may_end_connections(self, timeout: Seconds) -> bool:
        """Whether clients that take a silence of ``timeout`` seconds for a loss may lose connections to it."""
        return self.connections_end is not None or (bool(self.silent_ways) and self.length > timeout)

    @property
    def composition(self) -> Composition:
        """What the fault does, in primitive operations."""
        raise NotImplementedError
