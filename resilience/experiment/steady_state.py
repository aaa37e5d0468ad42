"""Whether the settings of this project's server let the clients of an experiment join in time. Pure."""

from __future__ import annotations

from math import ceil, inf
from typing import NamedTuple

from resilience.eventlog.vocabulary import Lane
from resilience.experiment.costs import MOST_PROCESSORS
from resilience.experiment.spec import Experiment
from resilience.units import Seconds

SPARE = 1.25
"""What is to be set exceeds the least that could do by so much, since clients do not dial evenly."""


class _Limit(NamedTuple):
    """How many clients can join at ``most`` because of what ``words`` name; ``remedy``: what to set instead."""

    words: str
    most: float
    remedy: str


def limit_on_joins(experiment: Experiment, lane: Lane) -> str | None:
    """The settings that let fewer clients join than the steady state wants, and what to set; None where none does.

    A necessary condition only: clients that dial unevenly, or a slow machine, need more. All clients of a run have one
    address. Only the lane ``model`` has ``costs``. Of another target's server nothing is known.
    """
    if experiment.target.kind != "quiz":
        return None
    within, wanted = experiment.hypothesis.within, experiment.hypothesis.joined * experiment.clients
    if wanted <= 0 or within <= 0:
        return None
    limits = [*_limits(experiment, wanted), *(_limits_of_costs(experiment, wanted) if lane is Lane.MODEL else [])]
    tight = [limit for limit in limits if limit.most < wanted]
    if not tight:
        return None
    most = min(limit.most for limit in tight)
    words, remedies = ", ".join(each.words for each in tight), ", ".join(each.remedy for each in tight)
    return (
        f"at most {most:,.0f} of {experiment.clients:,} clients can join within {within:g} s because of {words}: "
        f"set {remedies}, or a longer hypothesis.within before the first fault"
    )


def _limits(experiment: Experiment, wanted: float) -> list[_Limit]:
    """How many clients each setting of the server lets join by the time of the steady state."""
    server, within = experiment.server, experiment.hypothesis.within
    needed, everyone = SPARE * wanted, experiment.clients
    found = [
        _Limit(
            f"server.join_capacity ({server.join_capacity:g} joins per second)",
            server.join_capacity * within,
            f"server.join_capacity={ceil(needed / within)}",
        )
    ]
    if server.address_rate:
        found.append(
            _Limit(
                f"server.address_rate and server.address_burst ({server.address_rate:g} connections per second of one "
                f"address, {server.address_burst:,} at once)",
                server.address_burst + server.address_rate * within,
                f"server.address_rate={ceil((needed - server.address_burst) / within)}",
            )
        )
    for key, most in (("max_participants", server.max_participants), ("max_connections", server.max_connections)):
        if most:
            found.append(_Limit(f"server.{key} ({most:,})", most, f"server.{key}={everyone}"))
    return found


def _limits_of_costs(experiment: Experiment, wanted: float) -> list[_Limit]:
    """How many clients the modelled server can join: its replies are one thread's, which may do all the rest too."""
    costs, within = experiment.costs, experiment.hypothesis.within
    joins, replies = {"handshake": costs.handshake, "join": costs.join}, {"reply": costs.reply}
    if costs.shared_processors:
        return [_limit_of_thread(joins | replies, wanted, within)]
    return [_limit_of_processors(costs.processors, joins, wanted, within), _limit_of_thread(replies, wanted, within)]


def _limit_of_processors(processors: int, work: dict[str, Seconds], wanted: float, within: Seconds) -> _Limit:
    """More processors help, while there are not too many of them."""
    each = sum(work.values())
    needed, rate = ceil(SPARE * wanted * each / within), processors / each
    if needed > MOST_PROCESSORS:
        return _limit_of_thread(work, wanted, within, processors)
    words = f"costs (costs.processors={processors}: {rate:,.0f} joins per second)"
    return _Limit(words, rate * within, f"costs.processors={needed}")


def _limit_of_thread(work: dict[str, Seconds], wanted: float, within: Seconds, threads: int = 1) -> _Limit:
    """Only less work helps: each cost is to be at most an equal part of the time that a thread has for a client."""
    part = threads * within / (SPARE * wanted * len(work))
    great = [f"costs.{name}" for name, seconds in work.items() if seconds > part]
    each = sum(work.values())
    rate = threads / each if each else inf
    words = f"{' and '.join(great)} ({rate:,.0f} joins per second)"
    return _Limit(words, rate * within, ", ".join(f"{key}={part:.2g}" for key in great))
