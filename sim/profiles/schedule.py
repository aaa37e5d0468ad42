"""Outage timelines as the fault schedule of an experiment, and the faults of an experiment as timelines. Pure.

Participants with the same outages share a cohort, so that a simulated event can be run against the real server. A
silent outage becomes ``freeze``, as TCP sends again what a silent link has lost and a connection survives a short one;
or ``blackhole``, which ends every connection, as a link does that returns with another address. A refused one and a
deployment become ``refuse``, a suspended client ``client_suspend``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from resilience.errors import UsageError, require
from resilience.experiment.fault_rules import MIN_SILENCE_S
from resilience.experiment.faults import (
    AnyFault,
    BlackholeFault,
    ClientSuspendFault,
    FreezeFault,
    RefuseFault,
    StallFault,
)
from resilience.experiment.schedule import FaultWindow
from resilience.experiment.spec import Cohort, Expectation, Experiment, Hypothesis, Op
from resilience.units import Seconds

from .timelines import Ints, Outage, OutageKind, OutageTimelines, merged

LEAD_S: Seconds = 10.0
"""A timeline's begin is so long after a run's start: by then the clients have joined, and faults may strike."""

SETTLE_S: Seconds = 30.0
"""A run continues so long after its last outage, for the last participants to return."""

MIN_REFUSAL_S: Seconds = 0.1
"""A canary hardly sees a shorter refusal."""

MIN_GAP_S: Seconds = 0.3
"""Within a shorter gap a canary may not see that a link works again, and the report excludes the second window."""

MAX_COHORTS = 100
"""Each has a link of its own, in the real lane a proxy process."""

MIN_STEP_S: Seconds = 0.1
MAX_STEP_S: Seconds = 60.0
"""Instants are rounded to multiples of a step between these."""

CALM = "calm"

Fate = tuple[Outage, ...]
SilentFault = Literal["freeze", "blackhole"]

_KINDS: Mapping[type, OutageKind] = {
    BlackholeFault: OutageKind.SILENT,
    FreezeFault: OutageKind.SILENT,
    StallFault: OutageKind.SILENT,
    RefuseFault: OutageKind.REFUSED,
    ClientSuspendFault: OutageKind.SUSPENDED,
}


class FaultSchedule(NamedTuple):
    """An experiment that repeats timelines.

    ``members``: the participants of each cohort, in the order of its clients. ``left_out``: how many outages were too
    short for a fault; participants that have no others are in the cohort ``calm``. ``close``: how many follow another
    one of their cohort within :data:`MIN_GAP_S`.
    """

    experiment: Experiment
    members: Mapping[str, tuple[int, ...]]
    left_out: int
    close: int


def schedule_of(
    timelines: OutageTimelines,
    name: str,
    silent: SilentFault = "freeze",
    success: float | None = None,
    most_cohorts: int = MAX_COHORTS,
) -> FaultSchedule:
    """The timelines as an experiment of this name, which expects this ``success`` rate, if any.

    Raises :class:`~resilience.errors.UsageError` when there are more different fates than cohorts allowed, and
    :class:`~resilience.errors.ConfigError` for what no experiment can be, such as one without participants.
    """
    members, left_out = _fates(timelines)
    if len(members) > most_cohorts:
        raise UsageError(
            f"{len(members)} different timelines, and each needs a cohort with a link of its own; at most"
            f" {most_cohorts} are allowed: round instants, or use fewer participants or profiles of shared outages"
        )
    names = _cohort_names(members)
    last = max((outage.end for fate in members for outage in fate), default=0.0)
    experiment = Experiment(
        name=name,
        title="Outages of a timeline, repeated as faults",
        duration=LEAD_S + last + SETTLE_S,
        cohorts=tuple(Cohort(names[fate], len(who)) for fate, who in members.items()),
        faults=tuple(_faults(members, names, silent)),
        hypothesis=Hypothesis(within=LEAD_S),
        expectations=() if success is None else (Expectation("success_rate", Op.AT_LEAST, success),),
    )
    close = sum(later.start - earlier.end < MIN_GAP_S for fate in members for earlier, later in pairwise(fate))
    return FaultSchedule(experiment, {names[fate]: tuple(who) for fate, who in members.items()}, left_out, close)


def rounded(timelines: OutageTimelines, step: Seconds) -> OutageTimelines:
    """Begins and ends at the nearest multiples of ``step`` seconds, so that similar outages become one of a cohort.

    An outage that would have no length lasts one step. Raises :class:`~resilience.errors.ConfigError` for a step that
    is not from 0.1 to 60 s.
    """
    require(MIN_STEP_S <= step <= MAX_STEP_S, "round", step, f"must be from {MIN_STEP_S:g} to {MAX_STEP_S:g} s")
    start = np.floor(timelines.start / step + 0.5)
    end = np.maximum(np.floor(timelines.end / step + 0.5), start + 1)
    return merged(timelines.participants, timelines.owner, start * step, end * step, timelines.kind)


def timelines_of(experiment: Experiment, seed: int | None = None, lead: Seconds = LEAD_S) -> OutageTimelines:
    """The outages that the faults of an experiment cause, of its clients cohort by cohort, from ``lead`` seconds on.

    Raises :class:`~resilience.errors.UsageError` for a fault that is no outage, or one that begins before.
    """
    outages: list[list[Outage]] = [[] for _ in range(experiment.clients)]
    for window, _, who in strikes_of(experiment, seed):
        kind = _KINDS.get(type(window.fault))
        if kind is None:
            raise UsageError(f"{window.fault_id}: {window.fault.kind} is no outage of a link or client")
        if window.starts_at < lead:
            raise UsageError(f"{window.fault_id}: begins at {window.starts_at:g} s, before the timeline ({lead:g} s)")
        outage = Outage(window.starts_at - lead, window.ends_at - lead, kind)
        for participant in who.tolist():
            outages[participant].append(outage)
    return OutageTimelines.of(outages)


class Strike(NamedTuple):
    """A fault window on one link: ``who`` of all clients, counted from 0 cohort by cohort, and the ``cohort`` they are.

    ``who``: int64 of shape (k,).
    """

    window: FaultWindow
    cohort: str
    who: Ints


def strikes_of(experiment: Experiment, seed: int | None = None) -> Iterator[Strike]:
    """The fault windows link by link, in the order of their starts."""
    links = {link.name: link for link in experiment.links(seed)}
    first, begin = {}, 0
    for cohort in experiment.cohorts:
        first[cohort.name], begin = begin, begin + cohort.clients
    for window in experiment.windows(seed):
        for link in (links[name] for name in window.links):
            yield Strike(window, link.cohort, np.array(link.indices, np.int64) + (first[link.cohort] - 1))


def _fates(timelines: OutageTimelines) -> tuple[dict[Fate, list[int]], int]:
    """The participants of each set of outages that a fault can carry out, and how many outages none can."""
    members: dict[Fate, list[int]] = {}
    left_out = 0
    for participant, outages in enumerate(timelines):
        fate = tuple(_as_fault(outage) for outage in outages if _can_be_shown(outage))
        left_out += len(outages) - len(fate)
        members.setdefault(fate, []).append(participant)
    return members, left_out


def _can_be_shown(outage: Outage) -> bool:
    refuses = outage.kind in {OutageKind.REFUSED, OutageKind.DEPLOY}
    return outage.end - outage.start >= (MIN_REFUSAL_S if refuses else MIN_SILENCE_S)


def _as_fault(outage: Outage) -> Outage:
    """A deployment is the fault of a refused outage: they make one fate."""
    return outage._replace(kind=OutageKind.REFUSED) if outage.kind is OutageKind.DEPLOY else outage


def _cohort_names(members: Mapping[Fate, list[int]]) -> dict[Fate, str]:
    struck = [fate for fate in members if fate]
    return {fate: f"fate-{number}" for number, fate in enumerate(struck, 1)} | {(): CALM}


def _faults(members: Mapping[Fate, list[int]], names: Mapping[Fate, str], silent: SilentFault) -> list[AnyFault]:
    """One fault for each different outage, of all cohorts that have it, in the order of their begins."""
    struck: dict[Outage, list[str]] = {}
    for fate in members:
        for outage in fate:
            struck.setdefault(outage, []).append(names[fate])
    return [_fault(outage, tuple(struck[outage]), silent) for outage in sorted(struck)]


def _fault(outage: Outage, cohorts: tuple[str, ...], silent: SilentFault) -> AnyFault:
    at, duration = LEAD_S + outage.start, outage.end - outage.start
    match outage.kind:
        case OutageKind.SILENT if silent == "blackhole":
            return BlackholeFault(at, cohorts, duration=duration)
        case OutageKind.SILENT:
            return FreezeFault(at, cohorts, duration=duration)
        case OutageKind.SUSPENDED:
            return ClientSuspendFault(at, cohorts, duration=duration)
        case _:
            return RefuseFault(at, cohorts, duration=duration)
