"""The clients of one modelled link as a process: suspended, resumed, given orders. Knows no faults."""

from __future__ import annotations

import math
from collections.abc import Callable

from resilience.experiment.primitives import ClientOrder
from resilience.lab.second_clients import OrderCounts
from resilience.units import Seconds

from .process import ModelProcess


class ModelClientProcess:
    """A :class:`~resilience.lab.client_control.ClientProcess`.

    ``carry_out`` has the clients carry out an order; ``counts`` tells how far orders have come.
    """

    def __init__(
        self, process: ModelProcess, carry_out: Callable[[ClientOrder], None], counts: Callable[[], OrderCounts]
    ) -> None:
        self._process, self._carry_out, self._counts = process, carry_out, counts

    def suspend(self) -> None:
        """Stand still from now on."""
        self._process.suspend()

    def resume(self) -> None:
        """Continue; nothing happens to clients that run."""
        self._process.resume()

    async def order(self, order: ClientOrder) -> None:
        """Have the clients carry out an order, which takes no time; suspended ones do when they continue."""
        if self._process.is_suspended:
            self._process.read_later(lambda: self._carry_out(order))
        else:
            self._carry_out(order)

    @property
    def order_counts(self) -> OrderCounts:
        """How far their orders have come."""
        return self._counts()

    @property
    def pulse_age(self) -> Seconds:
        """0 while they run, as the model need not wait for a sign of life; infinite while they are suspended."""
        return math.inf if self._process.is_suspended else 0.0
