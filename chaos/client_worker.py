"""What the runner knows of every process of clients, ours or another's: suspended or not, alive, how late. No protocol.

:class:`~chaos.workers.Worker` holds our own clients, :class:`~chaos.drivers.worker.DriverWorker` those of another
program.
"""

from __future__ import annotations

import asyncio
import signal
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping

from resilience.experiment.drivers import ClientDriver, StdioDriver
from resilience.experiment.primitives import ClientOrder
from resilience.experiment.spec import Experiment
from resilience.lab.client_control import PULSE_S
from resilience.lab.health import ProcessLag
from resilience.lab.second_clients import OrderCounts
from resilience.units import Instant, Seconds

from .supervised import SupervisedProcess, describe_exit
from .worker_main import Shard


class ClientWorker(ABC):
    """One process of clients: a :class:`~resilience.lab.client_control.ClientProcess`, with the links of its shard."""

    def __init__(self, child: SupervisedProcess, shard: Shard) -> None:
        self.child, self.shard = child, shard
        self.is_suspended = False
        self.heard_at: Instant = 0.0
        """Since when its silence counts, on the clock of the running loop; 0 before its first sign of life."""
        self._pulse_at: Instant = 0.0
        self._lag_recent: Seconds = 0.0

    @abstractmethod
    async def prepare(self) -> None:
        """Wait until it is loaded; HarnessError when that fails."""

    @abstractmethod
    async def go(self, epoch: Instant, urls: Mapping[str, str]) -> None:
        """Tell it when the run starts, on the system's monotonic clock, and where clients connect, by link."""

    @abstractmethod
    async def read_reports(self) -> None:
        """Follow its clients until cancelled; HarnessError when it fails, or falls silent though not suspended."""

    @abstractmethod
    async def stop(self) -> None:
        """End its clients, then itself; killed when it does not obey. Not while :meth:`read_reports` runs."""

    @abstractmethod
    async def order(self, order: ClientOrder) -> None:
        """Have its clients carry out an order; InjectionError when it cannot be given."""

    @property
    @abstractmethod
    def order_counts(self) -> OrderCounts:
        """How far its orders have come, as last known."""

    @property
    @abstractmethod
    def open(self) -> Mapping[str, int]:
        """Open sessions by cohort, as last known."""

    @property
    @abstractmethod
    def has_ended_in_order(self) -> bool:
        """Whether its records are complete, once it has been stopped."""

    @property
    @abstractmethod
    def lag(self) -> ProcessLag:
        """How it kept up, as far as is known."""

    def suspend(self) -> None:
        """Stop the process where it is."""
        self.is_suspended = True
        self.child.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let the process continue; nothing happens to one that runs."""
        if self.is_suspended:
            self.is_suspended = False
            self.heard_at = asyncio.get_running_loop().time()
            self.child.signal(signal.SIGCONT)

    @property
    def pulse_age(self) -> Seconds:
        """How long ago its last sign of life came."""
        return asyncio.get_running_loop().time() - self._pulse_at

    def take_recent_lag(self) -> Seconds:
        """How late it was at worst since the last call, seconds; a sign of life that is late counts as such.

        0 while it is suspended.
        """
        if self.is_suspended:
            return 0.0
        silent = asyncio.get_running_loop().time() - self.heard_at - PULSE_S
        recent, self._lag_recent = max(self._lag_recent, silent if self.heard_at else 0.0), 0.0
        return recent

    def _heard(self, late: Seconds) -> None:
        """A sign of life came, from a process that was so ``late`` at worst since the one before."""
        self.heard_at = self._pulse_at = asyncio.get_running_loop().time()
        self._lag_recent = max(self._lag_recent, late)


def shards(experiment: Experiment, seed: int, workers: int) -> list[Shard]:
    """Who is in which process: the clients of an isolated link in one of their own, all others in ``workers``.

    Clients of different drivers share no process; a driver that says how many processes it has gets so many.
    """
    isolated = experiment.isolated_links(seed)
    drivers = {cohort.name: cohort.driver for cohort in experiment.cohorts}
    groups = experiment.links(seed)
    alone = [Shard((group.name,), driver=drivers[group.cohort]) for group in groups if group.name in isolated]
    shared: list[Shard] = []
    for driver in dict.fromkeys(drivers.values()):
        others = [group for group in groups if group.name not in isolated and drivers[group.cohort] == driver]
        links, clients = tuple(group.name for group in others), sum(len(group.indices) for group in others)
        parts = min(_processes(experiment.driver_named(driver)) or workers, clients)
        shared += [Shard(links, part, parts, driver) for part in range(parts)]
    return [*alone, *shared]


def _processes(driver: ClientDriver) -> int | None:
    return driver.processes if isinstance(driver, StdioDriver) else None


class WorkerPool:
    """All processes of clients of a run."""

    def __init__(self, workers: list[ClientWorker]) -> None:
        self.workers = workers

    async def go(self, epoch: Instant, urls: Mapping[str, str]) -> None:
        """Tell every worker when the run starts and where its clients connect."""
        for worker in self.workers:
            await worker.go(epoch, urls)

    @property
    def open(self) -> Counter[str]:
        """Open sessions by cohort, as reported last."""
        total: Counter[str] = Counter()
        for worker in self.workers:
            total.update(worker.open)
        return total

    @property
    def age(self) -> Seconds:
        """How old the oldest report is that counts."""
        return asyncio.get_running_loop().time() - min(worker.heard_at for worker in self.workers)

    @property
    def failures(self) -> list[str]:
        """The workers that did not end in order, once all have ended: their logs and observations are incomplete."""
        failed = [worker.child for worker in self.workers if not worker.has_ended_in_order]
        return [
            f"{child.name} did not end in order ({describe_exit(child.exit_code or 0)}): its log is incomplete"
            for child in failed
        ]
