"""What a capacity answer rests on, and where it does not hold: the sentences of its report."""

from __future__ import annotations

from reports.sweep import Assumption, Provenance

from .triggers import DURATIONS, CapacityPlan, Trigger


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
    if plan.client.open_timeout <= plan.server.admission_seconds:
        limits.append("clients that open a second connection while the first one waits")
    return tuple(limits)
