"""Timers of machines that sleep, stall or are throttled: the product's own timer, kept from firing."""

from __future__ import annotations

import math
from collections.abc import Iterable

from resilience.client.client import ReconnectingClient
from resilience.runtime import DeadlineTimer
from resilience.server.app import QuizServer
from resilience.server.lag import LoopLag
from resilience.units import Instant, Seconds
from sim.virtual.link import VirtualLink


class HeldTimer(DeadlineTimer):
    """Fires nothing while ``held``; what came due meanwhile fires at the release."""

    held = False
    _missed = False

    def hold(self) -> None:
        """The process is stopped."""
        self.held = True

    def release(self) -> None:
        """Let the process continue."""
        self.held = False
        if self._missed:
            self._missed = False
            super()._wake()

    def _wake(self) -> None:
        if self.held:
            self._missed = True
        else:
            super()._wake()


class HeldLag:
    """A server's lag meter, held as its other timers are: its next sample is as late as the process."""

    def __init__(self, lag: LoopLag) -> None:
        self._lag, self._held = lag, False

    def hold(self) -> None:
        """The process is stopped."""
        self._lag.stop()
        self._held = True

    def release(self) -> None:
        """Let the process continue."""
        if self._held:
            self._held = False
            self._lag._wake()


class CoarseTimer(DeadlineTimer):
    """Fires only at whole multiples of ``every`` seconds, as timers of a hidden page do; 0 for any time."""

    every: Seconds = 60.0

    def set_deadline(self, deadline: Instant | None) -> None:
        """Be sure to fire by the first moment at or after the deadline that is allowed."""
        if deadline is not None and self.every:
            deadline = math.ceil(max(deadline, self._clock.now()) / self.every) * self.every
        super().set_deadline(deadline)


class Machine:
    """The computer of some clients behind one link, or of a server: it can sleep, and wakes without a notice.

    Asleep, it reads nothing and no timer fires; what others send, their closes too, waits for it.
    """

    def __init__(self, links: Iterable[VirtualLink], timers: Iterable[HeldTimer | HeldLag]) -> None:
        self._links, self._timers = list(links), list(timers)

    @classmethod
    def of_client(cls, client: ReconnectingClient, link: VirtualLink) -> Machine:
        """The machine of a client that has not started; ``link`` is its way out."""
        timer = client._timer = HeldTimer(client._clock, client._on_deadline)
        return cls([link], [timer])

    @classmethod
    def of_server(cls, server: QuizServer, links: Iterable[VirtualLink]) -> Machine:
        """The machine of a server without connections yet; ``links`` are all paths to it."""
        gateway = server._gateway
        gateway._timer = HeldTimer(gateway._clock, gateway._on_deadline)
        timers: list[HeldTimer | HeldLag] = [gateway._timer]
        if server._lag is not None:
            timers.append(HeldLag(server._lag))
        for hub in server.hubs.values():
            hub._timer = HeldTimer(hub._clock, hub._on_deadline)
            hub._timer.set_deadline(hub.room.next_deadline())
            timers.append(hub._timer)
        return cls(links, timers)

    def sleep(self) -> None:
        """Stop, as by SIGSTOP or a closed lid."""
        for link in self._links:
            link.freeze(True)
        for timer in self._timers:
            timer.hold()

    def wake(self, *, timers_first: bool = False) -> None:
        """Continue: what was received and what came due happen now, in either order."""
        if timers_first:
            self._release()
        for link in self._links:
            link.freeze(False)
        self._release()

    def _release(self) -> None:
        for timer in self._timers:
            timer.release()
