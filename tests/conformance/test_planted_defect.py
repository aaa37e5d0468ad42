"""A server that lets an old socket's close detach the new one: the invariants must say so.

Without such a test a green invariant could be one that never fails.
"""

from __future__ import annotations

import asyncio

import pytest

from reports.checks.connections import one_live_connection
from reports.frames import RunHistory
from resilience.config import QuizConfig
from resilience.eventlog.vocabulary import LogEventKind
from resilience.eventlog.writer import EventList
from resilience.protocol.server.session import ServerSession
from tests.conformance.lanes import SMALL
from tests.resilience.protocol.machine_pair import MachinePair
from tests.support.history import INFO
from tests.support.virtual_server import URL, VirtualServerHarness, play


@pytest.fixture
def defect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the fence: whichever connection ends, the session is detached."""
    sound = ServerSession.transport_lost

    def unfenced(self: ServerSession, connection: int, cause: str, now: float) -> bool:
        return sound(self, self.connection if self.connection is not None else connection, cause, now)

    monkeypatch.setattr(ServerSession, "transport_lost", unfenced)


def takeover_over_sockets() -> EventList:
    """One participant on a link that freezes, and again over another way while the old connection still seems open."""

    async def script(game_messages: VirtualServerHarness) -> None:
        await game_messages.serve(quiz=QuizConfig(lobby=100))
        first, second = game_messages.client("ada"), game_messages.client("ada-again", url=URL)
        first.start()
        await asyncio.sleep(2)
        game_messages.link.freeze(True)
        second.machine.credentials = first.machine.credentials
        second.start()
        await asyncio.sleep(5)
        game_messages.link.freeze(False)
        await asyncio.sleep(5)

    return play(script).log


def takeover_in_pair() -> EventList:
    """The same between the two bare machines."""
    run = MachinePair(1)
    run.start()
    run.run(2)
    peer = run.peers[0]
    peer.link = "silent"
    run.run(11.2)  # between two dials, so that the next one succeeds at once
    run.heal(peer, server_later=3.0)  # the old connection ends when the new one is up
    run.run(20)
    return run.log


@pytest.mark.parametrize("history", [takeover_over_sockets, takeover_in_pair])
@pytest.mark.usefixtures("defect")
def test_the_defect_is_caught(history: object) -> None:
    """The old connection's late end detaches the new one, and the fencing invariant names it."""
    assert callable(history)
    log = history()
    assert any(event.kind is LogEventKind.SESSION_RESUMED for event in log)
    broken = one_live_connection(RunHistory(INFO, SMALL, log)).broken
    assert broken is not None
    assert "connection" in broken


@pytest.mark.parametrize("history", [takeover_over_sockets, takeover_in_pair])
def test_a_sound_server_passes(history: object) -> None:
    """The same history without the defect breaks nothing, and there was something to check."""
    assert callable(history)
    found = one_live_connection(RunHistory(INFO, SMALL, history()))
    assert found.broken is None
    assert found.checked > 1
