"""Well-behaved clients: real clients that answer every question and note how they were served."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Self

from resilience.client.client import ReconnectingClient
from resilience.config import ClientConfig
from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol.client.participant import Identity, ParticipantClient, open_question
from resilience.protocol.effects import Record
from resilience.protocol.messages import AnswerResult, Joined, Message, QuestionRevealed, StateRestored
from resilience.protocol.states import ClientState
from resilience.random_streams import random_for
from resilience.units import Seconds
from tests.support.deadlines import HANG_S
from tests.support.processes import eventually

PATIENT = ClientConfig(probe_after=60.0, probe_deadline=60.0, open_timeout=HANG_S, join_timeout=HANG_S)
"""Does not take a busy machine for a dead connection: a connection that such a client loses was ended by the server."""


class WellBehavedClient:
    """One client that answers a moment after each question opens. ``over`` spreads the answers, seconds."""

    def __init__(self, name: str, url: str, *, seed: int, over: Seconds, config: ClientConfig | None = None) -> None:
        self.name = name
        self.records: list[Record] = []
        self.acks: list[Seconds] = []
        self.broadcasts: dict[str, float] = {}
        self.verdicts: defaultdict[str, list[str]] = defaultdict(list)
        self.submitted: dict[str, float] = {}
        self.welcomes: list[float] = []
        self.losses: list[tuple[float, str | None]] = []
        self.participants: set[str] = set()
        self.is_answering = True
        self._chance, self._over = random.Random(f"{seed} {name}"), over
        machine = ParticipantClient(Identity("quiz", name, name), (config or PATIENT).rules, random_for(seed, name))
        self.client = ReconnectingClient(machine, url, log=self._note, deliver=self._hear)

    def _note(self, record: Record) -> None:
        self.records.append(record)
        if record.kind is LogEventKind.TRANSPORT_LOST:
            self.losses.append((time.monotonic(), record.cause))

    def _hear(self, message: Message) -> None:
        now = time.monotonic()
        question = open_question(message)
        if question is not None and question.id not in self.submitted:
            self.broadcasts[question.id] = now
            self.submitted[question.id] = 0.0
            asyncio.get_running_loop().call_later(self._chance.uniform(0.0, self._over), self._answer, question.id)
        if isinstance(message, Joined | StateRestored):
            self.welcomes.append(now)
            self.participants.add(message.credentials.participant)
        elif isinstance(message, AnswerResult):
            self.verdicts[message.question].append(message.verdict)
            self.acks.append(now - self.submitted[message.question])
        elif isinstance(message, QuestionRevealed):
            self.broadcasts[f"{message.question} revealed"] = now

    def _answer(self, question: str) -> None:
        if self.is_answering and not self.client.is_over:
            self.submitted[question] = time.monotonic()
            self.client.answer(question, self._chance.randrange(4))

    @property
    def is_waiting(self) -> bool:
        """Whether an answer that it gave has no verdict yet."""
        return any(when and not self.verdicts[question] for question, when in list(self.submitted.items()))

    def count(self, kind: LogEventKind) -> int:
        """How often this happened to it."""
        return sum(record.kind is kind for record in self.records)


class WellBehavedClients:
    """So many well-behaved clients together."""

    def __init__(
        self, count: int, url: str, *, seed: int = 1, over: Seconds = 1.0, config: ClientConfig | None = None
    ) -> None:
        self.clients = [
            WellBehavedClient(f"client {i}", url, seed=seed, over=over, config=config) for i in range(count)
        ]

    async def __aenter__(self) -> Self:
        for client in self.clients:
            client.client.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(client.client.stop() for client in self.clients))

    @property
    def are_open(self) -> bool:
        """Whether all clients are in."""
        return all(client.client.state is ClientState.OPEN for client in self.clients)

    def acks(self) -> list[Seconds]:
        """Every answer's time from being given to its verdict, shortest first."""
        return sorted(ack for client in self.clients for ack in client.acks)

    def delivery(self) -> list[Seconds]:
        """How long after the first client each of the others received the same broadcast, shortest first."""
        heard: defaultdict[str, list[float]] = defaultdict(list)
        for client in self.clients:
            for what, when in client.broadcasts.items():
                heard[what].append(when)
        return sorted(when - min(times) for times in heard.values() for when in times)

    def wrongs(self) -> list[str]:
        """What went wrong for each client by the end: lost, refused, unanswered, answered twice."""
        found = []
        for client in self.clients:
            lost = client.count(LogEventKind.TRANSPORT_LOST) + client.count(LogEventKind.TRANSPORT_FAILED)
            found += [f"{client.name} lost its connection {lost} times"] * bool(lost)
            found += self.unserved(client)
        return found

    @staticmethod
    def unserved(client: WellBehavedClient) -> list[str]:
        """What went wrong for it apart from lost connections."""
        found = [f"{client.name} has been {sorted(client.participants)}"] * (len(client.participants) != 1)
        for question, when in client.submitted.items():
            verdicts = client.verdicts[question]
            if when and verdicts not in (["accepted"], ["rejected_late"]):
                found.append(f"{client.name} received {verdicts} for {question}")
        return found

    async def opened(self, within: Seconds = HANG_S) -> None:
        """Wait until all clients are in."""
        await eventually(lambda: self.are_open, within)

    async def answered(self, more: int = 1) -> None:
        """Wait until each client has had so many more verdicts."""
        wanted = {client.name: len(client.acks) + more for client in self.clients}
        await eventually(lambda: all(len(client.acks) >= wanted[client.name] for client in self.clients))

    async def settle(self) -> None:
        """Give no more answers and wait until each that was given has its verdict."""
        for client in self.clients:
            client.is_answering = False
        await eventually(lambda: not any(client.is_waiting for client in self.clients))

    def verdicts(self) -> Counter[str]:
        """All verdicts."""
        return Counter(
            verdict for client in self.clients for received in client.verdicts.values() for verdict in received
        )


def percentile(values: Sequence[Seconds], share: float) -> Seconds:
    """The value that this share of sorted values does not exceed."""
    return values[min(int(len(values) * share), len(values) - 1)] if values else 0.0
