"""What a suspension does to a steady client: it sees nothing until its end, while its server waits for it. Pure.

What reaches a suspended client waits in its system's buffers. When the client continues it reads that first, then its
timers ring; so late a timer or message makes it probe and not despair. It has lost its server if that has ended the
connection meanwhile. All arrays are float64 of one shape, instants and durations in seconds on the grid.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from resilience.policy.failure_detectors import LAG_TOLERANCE_S
from resilience.protocol.client.connection import SLEEP_THRESHOLD_S

from ..profiles.timelines import TICK_S
from .population import Rows
from .rules import SETTLE_S, PopulationRules
from .steady import Contact, Fates, Flags, Floats, OutageColumns, Steady, last_contact, pings_before


def suspended_fates(before: Steady, outages: OutageColumns, rules: PopulationRules) -> Fates:
    """What :func:`sim.population.steady.fates` decides, for outages that are suspensions."""
    interval, latency, end = rules.heartbeat.interval, before.latency, outages.end
    pings = pings_before(before, outages.start, interval)
    last_ping = before.ping + interval * pings
    contact = last_contact(before, outages.start, outages.start + latency, pings, last_ping, rules)
    next_ping = np.where(pings < 0, before.ping, last_ping + interval)
    grace_ends = contact.server + rules.heartbeat.grace
    lost = grace_ends + latency < end
    reads, probes = _wakes(contact, next_ping + latency, end)
    doubtful = _is_doubtful(contact, outages, next_ping, latency)
    doubtful |= ~lost & (reads | probes) & _is_near_ping(end, next_ping, latency, interval)
    doubtful |= ~lost & (reads | probes) & (end + latency >= grace_ends)
    doubtful |= ~lost & ~reads & (end - contact.asks > SLEEP_THRESHOLD_S)
    doubtful |= ~lost & (outages.next_start < end + SETTLE_S)
    after = _after(before, end, reads, probes, next_ping, interval)
    expires = contact.server + rules.heartbeat.cleanup
    return Fates(doubtful, ~lost & ~doubtful, end, grace_ends, expires, after, pings, last_ping)


def put_suspended(fate: Fates, before: Steady, outages: OutageColumns, rules: PopulationRules) -> Fates:
    """These fates, with those of the suspended clients among them decided."""
    rows = np.flatnonzero(outages.suspended)
    if not len(rows):
        return fate
    found = suspended_fates(before.take(rows), outages.take(rows), rules)
    return _put(fate, rows, found)


def _put(into: Fates, rows: Rows, values: Fates) -> Fates:
    columns = {}
    for field in dataclasses.fields(Fates):
        mine, theirs = getattr(into, field.name), getattr(values, field.name)
        if isinstance(mine, Steady):
            columns[field.name] = Steady(*(_changed(*pair, rows) for pair in zip(_of(mine), _of(theirs), strict=True)))
        else:
            columns[field.name] = _changed(mine, theirs, rows)
    return Fates(**columns)


def _of(steady: Steady) -> tuple[Floats, ...]:
    return steady.origin, steady.heard, steady.ping, steady.latency


def _changed(column: Floats, values: Floats, rows: Rows) -> Floats:
    column = column.copy()
    column[rows] = values
    return column


def _wakes(contact: Contact, arrives: Floats, end: Floats) -> tuple[Flags, Flags]:
    """Whether a client that continues finds a ping, the first of which ``arrives`` then; and whether it probes."""
    reads = arrives < end
    return reads, (contact.asks < end) & (~reads | (end - contact.asks > LAG_TOLERANCE_S))


def _is_doubtful(contact: Contact, outages: OutageColumns, next_ping: Floats, latency: Floats) -> Flags:
    """Whether a probe is out when the client stops, or two things fall together at either end."""
    start, end, asks, arrives = outages.start, outages.end, contact.asks, next_ping + latency
    return contact.unknown | (asks <= start) | (asks == end) | (arrives == start) | (arrives == end)


def _is_near_ping(end: Floats, next_ping: Floats, latency: Floats, interval: float) -> Flags:
    """Whether a ping may be under way when the client has continued; an unanswered one is repeated half-way."""
    half = interval / 2
    phase, reach = np.mod(end - next_ping, half), 3 * latency + TICK_S
    return (phase <= reach) | (phase >= half - reach)


def _after(before: Steady, end: Floats, reads: Flags, probes: Flags, next_ping: Floats, interval: float) -> Steady:
    """The steady state of those whose connection outlives the suspension."""
    latency, touched = before.latency, reads | probes
    later = next_ping + interval * np.maximum(np.ceil((end - next_ping) / interval), 0.0)
    return Steady(
        np.where(touched, np.where(probes, end + 2 * latency, end), before.origin),
        np.where(touched, end + latency, before.heard),
        np.where(touched, later, before.ping),
        latency,
    )
