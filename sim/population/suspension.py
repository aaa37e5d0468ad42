"""What a suspension does to a steady client: it sees nothing until its end, while its server waits for it. Pure.

What reaches a suspended client waits in its system's buffers. When the client continues it reads that first, then its
timers ring; so late a timer or message makes it probe and not despair. It has lost its server if that has ended the
connection meanwhile. All arrays are float64 of one shape, instants and durations in seconds on the grid.
"""

from __future__ import annotations

import numpy as np

from resilience.policy.failure_detectors import LAG_TOLERANCE_S
from resilience.protocol.client.connection import SLEEP_THRESHOLD_S

from ..profiles.timelines import TICK_S
from .population import Floats
from .rules import SETTLE_S, PopulationRules
from .steady import Contact, Fates, Flags, OutageColumns, Steady, last_contact


def suspended_fates(before: Steady, outages: OutageColumns, rules: PopulationRules) -> Fates:
    """What :func:`sim.population.steady.fates` decides, for outages that are suspensions."""
    interval, latency, end = rules.heartbeat.interval, before.latency, outages.end
    contact = last_contact(before, outages.start, outages.start + latency, rules)
    next_ping = contact.next_ping
    grace_ends = contact.server + rules.heartbeat.grace
    lost = grace_ends + latency < end
    reads, probes = _wakes(contact, next_ping + latency, end)
    doubtful = _is_doubtful(contact, outages, latency)
    doubtful |= ~lost & (reads | probes) & _is_near_ping(end, next_ping, latency, interval)
    doubtful |= ~lost & (reads | probes) & (end + latency >= grace_ends)
    doubtful |= ~lost & ~reads & (end - contact.asks > SLEEP_THRESHOLD_S)
    doubtful |= ~lost & (outages.next_start < end + SETTLE_S)
    later = next_ping + interval * np.maximum(np.ceil((end - next_ping) / interval), 0.0)
    after = _after(before, end, reads, probes, later)
    expires = contact.server + rules.heartbeat.cleanup
    rode = ~lost & ~doubtful
    return Fates(doubtful, rode, end, grace_ends, expires, after, contact.pings, contact.last_ping)


def _wakes(contact: Contact, arrives: Floats, end: Floats) -> tuple[Flags, Flags]:
    """Whether a client that continues finds a ping, the first of which ``arrives`` then; and whether it probes."""
    reads = arrives < end
    return reads, (contact.asks < end) & (~reads | (end - contact.asks > LAG_TOLERANCE_S))


def _is_doubtful(contact: Contact, outages: OutageColumns, latency: Floats) -> Flags:
    """Whether a probe is out when the client stops, or two things fall together at either end."""
    start, end, asks, arrives = outages.start, outages.end, contact.asks, contact.next_ping + latency
    together: Flags = (asks == end) | (arrives == start) | (arrives == end)
    return contact.unknown | (asks <= start) | together


def _is_near_ping(end: Floats, next_ping: Floats, latency: Floats, interval: float) -> Flags:
    """Whether a ping may be under way when the client has continued; an unanswered one is repeated half-way."""
    half = interval / 2
    phase, reach = np.mod(end - next_ping, half), 3 * latency + TICK_S
    return (phase <= reach) | (phase >= half - reach)


def _after(before: Steady, end: Floats, reads: Flags, probes: Flags, later: Floats) -> Steady:
    """The steady state of those whose connection outlives the suspension; ``later``: the first ping after that."""
    latency, touched = before.latency, reads | probes
    return Steady(
        np.where(touched, np.where(probes, end + 2 * latency, end), before.origin),
        np.where(touched, end + latency, before.heard),
        np.where(touched, later, before.ping),
        latency,
    )
