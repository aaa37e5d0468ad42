"""A driver under examination: its process, what its clients have said, and what was wrong with it. Judges nothing.

Unlike in a run, a line that breaks the protocol is noted and the conversation continues, so that one examination finds
as much as it can.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from resilience.errors import DriverError
from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol.effects import Record
from resilience.units import Instant, Seconds

from . import messages as m
from .clients import DriverClient, DriverClientState
from .clock import DriverClock, Greeting
from .observed import DriverObserver
from .process import DriverProcess

PAUSE_S: Seconds = 0.02

_CONNECTED = (DriverClientState.CONNECTED, DriverClientState.SESSION)
_OVER = (DriverClientState.DOWN, DriverClientState.GAVE_UP)


class Trial:
    """One driver, from the measurement of its clock to its end.

    ``url``: where its clients connect; ``options``: handed to each of them.
    """

    def __init__(self, process: DriverProcess, url: str, options: Mapping[str, Any]) -> None:
        self.process, self.url, self._options = process, url, dict(options)
        self.clients: dict[str, DriverClient] = {}
        self._observers: dict[str, DriverObserver] = {}
        self.closed: set[str] = set()
        self.seen: Counter[str] = Counter()
        """How often each type of message came."""
        self.losses = self.arrivals = 0
        """How often a client lost an open connection, and how often one came into a session, whatever says so."""
        self.acknowledged: set[str] = set()
        self.problems: list[str] = []
        """What the driver reported as ``error``."""
        self.wrong_lines: list[str] = []
        """Lines that are no message, in words."""
        self.wrong_times: list[str] = []
        self.wrong_order: list[str] = []
        self.end: DriverError | None = None
        """Why no more lines come; ``None`` while they do."""
        self.has_ended = False
        """Whether it said that it has ended."""
        self._clock = DriverClock()
        self._sent: dict[int, Instant] = {}
        self._answered = 0

    async def measure_clock(self) -> DriverClock:
        """Greet it until its clock is known; DriverError when it is not, or anything else comes first."""
        self._clock, ready = await self.process.measure_clock()
        self.seen["ready"] += ready.n
        self._answered = ready.n
        return self._clock

    async def read(self) -> None:
        """Take its lines until there are no more."""
        while self.end is None:
            try:
                report = await self.process.read()
            except m.BrokenLineError as error:
                self.wrong_lines.append(self._at_line(error))
            except DriverError as error:
                self.end = error
            else:
                self._note(report)

    async def greet(self, **unknown: str) -> int:
        """Send the next greeting, with fields that no driver knows; returns its number."""
        n = max(self._answered, *self._sent, 0) + 1
        self._sent[n] = time.monotonic()
        line = {"type": "hello", "version": m.VERSION, "n": n, **unknown}
        await self.process.send_line(msgspec.json.encode(line) + b"\n")
        return n

    def has_answered(self, n: int) -> bool:
        """Whether the greeting of this number was answered."""
        return self._answered >= n

    async def open(self, client: str) -> None:
        """Begin a client."""
        self.clients[client], self._observers[client] = DriverClient(client), DriverObserver(client)
        await self.process.send(m.Open(client, self.url, 1, self._options))

    async def act(self) -> None:
        """Let every client do one piece of work."""
        for client in self.clients.values():
            await self.process.send(m.Act(client.name, client.next_key()))

    async def close(self, client: str) -> None:
        """End a client for good."""
        self.closed.add(client)
        await self.process.send(m.Close(client))

    def all_are(self, *states: DriverClientState) -> bool:
        """Whether every client is in one of these states."""
        return all(client.state in states for client in self.clients.values())

    async def sees(self, condition: Callable[[], bool], within: Seconds) -> bool:
        """Whether the condition comes true ``within`` so many seconds; at once false when no more lines come."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while not condition() and self.end is None:  # noqa: ASYNC110 - made true by lines and by a server
                    await asyncio.sleep(PAUSE_S)
        return condition()

    def _note(self, report: m.Report) -> None:
        try:
            self._receive(report)
        except m.BrokenLineError as error:
            self.wrong_order.append(self._at_line(error))

    def _receive(self, report: m.Report) -> None:
        self.seen[str(report.__struct_config__.tag)] += 1
        match report:
            case m.DriverReady():
                self._take_answer(report)
            case m.DriverEnded():
                self.has_ended = True
            case m.Problem(message=message):
                self.problems.append(message)
            case _:
                self._take_report(report)

    def _take_answer(self, ready: m.DriverReady) -> None:
        sent = self._sent.pop(ready.n, None)
        if sent is None:
            raise m.BrokenLineError(f"it answers the greeting {ready.n}, which was not sent or answered already")
        self._answered = ready.n
        try:
            self._clock.compare(Greeting(sent, ready.t, self.process.received))
        except m.BrokenLineError as error:
            self.wrong_times.append(self._at_line(error))

    def _take_report(self, report: m.ClientReport) -> None:
        if report.client in self.closed:
            return
        if report.client not in self.clients:
            raise m.BrokenLineError(f"client {report.client!r} was never opened")
        try:
            self._clock.instant(report.client, report.t, self.process.received)
        except m.BrokenLineError as error:
            self.wrong_times.append(self._at_line(error))
        client = self.clients[report.client]
        before = client.state
        records = client.receive(report, report.t)
        self.losses += before in _CONNECTED and client.state in _OVER
        self.arrivals += client.in_session and before is not DriverClientState.SESSION
        if isinstance(report, m.Acknowledged):
            self.acknowledged.add(report.key)
        elif isinstance(report, m.Recorded) and report.kind == LogEventKind.ANSWER_ACKED:
            self.acknowledged.add(f"{report.client}/{report.ref}")
        self._observe(report, records)

    def _observe(self, report: m.ClientReport, records: list[Record]) -> None:
        """Read what the client was shown as a run does; BrokenLineError for what cannot be true."""
        observer = self._observers[report.client]
        if isinstance(report, m.ExchangeReport):
            observer.receive(report, report.t)
        for record in records:
            observer.note(record)

    def _at_line(self, error: m.BrokenLineError) -> str:
        return f"line {self.process.lines}: {error}; the line: {m.quoted(self.process.line)}"
