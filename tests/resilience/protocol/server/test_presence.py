"""What players are shown of one another."""

from __future__ import annotations

from itertools import pairwise

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from resilience.protocol.messages import Player, Roster, Standing
from resilience.protocol.server.presence import PresenceDelta, PresenceTracker
from resilience.protocol.states import ConnectionState

HERE, AWAY, GONE = ConnectionState.CONNECTED, ConnectionState.TEMPORARILY_DISCONNECTED, ConnectionState.DISCONNECTED


class Watched:
    """A board, flushed at each of its deadlines; keeps every frame with its time, and a client's list in ``held``."""

    def __init__(self, cap: int = 200) -> None:
        self.presence = PresenceTracker(interval=0.5, flap_hidden=1.0, cap=cap)
        self.frames: list[tuple[float, tuple[Player, ...], tuple[Player, ...]]] = []
        self.held: dict[str, Player] | None = {}
        self.count = 0

    def change(self, at: float, who: str, state: ConnectionState) -> None:
        """A participant's state changes."""
        self.run(at)
        self.presence.update(player(who, state), at)

    def run(self, until: float) -> None:
        """Let time pass."""
        while (deadline := self.presence.next_deadline()) is not None and deadline < until:
            delta = self.presence.flush(deadline)
            assert delta.is_shown == bool(delta.joined or delta.changed or delta.count != self.count)
            self.count = delta.count
            self._follow(delta)
            if delta.joined or delta.changed:
                self.frames.append((deadline, delta.joined, delta.changed))
            assert self.presence.next_deadline() != deadline

    def _follow(self, delta: PresenceDelta) -> None:
        """What docs/protocol.md tells a client to do with a frame."""
        named = {p.participant: p for p in (*delta.joined, *delta.changed)}
        here = {who: p for who, p in named.items() if p.state != GONE}
        if len(here) == delta.count:
            self.held = here
        elif self.held is not None:
            self.held = {who: p for who, p in {**self.held, **named}.items() if p.state != GONE}
        if self.held is not None and len(self.held) != delta.count:
            self.held = None

    def shown(self) -> dict[str, str]:
        """The state of all participants at a receiver of all frames."""
        return {p.participant: p.state for _, joined, changed in self.frames for p in (*joined, *changed)}


def player(who: str, state: ConnectionState) -> Player:
    """A participant in a state."""
    return Player(who, who.upper(), state)


def roster(presence: PresenceTracker, leaders: tuple[Standing, ...] = ()) -> Roster:
    """The roster, decoded."""
    return msgspec.json.decode(presence.roster(lambda: leaders), type=Roster)


def test_a_new_participant_is_shown_at_once_and_as_joined() -> None:
    """The first frame waits for nothing."""
    watched = Watched()
    watched.change(3.0, "p1", HERE)
    watched.run(10.0)
    assert watched.frames == [(3.0, (player("p1", HERE),), ())]


def test_changes_within_an_interval_share_a_frame() -> None:
    """After a frame the next one is half a second away, and carries everything."""
    watched = Watched()
    for i in range(40):
        watched.change(i * 0.01, f"p{i:02}", HERE)
    watched.run(10.0)
    assert [(at, len(joined)) for at, joined, _ in watched.frames] == [(0.0, 1), (0.5, 39)]


def test_a_short_absence_is_never_shown() -> None:
    """Less than a second away: no presence frame is sent."""
    watched = Watched()
    watched.change(0.0, "p1", HERE)
    watched.change(5.0, "p1", AWAY)
    watched.change(5.999, "p1", HERE)
    watched.run(100.0)
    assert len(watched.frames) == 1


def test_a_longer_absence_is_shown_and_so_is_the_return() -> None:
    """One second after it began."""
    watched = Watched()
    watched.change(0.0, "p1", HERE)
    watched.change(5.0, "p1", AWAY)
    watched.change(8.0, "p1", HERE)
    watched.run(100.0)
    assert [(at, changed[0].state) for at, _, changed in watched.frames[1:]] == [(6.0, AWAY), (8.0, HERE)]


def test_a_departure_on_purpose_is_not_held_back() -> None:
    """Only absences that may end wait."""
    watched = Watched()
    watched.change(0.0, "p1", HERE)
    watched.change(5.0, "p1", GONE)
    watched.run(100.0)
    assert watched.frames[1] == (5.0, (), (player("p1", GONE),))


def test_the_end_of_an_absence_that_was_not_shown_yet() -> None:
    """Away and gone within a second: gone is shown, away never was."""
    watched = Watched()
    watched.change(0.0, "p1", HERE)
    watched.change(5.0, "p1", AWAY)
    watched.change(5.5, "p1", GONE)
    watched.run(100.0)
    assert [changed[0].state for _, _, changed in watched.frames[1:]] == [GONE]


def test_who_is_taken_back_is_never_shown() -> None:
    """A join that did not succeed leaves no trace."""
    watched = Watched()
    watched.change(0.0, "p1", HERE)
    watched.run(1.0)
    watched.presence.update(player("p2", HERE), 1.0)
    watched.presence.forget("p2")
    watched.run(10.0)
    assert watched.shown() == {"p1": HERE}
    assert watched.presence.next_deadline() is None


def test_the_roster_is_serialised_once_until_it_changes() -> None:
    """The very same bytes, until a frame or a leaderboard made them stale."""
    watched = Watched()
    watched.change(0.0, "p1", HERE)
    watched.run(1.0)
    first = watched.presence.roster(tuple)
    assert watched.presence.roster(tuple) is first
    watched.presence.invalidate_roster()
    assert watched.presence.roster(tuple) is not first
    watched.change(1.0, "p2", HERE)
    watched.run(2.0)
    assert [p.participant for p in roster(watched.presence).players] == ["p1", "p2"]


def test_the_roster_holds_only_participants_that_were_shown() -> None:
    """It is the sum of the frames: a receiver of both sees no contradiction."""
    watched = Watched()
    watched.change(0.0, "p1", HERE)
    watched.run(0.1)
    watched.presence.update(player("p2", HERE), 0.1)
    assert [p.participant for p in roster(watched.presence).players] == ["p1"]


def test_above_the_cap_the_roster_is_a_count_and_the_leaders() -> None:
    """A large room is not listed."""
    watched = Watched(cap=3)
    for i in range(4):
        watched.change(i * 1.0, f"p{i}", HERE)
    watched.run(3.0)
    assert len(roster(watched.presence).players) == 3
    watched.run(10.0)
    assert roster(watched.presence, (Standing("p1", "Ada", 5),)) == Roster(4, (), (Standing("p1", "Ada", 5),))


def test_the_cap_is_over_those_who_are_here_or_expected() -> None:
    """F42: a crowd that came and left switches no list off."""
    watched = Watched(cap=3)
    for i in range(20):
        watched.change(i * 1.0, f"p{i}", HERE)
        watched.change(i * 1.0 + 0.6, f"p{i}", GONE)
    watched.change(30.0, "p19", HERE)
    watched.change(31.0, "ann", AWAY)
    watched.run(40.0)
    assert roster(watched.presence) == Roster(2, (player("p19", HERE), player("ann", AWAY)), ())
    assert [p.participant for p in watched.frames[-2][2]] == ["p19"], "its return is silent"


def test_who_comes_and_leaves_within_an_interval_is_never_shown() -> None:
    watched = Watched()
    watched.change(0.0, "ann", HERE)
    watched.change(0.1, "bob", HERE)
    watched.change(0.2, "bob", GONE)
    watched.run(10.0)
    assert [p.participant for _, joined, changed in watched.frames for p in (*joined, *changed)] == ["ann"]


@given(
    st.sampled_from([1, 2, 4, 10]),
    st.lists(st.tuples(st.floats(0.0, 2.0), st.sampled_from("abcdef"), st.sampled_from([HERE, AWAY, GONE]))),
)
def test_a_client_holds_the_list_exactly_while_a_snapshot_has_it(
    cap: int, changes: list[tuple[float, str, ConnectionState]]
) -> None:
    """Above the cap it holds none; back below, it holds the whole list again."""
    watched, now = Watched(cap=cap), 0.0
    for step, who, state in changes:
        now += step
        watched.change(now, who, state)
        given = roster(watched.presence)
        held = watched.held
        assert (held is None) == (len(given.players) != given.count)
        if held is not None:
            assert held == {p.participant: p for p in given.players}
    for who in "abcdef":
        watched.change(now + 10.0, who, GONE)
    watched.run(now + 20.0)
    assert (watched.held, roster(watched.presence).count) == ({}, 0)


@given(
    st.lists(st.tuples(st.floats(0.0, 2.0), st.sampled_from("abcd"), st.sampled_from([HERE, AWAY, GONE])), max_size=60)
)
def test_many_changes_end_in_the_final_state(changes: list[tuple[float, str, ConnectionState]]) -> None:
    """F32: at most one frame an interval, no absence shown before it lasted, the final list exact, each joined once."""
    watched, now = Watched(), 0.0
    since: dict[str, tuple[float, ConnectionState]] = {}
    truth: dict[str, ConnectionState] = {}
    spans: list[tuple[str, ConnectionState, float, float]] = []
    for step, who, state in changes:
        now += step
        watched.change(now, who, state)
        if truth.get(who) is not state:
            if who in since:
                spans.append((who, since[who][1], since[who][0], now))
            since[who] = (now, state)
        truth[who] = state
    watched.run(now + 10.0)
    times = [at for at, _, _ in watched.frames]
    assert all(later - earlier >= 0.5 - 1e-9 for earlier, later in pairwise(times))
    here = {who: state for who, state in truth.items() if state is not GONE}
    assert {who: state for who, state in watched.shown().items() if state != GONE} == here
    joined = [p.participant for _, players, _ in watched.frames for p in players]
    assert len(set(joined)) == len(joined)
    assert set(here) <= set(joined) <= set(truth)
    for who, state, began, ended in spans:
        if state is AWAY and ended - began < 1.0:
            seen = [at for at, *both in watched.frames for p in (*both[0], *both[1]) if p == player(who, AWAY)]
            assert not any(began <= at < ended for at in seen)
