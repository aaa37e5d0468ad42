"""The runner's end of the fleet: its processes, their counts and their health. Knows nothing of single clients."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import msgspec

from resilience.errors import HarnessError
from resilience.experiment.spec import Experiment
from resilience.lab.health import ProcessLag
from resilience.lab.recording import EVENTS, OBSERVATIONS
from resilience.units import Instant, Seconds

from .supervised import SupervisedProcess, describe_exit
from .worker_main import REPORT_INTERVAL_S, Counts, Ended, Go, Job, Ready, Shard, Stop, WorkerCommand, WorkerReport

READY_TIMEOUT_S: Seconds = 30.0
"""How long a worker may take to load."""

EXIT_TIMEOUT_S: Seconds = 2.0
"""How long the exit code of a worker may take that has closed its pipes."""

STOP_TIMEOUT_S: Seconds = 10.0
SILENCE_TIMEOUT_S: Seconds = 10.0
"""A worker that reports four times a second and then not for this long is stuck."""

_REPORTS = msgspec.json.Decoder(WorkerReport)


class Worker:
    """One process of the fleet and what it reported last."""

    def __init__(self, child: SupervisedProcess, job: Job) -> None:
        self.child, self.job = child, job
        self.is_suspended = False
        self.counts = Counts({}, 0.0)
        self._lag_recent = 0.0
        self.ended: Ended | None = None
        self.heard_at = self.counts_at = 0.0

    @classmethod
    async def start(cls, experiment: Experiment, seed: int, run_dir: Path, number: int, shard: Shard) -> Worker:
        """Start the worker of this number and shard; it gets its job with :meth:`prepare`."""
        name = f"clients-{number}"
        command = [sys.executable, "-P", "-m", "chaos.worker_main"]
        child = await SupervisedProcess.spawn(name, command, run_dir / "logs" / f"{name}.log", piped=True)
        log, observations = (str(run_dir / folder / f"{name}.jsonl") for folder in (EVENTS, OBSERVATIONS))
        return cls(child, Job(experiment, seed, name, shard, log, observations))

    async def send(self, order: WorkerCommand) -> None:
        """Give an order; HarnessError when the process is gone."""
        pipe = self.child.process.stdin
        try:
            if pipe is not None:
                pipe.write(msgspec.json.encode(order) + b"\n")
                await pipe.drain()
        except (BrokenPipeError, ConnectionResetError):
            raise await self._lost() from None

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
            self.counts, self.heard_at = report, asyncio.get_running_loop().time()
            self.counts_at = self.heard_at
            self._lag_recent = max(self._lag_recent, report.lag_recent)

    def take_recent_lag(self) -> Seconds:
        """The worst lateness of its loop that it reported since the last call; a report that is late counts as such.

        0 while it is suspended.
        """
        if self.is_suspended:
            return 0.0
        silent = asyncio.get_running_loop().time() - self.heard_at - REPORT_INTERVAL_S
        recent, self._lag_recent = max(self._lag_recent, silent if self.heard_at else 0.0), 0.0
        return recent

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
    def pulse_at(self) -> Instant:
        """When its last report came, on the clock of the running loop."""
        return self.counts_at

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
        """What is known of a process whose pipes have ended."""
        await self.child.ended(EXIT_TIMEOUT_S)
        code = self.child.exit_code
        how = "it runs on without its pipes" if code is None else describe_exit(code)
        return HarnessError(f"{self.child.name} is gone ({how}); {self.child.log_tail()}")


def shards(experiment: Experiment, seed: int, workers: int) -> list[Shard]:
    """Who is in which process: the clients of a suspended link in one of their own, all others in ``workers``."""
    suspended = experiment.suspended_links(seed)
    groups = experiment.links(seed)
    others = tuple(group.name for group in groups if group.name not in suspended)
    clients = sum(len(group.indices) for group in groups if group.name in others)
    parts = min(workers, clients)
    return [
        *(Shard((group.name,)) for group in groups if group.name in suspended),
        *(Shard(others, part, parts) for part in range(parts)),
    ]


class WorkerPool:
    """All workers of a run."""

    def __init__(self, workers: list[Worker]) -> None:
        self.workers = workers

    async def go(self, epoch: Instant, urls: Mapping[str, str]) -> None:
        """Tell every worker when the run starts and where its clients connect."""
        for worker in self.workers:
            await worker.send(Go(epoch, dict(urls)))

    @property
    def open(self) -> Counter[str]:
        """Open sessions by cohort, as reported last."""
        total: Counter[str] = Counter()
        for worker in self.workers:
            total.update(worker.counts.open)
        return total

    @property
    def age(self) -> Seconds:
        """How old the oldest report is that counts."""
        return asyncio.get_running_loop().time() - min(worker.heard_at for worker in self.workers)

    @property
    def failures(self) -> list[str]:
        """The workers that did not end in order, once all have ended: their logs and observations are incomplete."""
        failed = [worker.child for worker in self.workers if worker.ended is None]
        return [
            f"{child.name} did not end in order ({describe_exit(child.exit_code or 0)}): its log is incomplete"
            for child in failed
        ]
