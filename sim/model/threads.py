"""The threads of the modelled machine, and the processors that they share, driven in SimPy's time. Decides nothing."""

from __future__ import annotations

import math
from collections.abc import Callable

from resilience.experiment.costs import ModelCosts
from resilience.units import Instant, Seconds

from ..processors import SharedProcessors
from .clock import SimEnvironment

Action = Callable[[], None]


class ModelProcessors:
    """The machine's processors: ``costs.shared_processors`` of them, or one for each thread."""

    def __init__(self, clock: SimEnvironment, costs: ModelCosts) -> None:
        self.clock = clock
        self.shared: SharedProcessors[Action] = SharedProcessors(costs.shared_processors)
        self._armed: Instant = math.inf
        self._call = 0

    def thread(self) -> ModelThread:
        """One more thread, without work."""
        return ModelThread(self, self.shared.add_thread())

    def look_again(self) -> None:
        """Have the next piece of work end when it is due now; an earlier appointment is void."""
        due = self.shared.next_end
        if due != self._armed:
            self._armed = due
            self._call += 1
            if due < math.inf:
                call = self._call
                self.clock.at(due, lambda _: self._finish(call))

    def _finish(self, call: int) -> None:
        if call == self._call:
            self._armed = math.inf
            self.shared.finish()()
            self.look_again()


class ModelThread:
    """One thread: its work is done in the order of its arrival, what is to be done ``later`` after all else."""

    __slots__ = ("_number", "_processors")

    def __init__(self, processors: ModelProcessors, number: int) -> None:
        self._processors, self._number = processors, number

    @property
    def is_idle(self) -> bool:
        """Whether it has nothing to do."""
        return self._processors.shared.is_idle(self._number)

    def do(self, work: Seconds, action: Action, *, later: bool = False) -> None:
        """Act after this work and all that comes before it; at once where there is none of either."""
        place, number = self._processors, self._number
        if work or not self.is_idle:
            place.shared.add(number, action, work, place.clock.now, later=later)
            place.look_again()
        else:
            action()

    def hold(self) -> None:
        """Stand still until :meth:`release`."""
        self._processors.shared.hold(self._number, self._processors.clock.now)
        self._processors.look_again()

    def release(self) -> None:
        """Continue after :meth:`hold`; nothing happens to a thread that was not held."""
        self._processors.shared.release(self._number, self._processors.clock.now)
        self._processors.look_again()

    def clear(self) -> None:
        """Drop all work and the actions that follow it."""
        self._processors.shared.clear(self._number, self._processors.clock.now)
        self._processors.look_again()
