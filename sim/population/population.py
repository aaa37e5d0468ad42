"""Who takes part: one row of each array is one participant. And the outcome of them: one row is one outage.

Arrays are shared by all tiers; a tier writes the rows of its own participants only.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from resilience.units import Instant

from ..profiles.timelines import OutageTimelines
from .rules import MAX_LATENCY_S, PopulationRules

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
"""Numbers of rows of another array."""


class EpisodeOutcome(IntEnum):
    """The outcome of one outage. ``CENSORED``: the run ended before that was known."""

    NOT_EXPOSED = 0
    RESTORED = 1
    GAVE_UP = 2
    RODE_THROUGH = 3
    CENSORED = 4


@dataclass(frozen=True, eq=False)
class Population:
    """``n`` participants. ``seeds``: uint64 of shape (n,), each one's seed of all its draws, as ``random_for`` has it.

    ``latency``: float64 of shape (n,), one way, seconds on the grid, above 0 and at most ``MAX_LATENCY_S``.
    ``jitter``: float64 of shape (n,), by how much a trip is shorter or longer at most, from 0 to the latency; together
    they are at most ``MAX_LATENCY_S``. ``None``: of none.
    ``causes``: the names of physical events, of which a timeline's ``cause`` is the place; see ``causes``.
    ``ends``: the instants, in order, at which the process of every server ends, with all that it had in its queue.
    ``standstills``: from when to when that of every server stands still, in order and apart; each is an outage of all.
    Raises ``ValueError`` when an array breaks its rule.
    """

    seeds: npt.NDArray[np.uint64]
    latency: Floats
    timelines: OutageTimelines
    causes: tuple[str, ...] = ()
    ends: tuple[Instant, ...] = ()
    standstills: tuple[tuple[Instant, Instant], ...] = ()
    jitter: Floats | None = None

    def __post_init__(self) -> None:
        """Check the shapes and the latencies."""
        n = self.timelines.participants
        if not (self.seeds.shape == self.latency.shape == (n,)):
            raise ValueError(f"population: seeds and latency must have one row for each of the {n} timelines")
        if n and not (self.latency.min() > 0 and self.latency.max() <= MAX_LATENCY_S):
            raise ValueError(f"population: a one-way latency must be above 0 and at most {MAX_LATENCY_S} s")
        if self.jitter is not None:
            _check_jitter(self.jitter, self.latency)

    @property
    def size(self) -> int:
        """``n``."""
        return len(self.seeds)

    def take(self, who: Rows) -> Population:
        """These participants, in this order."""
        timelines, jitter = self.timelines.take(who), None if self.jitter is None else self.jitter[who]
        return Population(
            self.seeds[who], self.latency[who], timelines, self.causes, self.ends, self.standstills, jitter
        )


def _check_jitter(jitter: Floats, latency: Floats) -> None:
    if jitter.shape != latency.shape:
        raise ValueError("population: jitter must have one row for each participant")
    if not ((jitter >= 0) & (jitter <= latency) & (jitter + latency <= MAX_LATENCY_S)).all():
        rule = f"must be from 0 to the one-way latency, and both together at most {MAX_LATENCY_S} s"
        raise ValueError(f"population: jitter {rule}")


@dataclass(eq=False)
class Episodes:
    """One row for each of the ``m`` outages, in the order of the timelines; all arrays have the shape (m,).

    ``outcome``: uint8 of :class:`EpisodeOutcome`. ``detected``, ``ended``: float64, the instants in seconds at
    which the client noticed it and at which it was back or gave up, NaN if not.
    ``attempts``: int16, the retry policy's count when it was over. ``dials``: int16. ``grace_ended``, ``cleaned_up``:
    whether the server's grace period ended, and whether the return came after the clean-up.
    """

    outcome: npt.NDArray[np.uint8]
    detected: Floats
    ended: Floats
    attempts: npt.NDArray[np.int16]
    dials: npt.NDArray[np.int16]
    grace_ended: npt.NDArray[np.bool_]
    cleaned_up: npt.NDArray[np.bool_]

    COLUMNS = ("outcome", "detected", "ended", "attempts", "dials", "grace_ended", "cleaned_up")

    @classmethod
    def empty(cls, m: int) -> Episodes:
        """So many outages of which nothing is known yet."""
        nan = np.full(m, np.nan)
        return cls(
            np.zeros(m, np.uint8),
            nan,
            nan.copy(),
            np.zeros(m, np.int16),
            np.zeros(m, np.int16),
            np.zeros(m, np.bool_),
            np.zeros(m, np.bool_),
        )

    def put(self, rows: Rows, part: Episodes) -> None:
        """Write the outages of ``part`` to these rows."""
        for name in self.COLUMNS:
            getattr(self, name)[rows] = getattr(part, name)

    def close(self, timelines: OutageTimelines, rules: PopulationRules) -> None:
        """The run has ended: mark what is open, and what may yet be noticed."""
        noticed = np.isfinite(self.detected)
        waiting = self.outcome == EpisodeOutcome.RODE_THROUGH
        probe = rules.client.probe
        unknown = timelines.end + (probe.silence + probe.deadline + SETTLED_S) >= rules.duration
        self.outcome[waiting & (noticed | unknown)] = EpisodeOutcome.CENSORED

    @property
    def digest(self) -> str:
        """SHA-256 of all columns, hexadecimal."""
        digest = hashlib.sha256()
        for name in self.COLUMNS:
            digest.update(np.ascontiguousarray(getattr(self, name)).tobytes())
        return digest.hexdigest()


SETTLED_S = 1.0
"""An answer that an outage held back is there so long after its end."""
