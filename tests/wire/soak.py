"""Connections that drop and come back again and again: ``python -m tests.wire.soak``; `make soak`.

A server is left with what it held before: memory, files, tasks. Exit code 1 when it holds more, 3 when not all
connections came in. Linux only.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.lab.processes import LOBBY, Held, LoadProcess, Server, product

CONNECTIONS, RECONNECTS = 2_000, 200_000
WARM_UP = 60_000
"""Returns before the baseline: after as many the server's list of 50,000 retired tokens is full, and grows no more."""

PAGE_CACHE = 6_000_000
"""Bytes by which memory may differ in any case: SQLite's cache, and arenas of the allocator that are not empty."""

LEAK = 10.0
"""Bytes per return that are taken for a leak; a connection is a thousand times as much."""

SETTLE_S = 0.25
CALM_LOOKS = 4
TIMEOUT_S = 60.0
"""How long a server may take for what a herd has left it to do."""

NOISE = 500_000
"""Bytes of memory that come and go by themselves."""


class Soak(NamedTuple):
    """What a server held, and how it was treated.

    ``empty``: before the first connection and after the last one; ``full``: with all connections open, before the
    returns and after them. ``leak``: bytes per return that are one.
    """

    connections: int
    reconnects: int
    leak: float
    cpu_s: float
    empty: tuple[Held, Held]
    full: tuple[Held, Held]

    @property
    def leaked(self) -> float:
        """Bytes per return by which the memory has grown."""
        return (self.full[1].memory - self.full[0].memory) / self.reconnects

    def problems(self) -> list[str]:
        """In words, what the server holds too much of."""
        found = []
        growth = self.full[1].memory - self.full[0].memory
        if growth > room_for(self.reconnects, self.leak):
            found.append(f"{growth:,} bytes more after {self.reconnects:,} returns")
        for when, (before, after) in (("full", self.full), ("empty", self.empty)):
            if after.tasks > before.tasks:
                found.append(f"{when}: {after.tasks} tasks, {before.tasks} before")
            if after.files > before.files:
                found.append(f"{when}: {after.files} files, {before.files} before")
        return found


def soak(
    folder: Path,
    connections: int,
    reconnects: int,
    *,
    warm_up: int = WARM_UP,
    leak: float = LEAK,
    report: Callable[[int], None] = lambda _: None,
) -> Soak:
    """Let all connections come back at once, again and again, until there were so many returns after ``warm_up``."""
    with product(folder, LOBBY) as server, LoadProcess(server, connections) as load:
        empty = at_rest(server)
        arrive(load, "join", connections)
        come_back(load, connections, warm_up, lambda _: None)
        full, cpu = at_rest(server), server.cpu
        done = come_back(load, connections, reconnects, report)
        cpu = server.cpu - cpu
        full_after = as_before(server, full, room_for(done, leak))
        load.ask("drop")
        empty_after = as_before(server, empty, full.memory)
        return Soak(connections, done, leak, cpu, (empty, empty_after), (full, full_after))


def room_for(returns: int, leak: float) -> float:
    """Bytes by which the memory may have grown."""
    return PAGE_CACHE + leak * returns


def arrive(load: LoadProcess, say: str, count: int) -> None:
    """All connect; every one must get in."""
    found = load.ask("dial", say=say)
    if found["arrived"] != count:
        raise RuntimeError(f"{found['arrived']} of {count} connections came in: {found['failures']}")


def come_back(load: LoadProcess, count: int, returns: int, report: Callable[[int], None]) -> int:
    """All drop their connections without a close frame and resume, at least once; the number of returns."""
    rounds = max(1, returns // count)
    for number in range(1, rounds + 1):
        load.ask("drop")
        arrive(load, "resume", count)
        report(number * count)
    return rounds * count


def at_rest(server: Server, timeout_s: float = TIMEOUT_S) -> Held:
    """What the server holds once some looks in a row have shown no less."""
    deadline, least, calm = time.monotonic() + timeout_s, server.held(), 0
    while calm < CALM_LOOKS and time.monotonic() < deadline:
        time.sleep(SETTLE_S)
        now = _less(least, server.held())
        calm = calm + 1 if now[1:] == least[1:] and now.memory > least.memory - NOISE else 0
        least = now
    return least


def as_before(server: Server, before: Held, room: float, timeout_s: float = TIMEOUT_S) -> Held:
    """What it holds once that is no more than before, ``room`` bytes of memory apart, or at the timeout."""
    deadline, least = time.monotonic() + timeout_s, server.held()
    wanted = before._replace(memory=before.memory + int(room))
    while _less(least, wanted) != least and time.monotonic() < deadline:
        time.sleep(SETTLE_S)
        least = _less(least, server.held())
    return least


def _less(one: Held, other: Held) -> Held:
    return Held(*map(min, zip(one, other, strict=True)))


def text_of(found: Soak) -> str:
    """The findings."""
    cpu = found.cpu_s / found.reconnects * 1e6
    before, after = (held.memory for held in found.full)
    lines = [
        f"{found.reconnects:,} returns of {found.connections:,} connections, {cpu:.0f} µs of the server's CPU each",
        f"memory: {before:,} bytes before, {after:,} after: {found.leaked:+.1f} each",
    ]
    for when, (first, last) in (("all connections open", found.full), ("no connection", found.empty)):
        lines.append(f"{when}: {first.files} files, {first.tasks} tasks before; {last.files}, {last.tasks} after")
    return "\n".join([*lines, *(found.problems() or ["nothing is left behind"])])


def main() -> int:
    """Run the soak that the command line asks for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.wire.soak", description=__doc__)
    parser.add_argument("--connections", type=_positive, default=CONNECTIONS)
    parser.add_argument("--reconnects", type=_positive, default=RECONNECTS, help="in all")
    parser.add_argument("--warm-up", type=_positive, default=WARM_UP, help="returns before the baseline")
    parser.add_argument("--leak", type=_positive, default=int(LEAK), help="bytes per return that are taken for a leak")
    options = parser.parse_args()

    def report(done: int) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{done:,} of {options.reconnects:,}\r")

    with tempfile.TemporaryDirectory() as place:
        try:
            found = soak(
                Path(place),
                options.connections,
                options.reconnects,
                warm_up=options.warm_up,
                leak=options.leak,
                report=report,
            )
        except RuntimeError as error:
            sys.stderr.write(f"the soak was not carried out: {error}\n")
            return 3
        except KeyboardInterrupt:
            return 130
    sys.stdout.write(text_of(found) + "\n")
    return 1 if found.problems() else 0


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} must be a whole number, at least 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
