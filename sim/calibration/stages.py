"""The stages that many dials go through on processors which they share: when each is over, for given costs. Pure.

A client's process dials, the proxy of its link passes the dials on one after another, the server completes the
handshake when it has nothing else to do, the client's process reads the response and asks, the server serves what was
asked and commits it with all that waits, then replies, and the client's process reads the reply. Each of these is a
thread with a queue, and all share the machine's processors (:class:`sim.processors.SharedProcessors`), as in
:mod:`sim.model`. What is seen of a dial is when it began, when it was open, when the server had served its first
message and when the client had the reply; and when ends of connections were noticed. In a herd every thread has a
queue, and only all these times together tell whose it was.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from resilience.units import Instant, Seconds

from ..processors import SharedProcessors

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]

JOIN, RESUME = 0, 1
"""The kinds of first messages."""

OTHER = -1
"""Stands for a request that is no dial's, among the numbers of dials."""

TOGETHER_S: Seconds = 0.002
"""Ends of connections that are noticed within so many seconds of one another have come together."""


class WorkCosts(NamedTuple):
    """What is fitted together: ``connect`` and ``commit_wait`` are delays, all others a thread's work. Seconds."""

    connect: Seconds
    client_loss: Seconds
    client_dial: Seconds
    client_message: Seconds
    relay: Seconds
    handshake: Seconds
    join: Seconds
    restore: Seconds
    commit: Seconds
    commit_wait: Seconds
    reply: Seconds
    detach: Seconds


class Dials(NamedTuple):
    """The dials of one run, in the order of ``began``. One entry each; seconds, NaN for what was not seen.

    ``process`` and ``link``: numbers. ``refused``: when the client had the refusal; such a dial reaches no proxy.
    ``opened``: when the client had the response, ``served``: when the server had served the first message,
    ``back``: when the client had its reply. ``kind`` of the first message, -1 for none.
    """

    began: Floats
    process: Numbers
    link: Numbers
    refused: Floats
    opened: Floats
    served: Floats
    back: Floats
    kind: Numbers


class Ends(NamedTuple):
    """Connections that ended: when a client's ``process``, or the server (-1), had noticed; in the order of ``at``."""

    at: Floats
    process: Numbers


class Surroundings(NamedTuple):
    """What else is known: the processors that all share (0: one each), one way, and the time between two frames."""

    processors: int
    latency: Seconds
    message: Seconds


class SeenRun(NamedTuple):
    """One run: what was seen of it, and the machine on which it ran."""

    dials: Dials
    ends: Ends
    others: Floats
    """When other requests for a commit came to the server."""
    machine: Surroundings
    said: NDArray[np.bool_]
    """Of each dial, whether it says anything: others only keep threads busy."""


class Stages(NamedTuple):
    """What was seen, or is predicted, of each dial and each end: one duration or time each, NaN where there is none.

    ``until_refused`` and ``until_open`` from the begin of the dial, ``until_served`` from its opening, ``until_back``
    from there. ``noticed``: the time of an end.
    """

    until_refused: Floats
    until_open: Floats
    until_served: Floats
    until_back: Floats
    noticed: Floats

    @property
    def all(self) -> Floats:
        """One after another."""
        return np.concatenate(self)


def seen(run: SeenRun) -> Stages:
    """What was seen of a run; NaN of dials that say nothing."""
    dials = run.dials

    def shown(times: Floats) -> Floats:
        return np.where(run.said, times, np.nan)

    return Stages(
        shown(dials.refused - dials.began),
        shown(dials.opened - dials.began),
        shown(dials.served - dials.opened),
        shown(dials.back - dials.served),
        run.ends.at,
    )


def predict(run: SeenRun, work: WorkCosts) -> Stages:
    """The same as these costs have it."""
    return _Prediction(run, work).stages()


class _Prediction:
    """One run, event by event: arrivals at threads in a heap, and the work of the threads."""

    def __init__(self, run: SeenRun, work: WorkCosts) -> None:
        self._run, self._work = run, work
        dials = run.dials
        self._began, self._process, self._link = dials.began.tolist(), dials.process.tolist(), dials.link.tolist()
        self._kind = dials.kind.tolist()
        self._refused = np.isfinite(dials.refused).tolist()
        processes = max([*self._process, *run.ends.process.tolist(), -1]) + 1
        self._server, self._committer, self._proxy = processes, processes + 1, processes + 2
        threads = self._proxy + max([*self._link, -1]) + 1
        self._cpu: SharedProcessors[tuple[Callable[[int, Instant], None], int]] = SharedProcessors(
            run.machine.processors, threads
        )
        self._arrivals: list[tuple[Instant, int, Callable[[int, Instant], None], int]] = []
        self._number = 0
        self._sender: Instant = -math.inf
        self._times = {name: [math.nan] * len(self._began) for name in ("refused", "opened", "served", "back")}
        self._uncommitted: list[int] = []
        self._batch: list[int] = []
        self._commits, self._is_durable = 0, False
        self._noticed = [math.nan] * len(run.ends.at)

    def stages(self) -> Stages:
        """Run it, and say how long everything took."""
        for number, began in enumerate(self._began):
            self._at(began, self._dial, number)
        for number, at in enumerate(_arrivals(self._run.ends, self._work, self._run.machine.processors).tolist()):
            self._at(at, self._end, number)
        for at in self._run.others.tolist():
            self._at(at, self._submit, OTHER)
        arrivals, cpu = self._arrivals, self._cpu
        while arrivals or cpu.next_end < math.inf:
            done = cpu.next_end
            if arrivals and arrivals[0][0] <= done:
                now, _, arrive, number = heapq.heappop(arrivals)
                arrive(number, now)
            else:
                act, number = cpu.finish()
                act(number, done)
        times = {name: np.array(each) for name, each in self._times.items()}
        began = self._run.dials.began
        return Stages(
            times["refused"] - began,
            times["opened"] - began,
            times["served"] - times["opened"],
            times["back"] - times["served"],
            np.array(self._noticed),
        )

    def _at(self, when: Instant, arrive: Callable[[int, Instant], None], number: int) -> None:
        self._number += 1
        heapq.heappush(self._arrivals, (when, self._number, arrive, number))

    # arrivals at threads, and what follows their work -----------------------------------------------------------------

    def _end(self, number: int, now: Instant) -> None:
        process = int(self._run.ends.process[number])
        work, thread = (self._work.detach, self._server) if process < 0 else (self._work.client_loss, process)
        self._cpu.add(thread, (self._notice, number), work, now)

    def _notice(self, number: int, now: Instant) -> None:
        """Nothing is committed for it: the next checkpoint, which is not predicted, stores who has not returned."""
        self._noticed[number] = now

    def _dial(self, number: int, now: Instant) -> None:
        self._cpu.add(self._process[number], (self._dialled, number), self._work.client_dial, now)

    def _dialled(self, number: int, now: Instant) -> None:
        if self._refused[number]:
            self._at(now + self._work.connect, self._refuse, number)
        else:
            self._at(now + self._work.connect, self._accept, number)

    def _refuse(self, number: int, now: Instant) -> None:
        self._cpu.add(self._process[number], (self._finish_refusal, number), 0.0, now)

    def _finish_refusal(self, number: int, now: Instant) -> None:
        self._times["refused"][number] = now

    def _accept(self, number: int, now: Instant) -> None:
        self._cpu.add(self._proxy + self._link[number], (self._relayed, number), self._work.relay, now)

    def _relayed(self, number: int, now: Instant) -> None:
        self._at(now + self._run.machine.latency, self._shake_hands, number)

    def _shake_hands(self, number: int, now: Instant) -> None:
        self._cpu.add(self._server, (self._respond, number), self._work.handshake, now, later=True)

    def _respond(self, number: int, now: Instant) -> None:
        self._at(self._sent(now) + self._run.machine.latency, self._read_response, number)

    def _read_response(self, number: int, now: Instant) -> None:
        self._cpu.add(self._process[number], (self._open, number), self._work.client_message, now)

    def _open(self, number: int, now: Instant) -> None:
        self._times["opened"][number] = now
        if self._kind[number] >= 0:
            self._at(now + self._run.machine.latency, self._ask, number)

    def _ask(self, number: int, now: Instant) -> None:
        work = self._work.restore if self._kind[number] == RESUME else self._work.join
        self._cpu.add(self._server, (self._serve, number), work, now)

    def _serve(self, number: int, now: Instant) -> None:
        self._times["served"][number] = now
        self._submit(number, now)

    def _submit(self, number: int, now: Instant) -> None:
        self._uncommitted.append(number)
        if not self._batch:
            self._commit(now)

    def _commit(self, now: Instant) -> None:
        self._batch, self._uncommitted, self._is_durable = self._uncommitted, [], False
        self._commits += 1
        self._cpu.add(self._committer, (self._written, self._commits), self._work.commit, now)

    def _written(self, commit: int, now: Instant) -> None:
        if self._cpu.is_idle(self._server):
            self._settle(commit, now)
        else:  # the first of both settles it
            self._cpu.add(self._server, (self._settle, commit), 0.0, now, later=True)
            self._at(now + self._work.commit_wait, self._settle, commit)

    def _settle(self, commit: int, now: Instant) -> None:
        if commit != self._commits or self._is_durable:
            return
        self._is_durable = True
        for number in self._batch:
            self._cpu.add(self._server, (self._reply, number), self._work.reply if number != OTHER else 0.0, now)
        self._cpu.add(self._server, (self._end_batch, 0), 0.0, now)

    def _reply(self, number: int, now: Instant) -> None:
        if number != OTHER:
            self._at(self._sent(now) + self._run.machine.latency, self._read_reply, number)

    def _end_batch(self, _: int, now: Instant) -> None:
        self._batch = []
        if self._uncommitted:
            self._commit(now)

    def _read_reply(self, number: int, now: Instant) -> None:
        self._cpu.add(self._process[number], (self._return, number), self._work.client_message, now)

    def _return(self, number: int, now: Instant) -> None:
        self._times["back"][number] = now

    def _sent(self, now: Instant) -> Instant:
        self._sender = max(self._sender, now) + self._run.machine.message
        return self._sender


def _arrivals(ends: Ends, work: WorkCosts, processors: int) -> Floats:
    """When each end arrived at its thread: those that were noticed closely one after another have come together.

    They came so long before the first was noticed as its work took, while all that had some shared the processors.
    """
    found = np.empty(len(ends.at))
    begins = np.flatnonzero(np.diff(ends.at) > TOGETHER_S) + 1
    for mine in np.split(np.arange(len(ends.at)), begins) if len(ends.at) else ():
        names, firsts = np.unique(ends.process[mine], return_index=True)
        slowness = max(1.0, len(names) / processors) if processors else 1.0
        costs = np.where(names < 0, work.detach, work.client_loss)
        found[mine] = float(np.min(ends.at[mine][firsts] - costs * slowness))
    return found
