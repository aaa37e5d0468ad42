"""A canary in the model: it holds a modelled connection and reads the link's own state. Changes nothing for clients."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from resilience.experiment.primitives import (
    ClientsSilent,
    ConnectionsEnd,
    DialsRefused,
    ServerDraining,
    ServerGone,
    ServerSilent,
    Silence,
    SlowReplies,
    Symptom,
)
from resilience.protocol.messages import ServerMessage
from resilience.units import Seconds

from .connection import ModelConnection
from .lab_clock import SimLabClock
from .link import ModelLink

PAUSE_S: Seconds = 0.05
"""Between two readings of a state that does not show yet."""


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


class ModelCanary:
    """Watches one link (``None``: the server itself) during one fault."""

    def __init__(self, clock: SimLabClock, link: ModelLink | None, is_up: Callable[[], bool]) -> None:
        self._clock, self._link, self._is_up = clock, link, is_up
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
        return self._is_up() and (self._link is None or self._link.usable)

    def _shows(self, symptom: Symptom) -> bool:
        match symptom:
            case ConnectionsEnd():
                return self._held is not None and self._held.severed and self._is_up()
            case SlowReplies(at_least=at_least):
                return self._link is not None and 2 * self._link.extra_latency >= at_least and self._is_up()
            case DialsRefused():
                return self._link is not None and self._link.refusing
            case Silence(direction=direction):
                return self._link is not None and self._link.is_silent(direction) and self._is_up()
            case ServerGone() | ServerSilent() | ServerDraining() | ClientsSilent():
                return not self._is_up()
            case _:
                return False  # a symptom of bytes, which the model does not have

    async def _saw(self, condition: Callable[[], bool], within: Seconds) -> bool:
        deadline = self._clock.now() + within
        while not condition():
            if self._clock.now() >= deadline:
                return False
            await self._clock.sleep_until(min(self._clock.now() + PAUSE_S, deadline))
        return True
