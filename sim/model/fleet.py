"""The clients of a modelled run: the participants, and the second tabs and replays that faults order."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

from resilience.eventlog.vocabulary import Lane, Role
from resilience.eventlog.writer import EventSink
from resilience.experiment.primitives import ClientOrder, DuplicateClients
from resilience.experiment.spec import Experiment
from resilience.lab.observation import Observation
from resilience.lab.observation_rows import ListedRows, ObservationRows
from resilience.lab.observer import ObservingClient, make_observing_client
from resilience.lab.participants import ParticipantSpec, first_dial, participants_of, person_of
from resilience.lab.second_clients import OrderCounts, SecondTab, TokenReplay, make_second_tab, replays_for
from resilience.protocol.client.connection import ReconnectingConnection
from resilience.runtime import RecordSink, ignore_record, log_to

from ..client_processes import deal
from .client import ModelClientDriver
from .client_process import ModelClientProcess
from .clock import DelayLine, SimEnvironment
from .encoding import MessageCodecHook
from .link import ModelLink
from .process import ModelProcess
from .threads import ModelProcessors

M = TypeVar("M", bound=ReconnectingConnection)

Participant = ModelClientDriver[ObservingClient]


class ModelFleet:
    """Every client of one run. ``links`` by their names; ``direct`` is the way to the server that no fault touches.

    The clients of a link on whose clients some fault acts have a process of their own; all others are dealt in turn to
    so many processes as the costs say.
    """

    def __init__(  # noqa: PLR0913 - all that a fleet depends on
        self,
        experiment: Experiment,
        seed: int,
        *,
        clock: SimEnvironment,
        processors: ModelProcessors,
        links: Mapping[str, ModelLink],
        direct: ModelLink,
        sink: EventSink,
        wire: MessageCodecHook,
        make_rows: Callable[[], ObservationRows] = ListedRows,
    ) -> None:
        self._make_rows = make_rows
        self._experiment, self._seed, self._clock = experiment, seed, clock
        self._links, self._direct, self._sink, self._wire = links, direct, sink, wire
        self._running = ModelProcess()
        self._processes = {name: ModelProcess() for name in sorted(experiment.isolated_links(seed))}
        self._tabs: list[tuple[str, SecondTab]] = []
        self._replays: list[tuple[str, TokenReplay]] = []
        self._newest_tab: Counter[str] = Counter()
        self.participants = list(participants_of(experiment, seed))
        numbers = deal(self.participants, self._processes, experiment.costs.client_processes)
        threads = [processors.thread() for _ in range(max(numbers, default=-1) + 1)]
        self._threads = {each.actor: threads[number] for each, number in zip(self.participants, numbers, strict=True)}
        self.clients: list[Participant] = [
            self._participant(each, make_observing_client(experiment, each, seed)) for each in self.participants
        ]

    def isolated(self) -> dict[str, ModelClientProcess]:
        """The clients that some fault acts on, by the names of their links."""
        return {
            name: ModelClientProcess(process, partial(self.carry_out, name), partial(self.order_counts, name))
            for name, process in self._processes.items()
        }

    def ramp_up(self) -> None:
        """Let each participant dial at its own moment of the ramp."""
        first_dials: DelayLine[Participant] = DelayLine(self._clock, ModelClientDriver.start)
        moments = [first_dial(self._experiment, participant, self._seed) for participant in self.participants]
        for i in sorted(range(len(moments)), key=moments.__getitem__):
            first_dials.put(moments[i], self.clients[i])

    def observations(self) -> Sequence[Observation]:
        """Everything that the clients were shown, client by client."""
        return [shown for client in self.clients for shown in client.machine.observations]

    def observation_lines(self) -> Iterator[bytes]:
        """The same as JSON Lines, in pieces of whole lines."""
        return itertools.chain.from_iterable(client.machine.observation_lines() for client in self.clients)

    def carry_out(self, link: str, order: ClientOrder) -> None:
        """Have the clients of a link carry out an order now, each that has what the order needs."""
        mine = [pair for pair in zip(self.participants, self.clients, strict=True) if pair[0].link == link]
        act = self._open_second_tab if isinstance(order, DuplicateClients) else self._replay_token
        for participant, client in mine:
            if client.is_open:
                act(participant, client.machine)

    def order_counts(self, link: str) -> OrderCounts:
        """How far the orders of a link have come."""
        met = [tab.met_first for at, tab in self._tabs if at == link]
        answered = [replay.is_answered for at, replay in self._replays if at == link]
        return OrderCounts(len(met), sum(met), len(answered), sum(answered))

    def _open_second_tab(self, participant: ParticipantSpec, first: ObservingClient) -> None:
        person = person_of(participant.actor)
        self._newest_tab[person] += 1
        spec, tab = make_second_tab(self._experiment, participant, first, 1 + self._newest_tab[person], self._seed)
        client = self._participant(spec, tab)
        self.participants.append(spec)
        self.clients.append(client)
        self._tabs.append((participant.link, tab))
        client.start()

    def _replay_token(self, participant: ParticipantSpec, owner: ObservingClient) -> None:
        replay = replays_for(owner, self._experiment)
        if replay is not None:
            self._replays.append((participant.link, replay))
            name = f"{participant.actor}.replay{len(self._replays)}"
            spec = ParticipantSpec(name, participant.cohort, 0, participant.link)
            self._driver(spec, replay, self._direct, ignore_record, self._running).start()

    def _participant(self, who: ParticipantSpec, machine: ObservingClient) -> Participant:
        machine.keep_observations_in(self._make_rows())
        log = log_to(self._sink, Lane.MODEL, Role.CLIENT, who.actor, who.cohort)
        process = self._processes.get(who.link, self._running)
        return self._driver(who, machine, self._links[who.link], log, process)

    def _driver(
        self, who: ParticipantSpec, machine: M, link: ModelLink, log: RecordSink, process: ModelProcess
    ) -> ModelClientDriver[M]:
        return ModelClientDriver(
            who.actor,
            who.cohort,
            machine,
            clock=self._clock,
            link=link,
            log=log,
            wire=self._wire,
            process=process,
            thread=self._threads[person_of(who.actor)],
            costs=self._experiment.costs,
        )
