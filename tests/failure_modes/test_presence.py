"""What the other participants see of a room in which all clients come and go at once."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from resilience.client.client import ReconnectingClient
from resilience.config import MIN_PRESENCE_INTERVAL_S, ServerConfig
from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol.messages import Joined, PresenceChanged, Roster
from resilience.protocol.states import ClientState
from resilience.units import Instant
from tests.support.virtual_server import LINKED, URL, WAITING, VirtualServerHarness, act

FRAMES_PER_S = 4
FLAPPING, FLAPS, STORM_S = 50, 20, 2.0


@pytest.mark.parametrize("hidden", [0.0, 1.0])
def test_f32_presence_storm(hidden: float) -> None:
    """Fifty clients drop out and come back twenty times each, all within two seconds.

    No receiver gets more than four presence frames in any second, no frame undoes a newer one, and the list that
    results is the truth. No participant sees flaps that are shorter than ``hidden``.
    """
    frames: list[tuple[Instant, PresenceChanged]] = []

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(ServerConfig(presence_interval=MIN_PRESENCE_INTERVAL_S, flap_hidden=hidden), WAITING)
        observer, crowd = harness.client("observer", url=URL), harness.crowd(FLAPPING)
        await harness.opened(observer, *crowd)
        await asyncio.sleep(6)
        settled = len(harness.told("observer", PresenceChanged))
        observer._deliver = lambda message: _keep(harness, frames, message)
        await _storm(harness, crowd)
        gone = crowd[::7]
        for client in gone:
            await client.stop()
        await asyncio.sleep(3)
        (joined,) = harness.told("observer", Joined)
        shown = _replayed(joined, [*harness.told("observer", PresenceChanged)[:settled], *(f for _, f in frames)])
        assert shown == {who: str(session.state) for who, session in harness.room.sessions.items()}
        away = {client.machine.participant for client in gone}
        assert {who for who, state in shown.items() if state != "connected"} == away
        assert sum(session.connection_no for session in harness.room.sessions.values()) > FLAPPING * FLAPS

    act(script)
    times = [at for at, _ in frames]
    assert all(later - at >= 1 for at, later in zip(times, times[FRAMES_PER_S:], strict=False))
    assert (len(frames) >= FRAMES_PER_S) == (hidden == 0)


def test_f42_ghost_joins() -> None:
    """Forty clients join and leave in a room that lists ten; then others join until the event is full.

    The two that stay still see each other's names and absences, the server keeps nothing of the ghosts, and only the
    client beyond the limit is refused, for good.
    """

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(ServerConfig(participants_cap=10, max_participants=5), WAITING)
        observer, friend = harness.client("observer", url=URL), harness.client("friend", url=LINKED)
        await harness.opened(observer, friend)
        for number in range(40):
            ghost = harness.client(f"ghost{number}", url=URL)
            await harness.opened(ghost)
            await asyncio.sleep(0.6)
            await ghost.leave()
        assert len(harness.room.sessions) == len(harness.store.scores("quiz#1")) == 2
        await harness.opened(newcomer := harness.client("newcomer", url=URL))
        (joined,) = harness.told("newcomer", Joined)
        roster = msgspec.json.decode(joined.snapshot.roster, type=Roster)
        assert [player.name for player in roster.players] == ["observer", "friend"]
        harness.link.refuse(True)
        harness.link.cut()
        await asyncio.sleep(3)
        last = harness.told("observer", PresenceChanged)[-1]
        assert [(player.name, player.state) for player in last.changed] == [("friend", "temporarily_disconnected")]
        await harness.opened(*(harness.client(f"more{number}", url=URL) for number in range(2)))
        late = harness.client("late", url=URL)
        late.start()
        await harness.until(lambda: late.is_over, within=2)
        assert newcomer.state is ClientState.OPEN
        harness.link.refuse(False)
        await harness.opened(friend, within=20)

    harness = act(script)
    (dismissed,) = harness.of(LogEventKind.CLIENT_DISMISSED)
    assert (dismissed.actor, dismissed.cause) == ("late", "4205")
    assert len(harness.of(LogEventKind.SESSION_FORGOTTEN)) == 40


def _keep(harness: VirtualServerHarness, frames: list[tuple[Instant, PresenceChanged]], message: object) -> None:
    if isinstance(message, PresenceChanged):
        frames.append((harness.clock.now(), message))


async def _storm(harness: VirtualServerHarness, crowd: list[ReconnectingClient]) -> None:
    """Cut all clients again and again, and let all back at once."""
    for _ in range(FLAPS):
        harness.link.cut()
        await asyncio.sleep(0.003)
        for client in crowd:
            client.wake()
        await asyncio.sleep(STORM_S / FLAPS - 0.003)
        assert all(client.state is ClientState.OPEN for client in crowd)


def _replayed(joined: Joined, stream: list[PresenceChanged]) -> dict[str, str]:
    """The state of all participants as a client sees it that applies each frame in turn."""
    roster = msgspec.json.decode(joined.snapshot.roster, type=Roster)
    shown = {player.participant: player.state for player in roster.players}
    for frame in stream:
        shown |= {player.participant: player.state for player in (*frame.joined, *frame.changed)}
    return shown
