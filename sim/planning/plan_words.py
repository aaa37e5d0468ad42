"""What a capacity answer rests on, and where it does not hold: the sentences of its report."""

from __future__ import annotations

from reports.sweep import Assumption, Provenance
from resilience.units import Seconds

from .estimates import time_to_return
from .triggers import DURATIONS, CapacityPlan, Trigger, crowd_of


def assumptions_of(plan: CapacityPlan, trigger: Trigger) -> tuple[Assumption, ...]:
    """Every number of the plan that is an assumption about the world, with its provenance."""
    source = "; ".join(plan.calibrated_on)
    measured = Provenance.MEASURED if source else Provenance.ASSUMED
    own = trigger.duration is None or trigger.length == DURATIONS[trigger.kind]
    found = [
        Assumption(
            name="joins per second and process",
            value=plan.server.join_capacity,
            unit="/s",
            provenance=measured,
            source=source,
        ),
        Assumption(
            name="length of the outage" + (" (default)" if own else ""),
            value=trigger.length,
            unit="s",
            provenance=Provenance.ASSUMED,
        ),
        Assumption(
            name="connections of one process at most",
            value=float(plan.connections_per_process),
            provenance=Provenance.ASSUMED,
        ),
    ]
    mixes = [
        Assumption(
            name=f"share of the profile {name}",
            value=share,
            provenance=Provenance.ASSUMED,
        )
        for name, share in plan.mix.items()
    ]
    return (*found, *mixes)


def limits_of(plan: CapacityPlan) -> tuple[str, ...]:
    """What the population lane leaves out, as far as a plan may be affected."""
    limits = [
        "joins that wait for a shared database: processes share nothing here",
        "sending: a broadcast to all that returned takes no time of the server",
        "a load balancer that limits connections, or sends returning participants unevenly",
    ]
    if plan.event_size:
        limits.append(
            "several events on one process: all its participants get one return window here, but the server announces "
            "one to each event by its own size, so first attempts come closer together and the ladder is shorter"
        )
    if plan.client.open_timeout <= plan.server.admission_seconds:
        limits.append("clients that open a second connection while the first one waits")
    return tuple(limits)


def limiting_words(plan: CapacityPlan, trigger: Trigger, processes: int, holds: Seconds | None) -> tuple[str, ...]:
    """Why so many processes miss the target. ``holds``: the longest downtime that they were shown to hold."""
    parts, longest = time_to_return(plan, trigger, processes), plan.target.longest_downtime
    if parts.queue > parts.ladder:
        cause = (
            f"{crowd_of(plan, trigger, processes).struck:,} participants return to one process, which lets in "
            f"server.join_capacity = {plan.server.join_capacity:g} a second: {parts.queue:.1f} s of work"
        )
    else:
        cause = (
            f"the outage takes {parts.outage:g} s, and a client that failed during it waits up to {parts.ladder:.1f} s "
            "for its next attempt"
        )
    said = [f"What limits {processes:,} server processes: {cause}; target.longest_downtime is {longest:g} s."]
    if holds is not None:
        said.append(f"They hold target.longest_downtime = {holds:g}.")
    return tuple(said)


def undecided_words(processes: int) -> str:
    """What is said where even the most processes are neither shown to hold the target nor to miss it."""
    return f"{processes:,} server processes are not shown to miss the target: more replications would tell."
