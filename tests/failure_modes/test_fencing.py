"""Two connections, one participant: the newest acts, and nothing that an older one still does changes that."""

from __future__ import annotations

import asyncio
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from resilience.client import connect
from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.close_codes import CloseCode
from resilience.protocol.messages import PresenceChanged, QuestionRevealed, ResumeRejected
from resilience.protocol.states import ClientState, ConnectionState
from tests.support.virtual_server import CALM, LINKED, SHARED, URL, VirtualServerHarness, act, url_of


@pytest.mark.parametrize("later", [1, 20, 60])
def test_f03_late_close_of_old_socket(later: int) -> None:
    """A link falls silent, its client comes back by another, three times in a row; then all the old sockets close.

    The last session stays: no client receives a leave, and no grace period begins.
    """

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=CALM)
        ada, observer = harness.client(), harness.client("observer", url=URL)
        await harness.opened(ada, observer)
        await asyncio.sleep(2)
        links = [harness.link, *(harness.another_link(f"way {i}") for i in range(3))]
        for old, new in pairwise(links):
            old.freeze(True)
            ada.url = url_of(new)
            await harness.until(lambda: ada.state is not ClientState.OPEN, within=7)
            await harness.opened(ada)
        seen = len(harness.told("observer", PresenceChanged))
        await asyncio.sleep(later)
        for old in links[:-1]:
            old.freeze(False)
        await asyncio.sleep(120)
        assert ada.state is ClientState.OPEN
        assert (harness.session().state, harness.session().connection_no) == (ConnectionState.CONNECTED, 4)
        assert len(harness.told("observer", PresenceChanged)) == seen

    harness = act(script)
    assert len(harness.of(LogEventKind.SESSION_FENCED)) == 3
    assert not harness.of(LogEventKind.SESSION_DETACHED)


def test_f04_stale_client_events() -> None:
    """What the client's old socket still says arrives after the new one has opened: messages, a close, a failure.

    It belongs to an older dial, and is ignored: the client keeps its place, its one socket and its one timer.
    """

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=CALM)
        ada = harness.client()
        await harness.opened(ada)
        harness.link.stall(up=False, down=True)
        ada.url = url_of(harness.another_link("mobile"))
        await asyncio.sleep(20)
        assert ada.machine.dial == 2
        before = (ada.machine.seq, ada.machine.next_deadline(), ada.machine.credentials)
        harness.link.stall(up=False, down=False)
        await asyncio.sleep(0.1)
        now = harness.clock.now()
        ada.machine.receive(QuestionRevealed(ada.machine.seq + 1, "q1", 0), 1, now)
        ada.machine.receive(ResumeRejected("unknown"), 1, now)
        ada.machine.transport_lost(1, "closed", now, CloseCode.SUPERSEDED)
        ada.machine.transport_failed(1, "refused", now)
        ada.machine.transport_opened(1, now)
        assert ada.machine.effects() == []
        assert (ada.machine.seq, ada.machine.next_deadline(), ada.machine.credentials) == before
        assert ada.state is ClientState.OPEN
        assert len(harness.network.connections) == 1
        await asyncio.sleep(60)
        assert ada.machine.dial == 2

    act(script)


def test_f11_two_tabs_duel() -> None:
    """Two tabs of one person hold the same token, and both would reconnect without a limit.

    There is one takeover for one act of the user: the older tab is closed with 4200 and stays down, until the user asks
    for it there, which is one takeover more.
    """

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=CALM)
        first = harness.client("first")
        await harness.opened(first)
        await asyncio.sleep(1)
        second = harness.tab("second", first)
        await harness.opened(second)
        await asyncio.sleep(300)
        assert (first.state, second.state) == (ClientState.CLOSED, ClientState.OPEN)
        assert len(harness.of(LogEventKind.SESSION_FENCED)) == 1
        third = harness.tab("the first again", second)
        await harness.opened(third)
        await asyncio.sleep(300)
        assert (second.state, third.state) == (ClientState.CLOSED, ClientState.OPEN)

    harness = act(script, without=SHARED)
    assert len(harness.of(LogEventKind.SESSION_FENCED)) == 2
    assert [(event.actor, event.cause) for event in harness.of(LogEventKind.SESSION_SUPERSEDED)] == [
        ("first", "4200"),
        ("second", "4200"),
    ]
    assert not harness.of(LogEventKind.BACKOFF_SCHEDULED)


def test_f12_duplicated_tab_clones_storage(tmp_path: Path) -> None:
    """A person copies the file that holds an identity, and starts a second client from the copy.

    Each has an instance of its own. The second takes over openly: the first is closed with the reason, and is not left
    with a stream that another client receives.
    """

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=CALM)
        original, copy = tmp_path / "ada.json", tmp_path / "copy.json"
        first = connect(LINKED, name="ada", identity_file=original)
        first.start()
        await harness.until(lambda: first.state is ClientState.OPEN and original.exists())
        await asyncio.sleep(1)
        shutil.copy(original, copy)
        second = connect(LINKED, name="ada", identity_file=copy)
        second.start()
        await harness.until(lambda: second.state is ClientState.OPEN)
        await harness.until(lambda: first.is_over, within=1)
        assert first.machine.identity.instance != second.machine.identity.instance
        assert first.machine.participant == second.machine.participant
        assert first.machine.credentials != second.machine.credentials
        await asyncio.sleep(60)
        assert second.state is ClientState.OPEN
        await first.stop()
        await second.stop()

    harness = act(script, without=SHARED)
    assert len(harness.of(LogEventKind.SESSION_FENCED)) == 1
    assert len(harness.room.sessions) == 1


@pytest.mark.parametrize("killed", [False, True])
def test_f11_two_tabs_return_at_once(killed: bool) -> None:
    """A second tab opens, and the connections of both break at each millisecond of its start.

    Both return with copies of one token. One of them has the session in the end, the other is closed for good, and the
    person stays one participant: also where a server that was killed meanwhile has forgotten which token it replaced.
    """
    for ms in range(12):
        harness = _both_break(ms / 1000, killed=killed)
        assert list(harness.room.sessions) == ["p1"]
        assert len(harness.of(LogEventKind.SESSION_JOINED)) == 1
        assert [event.cause for event in harness.of(LogEventKind.SESSION_SUPERSEDED)] == ["4200"]


def _both_break(after: float, *, killed: bool) -> VirtualServerHarness:
    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=CALM)
        first = harness.client("first")
        await harness.opened(first)
        await asyncio.sleep(1)
        second = harness.tab("second", first)
        second.start()
        await asyncio.sleep(after)
        harness.link.cut()
        if killed:
            await harness.until(lambda: ClientState.OPEN in (first.state, second.state), step=0.0005)
            await asyncio.sleep(0.01)
            harness.crash()
            await harness.restart()
        await asyncio.sleep(30)
        assert {first.state, second.state} == {ClientState.OPEN, ClientState.CLOSED}

    return act(script, without=SHARED)
