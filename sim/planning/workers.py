"""Where the runs of a sweep are computed: this process, processes of this machine, or a Dask cluster.

Each is a :class:`concurrent.futures.Executor`, so the sweep knows no difference. Results do not depend on the choice.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resilience.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECT_TIMEOUT_S = 10.0
"""How long a Dask scheduler may take to answer."""
CLUSTER_RUNS = 1000
"""How many runs a cluster is given at once, whatever its size, so that it can see how many workers it needs."""


@dataclass(frozen=True)
class Workers:
    """An executor, and how many runs it is given at once: what it holds is lost when the command is interrupted."""

    executor: Executor
    at_once: int


class _InThisProcess(Executor):
    """Computes when asked."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:  # noqa: ANN401 - as its base
        """A future that is done."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - the future's result() raises it
            future.set_exception(error)
        return future


@contextlib.contextmanager
def local_workers(number: int) -> Iterator[Workers]:
    """So many processes of this machine, or this process where it is 1. Leaving the block ends them."""
    if number == 1:
        yield Workers(_InThisProcess(), 1)
        return
    # A forked copy of a process with threads can hang, so the workers start afresh.
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(number, mp_context=context, initializer=_leave_signals_to_parent)
    before = set(multiprocessing.active_children())
    try:
        yield Workers(executor, 2 * number)
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        raise
    executor.shutdown()


@contextlib.contextmanager
def dask_workers(address: str) -> Iterator[Workers]:
    """The workers of the Dask scheduler at this address, such as ``tcp://10.0.0.5:8786``.

    A worker that ends is replaced by the others: the scheduler gives its runs to them. Raises
    :class:`~resilience.errors.HarnessError` when the scheduler cannot be reached.
    """
    from distributed import Client  # noqa: PLC0415 - an extra

    try:
        client = Client(address, timeout=CONNECT_TIMEOUT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise HarnessError(f"--dask {address}: no Dask scheduler answers there: {reason}") from error
    with client:
        yield Workers(client.get_executor(pure=False), CLUSTER_RUNS)


def worker_count(asked: int | None) -> int:
    """The number of local processes: as asked, else the processors that this process may use."""
    return asked if asked is not None else len(os.sched_getaffinity(0))


def _leave_signals_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
