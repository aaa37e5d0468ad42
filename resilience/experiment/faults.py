"""Faults as values, and the windows they unfold to. Pure: what a fault *does* is the business of each lane's injector.

All act on the links of whole cohorts. What each really does on the wire, with Toxiproxy's quirks copied by every lane:

``cut``        every connection of the cohort is closed once (FIN at both ends); new ones are accepted at once.
``refuse``     every connection is closed and new ones are refused until the window ends.
``blackhole``  bytes vanish while connections stay open; new connections are accepted but never answered; a close by
               either end still passes. When the window ends every connection of the cohort is closed, since bytes are
               missing.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from resilience.units import Instant, Seconds


class Direction(StrEnum):
    """Which way bytes vanish, seen from the client."""

    BOTH = "both"
    UP = "up"
    DOWN = "down"


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all faults share. ``at``: seconds after the run's start; ``times`` repetitions ``every`` so many seconds.

    ``jitter`` moves each repetition later by a seeded, uniform part of so many seconds.
    """

    at: Seconds
    cohorts: tuple[str, ...]
    times: int = 1
    every: Seconds | None = None
    jitter: Seconds = 0.0

    @property
    def kind(self) -> str:
        """The fault's name in experiment files, logs and reports."""
        return str(self.__struct_config__.tag)

    @property
    def length(self) -> Seconds:
        """How long the fault lasts; 0 for one that is over at once."""
        return float(getattr(self, "duration", 0.0))


class Cut(Fault, frozen=True, tag="cut"):
    """All connections closed once."""


class Refuse(Fault, frozen=True, tag="refuse", kw_only=True):
    """The link is down: connections closed, new ones refused, for ``duration`` seconds."""

    duration: Seconds


class Blackhole(Fault, frozen=True, tag="blackhole", kw_only=True):
    """Bytes vanish for ``duration`` seconds, in one or both directions."""

    duration: Seconds
    direction: Direction = Direction.BOTH


AnyFault = Cut | Refuse | Blackhole


class FaultWindow(msgspec.Struct, frozen=True):
    """One fault on one cohort, once: the unit that is injected, confirmed by a canary, and counted as one event.

    ``fault_id`` is ``"<index in the file>.<repetition>:<kind>@<cohort>"``; times are seconds after the run's start.
    """

    fault_id: str
    fault: AnyFault
    cohort: str
    starts_at: Instant
    ends_at: Instant
