"""All clients at once: after a restart, at a server that is full, or at one that keeps no connection for long."""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from pathlib import Path
from statistics import fmean, quantiles

import pytest
from websockets.asyncio.server import ServerConnection, serve

from resilience.client.client import ReconnectingClient
from resilience.config import ClientConfig, ServerConfig
from resilience.eventlog.vocabulary import Lane, LogEventKind, Role
from resilience.eventlog.writer import EventList
from resilience.policy.backoff import Preset
from resilience.protocol.client.participant import Identity, ParticipantClient
from resilience.protocol.states import ClientState
from resilience.random_streams import random_for
from resilience.runtime import RunClock, log_to
from resilience.server.limits import max_connections_by_open_files
from tests.support.processes import eventually
from tests.support.server_process import free_port, target
from tests.support.virtual_server import HOST, PORT, URL, WAITING, VirtualServerHarness, act

CAPACITY = 1000.0
STABLE = ClientConfig().stable_after
PRESETS = list(Preset)


def test_f16_herd_after_restart() -> None:
    """The server dies under a thousand clients and is back two seconds later.

    All are restored within seconds, spread so that no tenth of a second brings more handshakes than the server takes
    in two of them; no client is rejected, and none gives up.
    """

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(ServerConfig(join_capacity=CAPACITY), WAITING)
        crowd = harness.crowd(1000)
        for i, client in enumerate(crowd):
            harness.loop.call_later(i / CAPACITY * 2, client.start)
        await asyncio.sleep(2 + STABLE)
        harness.crash()
        await asyncio.sleep(2)
        back_at = harness.clock.now()
        await harness.restart()
        await harness.opened(*crowd, within=10)
        restored = [event.t - back_at for event in harness.of(LogEventKind.SESSION_RESTORED)]
        assert len(restored) == len(crowd)
        assert fmean(restored) < 1
        assert quantiles(restored, n=20)[-1] < 2
        opened = Counter(int(10 * event.t) for event in harness.of(LogEventKind.TRANSPORT_OPENED, since=back_at))
        assert max(opened.values()) <= CAPACITY / 10 * 2

    harness = act(script)
    assert not harness.of(LogEventKind.GAVE_UP)
    assert not harness.of(LogEventKind.JOIN_SHED)


async def test_f16_herd_after_restart_through_real_sockets(tmp_path: Path) -> None:
    """With real sockets and a server process that is killed and started again: all return as who they were.

    How fast is shown in virtual time above and measured by the benchmarks.
    """
    log = EventList()
    clock = RunClock(0.0)
    settings, port = "[server]\njoin_capacity = 1000.0\n", free_port()
    async with target(tmp_path, settings, port=port) as first:
        crowd = [_real_client(first.url, f"c{i:03d}", clock, log) for i in range(100)]
        for client in crowd:
            client.start()
        await _all_open(crowd)
        await first.kill()
    await eventually(lambda: not any(client.state is ClientState.OPEN for client in crowd))
    async with target(tmp_path, settings, port=port):
        await _all_open(crowd)
        await asyncio.gather(*(client.stop() for client in crowd))
    restored = [event for event in log if event.kind is LogEventKind.SESSION_RESTORED]
    assert {event.actor for event in restored} == {client.machine.identity.name for client in crowd}
    kinds = {event.kind for event in log}
    assert not kinds & {LogEventKind.GAVE_UP, LogEventKind.SESSION_REJECTED, LogEventKind.CLIENT_DISMISSED}
    assert len({client.machine.participant for client in crowd}) == len(crowd)


def _real_client(url: str, name: str, clock: RunClock, log: EventList) -> ReconnectingClient:
    machine = ParticipantClient(Identity("quiz", name, name), ClientConfig().rules, random_for(1, name))
    record = log_to(log, Lane.REAL, Role.CLIENT, name)
    return ReconnectingClient(machine, url, clock=clock, log=record, deliver=lambda _: None)


async def _all_open(crowd: list[ReconnectingClient]) -> None:
    await eventually(lambda: all(client.state is ClientState.OPEN for client in crowd))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("dead", ["busy", "upstream"])
def test_f17_flap_accept_then_close(preset: Preset, dead: str) -> None:
    """Every connection is accepted, and then closed: by a server with 1013, or by a proxy without a server.

    The client takes neither for a success: it dials no more often than its ladder says.
    """
    accepted = []

    async def busy(socket: ServerConnection) -> None:
        accepted.append(socket)
        await socket.close(1013)

    async def script(harness: VirtualServerHarness) -> None:
        ada = harness.client(config=ClientConfig(preset=preset))
        if dead == "upstream":
            ada.start()
            await asyncio.sleep(60)
            return
        async with serve(busy, HOST, PORT, ping_interval=None):
            ada.start()
            await asyncio.sleep(60)

    harness = act(script)
    dials = [event.t for event in harness.of(LogEventKind.TRANSPORT_OPENING)]
    delays = [event.value or 0.0 for event in harness.of(LogEventKind.BACKOFF_SCHEDULED)]
    assert len(accepted) == (len(dials) if dead == "busy" else 0)
    if preset is Preset.CLASSIC:
        assert delays[:5] == [1, 2, 4, 8, 16]
        assert len(dials) == 6
    else:
        assert all(delay >= 1.4 for delay in delays[10:])
        assert 20 < len(dials) < 60


def test_f17_flap_accept_then_close_after_a_welcome() -> None:
    """The server welcomes, and the connection is lost a second later, again and again.

    The ladder begins again only once a session has lasted: until then each return takes longer than the one before.
    """

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=WAITING)
        ada = harness.client(config=ClientConfig(preset=Preset.CLASSIC))
        await harness.opened(ada)
        await asyncio.sleep(STABLE + 1)
        for _ in range(4):
            harness.link.cut()
            await harness.until(lambda: ada.state is not ClientState.OPEN)
            await harness.opened(ada)
            await asyncio.sleep(1)
        await asyncio.sleep(STABLE)
        harness.link.cut()
        await asyncio.sleep(0.1)

    delays = [event.value for event in act(script).of(LogEventKind.BACKOFF_SCHEDULED)]
    assert delays == [1, 2, 4, 8, 1]


def test_f18_handshake_overload() -> None:
    """Six hundred new connections within a tenth of a second, at a server that takes a hundred a second.

    Those beyond two seconds of work are rejected at once, each with a retry time of its own. All get in, in the time
    that so much work takes; no join is left half done, and no dial times out.
    """

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(ServerConfig(join_capacity=100), WAITING)
        crowd = harness.crowd(600, url=URL)
        for i, client in enumerate(crowd):
            harness.loop.call_later(i / 6000, client.start)
        took = await harness.opened(*crowd[:1], within=1)
        took += await harness.until(lambda: all(c.state is ClientState.OPEN for c in crowd), within=20, step=0.05)
        assert took < 1.5 * len(crowd) / 100
        assert len(harness.room.sessions) == len(crowd)
        assert all(session.welcomed for session in harness.room.sessions.values())

    harness = act(script)
    assert {event.cause for event in harness.of(LogEventKind.TRANSPORT_FAILED)} == {"status_503"}
    shed = harness.of(LogEventKind.JOIN_SHED)
    assert 300 < len(shed) < 600
    assert len({event.value for event in shed}) == len(shed)
    assert not harness.of(LogEventKind.CONNECTION_REFUSED)
    assert not harness.of(LogEventKind.GAVE_UP)


def test_f19_fd_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process may open few files, and more connections arrive than that leaves room for.

    The handshake policy applies the limit before the system enforces it: a connection beyond it is rejected with a
    retry time, the open ones notice nothing, and a place that becomes free is used.
    """
    for files, connections in ((20, 10), (256, 128), (1024, 896)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, files=files: (files, files))
        assert max_connections_by_open_files() == connections
    monkeypatch.setattr(resource, "getrlimit", lambda _: (20, 20))

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=WAITING)
        crowd = harness.crowd(12)
        await harness.opened(*crowd[:10])
        late = crowd[10:]
        for client in late:
            client.start()
        await asyncio.sleep(20)
        assert not [client for client in late if client.state is ClientState.OPEN]
        assert all(client.state is ClientState.OPEN for client in crowd[:10])
        for client in crowd[:2]:
            await client.leave()
        await harness.opened(*late, within=11)

    harness = act(script)
    assert {event.cause for event in harness.of(LogEventKind.TRANSPORT_FAILED)} == {"status_503"}
    assert {event.cause for event in harness.of(LogEventKind.JOIN_SHED)} == {"full"}
    assert not harness.of(LogEventKind.SESSION_DETACHED)
