"""A canary in the model: it holds a modelled connection and reads the link's own state. Changes nothing for clients."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from resilience.experiment.primitives import (
    ConnectionsEnd,
    DialsRefused,
    ServerDraining,
    ServerGone,
    ServerSilent,
    Silence,
    SlowReplies,
    Symptom,
)
from resilience.lab.polling import sees
from resilience.protocol.messages import ServerMessage
from resilience.units import Seconds

from .connection import ModelConnection
from .lab_clock import SimLabClock
from .link import ModelLink


class _NoClient:
    """The canary's end of its connection: it takes whatever comes."""

    actor = "canary"

    def opened(self, connection: ModelConnection) -> None:
        """Ignore the upgrade."""

    def failed(self, connection: ModelConnection, cause: str) -> None:
        """Ignore the end of a dial."""

    def lost(self, connection: ModelConnection, cause: str, code: int) -> None:
        """Ignore the end of the connection."""

    def receive(self, connection: ModelConnection, message: ServerMessage) -> None:
        """Ignore a message."""


class WatchedServer(Protocol):
    """What a canary reads of the server."""

    is_up: bool

    @property
    def answers(self) -> bool:
        """Whether it answers a request that goes straight to it."""

    @property
    def is_draining(self) -> bool:
        """Whether it is on its way to an orderly end."""


class ModelCanary:
    """Watches one link (``None``: the server itself) during one fault."""

    def __init__(self, clock: SimLabClock, link: ModelLink | None, server: WatchedServer) -> None:
        self._clock, self._link, self._server = clock, link, server
        self._held: ModelConnection | None = None
        self.problem: str | None = "the link was not probed before the fault"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._link is not None and self._held is not None:
            self._link.release(self._held)

    @property
    def hold_ended(self) -> bool:
        """Whether the connection over the link has ended."""
        return self._held is not None and self._held.severed

    async def prepare(self, within: Seconds) -> None:
        """Wait until the link works and hold it; ``problem`` says when it did not ``within`` so many seconds."""
        if not await self.saw_health(within):
            self.problem = "the link was not usable before the fault"
            return
        self.problem = None
        if self._link is not None:
            self._held = self._link.hold(_NoClient())

    async def saw_symptom(self, symptom: Symptom, within: Seconds) -> bool:
        """Whether the symptom shows ``within`` so many seconds; returns as soon as it does."""
        return await self._saw(lambda: self._shows(symptom), within)

    async def saw_health(self, within: Seconds) -> bool:
        """Whether the link works ``within`` so many seconds; returns as soon as it does."""
        return await self._saw(self._is_healthy, within)

    def _is_healthy(self) -> bool:
        is_ready = self._server.answers and not self._server.is_draining
        return is_ready and (self._link is None or self._link.usable)

    def _shows(self, symptom: Symptom) -> bool:
        match symptom:
            case ServerGone():
                return not self._server.is_up
            case ServerSilent():
                return self._server.is_up and not self._server.answers
            case ServerDraining():
                return self._server.is_draining or not self._server.is_up
            case DialsRefused():
                return self._link is not None and self._link.refusing
            case _:
                return self._server.answers and self._shows_in_link(symptom)

    def _shows_in_link(self, symptom: Symptom) -> bool:
        """Whether a symptom shows that a server which does not answer would hide."""
        match symptom:
            case ConnectionsEnd():
                return self._held is not None and self._held.severed
            case SlowReplies(at_least=at_least):
                return self._link is not None and 2 * self._link.extra_latency >= at_least
            case Silence(direction=direction):
                return self._link is not None and self._link.is_silent(direction)
            case _:
                return False  # a symptom of bytes, which the model does not have, or of clients

    async def _saw(self, condition: Callable[[], bool], within: Seconds) -> bool:
        return await sees(self._clock, condition, within)
