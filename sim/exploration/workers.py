"""Runs many seeds, here or in worker processes, and yields each record as soon as it is there. Keeps nothing."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing.process import BaseProcess

from resilience.errors import HarnessError

from ..virtual.lane import collector_paused
from .records import ExplorationPlan, SeedRecord
from .seeds import GENERATORS, SeedRunner

SEEDS_PER_CHUNK = 10
"""Garbage is collected, and a worker process asked, once in so many seeds."""

AHEAD = 2
"""Chunks for each worker that are under way or wait, so that none is idle and little is lost at an interrupt."""


def run_seeds(plan: ExplorationPlan, seeds: Sequence[int], workers: int) -> Iterator[SeedRecord]:
    """Run these seeds; the records of several workers come in any order.

    Raises :class:`~resilience.errors.HarnessError` when a worker process ends before its work.
    """
    chunks = [seeds[start : start + SEEDS_PER_CHUNK] for start in range(0, len(seeds), SEEDS_PER_CHUNK)]
    if workers == 1 or len(chunks) == 1:
        return _run_here(plan, chunks)
    return _run_in_processes(plan, chunks, min(workers, len(chunks)))


def _run_here(plan: ExplorationPlan, chunks: Sequence[Sequence[int]]) -> Iterator[SeedRecord]:
    for chunk in chunks:
        with collector_paused():
            for seed in chunk:
                yield _run_seed(plan, seed)


def _run_in_processes(plan: ExplorationPlan, chunks: Sequence[Sequence[int]], workers: int) -> Iterator[SeedRecord]:
    # A forked copy of a process with threads can hang, so the workers start afresh.
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_leave_signals_to_the_parent)
    try:
        yield from _in_order_of_completion(lambda chunk: executor.submit(_run_chunk, plan, chunk), chunks, workers)
    except BrokenProcessPool as error:
        raise HarnessError("a worker process ended before its work, killed or out of memory") from error
    except BaseException:
        _kill(set(multiprocessing.active_children()) - others)
        raise
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _kill(started: set[BaseProcess]) -> None:
    """End workers at once: what they have not returned is run again by the next exploration."""
    for process in started:
        process.kill()


def _in_order_of_completion(
    submit: Callable[[Sequence[int]], Future[list[SeedRecord]]], chunks: Sequence[Sequence[int]], workers: int
) -> Iterator[SeedRecord]:
    waiting, left = set[Future[list[SeedRecord]]](), iter(chunks)
    while True:
        while len(waiting) < AHEAD * workers and (chunk := next(left, None)) is not None:
            waiting.add(submit(chunk))
        if not waiting:
            return
        done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        for future in done:
            yield from future.result()


def _leave_signals_to_the_parent() -> None:
    """A signal from the terminal reaches every process; the parent answers it and ends the workers."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _run_chunk(plan: ExplorationPlan, seeds: Sequence[int]) -> list[SeedRecord]:
    with collector_paused():
        return [_run_seed(plan, seed) for seed in seeds]


def _run_seed(plan: ExplorationPlan, seed: int) -> SeedRecord:
    return SeedRecord.of(_runner().run(GENERATORS[plan.what](seed, plan.clients)))


@cache
def _runner() -> SeedRunner:
    """The runner of this process."""
    return SeedRunner()
