"""Which runs of events have lost their server, as another server on the same database can tell. Pure.

An owner renews its runs every few seconds, in the database, where its watchers see a number grow. A watcher counts its
own rounds and reads no clock of another machine. A round that comes late says nothing about others: the watcher was
stopped, or the database was away for all servers.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from resilience.units import Instant, Seconds

RENEWAL_INTERVAL_S: Seconds = 2.0
"""Between two signs of life of an owner, and between two rounds of a watcher."""

SILENT_ROUNDS = 4
"""So many rounds in a row without a sign of life: the owner is gone."""

LATE_ROUND_S: Seconds = 2 * RENEWAL_INTERVAL_S
"""A longer pause between two rounds starts the count again."""


class OwnedRun(msgspec.Struct, frozen=True):
    """The newest run of an event: its ``key``, its ``owner`` (empty: given up), and how often that renewed it."""

    event: str
    key: str
    owner: str
    renewals: int


class OwnerWatch:
    """Watches the runs of other servers. ``me`` is this server's name; without one no other server can exist."""

    def __init__(self, me: str) -> None:
        self._me = me
        self._silent: dict[tuple[str, int], int] = {}
        self._last_round: Instant = float("-inf")

    def is_free(self, run: OwnedRun) -> bool:
        """Whether a run has no other server for certain: given up, or owned by an earlier process of this name."""
        return not self._me or run.owner in ("", self._me)

    def observe(self, runs: Iterable[OwnedRun], now: Instant) -> list[OwnedRun]:
        """Count a round over the runs that this server does not serve; returns those that it is to take over."""
        silent = {} if now - self._last_round > LATE_ROUND_S else self._silent
        self._last_round = now
        found = list(runs)
        marks = [(run.key, run.renewals) for run in found]
        self._silent = {mark: silent.get(mark, -1) + 1 for mark in marks}
        return [
            run
            for run, mark in zip(found, marks, strict=True)
            if self.is_free(run) or self._silent[mark] >= SILENT_ROUNDS
        ]
