"""From an outage's begin to its detection, for many steady participants at once: the heartbeat as arithmetic. Pure.

A steady participant is open, and nothing is under way at its ``origin``. From there on pings leave the server one
interval apart, and the client probes after each silence, so what an outage meets is a function of a few instants:
the last ping that arrived before it, the last replies after that, the probe that is out. All arrays are float64 of one
shape, instants and durations in seconds on the grid; every sum is exact.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from ..profiles.timelines import OutageKind
from .population import Floats, Rows
from .rules import SETTLE_S, PopulationRules

Flags = npt.NDArray[np.bool_]
T = TypeVar("T", bound=np.generic)


def changed(column: npt.NDArray[T], rows: Rows, values: npt.NDArray[T]) -> npt.NDArray[T]:
    """A copy of this column with other values in these rows."""
    column = column.copy()
    column[rows] = values
    return column


@dataclass(frozen=True, eq=False)
class Steady:
    """What is known of participants before an outage.

    ``origin``: the client's last sign of life of which it is known that nothing was under way then, except a pong that
    the server heard at ``heard``. ``ping``: the server's first ping after that. ``latency``: one way.
    """

    origin: Floats
    heard: Floats
    ping: Floats
    latency: Floats

    def take(self, rows: Rows) -> Steady:
        """These participants."""
        return Steady(self.origin[rows], self.heard[rows], self.ping[rows], self.latency[rows])

    def put(self, rows: Rows, values: Steady) -> Steady:
        """The same, but for these participants."""
        return Steady(
            *(changed(getattr(self, field.name), rows, getattr(values, field.name)) for field in fields(self))
        )


@dataclass(frozen=True, eq=False)
class OutageColumns:
    """One outage for each of the participants. ``next_start``: of the participant's next outage, infinite without.

    ``kind``: uint8 of :class:`~sim.profiles.timelines.OutageKind`.
    """

    start: Floats
    end: Floats
    next_start: Floats
    kind: npt.NDArray[np.uint8]

    def take(self, rows: Rows) -> OutageColumns:
        """Those of these participants."""
        return OutageColumns(self.start[rows], self.end[rows], self.next_start[rows], self.kind[rows])

    @cached_property
    def silent(self) -> Flags:
        """Which are silent."""
        return self._are(OutageKind.SILENT)

    @cached_property
    def torn(self) -> Flags:
        """Which tear the link."""
        return self._are(OutageKind.TORN)

    @cached_property
    def suspended(self) -> Flags:
        """Which are suspensions of the client."""
        return self._are(OutageKind.SUSPENDED)

    @cached_property
    def frozen(self) -> Flags:
        """Which are standstills of the server."""
        return self._are(OutageKind.FROZEN)

    def _are(self, kind: OutageKind) -> Flags:
        flags: Flags = self.kind == kind
        return flags


@dataclass(frozen=True, eq=False)
class Fates:
    """What an outage does.

    ``entangled``: this arithmetic does not tell; no other field means anything then. ``rode``: both ends notice
    nothing; the participant is then steady with ``after``. Else the client notices at ``lost``; the server's grace
    period ends at ``grace_ends``, infinite if the server saw the connection end, and its clean-up is at ``expires``.
    ``pings``: how many pings arrived since the origin, less one; ``last_ping``: when the last of them was sent.
    """

    entangled: Flags
    rode: Flags
    lost: Floats
    grace_ends: Floats
    expires: Floats
    after: Steady
    pings: Floats
    last_ping: Floats

    def put(self, rows: Rows, values: Fates) -> Fates:
        """The same, but for these participants."""
        flags, floats = ("entangled", "rode"), ("lost", "grace_ends", "expires", "pings", "last_ping")
        columns = {name: changed(getattr(self, name), rows, getattr(values, name)) for name in (*flags, *floats)}
        return Fates(after=self.after.put(rows, values.after), **columns)


class NoticedLosses(NamedTuple):
    """When clients notice an outage, and what their server knows; see :class:`Fates`."""

    lost: Floats
    grace_ends: Floats
    expires: Floats
    doubtful: Flags

    def fates(self, entangled: Flags, *, rode: Flags, after: Steady, pings: Floats, last_ping: Floats) -> Fates:
        """These losses as fates, of all who neither ``rode`` through nor are ``entangled`` for another reason."""
        entangled = entangled | self.doubtful
        rode = rode & ~entangled
        return Fates(entangled, rode, self.lost, self.grace_ends, self.expires, after, pings, last_ping)


def losses_of(
    dead: Floats, heard: Floats, latency: Floats, outages: OutageColumns, rules: PopulationRules
) -> NoticedLosses:
    """The losses of clients that would notice the silence at ``dead``, and whom the server ``heard`` last.

    A torn link passes the client's close, and ends every connection at its end. ``doubtful``: both ends may be first.
    """
    silent, torn, end = outages.silent, outages.torn, outages.end
    lost = np.where(silent, dead, np.where(torn, np.minimum(dead, end), outages.start))
    told = np.where(torn, np.minimum(lost + latency, end), outages.start)
    grace_ends = heard + rules.heartbeat.grace
    return NoticedLosses(
        lost,
        np.where(silent, grace_ends, np.inf),
        np.where(silent, heard, told) + rules.heartbeat.cleanup,
        torn & ((dead == end) | (lost + latency == end) | (grace_ends <= lost + latency)),
    )


def has_quiet_pings(latency: Floats, rules: PopulationRules) -> Flags:
    """Whether no probe is out when a steady client's ping arrives, however long the reply before it took."""
    silence = rules.client.probe.silence
    rest = np.mod(rules.heartbeat.interval, silence + 2 * latency)
    return (rest >= 2 * latency) & (rest < silence)


def fates(before: Steady, outages: OutageColumns, rules: PopulationRules) -> Fates:
    """Decide what each outage does to its participant."""
    probe, interval = rules.client.probe, rules.heartbeat.interval
    start, end, latency = outages.start, outages.end, before.latency
    contact = last_contact(before, start, start, rules)
    pings, last_ping, next_ping = contact.pings, contact.last_ping, contact.next_ping
    asks, dead = contact.asks, contact.asks + probe.deadline
    held = _HeldMessages(
        ping=next_ping < end,
        pong=(pings >= 0) & (last_ping + 2 * latency >= start),
        probe=(asks < end) & (asks + latency >= start),
        reply=(asks + latency < start) & (asks + 2 * latency >= start),
    )
    answered = np.minimum(np.where(asks < end, end, asks) + 2 * latency, next_ping + latency)
    first_sign = np.where(held.ping | held.reply, end + latency, answered)
    rode = outages.silent & (first_sign <= dead)
    doubtful = contact.unknown | (first_sign == dead) | (~rode & (dead >= end)) | (asks == end + latency)
    entangled = (outages.silent & doubtful) | (rode & (outages.next_start < end + SETTLE_S))
    after = _after(before, end, held, contact, np.where(next_ping >= end, next_ping, next_ping + interval))
    losses = losses_of(dead, contact.server, latency, outages, rules)
    entangled |= outages.torn & contact.unknown
    return losses.fates(entangled, rode=rode, after=after, pings=pings, last_ping=last_ping)


@dataclass(frozen=True, eq=False)
class Contact:
    """The last signs of life before an outage, at either end; the client ``asks`` for the next one by a probe.

    ``unknown`` where they depend on what came before. ``pings``: the number of the last ping that the client heard,
    from 0, below 0 for none; ``last_ping``: when it was sent; ``next_ping``: when the one after it is due.
    """

    client: Floats
    server: Floats
    asks: Floats
    unknown: Flags
    pings: Floats
    last_ping: Floats
    next_ping: Floats


@dataclass(frozen=True, eq=False)
class _HeldMessages:
    """Which messages an outage keeps until its end."""

    ping: Flags
    pong: Flags
    probe: Flags
    reply: Flags


def pings_before(before: Steady, start: Floats, interval: float) -> Floats:
    """The number, from 0, of the last ping that arrives before the outage; -1 or less for none."""
    pings = np.floor((start - before.latency - before.ping) / interval)
    pings -= before.ping + interval * pings + before.latency >= start
    pings += before.ping + interval * (pings + 1) + before.latency < start
    return pings


def last_contact(before: Steady, client_until: Floats, server_until: Floats, rules: PopulationRules) -> Contact:
    """The last signs of life, where each end hears what arrives there before its instant."""
    silence, interval, latency = rules.client.probe.silence, rules.heartbeat.interval, before.latency
    pings = pings_before(before, client_until, interval)
    last_ping = before.ping + interval * pings
    none, pong = pings < 0, last_ping + 2 * latency
    client = np.where(none, before.origin, last_ping + latency)
    server = np.where(none, before.heard, _before_ping(last_ping, latency, silence, interval))
    unknown = (pings == 1) & (pong >= server_until)
    first = np.flatnonzero(pings == 0)
    if len(first):
        found = _up_to_first_ping(before.take(first), client_until[first], rules)
        client[first], server[first], unknown[first] = found
    server = np.where(~none & (pong < server_until), np.maximum(server, pong), server)
    for _ in range(_probes_within(interval, silence)):
        reply = client + silence + 2 * latency
        replied = reply < client_until
        client = np.where(replied, reply, client)
        server = np.where(replied, np.maximum(server, reply - latency), server)
    asks = client + silence
    server = np.where(asks + latency < server_until, np.maximum(server, asks + latency), server)
    return Contact(client, server, asks, unknown, pings, last_ping, np.where(none, before.ping, last_ping + interval))


def _probes_within(interval: float, silence: float) -> int:
    """More probes than a client can send from one sign of life before a ping to the next ping."""
    return int(interval // silence) + 3


def _before_ping(ping: Floats, latency: Floats, silence: float, interval: float) -> Floats:
    """When the server last heard before a ping, of a client whose ping before that one met no probe."""
    cycle = silence + 2 * latency
    probes = np.floor(interval / cycle)
    return ping - interval + np.where(probes >= 1, probes * cycle, 2 * latency)


def _up_to_first_ping(before: Steady, start: Floats, rules: PopulationRules) -> tuple[Floats, Floats, Flags]:
    """Follow the probes from the origin to the arrival of the first ping; a probe may be out when that arrives.

    Returns the last signs of life at the client and at the server, the ping's own pong left out, and where that is not
    known.
    """
    silence, latency = rules.client.probe.silence, before.latency
    heard, server, arrives = before.origin, before.heard, before.ping + latency
    client = np.maximum(arrives, heard)
    done, doubtful = np.zeros(len(start), np.bool_), np.zeros(len(start), np.bool_)
    for _ in range(_probes_within(rules.heartbeat.interval, silence)):
        asks = heard + silence
        reply = asks + 2 * latency
        doubtful |= ~done & (asks == arrives)
        done |= asks > arrives
        out = ~done & (reply > arrives)
        doubtful |= out & (reply >= start)
        client = np.where(out, reply, client)
        server = np.where(done, server, reply - latency)
        done |= out
        heard = np.where(done, heard, reply)
    return client, server, doubtful | ~done


def _after(before: Steady, end: Floats, held: _HeldMessages, contact: Contact, ping: Floats) -> Steady:
    """The steady state of those who rode through: the same, unless the outage held a message back."""
    latency, asks = before.latency, contact.asks
    woken = held.ping | held.reply
    asks_after = woken & (asks >= end) & (asks < end + latency)
    heard = np.where(woken, end + latency, contact.client)
    heard = np.where(held.probe, end + 2 * latency, np.where(asks_after, asks + 2 * latency, heard))
    server = np.where(held.ping, end + 2 * latency, contact.server)
    server = np.where(held.probe | held.pong, np.maximum(server, end + latency), server)
    server = np.where(asks_after, np.maximum(server, asks + latency), server)
    touched = woken | held.probe | held.pong
    return Steady(
        np.where(touched, heard, before.origin),
        np.where(touched, server, before.heard),
        np.where(touched, ping, before.ping),
        latency,
    )
