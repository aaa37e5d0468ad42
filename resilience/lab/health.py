"""What a laboratory measures of itself: how late its processes ran, what they used, what failed in it. Pure.

A lane records one :class:`LabHealth` at the end of a run and each second's lateness while it runs; what that means for
a verdict is judged elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from resilience.units import Seconds

RECORDED_LAG_S: Seconds = 0.02
"""Lateness below this within a second is not recorded: an idle machine has as much."""

LATE_S: Seconds = 0.5
LATE_SHARE = 0.1


def allowed_lateness(length: Seconds) -> Seconds:
    """How late a fault of this length may begin or end, seconds: half a second, or a tenth of its length if longer.

    An operation of Toxiproxy was measured at up to 0.7 s on a busy machine, and at some milliseconds on an idle one.
    """
    return max(LATE_S, LATE_SHARE * length)


class ProcessLag(msgspec.Struct, frozen=True):
    """How one process kept up over a run; ``role``: runner, worker, proxy or server host. Seconds, null if unknown.

    For a process with an event loop of the laboratory's the lateness is that of the loop's own timers. For a server
    host and a proxy it is how long, of each second, the process was ready to run and had no processor.
    """

    name: str
    role: str
    lag_p50: Seconds | None = None
    lag_p99: Seconds | None = None
    lag_max: Seconds | None = None
    cpu_s: Seconds | None = None


class ReferenceFigures(msgspec.Struct, frozen=True):
    """How as many bare clients as take part returned through the run's own proxies, before the run.

    ``returned`` of ``clients`` times ``storms`` had their first echo over a new connection while they were followed.
    ``excess_mean``, ``excess_p95``, ``excess_last``: seconds from the cut to that echo, over all returns; at least 95 %
    of them took no longer than ``excess_p95``.
    ``cpu_s``: processor seconds of each return, by role.
    """

    clients: int
    storms: int
    returned: int
    excess_mean: Seconds | None = None
    excess_p95: Seconds | None = None
    excess_last: Seconds | None = None
    cpu_s: dict[str, Seconds] = {}


class StormReturns(NamedTuple):
    """One storm of bare clients: how long each return took, and the processor seconds of all of them by role."""

    excesses: Sequence[Seconds]
    cpu_s: Mapping[str, Seconds]


def reference_figures(clients: int, storms: Sequence[StormReturns]) -> ReferenceFigures:
    """The figures of these storms, each of which cut as many ``clients``."""
    ranked = sorted(excess for storm in storms for excess in storm.excesses)
    if not ranked:
        return ReferenceFigures(clients, len(storms), 0)
    roles = dict.fromkeys(role for storm in storms for role in storm.cpu_s)
    return ReferenceFigures(
        clients,
        len(storms),
        len(ranked),
        excess_mean=sum(ranked) / len(ranked),
        excess_p95=ranked[math.ceil(0.95 * len(ranked)) - 1],
        excess_last=ranked[-1],
        cpu_s={role: sum(storm.cpu_s.get(role, 0.0) for storm in storms) / len(ranked) for role in roles},
    )


class LabHealth(msgspec.Struct, frozen=True):
    """One laboratory over one run.

    ``failures``: what failed in it without ending the run. ``throttled_s``: for how long a CPU quota stopped its
    processes. ``load``: the machine's load average per processor at the start and at the end. ``reference``: what it
    measured of bare clients before the run, where the experiment asks for that.
    """

    processes: tuple[ProcessLag, ...] = ()
    failures: tuple[str, ...] = ()
    throttled_s: Seconds | None = None
    load: tuple[float, float] | None = None
    reference: ReferenceFigures | None = None


class LagMeter:
    """Takes single measurements of lateness and tells their distribution.

    A timer that comes late counts once, however many of its periods it missed: the percentiles say how the process
    ran as a rule, and a single halt shows in the lateness of its seconds (:meth:`take_recent`).
    """

    def __init__(self) -> None:
        self._late: list[Seconds] = []
        self._recent: Seconds = 0.0
        self._skips = False

    def note(self, late: Seconds) -> None:
        """Take one measurement; a timer before its time is not late."""
        if self._skips:
            self._skips = False
            return
        late = max(late, 0.0)
        self._recent = max(self._recent, late)
        self._late.append(late)

    def skip(self) -> None:
        """Take no notice of the next measurement: the process did not run by intent."""
        self._skips = True

    @property
    def max(self) -> Seconds:
        """The worst lateness so far."""
        return max(self._late, default=0.0)

    @property
    def p50(self) -> Seconds:
        """Half of the measurements were no later."""
        return self._ranked(0.5)

    @property
    def p99(self) -> Seconds:
        """Ninety-nine of a hundred measurements were no later."""
        return self._ranked(0.99)

    def take_recent(self) -> Seconds:
        """The worst lateness since the last call."""
        recent, self._recent = self._recent, 0.0
        return recent

    def _ranked(self, share: float) -> Seconds:
        ranked = sorted(self._late)
        return ranked[int((len(ranked) - 1) * share)] if ranked else 0.0
