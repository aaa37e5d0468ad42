"""Many seeds, one after the other: how often each boundary was hit, what was checked, which seeds broke what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from resilience.units import Seconds

from .crash import SeedResult, crash_seed
from .crash_plan import Point

MOST_SHOWN = 5


@dataclass
class Tally:
    """What came of the seeds so far."""

    clients: int
    seeds: int = 0
    deaths: Counter[Point] = field(default_factory=Counter)
    checked: Counter[str] = field(default_factory=Counter)
    broken: dict[int, dict[str, str]] = field(default_factory=dict)

    def take(self, outcome: SeedResult) -> None:
        """Count one seed."""
        self.seeds += 1
        self.deaths.update(point for _, point in outcome.deaths)
        self.checked.update(outcome.checked)
        if outcome.broken:
            self.broken[outcome.plan.seed] = outcome.broken

    def line(self, of: int) -> str:
        """How it stands, in one line."""
        lost = f"{len(self.broken)} seeds broke something" if self.broken else "nothing was lost"
        return f"{self.seeds} of {of} seeds, {self.deaths.total():,} deaths: {lost}"

    def boundaries(self) -> Iterator[str]:
        """How often the server died where."""
        width = max(len(point) for point in Point)
        for point in Point:
            yield f"  {point:<{width}}  {self.deaths[point]:>6,}"

    def totals(self, wall_s: Seconds) -> str:
        """What was looked at, in how long."""
        answers, restores = self.checked["acknowledged_are_stored"], self.checked["restored_state_true"]
        return f"{answers:,} acknowledged answers and {restores:,} restored sessions checked in {wall_s:.0f} s"

    def failures(self) -> Iterator[str]:
        """The first seeds that broke something: what, and how to see it again."""
        for seed, broken in list(self.broken.items())[:MOST_SHOWN]:
            yield f"seed {seed}; again: {replay(seed, self.clients)}"
            for name, detail in broken.items():
                yield f"  {name}: {detail}"
        if len(self.broken) > MOST_SHOWN:
            yield f"and {len(self.broken) - MOST_SHOWN} more seeds"


def replay(seed: int, clients: int) -> str:
    """The command that lives through one seed again."""
    return f"resilience sim crash --from {seed} --seeds 1 --clients {clients}"


def explore(first: int, count: int, clients: int) -> Iterator[SeedResult]:
    """Live through ``count`` seeds from ``first`` on."""
    for seed in range(first, first + count):
        yield crash_seed(seed, clients)


def story(outcome: SeedResult) -> Iterator[str]:
    """What was done to the server of one seed."""
    for crash, (t, point) in zip(outcome.plan.crashes, outcome.deaths, strict=False):
        fate = "a commit that storage had been given happened" if crash.lands else "a commit under way never happened"
        sent = "what was sent arrived" if crash.flushes else "what was under way to clients was lost"
        yield f"  died at {t:.3f} s {point}; {fate}, {sent}; the next came after {crash.pause:.2f} s"
