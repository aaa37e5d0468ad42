"""What the other tabs of a participant did before a tab ended or was rejected: its end may be their work.

Knows the clients' own log of dials and sessions; judges nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Set as AbstractSet
from math import inf

import pandas as pd

from resilience.eventlog.vocabulary import LogEventKind, Role
from resilience.lab.participants import person_of
from resilience.units import Instant

from ..frames import RunHistory, once_per_run
from .selection import select

_SUPERSEDED_REASONS = ("retired", "superseded")
"""Reasons for which a server rejects a token because another client has the session."""

Times = dict[str, dict[str, list[Instant]]]
"""By participant, then by tab, in order."""


class OtherTabs:
    """The dials and sessions of those participants that have more than one tab."""

    def __init__(self, history: RunHistory) -> None:
        dials = _events(history, LogEventKind.TRANSPORT_OPENING)
        names = map(str, dials["actor"].unique())
        people = {person for name in names if (person := person_of(name)) != name}
        self._dials = _times(dials, people)
        self._restored = _times(_events(history, LogEventKind.SESSION_RESTORED), people)
        self._joined = _times(_events(history, LogEventKind.SESSION_JOINED), people)
        self._replaced = _times(_events(history, LogEventKind.SESSION_SUPERSEDED), people)

    def dialled_before(self, actor: str, t: Instant) -> bool:
        """Whether another tab had dialled by ``t``: its connection may have replaced this tab's."""
        return any(times[0] <= t for times in self._of_others(self._dials, actor))

    def explain(self, actor: str, t: Instant, reason: str | None) -> bool:
        """Whether a server may reject the token of this tab for this reason.

        Another tab was restored since this one got its token: from the server, or as a copy when it was opened.
        """
        if reason not in _SUPERSEDED_REASONS:
            return False
        since = self._last_welcome(actor, t)
        if since is None:
            since = self._oldest_copied(actor)
        return any(since < at <= t for times in self._of_others(self._restored, actor) for at in times)

    def _last_welcome(self, actor: str, t: Instant) -> Instant | None:
        own = [times[person_of(actor)].get(actor, []) for times in (self._restored, self._joined)]
        return max((at for times in own for at in times[: bisect_right(times, t)]), default=None)

    def _oldest_copied(self, actor: str) -> Instant:
        """When the token was given that a new tab may have a copy of: the oldest of a tab not replaced by then."""
        person = person_of(actor)
        opened = self._dials[person].get(actor, [inf])[0]
        replaced = {name for name, times in self._replaced[person].items() if times[0] <= opened}
        welcomes = [self._last_welcome(name, opened) for name in self._dials[person].keys() - replaced - {actor}]
        return min((at for at in welcomes if at is not None), default=opened)

    @staticmethod
    def _of_others(times: Times, actor: str) -> list[list[Instant]]:
        return [mine for name, mine in times[person_of(actor)].items() if name != actor]


def _events(history: RunHistory, kind: LogEventKind) -> pd.DataFrame:
    return select(history, kind, role=Role.CLIENT, columns=("actor",)).sort_values("t", kind="stable")


def _times(events: pd.DataFrame, people: AbstractSet[str]) -> Times:
    """Of these people; in most runs there are none, and a run of thousands need not be held twice."""
    found: Times = defaultdict(dict)
    theirs = {name for name in map(str, events["actor"].unique()) if person_of(name) in people}
    for actor, mine in events[events["actor"].isin(theirs)].groupby("actor", observed=True)["t"]:
        found[person_of(str(actor))][str(actor)] = mine.tolist()
    return found


@once_per_run
def other_tabs(history: RunHistory) -> OtherTabs:
    """The tabs of a run, for the checks that share them."""
    return OtherTabs(history)
