"""The runner's end of our own fleet: one process of it, its counts and its health. Knows nothing of single clients."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from resilience.errors import HarnessError, InjectionError
from resilience.experiment.primitives import ClientOrder
from resilience.experiment.spec import Experiment
from resilience.lab.client_control import NOTHING_ORDERED
from resilience.lab.health import ProcessLag
from resilience.lab.recording import EVENTS, OBSERVATIONS
from resilience.lab.second_clients import OrderCounts
from resilience.units import Instant, Seconds

from .client_worker import ClientWorker
from .supervised import SupervisedProcess, describe_exit
from .worker_main import Carry, Counts, Ended, Go, Job, Ready, Shard, Stop, WorkerCommand, WorkerReport

READY_TIMEOUT_S: Seconds = 30.0
"""How long a worker may take to load."""

END_TIMEOUT_S: Seconds = 2.0
"""How long after the end of its output a worker's process may take to end."""

STOP_TIMEOUT_S: Seconds = 10.0
SILENCE_TIMEOUT_S: Seconds = 10.0
"""A worker that reports four times a second and then not for this long is stuck."""

_REPORTS = msgspec.json.Decoder(WorkerReport)


class Worker(ClientWorker):
    """One process of the fleet and what it reported last."""

    def __init__(self, child: SupervisedProcess, job: Job) -> None:
        super().__init__(child, job.shard)
        self.job = job
        self.counts = Counts({}, 0.0)
        self.ended: Ended | None = None

    @classmethod
    async def start(cls, experiment: Experiment, seed: int, run_dir: Path, number: int, shard: Shard) -> Worker:
        """Start the worker of this number and shard; it gets its job with :meth:`prepare`."""
        name = f"clients-{number}"
        child = await SupervisedProcess.spawn(name, cls._command(), run_dir / "logs" / f"{name}.log", piped=True)
        log, observations = (str(run_dir / folder / f"{name}.jsonl") for folder in (EVENTS, OBSERVATIONS))
        return cls(child, Job(experiment, seed, name, shard, log, observations))

    @staticmethod
    def _command() -> list[str]:
        """The program of a worker and its arguments."""
        return [sys.executable, "-P", "-m", "chaos.worker_main"]

    async def send(self, order: WorkerCommand) -> None:
        """Give an order; HarnessError when the process is gone."""
        pipe = self.child.process.stdin
        try:
            if pipe is not None:
                pipe.write(msgspec.json.encode(order) + b"\n")
                await pipe.drain()
        except (BrokenPipeError, ConnectionResetError):
            raise await self._lost() from None

    async def go(self, epoch: Instant, urls: Mapping[str, str]) -> None:
        """Tell it when the run starts and where its clients connect; from now on its silence counts."""
        self.heard_at = asyncio.get_running_loop().time()
        await self.send(Go(epoch, dict(urls)))

    async def prepare(self) -> None:
        """Give it its job and wait until it is loaded."""
        await self.send(self.job)
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                report = await self._read_report()
        except TimeoutError:
            raise HarnessError(
                f"{self.child.name} did not load within {READY_TIMEOUT_S:g} s; {self.child.log_tail()}"
            ) from None
        if not isinstance(report, Ready):
            raise await self._lost()

    async def read_reports(self) -> None:
        """Take its reports until cancelled; HarnessError when it dies, or falls silent though it is not suspended."""
        while True:
            try:
                async with asyncio.timeout(SILENCE_TIMEOUT_S):
                    report = await self._read_report()
            except TimeoutError:
                if self.is_suspended:
                    continue
                raise HarnessError(f"{self.child.name} has not reported for {SILENCE_TIMEOUT_S:g} s") from None
            if not isinstance(report, Counts):
                raise await self._lost()
            self.counts = report
            self._heard(report.lag_recent)

    @property
    def open(self) -> Mapping[str, int]:
        """Open sessions by cohort, as reported last."""
        return self.counts.open

    async def order(self, order: ClientOrder) -> None:
        """Have its clients carry out an order, as soon as they are not suspended."""
        try:
            await self.send(Carry(order, self.shard.links[0]))
        except HarnessError as error:
            raise InjectionError(str(error)) from error

    @property
    def order_counts(self) -> OrderCounts:
        """How far its orders have come, as reported last."""
        return self.counts.orders.get(self.shard.links[0], NOTHING_ORDERED)

    @property
    def has_ended_in_order(self) -> bool:
        """Whether it reported its end: then its log is complete."""
        return self.ended is not None

    @property
    def lag(self) -> ProcessLag:
        """How it kept up; of one that did not end in order only the worst lateness that it reported is known."""
        if self.ended is not None:
            return self.ended.lag
        return ProcessLag(self.child.name, "worker", lag_max=self.counts.lag_max)

    async def stop(self) -> None:
        """End its clients, then itself; killed when it does not obey. Not while :meth:`read_reports` runs.

        :attr:`ended` says whether it did: then its log is complete.
        """
        self.resume()
        with contextlib.suppress(HarnessError, TimeoutError):  # it is gone, or is about to be
            await self.send(Stop())
            async with asyncio.timeout(STOP_TIMEOUT_S):
                while (report := await self._read_report()) is not None:
                    self.ended = report if isinstance(report, Ended) else self.ended
        if not await self.child.ended(STOP_TIMEOUT_S if self.ended else 0.0):
            await self.child.end_now()

    async def _read_report(self) -> WorkerReport | None:
        pipe = self.child.process.stdout
        line = await pipe.readline() if pipe is not None else b""
        return _REPORTS.decode(line) if line else None

    async def _lost(self) -> HarnessError:
        """Its output has ended; the kernel may report the end of the process itself a moment later."""
        ended = await self.child.ended(END_TIMEOUT_S)
        how = describe_exit(self.child.exit_code or 0) if ended else "it closed its output and still runs"
        return HarnessError(f"{self.child.name} is gone ({how}); {self.child.log_tail()}")
