"""What the other tabs of a participant did before a tab ended or was rejected: its end may be their work.

Knows the clients' own log of dials and sessions; judges nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict

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
    """The dials and sessions of each participant's tabs."""

    def __init__(self, history: RunHistory) -> None:
        self._dials = _times(history, LogEventKind.TRANSPORT_OPENING)
        self._restored = _times(history, LogEventKind.SESSION_RESTORED)
        self._joined = _times(history, LogEventKind.SESSION_JOINED)

    def dialled_before(self, actor: str, t: Instant) -> bool:
        """Whether another tab had dialled by ``t``: its connection may have replaced this tab's."""
        return any(times[0] <= t for times in self._of_others(self._dials, actor))

    def explain(self, actor: str, t: Instant, reason: str | None) -> bool:
        """Whether a server may reject the token of this tab for this reason.

        Another tab was restored since this one got its token: from the server, or as a copy when it was opened.
        """
        own = [times.get(person_of(actor), {}).get(actor, []) for times in (self._restored, self._joined)]
        welcomes = [at for times in own for at in times[: bisect_right(times, t)]]
        since = max(welcomes) if welcomes else self._dials[person_of(actor)].get(actor, [t])[0]
        return reason in _SUPERSEDED_REASONS and any(
            since <= at <= t for times in self._of_others(self._restored, actor) for at in times
        )

    @staticmethod
    def _of_others(times: Times, actor: str) -> list[list[Instant]]:
        return [mine for name, mine in times[person_of(actor)].items() if name != actor]


def _times(history: RunHistory, kind: LogEventKind) -> Times:
    found = select(history, kind, role=Role.CLIENT, columns=("actor",)).sort_values("t", kind="stable")
    times: Times = defaultdict(dict)
    for actor, mine in found.groupby("actor", observed=True)["t"]:
        times[person_of(str(actor))][str(actor)] = mine.tolist()
    return times


@once_per_run
def other_tabs(history: RunHistory) -> OtherTabs:
    """The tabs of a run, for the checks that share them."""
    return OtherTabs(history)
