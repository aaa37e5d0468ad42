"""Many requests as one array: the answers of admission control and the station to each of them.

Running sums are made in the order of the requests, as the scalar code makes them, and whatever else the arrays cannot
promise ends the stretch. So every number is that of :meth:`AdmissionController.try_admit` and :meth:`Station.settle`,
bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from resilience.policy.admission import MAX_SLOT_S, SLOT_SHARE, AdmissionController
from resilience.units import Instant, Seconds

from ..station import Station
from .population import Floats


class ExpectedJoins(NamedTuple):
    """The answers of a server to the first of some joins. ``admitted``, ``retry``: arrays of one length.

    ``retry``: seconds until the return slot of those that are not admitted, NaN for the others. ``after``: until when
    the server is busy, and which slot was the last, when so many of these joins have come.
    """

    admitted: npt.NDArray[np.bool_]
    retry: Floats
    after: Callable[[int], tuple[Instant, Instant]]


class ArrayAdmission(AdmissionController):
    """Admission control that computes its answers to many joins beforehand, and then takes some of them."""

    def expect(self, instants: Floats) -> ExpectedJoins:
        """What :meth:`try_admit` says at these instants, in order; of fewer joins where sums do not decide."""
        ahead = self._ahead(instants)
        surely = _first(ahead - instants + self._error(instants) > self._limit)
        if surely:
            return ExpectedJoins(np.ones(surely, np.bool_), np.full(surely, np.nan), partial(self._after_all, instants))
        return self._expect_at_the_limit(instants)

    def take(self, joins: ExpectedJoins, count: int) -> None:
        """The first ``count`` of these joins have come."""
        self._busy_until, self._slots_until = joins.after(count)

    # where no queue is near the limit ---------------------------------------------------------------------------------

    def _ahead(self, instants: Floats) -> Floats:
        """Until when each join finds the server busy if all are admitted, but for rounding."""
        work = np.arange(len(instants)) * self._cost
        starts = np.maximum.accumulate(np.concatenate(([self._busy_until], (instants - work)[:-1])))
        ahead: Floats = starts + work
        return ahead

    def _error(self, instants: Floats) -> Seconds:
        """More than all roundings of the sums can add up to, here and in the scalar code."""
        latest = float(instants[-1]) + len(instants) * self._cost + self._limit
        return 4 * len(instants) * float(np.spacing(latest))

    def _after_all(self, instants: Floats, count: int) -> tuple[Instant, Instant]:
        """The state after the first ``count``, all of them admitted: only what came after the last pause matters."""
        taken = instants[:count]
        pauses = np.flatnonzero(taken > self._ahead(taken) + self._error(taken))
        rest = taken[pauses[-1] if len(pauses) else 0 :]
        work = _running(max(self._busy_until, float(rest[0])), self._cost, len(rest))
        if (work[:-1] >= rest).all():
            return float(work[-1]), self._slots_until
        busy = self._busy_until
        for at in rest.tolist():
            busy = max(busy, at) + self._cost
        return busy, self._slots_until

    # where the queue is as long as the limit --------------------------------------------------------------------------

    def _expect_at_the_limit(self, instants: Floats) -> ExpectedJoins:
        """Up to the first join that finds an idle server, or whose slot does not follow the one before.

        The work of an idle server begins at that instant; a slot may have to wait for the work, or be beyond the
        longest wait.
        """
        work = _running(self._busy_until, self._cost, len(instants))
        admitted, ahead = self._admitted(instants, work)
        rejected = np.flatnonzero(~admitted)
        now = instants[rejected]
        free = now + np.minimum((ahead - instants)[rejected], MAX_SLOT_S)
        first = max(self._slots_until, float(free[0])) if len(free) else self._slots_until
        slots = _running(first, self._cost / SLOT_SHARE, len(free))
        follows = (slots[:-1] >= free) & (slots[1:] <= now + MAX_SLOT_S)
        retry = np.full(len(instants), np.nan)
        retry[rejected] = slots[1:] - now
        undecided = ahead < instants
        undecided[rejected[~follows]] = True
        count = _first(undecided)

        def after(taken: int) -> tuple[Instant, Instant]:
            let_in = int(np.count_nonzero(admitted[:taken]))
            return float(work[let_in]), float(slots[taken - let_in]) if taken > let_in else self._slots_until

        return ExpectedJoins(admitted[:count], retry[:count], after)

    def _admitted(self, instants: Floats, work: Floats) -> tuple[npt.NDArray[np.bool_], Floats]:
        """Which joins are admitted while the server is busy, and until when each finds it busy.

        By each instant so many may have been admitted that the work of the last one found no more than the limit
        ahead. A join is admitted if those before it are fewer; the running minimum counts them.
        """
        limit, place = self._limit, np.arange(len(instants))
        most = np.searchsorted(work, instants + limit, side="right")
        most += np.append(work, np.inf)[most] - instants <= limit  # the sum above was rounded, down
        most -= (most > 0) & (work[most - 1] - instants > limit)  # or up
        after = place + 1 + np.minimum(np.minimum.accumulate(most - place - 1), 0)
        before = np.concatenate(([0], after[:-1]))
        return after > before, work[before]


class ArrayStation(Station[None]):
    """A station without a limit of its backlog that computes beforehand when requests are done."""

    def expect(self, instants: Floats, service: Seconds) -> Floats:
        """When requests at these instants, in order, are done at a single processor; fewer where sums are not exact."""
        work = np.arange(len(instants)) * service
        ends: Floats = np.maximum(np.maximum.accumulate(instants - work), self._free[0]) + work + service
        turns = np.maximum(np.concatenate(([self._free[0]], ends[:-1])), instants)
        return ends[: _first(turns + service != ends)]

    def take(self, end: Instant) -> None:
        """The requests until the one that is done at ``end`` have come."""
        self._free[0] = end


def _running(first: float, step: float, count: int) -> Floats:
    """``first``, ``first + step``, and so on, each rounded as in a loop."""
    steps = np.full(count + 1, step)
    steps[0] = first
    sums: Floats = np.add.accumulate(steps)
    return sums


def _first(marked: npt.NDArray[np.bool_]) -> int:
    """The place of the first that is marked; their number if none is."""
    return int(np.argmax(marked)) if marked.any() else len(marked)
