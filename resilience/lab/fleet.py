"""A fleet of scripted participants in one process: the same names, dials and draws in every lane that opens sockets.

A client's randomness depends on the seed and its own name only, so cohorts can be added or split over processes freely.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import Context
from typing import Any

from resilience.client.client import ReconnectingClient
from resilience.client.driver import ClientDriver
from resilience.eventlog.vocabulary import Lane, Role
from resilience.eventlog.writer import EventSink
from resilience.experiment.primitives import ClientOrder, DuplicateClients
from resilience.experiment.schedule import SERVER
from resilience.experiment.spec import Experiment
from resilience.lab.observation import Observation
from resilience.lab.observation_rows import ListedRows, ObservationRows
from resilience.lab.observer import ObservingClient, make_observing_client
from resilience.lab.participants import ParticipantSpec, first_dial, person_of
from resilience.lab.second_clients import OrderCounts, SecondTab, TokenReplay, make_second_tab, replays_for
from resilience.protocol.states import ClientState
from resilience.runtime import RunClock, log_to


class Fleet:
    """Real clients for these participants.

    ``urls``: the server's URL by link, and straight to it under ``SERVER``; ``make_client`` makes their machines;
    ``contexts``: in which the clients of a link run, where that is not the caller's; ``make_rows``: where to keep what
    one client is shown.
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
        make_rows: Callable[[], ObservationRows] = ListedRows,
    ) -> None:
        self._experiment, self._urls, self._seed, self._clock = experiment, urls, seed, clock
        self._sink, self._lane = sink, lane
        self._contexts, self._make_rows = contexts or {}, make_rows
        self.clients: list[tuple[ParticipantSpec, ReconnectingClient]] = []
        self._machines: list[ObservingClient] = []
        self._first_dials: list[float] = []
        self._timers: list[asyncio.TimerHandle] = []
        self._leaves_at = {cohort.name: cohort.leaves_at for cohort in experiment.cohorts}
        self._leaving: list[asyncio.Task[None]] = []
        self._newest_tab: Counter[str] = Counter()
        self._tabs: list[tuple[str, SecondTab]] = []
        self._replays: list[tuple[str, ClientDriver[TokenReplay]]] = []
        for participant in participants:
            self._add(participant, make_client(experiment, participant, seed))
            self._first_dials.append(first_dial(experiment, participant, seed))

    def start(self) -> None:
        """Let each client dial at its own moment of the ramp, and leave when its cohort leaves."""
        loop, now = asyncio.get_running_loop(), self._clock.now()
        for (participant, client), at in zip(self.clients, self._first_dials, strict=True):
            context = self._contexts.get(participant.link)
            self._timers.append(loop.call_later(max(at - now, 0.0), client.start, context=context))
            self._plan_leave(participant, client)

    def carry_out(self, order: ClientOrder, link: str) -> None:
        """Have the clients of a link carry out an order now, each that has what the order needs."""
        mine = [(who, machine) for who, machine in self._participants() if who.link == link]
        for participant, machine in mine:
            if isinstance(order, DuplicateClients):
                self._open_second_tab(participant, machine)
            else:
                self._replay_token(participant, machine)

    def order_counts(self, link: str) -> OrderCounts:
        """How far the orders of a link have come."""
        met = [tab.met_first for at, tab in self._tabs if at == link]
        answered = [replay.machine.is_answered for at, replay in self._replays if at == link]
        return OrderCounts(len(met), sum(met), len(answered), sum(answered))

    def open_counts(self) -> Counter[str]:
        """How many have an open session now, by cohort; a cohort without any is left out."""
        return Counter(who.cohort for who, client in self.clients if client.machine.state is ClientState.OPEN)

    def observations(self) -> list[Observation]:
        """Everything that these clients were shown, client by client."""
        return [observation for machine in self._machines for observation in machine.observations]

    def observation_lines(self) -> Iterator[bytes]:
        """The same as JSON Lines, in pieces of whole lines."""
        return itertools.chain.from_iterable(machine.observation_lines() for machine in self._machines)

    async def stop(self) -> None:
        """End all clients at once, without a close frame."""
        for timer in self._timers:
            timer.cancel()
        drivers: list[ClientDriver[Any]] = [
            *(client for _, client in self.clients),
            *(each for _, each in self._replays),
        ]
        await asyncio.gather(*(driver.stop() for driver in drivers), *self._leaving)

    def _add(self, participant: ParticipantSpec, machine: ObservingClient) -> ReconnectingClient:
        log = log_to(self._sink, self._lane, Role.CLIENT, participant.actor, participant.cohort)
        machine.keep_observations_in(self._make_rows())
        client = ReconnectingClient(machine, self._urls[participant.link], clock=self._clock, log=log)
        self._machines.append(machine)
        self.clients.append((participant, client))
        return client

    def _participants(self) -> list[tuple[ParticipantSpec, ObservingClient]]:
        return [(who, machine) for (who, _), machine in zip(self.clients, self._machines, strict=True)]

    def _open_second_tab(self, participant: ParticipantSpec, first: ObservingClient) -> None:
        if first.state is not ClientState.OPEN:
            return
        person = person_of(participant.actor)
        self._newest_tab[person] += 1
        spec, tab = make_second_tab(self._experiment, participant, first, 1 + self._newest_tab[person], self._seed)
        self._tabs.append((participant.link, tab))
        client = self._add(spec, tab)
        self._plan_leave(spec, client)
        client.start()

    def _replay_token(self, participant: ParticipantSpec, owner: ObservingClient) -> None:
        replay = replays_for(owner, self._experiment)
        if replay is not None:
            driver = ClientDriver(replay, self._urls.get(SERVER, self._urls[participant.link]), clock=self._clock)
            self._replays.append((participant.link, driver))
            driver.start()

    def _plan_leave(self, participant: ParticipantSpec, client: ReconnectingClient) -> None:
        leaves_at = self._leaves_at.get(participant.cohort)
        if leaves_at is not None:
            wait = max(leaves_at - self._clock.now(), 0.0)
            self._timers.append(asyncio.get_running_loop().call_later(wait, self._leave, client))

    def _leave(self, client: ReconnectingClient) -> None:
        if client.machine.state is ClientState.OPEN:
            self._leaving.append(asyncio.get_running_loop().create_task(client.leave()))
