"""What a standstill of its server does to a steady client, from its begin to the client's loss or to calm. Pure.

The connection stays. What the server sent before still arrives; what the client sends is read when the process
continues, and answered then; a ping that was due meanwhile leaves then too. A client that has waited for longer than
its deadline has closed the connection, and its dials wait at the server. Every peer gets the time back. All arrays are
float64 of one shape, instants and durations in seconds on the grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from resilience.policy.failure_detectors import LAG_TOLERANCE_S

from .population import Floats
from .rules import SETTLE_S, PopulationRules
from .steady import Contact, Fates, Flags, OutageColumns, Steady, last_contact


def frozen_fates(before: Steady, outages: OutageColumns, rules: PopulationRules) -> Fates:
    """What :func:`sim.population.steady.fates` decides, for outages that are standstills of the server."""
    latency, start, end = before.latency, outages.start, outages.end
    contact = last_contact(before, start + latency, start, rules)
    held = _held(contact, before, outages)
    dead, back = contact.asks + rules.client.probe.deadline, end + latency
    waits = held.ping | held.probe
    rode = ~waits | (back <= dead)
    crossing = held.ping & (contact.asks >= end - latency) & (contact.asks <= back)
    doubtful = _is_doubtful(contact, held, before, outages, rules.heartbeat.interval)
    doubtful |= (waits & (back == dead)) | (dead + latency == end)
    doubtful |= rode & ((outages.next_start < end + SETTLE_S) | crossing)
    doubtful |= ~rode & (outages.next_start <= dead)
    after = _after(contact, held, latency, outages, rules.heartbeat.interval)
    told, never = np.maximum(end, dead + latency), np.full(len(start), np.inf)
    expires = told + rules.heartbeat.cleanup
    return Fates(doubtful, rode & ~doubtful, dead, never, expires, after, contact.pings, contact.last_ping)


@dataclass(frozen=True, eq=False)
class _KeptMessages:
    """What a standstill keeps until its end: the next ping, the pong of the last one, the next probe."""

    ping: Flags
    pong: Flags
    probe: Flags


def _held(contact: Contact, before: Steady, outages: OutageColumns) -> _KeptMessages:
    pong = contact.last_ping + 2 * before.latency
    return _KeptMessages(
        ping=contact.next_ping < outages.end,
        pong=(contact.pings >= 0) & (pong >= outages.start),
        probe=contact.asks + before.latency < outages.end,
    )


def _is_doubtful(
    contact: Contact, held: _KeptMessages, before: Steady, outages: OutageColumns, interval: float
) -> Flags:
    """Whether two things fall together at either end, or something of before is still under way at the end."""
    start, end, latency = outages.start, outages.end, before.latency
    together: Flags = (contact.next_ping == start) | (contact.asks + latency == end)
    together |= np.mod(end - contact.next_ping, interval) == 0
    late = (held.pong & (contact.last_ping + 2 * latency >= end)) | ((contact.pings < 0) & (before.heard >= start))
    return contact.unknown | together | late


def _after(contact: Contact, held: _KeptMessages, latency: Floats, outages: OutageColumns, interval: float) -> Steady:
    """The steady state of those whose connection outlives the standstill."""
    end, length = outages.end, outages.end - outages.start
    lag = np.where(length > LAG_TOLERANCE_S, length, 0.0)
    heard = np.where(held.probe | held.pong, end, contact.server + lag)
    return Steady(
        np.where(held.ping | held.probe, end + latency, contact.client),
        np.where(held.ping, end + 2 * latency, heard),
        contact.next_ping + interval * np.maximum(np.ceil((end - contact.next_ping) / interval), 0.0),
        latency,
    )
