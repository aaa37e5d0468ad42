"""What players are shown of one another: coalesced, at most one frame an interval, short absences never. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from resilience.protocol.compression import compress_if_worth
from resilience.protocol.messages import Player, Roster, Standing
from resilience.protocol.states import ConnectionState
from resilience.units import Instant, Seconds


class PresenceTracker:
    """The shown state of everybody, and the changes that wait to be shown."""

    def __init__(self, interval: Seconds, flap_hidden: Seconds, cap: int) -> None:
        self._interval, self._flap_hidden, self._cap = interval, flap_hidden, cap
        self._shown: dict[str, Player] = {}
        self._waiting: dict[str, tuple[Instant, Player]] = {}
        self._next_flush: Instant = float("-inf")
        self._earliest: Instant = float("inf")
        self._roster: msgspec.Raw | None = None
        self._compressed: msgspec.Raw | None = None

    @property
    def count(self) -> int:
        """How many have been shown."""
        return len(self._shown)

    def update(self, player: Player, now: Instant) -> None:
        """A player came, or its state changed; an absence waits until it has lasted."""
        hidden = self._flap_hidden if player.state == ConnectionState.TEMPORARILY_DISCONNECTED else 0.0
        if self._shown.get(player.participant) == player:
            self._waiting.pop(player.participant, None)
        else:
            self._waiting[player.participant] = (now + hidden, player)
            self._earliest = min(self._earliest, now + hidden)

    def restore(self, players: Iterable[Player]) -> None:
        """These were shown by an earlier server: nobody is told of them again."""
        self._shown.update((player.participant, player) for player in players)
        self._roster = None

    def forget(self, participant: str) -> None:
        """A participant that nobody was told of is taken back."""
        self._waiting.pop(participant, None)

    def next_deadline(self) -> Instant | None:
        """When to :meth:`flush`; it may then find that what was due has been taken back."""
        return max(self._next_flush, self._earliest) if self._waiting else None

    def flush(self, now: Instant) -> tuple[tuple[Player, ...], tuple[Player, ...]]:
        """Show what is due: newcomers and changed ones, in the order in which they changed first."""
        due = [player for at, player in self._waiting.values() if at <= now]
        joined = tuple(player for player in due if player.participant not in self._shown)
        changed = tuple(player for player in due if player.participant in self._shown)
        for player in due:
            del self._waiting[player.participant]
            self._shown[player.participant] = player
        self._earliest = min((at for at, _ in self._waiting.values()), default=float("inf"))
        if due:
            self._next_flush = now + self._interval
            self._roster = None
        return joined, changed

    def invalidate_roster(self) -> None:
        """The leaderboard changed: the roster must be serialised anew."""
        self._roster = None

    def roster(self, leaders: Callable[[], tuple[Standing, ...]], *, pack: bool = False) -> msgspec.Raw:
        """The shown state as JSON, ranked, serialised and packed once until it changes."""
        if self._roster is None:
            players = tuple(self._shown.values()) if len(self._shown) <= self._cap else ()
            self._roster = msgspec.Raw(msgspec.json.encode(Roster(len(self._shown), players, leaders())))
            self._compressed = None
        if not pack:
            return self._roster
        if self._compressed is None:
            self._compressed = compress_if_worth(bytes(self._roster)) or self._roster
        return self._compressed
