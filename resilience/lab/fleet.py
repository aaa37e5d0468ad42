"""A fleet of scripted participants in one process: the same names, dials and draws in every lane that opens sockets.

A client's randomness depends on the seed and its own name only, so cohorts can be added or split over processes freely.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextvars import Context

from resilience.client.client import ReconnectingClient
from resilience.eventlog.vocabulary import Lane, Role
from resilience.eventlog.writer import EventSink
from resilience.experiment.spec import Experiment
from resilience.lab.observer import Observation, ObservingClient, make_observing_client
from resilience.lab.participants import ParticipantSpec, first_dial
from resilience.protocol.states import ClientState
from resilience.runtime import RunClock, log_to


class Fleet:
    """Real clients for these participants.

    ``urls``: the server's URL by link; ``make_client`` makes their machines; ``contexts``: in which the clients of a
    link run, where that is not the caller's.
    """

    def __init__(  # noqa: PLR0913 - all that a fleet depends on
        self,
        participants: Iterable[ParticipantSpec],
        experiment: Experiment,
        urls: Mapping[str, str],
        seed: int,
        *,
        clock: RunClock,
        sink: EventSink,
        lane: Lane,
        make_client: Callable[[Experiment, ParticipantSpec, int], ObservingClient] = make_observing_client,
        contexts: Mapping[str, Context] | None = None,
    ) -> None:
        self._clock = clock
        self._contexts = contexts or {}
        self.clients: list[tuple[ParticipantSpec, ReconnectingClient]] = []
        self._machines: list[ObservingClient] = []
        self._first_dials: list[float] = []
        self._timers: list[asyncio.TimerHandle] = []
        self._leaves_at = {cohort.name: cohort.leaves_at for cohort in experiment.cohorts}
        self._leaving: list[asyncio.Task[None]] = []
        for participant in participants:
            machine = make_client(experiment, participant, seed)
            self._machines.append(machine)
            log = log_to(sink, lane, Role.CLIENT, participant.actor, participant.cohort)
            client = ReconnectingClient(machine, urls[participant.link], clock=clock, log=log)
            self.clients.append((participant, client))
            self._first_dials.append(first_dial(experiment, participant, seed))

    def start(self) -> None:
        """Let each client dial at its own moment of the ramp, and leave when its cohort leaves."""
        loop, now = asyncio.get_running_loop(), self._clock.now()
        for (participant, client), at in zip(self.clients, self._first_dials, strict=True):
            context = self._contexts.get(participant.link)
            self._timers.append(loop.call_later(max(at - now, 0.0), client.start, context=context))
            leaves_at = self._leaves_at.get(participant.cohort)
            if leaves_at is not None:
                self._timers.append(loop.call_later(max(leaves_at - now, 0.0), self._leave, client))

    def open_counts(self) -> Counter[str]:
        """How many have an open session now, by cohort; a cohort without any is left out."""
        return Counter(who.cohort for who, client in self.clients if client.machine.state is ClientState.OPEN)

    def observations(self) -> list[Observation]:
        """Everything that these clients were shown, client by client."""
        return [observation for machine in self._machines for observation in machine.observations]

    async def stop(self) -> None:
        """End all clients at once, without a close frame."""
        for timer in self._timers:
            timer.cancel()
        await asyncio.gather(*(client.stop() for _, client in self.clients), *self._leaving)

    def _leave(self, client: ReconnectingClient) -> None:
        if client.machine.state is ClientState.OPEN:
            self._leaving.append(asyncio.get_running_loop().create_task(client.leave()))
