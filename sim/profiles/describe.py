"""Network profiles, timelines and schedules in words and figures, for commands and pages. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from resilience.experiment.fault_rules import MIN_SILENCE_S

from .profile import GilbertElliott, NetworkProfile, Once, OutageProcess, Parameter, Poisson
from .schedule import MIN_GAP_S, MIN_REFUSAL_S, FaultSchedule
from .timelines import OutageKind, OutageTimelines

_QUANTILES = (0.5, 0.9, 0.99)


def arrivals_of(profile: NetworkProfile) -> list[str]:
    """Each process of a profile with how often it strikes and whom."""
    return [f"{name} {_often(process)}{_whom(process)}" for name, process in profile.outages.items()]


def process_lines(profile: NetworkProfile) -> list[str]:
    """A line for each process: what it is, how often it strikes, and whom."""
    return [
        f"{words}: {process.about}"
        for words, process in zip(arrivals_of(profile), profile.outages.values(), strict=True)
    ]


def parameter_rows(profile: NetworkProfile) -> Iterator[tuple[str, str, str]]:
    """Key, value and provenance of every parameter."""
    for key, parameter in profile.parameters():
        yield key, f"{parameter.value:g}", _basis(profile, parameter)


def summary_of(timelines: OutageTimelines) -> list[str]:
    """How many outages there are, how long they last, and how many participants have any."""
    count, participants = timelines.outages, timelines.participants
    struck = int((np.diff(timelines.ptr) > 0).sum())
    each = count / max(participants, 1)
    lines = [f"{participants:,} participants, of which {struck:,} have an outage; {count:,} outages, {each:.2f} each"]
    if count:
        lengths = timelines.end - timelines.start
        at = ", ".join(f"p{q * 100:.0f} {np.quantile(lengths, q):.1f} s" for q in _QUANTILES)
        lines.append(f"length: mean {lengths.mean():.1f} s, {at}, longest {lengths.max():.1f} s")
        kinds = np.bincount(timelines.kind, minlength=len(OutageKind))
        shares = (f"{kind.name.lower()} {number:,}" for kind, number in zip(OutageKind, kinds, strict=True) if number)
        lines.append(f"kind: {', '.join(shares)}")
    return lines


def schedule_lines(made: FaultSchedule) -> list[str]:
    """What an experiment made of timelines has, and what it has not."""
    run = made.experiment
    size = f"{run.clients:,} clients in {len(run.cohorts):,} cohorts, {len(run.windows()):,} fault windows"
    lines = [f"{size}, {run.duration:.0f} s; lanes: {', '.join(run.lanes)}"]
    if made.left_out:
        limits = f"silent below {MIN_SILENCE_S:g} s, refused below {MIN_REFUSAL_S:g} s"
        lines.append(f"left out: {made.left_out:,} outages too short for a canary to see ({limits})")
    if made.close:
        why = "a canary may not see the link work in between, and the report excludes such a window"
        lines.append(f"close: {made.close:,} outages less than {MIN_GAP_S:g} s after another of their cohort; {why}")
    return lines


def _often(process: OutageProcess) -> str:
    match process.arrivals:
        case Poisson(per_hour=per_hour):
            return f"{per_hour.value:g}/h"
        case GilbertElliott(bad=bad, burst=burst):
            return f"{bad.value:.1%} of the time in bursts of {burst.value:g} s"
        case Once(at=at):
            return f"once, at {at.value:.0%} of the time"


def _whom(process: OutageProcess) -> str:
    shared = process.shared
    if shared is None:
        return ""
    part = "" if shared.struck.value == 1.0 else f"{shared.struck.value:.0%} of "
    if shared.members is not None:
        return f" for {part}each {shared.members.value:g} participants"
    number = 1.0 if shared.groups is None else shared.groups.value
    return f" for {part or 'all of '}the population" if number == 1.0 else f" for {part}each of {number:g} groups"


def _basis(profile: NetworkProfile, parameter: Parameter) -> str:
    note = f" ({parameter.note})" if parameter.note else ""
    if parameter.published:
        return f"published: {profile.sources[parameter.published].citation}{note}"
    return f"assumed: {parameter.assumed}{note}"
