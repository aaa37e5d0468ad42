"""Names the physical events of a population: what struck many at once, so that reports count it once. Pure.

An outage of a group (those of one carrier, cell or server process) has the group's name and its incident; a fault's has
the fault's id. Outages of one participant alone have no name here: the report pools them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..profiles.profile import NetworkProfile
from ..profiles.sampler import OWN_GROUP, Cause, cause_of, processes_of
from ..profiles.timelines import OutageTimelines

MOST_EVENTS = 200
"""Events of one process that get names: more, as of small access points, are pooled, since no report can list them."""

ALONE = ""
"""The name of an outage that is pooled."""


class NamedOutages(NamedTuple):
    """Timelines whose causes are places in ``names``."""

    timelines: OutageTimelines
    names: tuple[str, ...]


def named(timelines: OutageTimelines, cohort: str, profiles: Sequence[NetworkProfile]) -> NamedOutages:
    """The sampled outages of one cohort with the names of their events.

    A group of the whole population has one name in all cohorts; one of consecutive participants is a cohort's own.
    """
    if timelines.cause is None:
        raise ValueError("timelines: their causes are not known")
    codes, place = np.unique(timelines.cause, return_inverse=True)
    causes = [cause_of(code) for code in codes.tolist()]
    labels = []
    for label, process in processes_of(profiles):
        own = process.shared is not None and process.shared.members is not None
        labels.append(label.replace("/", ".") + (f".{cohort}" if own else ""))
    counts = np.bincount([cause.process for cause in causes if cause.group != OWN_GROUP], minlength=len(labels))
    names = tuple(_name(cause, labels) if counts[cause.process] <= MOST_EVENTS else ALONE for cause in causes)
    return NamedOutages(_with_causes(timelines, place.astype(np.int32)), names)


def united(parts: Sequence[NamedOutages]) -> NamedOutages:
    """The participants of all parts, one part after the other."""
    firsts = np.cumsum([0, *(len(part.names) for part in parts)])
    moved = []
    for part, first in zip(parts, firsts, strict=False):
        cause = part.timelines.cause
        own = np.zeros(0, np.int32) if cause is None else (cause + first).astype(np.int32)
        moved.append(_with_causes(part.timelines, own))
    return NamedOutages(OutageTimelines.concatenate(moved), tuple(name for part in parts for name in part.names))


def _with_causes(timelines: OutageTimelines, cause: npt.NDArray[np.int32]) -> OutageTimelines:
    return OutageTimelines(timelines.ptr, timelines.start, timelines.end, timelines.kind, cause)


def _name(cause: Cause, labels: Sequence[str]) -> str:
    return ALONE if cause.group == OWN_GROUP else f"{labels[cause.process]}-{cause.group}.{cause.incident}"
