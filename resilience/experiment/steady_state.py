"""Whether the settings of this project's server let the clients of an experiment join in time. Pure."""

from __future__ import annotations

from math import inf

from resilience.eventlog.vocabulary import Lane
from resilience.experiment.spec import Experiment


def limit_on_joins(experiment: Experiment, lane: Lane) -> str | None:
    """The settings that let fewer clients join than the steady state wants, and what to set; None where none does.

    A necessary condition only: clients that dial unevenly, or a slow machine, need more. All clients of a run have one
    address. Only the lane ``model`` has ``costs``. Of another target's server nothing is known.
    """
    if experiment.target.kind != "quiz":
        return None
    within, wanted = experiment.hypothesis.within, experiment.hypothesis.joined * experiment.clients
    limits = _limits(experiment) | (_limit_of_costs(experiment) if lane is Lane.MODEL else {})
    tight = {words: most for words, most in limits.items() if most < wanted}
    if not tight:
        return None
    names = ", ".join(tight)
    return (
        f"at most {min(tight.values()):,.0f} of {experiment.clients:,} clients can join within {within:g} s because of "
        f"{names}: set more, or a longer hypothesis.within before the first fault"
    )


def _limits(experiment: Experiment) -> dict[str, float]:
    """How many clients each setting lets join by the time of the steady state."""
    server, within = experiment.server, experiment.hypothesis.within
    by_address = server.address_burst + server.address_rate * within if server.address_rate else inf
    return {
        f"server.join_capacity ({server.join_capacity:g} joins per second)": server.join_capacity * within,
        f"server.address_rate and server.address_burst ({server.address_rate:g} connections per second of one address, "
        f"{server.address_burst:,} at once)": by_address,
        f"server.max_participants ({server.max_participants:,})": server.max_participants or inf,
        f"server.max_connections ({server.max_connections:,})": server.max_connections or inf,
    }


def _limit_of_costs(experiment: Experiment) -> dict[str, float]:
    costs, within = experiment.costs, experiment.hypothesis.within
    each = costs.handshake + costs.join
    rate = costs.processors / each if each else inf
    return {f"costs (costs.processors={costs.processors}: {rate:,.0f} joins per second)": rate * within}
