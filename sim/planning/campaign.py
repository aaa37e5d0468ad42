"""Carries out a sweep: submits runs until every point has the replications that the rule wants, and stores each result.

Holds no result in its own hands: what was computed is in the directory before the next one is waited for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass

from resilience.errors import HarnessError, ResilienceError, UsageError
from resilience.units import Seconds

from .design import Design
from .evaluation import RunResult, RunTask, Scenario, evaluate
from .stopping import StoppingRule
from .sweep_directory import SweepDirectory
from .workers import Workers


@dataclass(frozen=True)
class SweepStanding:
    """How far a sweep is. ``wanted`` may grow up to ``most``, as intervals turn out wide.

    ``seconds_done``: of work that this command has done; ``seconds_left`` and ``seconds_left_most``: of work, estimated
    from the runs of the same point, or of all where it has none; ``None`` before the first run.
    """

    done: int
    wanted: int
    most: int
    seconds_left: Seconds | None
    seconds_left_most: Seconds | None


class Campaign:
    """One sweep under one rule. ``metric``: the figure that the rule is about."""

    def __init__(
        self, scenario: Scenario, design: Design, rule: StoppingRule, metric: str, directory: SweepDirectory
    ) -> None:
        self._scenario, self._design, self._rule, self._metric = scenario, design, rule, metric
        self._directory = directory

    def run(
        self,
        workers: Workers,
        listener: Callable[[Callable[[], SweepStanding]], None],
        points: Sequence[int] | None = None,
    ) -> None:
        """Compute what is missing of these points, of all by default.

        ``listener`` is called after every result, and asks for the standing if it wants it.

        Raises :class:`~resilience.errors.HarnessError` when a run fails or a worker ends, and
        :class:`~resilience.errors.UsageError` for settings that the lane cannot carry; results are kept.
        """
        asked = set(self._directory.results)
        queue = deque(self._tasks(range(len(self._design.points)) if points is None else points, asked))
        pending: set[Future[RunResult]] = set()
        listener(self.standing)
        try:
            while queue or pending:
                while queue and len(pending) < workers.at_once:
                    pending.add(self._submit(workers.executor, queue.popleft()))
                finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                reached = {self._store(future) for future in finished}
                queue.extend(self._tasks(sorted(reached), asked))
                listener(self.standing)
        finally:
            for future in pending:
                future.cancel()

    def results(self) -> list[RunResult]:
        """Those that the rule wants, by point and replication: the same however they were computed."""
        found = []
        for point in range(len(self._design.points)):
            known = self._known(point)
            found += known[: self._rule.wanted(self._values(known))]
        return found

    @property
    def complete(self) -> bool:
        """Whether every point has what the rule wants."""
        return all(self._missing(point) == 0 for point in range(len(self._design.points)))

    def standing(self) -> SweepStanding:
        """Counts and estimates."""
        known = [self._known(point) for point in range(len(self._design.points))]
        wanted = [self._rule.wanted(self._values(each)) for each in known]
        seconds = [result.seconds for each in known for result in each]
        mean = sum(seconds) / len(seconds) if seconds else None
        left = most = 0.0
        for each, number in zip(known, wanted, strict=True):
            own = sum(result.seconds for result in each) / len(each) if each else (mean or 0.0)
            left += own * max(number - len(each), 0)
            most += own * (0 if len(each) >= number else self._rule.most - len(each))
        done = sum(min(len(each), number) for each, number in zip(known, wanted, strict=True))
        open_ends = sum(self._rule.most for each, n in zip(known, wanted, strict=True) if len(each) < n)
        closed = sum(n for each, n in zip(known, wanted, strict=True) if len(each) >= n)
        estimate = (None, None) if mean is None else (left, most)
        return SweepStanding(done, sum(wanted), open_ends + closed, *estimate)

    def _tasks(self, points: Iterable[int], asked: set[tuple[int, int]]) -> list[RunTask]:
        """What these points want and was not asked yet; marks it as asked."""
        tasks = []
        for point in points:
            for replication in range(self._rule.wanted(self._values(self._known(point)))):
                if (point, replication) not in asked:
                    asked.add((point, replication))
                    tasks.append(RunTask(point, self._design.points[point], replication))
        return tasks

    def _submit(self, executor: Executor, task: RunTask) -> Future[RunResult]:
        try:
            return executor.submit(evaluate, self._scenario, task)
        except BrokenExecutor as error:
            raise self._dead_worker() from error

    def _store(self, future: Future[RunResult]) -> int:
        try:
            result = future.result()
        except BrokenExecutor as error:
            raise self._dead_worker() from error
        except ResilienceError as error:
            kind = UsageError if isinstance(error, UsageError) else HarnessError
            raise kind(f"{error}; {self._kept()}") from error
        except Exception as error:
            if type(error).__name__ in _DASK_LOSSES:
                raise self._dead_worker() from error
            raise
        self._directory.add(result)
        return result.point

    def _dead_worker(self) -> HarnessError:
        return HarnessError(f"a worker process ended before its work, killed or out of memory; {self._kept()}")

    def _kept(self) -> str:
        return f"the results of {len(self._directory.results)} runs are kept: the same command continues from them"

    def _known(self, point: int) -> list[RunResult]:
        """The results of a point in order, up to the first replication that is missing."""
        found: list[RunResult] = []
        while (result := self._directory.results.get((point, len(found)))) is not None:
            found.append(result)
        return found

    def _values(self, results: list[RunResult]) -> list[float | None]:
        return [result.figures.get(self._metric) for result in results]

    def _missing(self, point: int) -> int:
        known = self._known(point)
        return max(self._rule.wanted(self._values(known)) - len(known), 0)


_DASK_LOSSES = ("KilledWorker", "FutureCancelledError", "CancelledError")
"""What a Dask future raises when its workers ended more often than the scheduler allows."""
