"""The obvious simulation of a population, for comparison: SimPy, two processes a client, every message a timeout.

The same policy objects, timelines and timeouts as in the population lane, a plain resource of slots for the way into
the server, and no rejections. Statistically the same, not equal in every instant.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import simpy

from resilience.policy.backoff import RetryState
from resilience.policy.failure_detectors import ClientFailureDetector, LivenessAction, ServerFailureDetector
from resilience.random_streams import uniform
from sim.population.population import Population
from sim.population.rules import PopulationRules
from sim.profiles.timelines import Outage, OutageKind

Process = Generator[simpy.Event, Any, None]


class NaiveClient:
    """One client and the server's end of its session; ``losses`` of the server and ``returns`` to it are counted."""

    def __init__(
        self, clock: simpy.Environment, who: int, population: Population, rules: PopulationRules, slots: simpy.Resource
    ) -> None:
        self._clock, self._rules, self._slots = clock, rules, slots
        self._latency, self._seed = float(population.latency[who]), int(population.seeds[who])
        self._outages = population.timelines.of_participant(who)
        self._retry, self._session, self._open = RetryState(rules.client.backoff), 1, True
        self._client = ClientFailureDetector(rules.client.probe, 0.0)
        self._server = ServerFailureDetector(rules.heartbeat, 0.0, 0.0)
        self._reset = clock.event()
        self.losses = self.returns = 0
        clock.process(self._live())
        clock.process(self._ping(self._session))
        clock.process(self._suffer())

    def _outage(self) -> Outage | None:
        now = self._clock.now
        return next((outage for outage in self._outages if outage.start <= now < outage.end), None)

    def _suffer(self) -> Process:
        for outage in self._outages:
            if outage.kind is OutageKind.SILENT or outage.start < self._clock.now:
                continue
            yield self._clock.timeout(outage.start - self._clock.now)
            if self._open:
                self._session += 1
                self._reset, former = self._clock.event(), self._reset
                former.succeed()

    def _send(self, session: int, receive: Callable[[], None]) -> Process:
        outage = self._outage()
        held = outage.end - self._clock.now if outage else 0.0
        yield self._clock.timeout(held + self._latency)
        if session == self._session:
            receive()

    def _ping(self, session: int) -> Process:
        u = uniform(self._seed, "first_ping", session, 0)
        rules = self._rules.heartbeat
        server = self._server = ServerFailureDetector(rules, self._clock.now, self._clock.now + u * rules.interval)
        while session == self._session:
            yield self._clock.timeout(max(server.next_deadline() - self._clock.now, 0.0))
            if session != self._session:
                return
            due = server.due(self._clock.now)
            if due is LivenessAction.DEAD:
                return
            if due is LivenessAction.PING:
                self._clock.process(self._send(session, lambda: self._pinged(session)))

    def _pinged(self, session: int) -> None:
        if self._open:
            self._client.heard(self._clock.now)
            self._clock.process(self._send(session, lambda: self._server.heard(self._clock.now)))

    def _probed(self, session: int) -> None:
        self._server.heard(self._clock.now)
        self._clock.process(self._send(session, lambda: self._client.heard(self._clock.now)))

    def _live(self) -> Process:
        while True:
            yield from self._stay()
            self._open, self.losses = False, self.losses + 1
            self._session += 1
            self._retry.lost(self._clock.now)
            if not (yield from self._return()):
                return
            self.returns += 1
            self._open = True
            self._session += 1
            self._client = ClientFailureDetector(self._rules.client.probe, self._clock.now)
            self._clock.process(self._ping(self._session))

    def _stay(self) -> Process:
        while True:
            reset = self._reset
            yield self._clock.timeout(max(self._client.next_deadline() - self._clock.now, 0.0)) | reset
            if reset.triggered:
                return
            due = self._client.due(self._clock.now)
            if due is LivenessAction.DEAD:
                return
            if due is LivenessAction.PROBE:
                session = self._session
                self._clock.process(self._send(session, lambda session=session: self._probed(session)))  # type: ignore[misc]

    def _return(self) -> Generator[simpy.Event, Any, bool]:
        clock, rules, retry = self._clock, self._rules, self._retry
        while True:
            u = uniform(self._seed, "backoff", retry.incident, retry.attempt + 1)
            again = retry.next(clock.now, u, rules.window)
            if again is None:
                return False
            yield clock.timeout(again.delay)
            outage = self._outage()
            if outage:
                silent = outage.kind is OutageKind.SILENT
                yield clock.timeout(rules.client.open_timeout if silent else 2 * self._latency)
                continue
            with self._slots.request() as request:
                granted = yield request | clock.timeout(rules.client.open_timeout)
                if request not in granted:
                    continue
                yield clock.timeout(rules.station.service)
            yield clock.timeout(6 * self._latency + rules.commit)
            retry.restored(clock.now)
            return True


def run_naively(population: Population, rules: PopulationRules) -> list[NaiveClient]:
    """Run everyone to the end."""
    clock = simpy.Environment()
    slots = simpy.Resource(clock, rules.station.slots)
    clients = [NaiveClient(clock, who, population, rules, slots) for who in range(population.size)]
    clock.run(until=rules.duration)
    return clients
