"""Presence as participants see one another: coalesced deltas, at most one per interval, short absences hidden. Pure.

Shown are those who are connected or expected back. A participant that has left, or was absent for the clean-up time, is
shown as disconnected once and then counts no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from resilience.protocol.compression import compress_if_worth
from resilience.protocol.messages import Player, Roster, Standing
from resilience.protocol.states import ConnectionState
from resilience.units import Instant, Seconds

LISTED_AGAIN_SHARE = 0.9
"""Below this share of the cap a crowd that was too large is listed again: a list is too long to come and go."""


class PresenceDelta(msgspec.Struct, frozen=True):
    """A change of the shown presence: new and changed participants, in the order in which they changed first.

    ``count`` is how many are shown now, ``announced`` the ids of the new ones. Above the cap the lists are empty,
    because no client holds a list that they would apply to; back below it they hold every participant once.
    ``is_shown`` says whether clients see any difference.
    """

    count: int
    joined: tuple[Player, ...]
    changed: tuple[Player, ...]
    announced: tuple[str, ...]
    is_shown: bool


class PresenceTracker:
    """The shown state of every participant, and the changes that wait to be shown.

    Changes are shown at most once per ``interval`` seconds; an absence shorter than ``flap_hidden`` seconds never is.
    More than ``cap`` participants are shown as a count, until there are clearly fewer.
    """

    def __init__(self, interval: Seconds, flap_hidden: Seconds, cap: int) -> None:
        self._interval, self._flap_hidden, self._cap = interval, flap_hidden, cap
        self._shown: dict[str, Player] = {}
        self._announced: set[str] = set()
        self._is_listed = True
        self._waiting: dict[str, tuple[Instant, Player]] = {}
        self._next_flush: Instant = float("-inf")
        self._earliest: Instant = float("inf")
        self._roster: msgspec.Raw | None = None
        self._compressed: msgspec.Raw | None = None

    def update(self, player: Player, now: Instant) -> None:
        """Note the state of a participant; an absence waits until it has lasted for ``flap_hidden`` seconds."""
        hidden = self._flap_hidden if player.state == ConnectionState.TEMPORARILY_DISCONNECTED else 0.0
        shown = self._shown.get(player.participant)
        if shown == player or (shown is None and _is_gone(player)):
            self._waiting.pop(player.participant, None)
        else:
            self._waiting[player.participant] = (now + hidden, player)
            self._earliest = min(self._earliest, now + hidden)

    def restore(self, players: Iterable[Player]) -> None:
        """Add participants that an earlier server has shown already: they are not announced again."""
        for player in players:
            self._announced.add(player.participant)
            self._show(player)
        self._update_listing()
        self._roster = None

    def forget(self, participant: str) -> None:
        """Remove every trace of a participant; one that is shown must be on its way to be shown as disconnected."""
        self._announced.discard(participant)
        if participant not in self._shown:
            self._waiting.pop(participant, None)

    def next_deadline(self) -> Instant | None:
        """When to call :meth:`flush`; ``None`` while no change waits. The change that was due may be gone by then."""
        return max(self._next_flush, self._earliest) if self._waiting else None

    def flush(self, now: Instant) -> PresenceDelta:
        """Show the changes that are due."""
        before, was_listed = len(self._shown), self._is_listed
        due = [player for at, player in self._waiting.values() if at <= now]
        joined = tuple(player for player in due if self._is_new(player))
        changed = tuple(player for player in due if not self._is_new(player))
        for player in due:
            del self._waiting[player.participant]
            self._show(player)
        self._earliest = min((at for at, _ in self._waiting.values()), default=float("inf"))
        if due:
            self._next_flush = now + self._interval
            self._roster = None
        self._update_listing()
        announced, count = tuple(player.participant for player in joined), len(self._shown)
        if not self._is_listed:
            return PresenceDelta(count, (), (), announced, count != before)
        if not was_listed:
            new = set(announced)
            changed = tuple(player for player in self._shown.values() if player.participant not in new)
        return PresenceDelta(count, joined, changed, announced, bool(due))

    def invalidate_roster(self) -> None:
        """The leaderboard changed: serialise the roster again when it is next needed."""
        self._roster = None

    def roster(self, leaders: Callable[[], tuple[Standing, ...]], *, pack: bool = False) -> msgspec.Raw:
        """The shown participants and the ``leaders`` as JSON, compressed on request; cached until they change."""
        if self._roster is None:
            players = tuple(self._shown.values()) if self._is_listed else ()
            self._roster = msgspec.Raw(msgspec.json.encode(Roster(len(self._shown), players, leaders())))
            self._compressed = None
        if not pack:
            return self._roster
        if self._compressed is None:
            self._compressed = compress_if_worth(bytes(self._roster)) or self._roster
        return self._compressed

    def _is_new(self, player: Player) -> bool:
        return player.participant not in self._announced and not _is_gone(player)

    def _show(self, player: Player) -> None:
        if _is_gone(player):
            self._shown.pop(player.participant, None)
        else:
            self._shown[player.participant] = player
            self._announced.add(player.participant)

    def _update_listing(self) -> None:
        most = self._cap if self._is_listed else int(self._cap * LISTED_AGAIN_SHARE)
        self._is_listed = len(self._shown) <= most


def _is_gone(player: Player) -> bool:
    return player.state == ConnectionState.DISCONNECTED
