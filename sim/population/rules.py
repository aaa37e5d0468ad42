"""What a population's run depends on besides its participants: timing of both ends, server, horizon. Values.

Every duration that moves an instant is on the grid of ``sim.profiles.timelines``, so sums of instants are exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import msgspec

from resilience.errors import require
from resilience.experiment.costs import ServiceDistribution
from resilience.policy.backoff import clamp_retry_after
from resilience.policy.failure_detectors import HeartbeatTimeouts, ProbeTimeouts
from resilience.policy.return_window import ReturnWindow
from resilience.protocol.client.connection import ClientRules
from resilience.units import Instant, Seconds

from ..profiles.timelines import TICKS_PER_S
from .quiz import NO_QUIZ, QuizSchedule
from .standstill import Standstills

MAX_LATENCY_S: Seconds = 0.25
"""The longest one-way latency: everything that is under way when an outage ends has arrived a second later."""

SETTLE_S: Seconds = 4 * MAX_LATENCY_S
WINDOW_S: Seconds = 8.0
"""Outages that begin within one window are decided together."""

SYN_TIMES_S: tuple[Seconds, ...] = (0.0, 1.0, 3.0)
"""When a kernel sends the first packet of a dial and repeats it: Linux, RFC 6298; the later ones outlast any dial."""


def tick(seconds: Seconds) -> Seconds:
    """The nearest duration on the grid."""
    return math.floor(seconds * TICKS_PER_S + 0.5) / TICKS_PER_S


class StationRules(msgspec.Struct, frozen=True):
    """The way into one server: ``slots`` handshakes at once, each for ``service`` seconds, in order of arrival.

    ``joins_per_s`` and ``admission_seconds`` are the two settings of the production admission control. ``backlog``:
    connections that may wait for a slot, 0 for no limit; one that finds it full repeats its first packet later.
    ``service`` is the mean of a ``distribution``, ``sigma`` that of a lognormal one's logarithm. Without
    ``wasted_work`` a request is skipped whose turn comes when its response would be too late for its client.
    """

    joins_per_s: float
    admission_seconds: Seconds
    slots: int
    service: Seconds
    backlog: int = 0
    distribution: ServiceDistribution = ServiceDistribution.DETERMINISTIC
    sigma: float = 1.0
    wasted_work: bool = True


@dataclass(frozen=True)
class PopulationRules:
    """One run of ``duration`` seconds. ``window``: what the server announces. ``commit``: of one join, seconds.

    ``advice``: after how many seconds a client is to come back whose connection a deployment closes. ``latency``: the
    longest one way of a participant's probe.

    Raises :class:`~resilience.errors.ConfigError` for what the lane cannot carry.
    """

    client: ClientRules
    heartbeat: HeartbeatTimeouts
    window: ReturnWindow
    station: StationRules
    commit: Seconds
    duration: Instant
    quiz: QuizSchedule = NO_QUIZ
    advice: Seconds = 1.0
    latency: Seconds = MAX_LATENCY_S

    def __post_init__(self) -> None:
        """Put every duration on the grid, then check what the arithmetic of :mod:`.steady` relies on."""
        client, heartbeat, station = self.client, self.heartbeat, self.station
        probe = ProbeTimeouts(tick(client.probe.silence), tick(client.probe.deadline))
        opening, joining = tick(client.open_timeout), tick(client.join_timeout)
        interval = 2 * tick(heartbeat.interval / 2)  # a second ping follows after half an interval
        heartbeat = HeartbeatTimeouts(interval, tick(heartbeat.grace), tick(heartbeat.cleanup))
        self._set("client", ClientRules(client.backoff, probe, opening, joining))
        self._set("heartbeat", heartbeat)
        self._set("station", msgspec.structs.replace(station, service=tick(station.service)))
        self._set("commit", tick(self.commit))
        self._set("duration", tick(self.duration))
        self._set("advice", tick(clamp_retry_after(self.advice) or 0.0))
        self._check()

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _check(self) -> None:
        probe, heartbeat, station = self.client.probe, self.heartbeat, self.station
        least = 2 * (probe.silence + probe.deadline + SETTLE_S)
        require(
            heartbeat.interval >= least,
            "server.heartbeat_interval",
            heartbeat.interval,
            f"must be at least {least:g} s in this lane: twice the client's silence and deadline, and {SETTLE_S:g} s",
        )
        require(
            heartbeat.grace > heartbeat.interval,
            "server.grace_period",
            heartbeat.grace,
            "must exceed heartbeat_interval",
        )
        require(
            heartbeat.cleanup >= heartbeat.grace,
            "server.cleanup_interval",
            heartbeat.cleanup,
            "must reach grace_period",
        )
        require(
            probe.silence >= SETTLE_S,
            "client.probe_after",
            probe.silence,
            f"must be at least {SETTLE_S:g} s in this lane",
        )
        rule = f"must exceed {2 * self.latency:g} s in this lane: the longest round trip"
        require(probe.deadline > 2 * self.latency, "client.probe_deadline", probe.deadline, rule)
        opening, joining = self.client.open_timeout, self.client.join_timeout
        require(opening >= SETTLE_S, "client.open_timeout", opening, f"must be at least {SETTLE_S:g} s in this lane")
        require(joining >= SETTLE_S, "client.join_timeout", joining, f"must be at least {SETTLE_S:g} s in this lane")
        pause = self.quiz.least_pause
        rule = f"must, with leaderboard_time, take at least {SETTLE_S:g} s in this lane"
        require(pause >= SETTLE_S, "quiz.reveal_time", pause, rule)
        rule = f"must be below {SETTLE_S / 4:g} s in this lane"
        require(0 <= self.commit < SETTLE_S / 4, "costs.commit", self.commit, rule)
        require(station.slots >= 1, "costs.processors", station.slots, "must be at least 1")
        rule = f"must take at least {1 / TICKS_PER_S:.7f} s together with costs.restore in this lane"
        require(station.service > 0, "costs.handshake", station.service, rule)

    def with_standstills(self, standstills: Standstills) -> PopulationRules:
        """The same for a server that stands still then."""
        return replace(self, quiz=self.quiz.with_standstills(standstills)) if standstills else self

    @cached_property
    def syn_times(self) -> tuple[Seconds, ...]:
        """When the first packet of a dial is sent, seconds from its begin, as far as a dial outlasts it by a second."""
        return tuple(at for at in SYN_TIMES_S if at == 0 or at + SETTLE_S < self.client.open_timeout)

    @cached_property
    def slack(self) -> Seconds:
        """A dial that begins so long before the next outage of its participant cannot meet it."""
        resolved = self.client.open_timeout + self.client.join_timeout + 2 * SETTLE_S
        return max(resolved, WINDOW_S + self.syn_times[-1] + SETTLE_S)
