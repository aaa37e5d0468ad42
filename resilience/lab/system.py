"""What the laboratory asks of a lane: time, the system under test, a way to run. Protocols only.

A lane runs coroutines in its own time (asyncio's, a virtual loop's, SimPy's), so everything in ``lab`` that waits does
so through :class:`LabClock`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple, Protocol, TypeVar

from resilience.eventlog.vocabulary import Lane
from resilience.experiment.primitives import ClientOperation, LinkOperation, ServerOperation, Symptom
from resilience.experiment.spec import Experiment
from resilience.units import Instant, Seconds

from .cancellation import Cancellation
from .health import LabHealth
from .recorder import RunRecorder
from .recording import Recording
from .stored_run import StoredRun

T = TypeVar("T")


class CallTimes(NamedTuple):
    """When an operation was ordered and when it was done, on the run's clock, seconds."""

    before: Instant
    after: Instant


class LabClock(Protocol):
    """The time of one run: seconds since its start; negative before."""

    def now(self) -> Instant:
        """This moment."""

    async def sleep_until(self, when: Instant) -> None:
        """Return at ``when``; at once if that has passed."""

    async def run_all(self, coroutines: Sequence[Coroutine[Any, Any, None]]) -> None:
        """Run them concurrently until all are done; the first failure cancels the others and is raised."""


class Canary(Protocol):
    """Watches one place during one fault; as an asynchronous context manager it closes its connections."""

    @property
    def problem(self) -> str | None:
        """Why the place was not usable before the fault; ``None`` when it was."""

    @property
    def hold_ended(self) -> bool:
        """Whether a connection has ended by which the canary holds the place: its end can be no symptom any more."""

    async def prepare(self, within: Seconds) -> None:
        """Probe the place and hold it, before the fault; takes at most ``within`` seconds."""

    async def saw_symptom(self, symptom: Symptom, within: Seconds) -> bool:
        """Whether the symptom shows ``within`` so many seconds; returns as soon as it does."""

    async def saw_health(self, within: Seconds) -> bool:
        """Whether the place works again ``within`` so many seconds; returns as soon as it does."""


class FaultableLink(Protocol):
    """One link: all traffic of its clients passes it, and faults act on it."""

    async def apply(self, operation: LinkOperation) -> CallTimes:
        """Carry out one operation; raises :class:`~resilience.errors.InjectionError` when that fails."""

    def canary(self) -> AbstractAsyncContextManager[Canary]:
        """A canary that crosses this link."""

    async def repair(self) -> None:
        """Bring the link back to health after an operation failed: none of its conditions holds any more."""


class FaultableServer(Protocol):
    """The server under test."""

    async def apply(self, operation: ServerOperation) -> CallTimes:
        """Carry out one operation; raises :class:`~resilience.errors.InjectionError` when that fails."""

    def canary(self) -> AbstractAsyncContextManager[Canary]:
        """A canary that goes straight to the server."""

    async def repair(self) -> None:
        """Bring the server back after an operation failed."""


class FaultableClients(Protocol):
    """The clients of one link, in a process that they share with no others."""

    async def apply(self, operation: ClientOperation) -> CallTimes:
        """Carry out one operation; raises :class:`~resilience.errors.InjectionError` when that fails."""

    def canary(self) -> AbstractAsyncContextManager[Canary]:
        """What watches the process for signs of life."""

    async def repair(self) -> None:
        """Let the clients run after an operation failed."""


class System(Protocol):
    """A running system under test with everything around it, from its start to its end."""

    @property
    def clock(self) -> LabClock:
        """The run's clock."""

    @property
    def links(self) -> Mapping[str, FaultableLink]:
        """The links, by the names that ``Experiment.links`` gives them."""

    @property
    def server(self) -> FaultableServer:
        """The server."""

    @property
    def client_groups(self) -> Mapping[str, FaultableClients]:
        """The clients that some fault acts on, by the names of their links."""

    def open_sessions(self) -> Mapping[str, int]:
        """How many clients have a session, by cohort, as last known."""

    def joined_share(self) -> float:
        """The share of all clients that have a session now; raises HarnessError when that is not known."""

    async def supervise(self, main: Coroutine[Any, Any, T], recorder: RunRecorder) -> T:
        """Run ``main``; raises HarnessError, and cancels it, when the laboratory fails meanwhile.

        :class:`~resilience.errors.SystemFailedError`, in the same way, when the server ends or stops by itself. What
        goes wrong without ending the run (a proxy that had to be replaced) is recorded.
        """

    def death(self) -> str | None:
        """How the server ended by itself, if it did."""

    def server_log_tail(self) -> str | None:
        """The end of the server's own log, for the record of its failure; ``None`` where it keeps none."""

    def server_is_silent(self) -> bool:
        """Whether the server itself has not answered its own probe lately; then what a canary misses proves nothing."""

    async def finish(self) -> StoredRun | None:
        """End the run: let the server settle and write its closing records; returns what its database holds."""

    def measured(self) -> LabHealth | None:
        """What the laboratory measured of itself, once everything has ended; ``None`` where it cannot run late."""


class LaneDriver(Protocol):
    """One lane: a name, a way to run coroutines, and a way to start the system of an experiment."""

    @property
    def lane(self) -> Lane:
        """Its name."""

    def versions(self) -> Mapping[str, str]:
        """The libraries and tools whose behaviour shows in a run, with their versions."""

    def run(self, main: Callable[[], Coroutine[Any, Any, T]], cancellation: Cancellation) -> T:
        """Run a coroutine to its end in the lane's time; a cancellation that is requested cancels it."""

    def start(
        self, experiment: Experiment, seed: int, recording: Recording, on_tick: Callable[[], None]
    ) -> AbstractAsyncContextManager[System]:
        """Start the system; on exit nothing of it is left running.

        Clients dial from the run's start (0.0) on. ``on_tick`` is called now and then in lanes that run in real time.
        """
