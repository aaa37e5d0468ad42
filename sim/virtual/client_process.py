"""The clients of one link as a process of the virtual lane: context, signs of life, orders. Knows no faults."""

from __future__ import annotations

import asyncio

from resilience.experiment.primitives import ClientOrder
from resilience.lab.client_control import NOTHING_ORDERED, PULSE_S
from resilience.lab.fleet import Fleet
from resilience.lab.second_clients import OrderCounts
from resilience.units import Instant, Seconds

from .loop import VirtualLoop, process_context
from .network import VirtualNetwork


class VirtualClientProcess:
    """A :class:`~resilience.lab.client_control.ClientProcess`: what runs in ``context`` can be suspended.

    ``fleet`` has its clients, once there is one.
    """

    def __init__(self, link: str, loop: VirtualLoop, network: VirtualNetwork) -> None:
        self.name, self._link = f"clients {link}", link
        self.fleet: Fleet | None = None
        self.context = process_context(self.name)
        self._pulse_at: Instant = loop.time()
        self._loop, self._network = loop, network
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Give signs of life from now on."""
        self._pulse_at = self._loop.time()
        self._timer = self._loop.call_later(PULSE_S, self.start, context=self.context)

    def stop(self) -> None:
        """Give none any more."""
        if self._timer is not None:
            self._timer.cancel()

    async def order(self, order: ClientOrder) -> None:
        """Have its clients carry out an order, as soon as they are not suspended."""
        if self.fleet is not None:
            self._loop.call_soon(self.fleet.carry_out, order, self._link, context=self.context)

    @property
    def pulse_age(self) -> Seconds:
        """How long ago its last sign of life came."""
        return self._loop.time() - self._pulse_at

    @property
    def order_counts(self) -> OrderCounts:
        """How far its orders have come."""
        return NOTHING_ORDERED if self.fleet is None else self.fleet.order_counts(self._link)

    def suspend(self) -> None:
        """Stand still: nothing that arrives is read and no timer fires."""
        self._network.suspend(self.name)
        self._loop.suspend(self.name)

    def resume(self) -> None:
        """Continue: what has arrived is read first, then come the timers that have passed."""
        self._network.resume(self.name)
        self._loop.resume(self.name)
