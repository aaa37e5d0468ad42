"""More clients than the server can take: shed early with a slot of their own, slow ones cut off, files that run out."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections import Counter
from pathlib import Path

import pytest

from resilience.config import ServerConfig
from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol.states import ClientState
from tests.hostile.attacks import HOSTILE, Peer, join
from tests.hostile.well_behaved import WellBehavedClients, percentile
from tests.hostile.wire import handshake
from tests.support.deadlines import HANG_S
from tests.support.server_process import ServerProcess, target
from tests.support.virtual_server import HOST, URL, VirtualServerHarness, play
from tests.support.websocket import causes, close_code, dial, serve

# joins ----------------------------------------------------------------------------------------------------------------


def test_a_thousand_joins_against_a_hundred_a_second() -> None:
    """F18: all are in within 1.3 x N/capacity, rejected twice at most, none gives up or is left half joined."""

    async def script(harness: VirtualServerHarness) -> None:
        await serve(harness, ServerConfig(join_capacity=100.0, address_rate=0))
        clients = [harness.client(f"c{i}", url=URL) for i in range(1000)]
        for client in clients:
            client.start()
        await asyncio.sleep(13.0)
        assert {client.state for client in clients} == {ClientState.OPEN}
        await asyncio.sleep(60.0)

    harness = play(script)
    created = [event.t for event in harness.events(LogEventKind.SESSION_CREATED)]
    assert len(created) == 1000
    assert max(created) <= 1.3 * 1000 / 100
    busiest = max(Counter(int(t) for t in created if t >= 2.0).values())
    assert busiest <= 1.3 * 100
    shed = causes(harness, LogEventKind.JOIN_SHED)
    assert 700 <= len(shed) <= 1000
    assert set(shed) == {"overload"}
    assert not harness.events(LogEventKind.GAVE_UP)
    assert not harness.events(LogEventKind.SESSION_DETACHED)
    waits = harness.events(LogEventKind.BACKOFF_SCHEDULED)
    assert {event.cause for event in waits} == {"advice"}
    tried = Counter(event.actor for event in waits)
    assert max(tried.values()) <= 2


def test_a_browser_receives_its_slot_in_the_close() -> None:
    """A page cannot read a 503: it is let in, closed with 4100 and its own slot, and no two get the same."""

    async def script(harness: VirtualServerHarness) -> None:
        await serve(harness, ServerConfig(join_capacity=10.0, address_rate=0))
        slots = []
        for socket_ in [await dial(Origin=f"http://{HOST}") for _ in range(40)]:
            if socket_.protocol.close_rcvd or await _is_closed(socket_):
                code, reason = await close_code(socket_)
                assert code == 4100
                slots.append(float(reason.removeprefix("retry_after=")))
        assert 15 <= len(slots) <= 25
        assert all(later - earlier > 0.05 for earlier, later in itertools.pairwise(sorted(slots)))

    assert set(causes(play(script), LogEventKind.JOIN_SHED)) == {"overload"}


async def _is_closed(socket_: object) -> bool:
    """Whether the server ends it within a moment."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.05):
            await socket_.wait_closed()  # type: ignore[attr-defined]
            return True
    return False


CROWDED = """
[server]
join_capacity = 10.0
[quiz]
lobby = 600
"""


async def test_a_herd_over_real_sockets_comes_in(tmp_path: Path) -> None:
    """40 at once against 10 a second: some are rejected with a slot, all come in once, none gives up or is lost.

    The pace is shown in virtual time above.
    """
    async with target(tmp_path, CROWDED) as server:
        async with WellBehavedClients(40, server.url) as well_behaved:
            await well_behaved.opened()
        assert [len(client.welcomes) for client in well_behaved.clients] == [1] * 40
        assert not any(client.count(LogEventKind.GAVE_UP) for client in well_behaved.clients)
        assert not any(client.count(LogEventKind.TRANSPORT_LOST) for client in well_behaved.clients)
        shown = await server.metrics()
        assert shown['quiz_joins_shed_total{cause="overload"}'] > 0
        assert shown["quiz_joins_total"] == 40
        assert server.noise() == []


# slow consumers -------------------------------------------------------------------------------------------------------

TALKATIVE = """
[server]
leaderboard_size = 100
write_buffer_bytes = 16384
send_buffer_bytes = 4096
grace_period = 60.0
[quiz]
questions = 400
lobby = 1.0
question_time = 0.2
reveal_time = 0.1
leaderboard_time = 0.1
"""
CLIENTS, SLOW = 57, 3


class Slow(Peer):
    """A client with a small window that reads a kilobyte a second."""

    @classmethod
    async def seated(cls, server: ServerProcess, name: str) -> Slow:
        """Joined; returns once it has its token."""
        link = socket.socket()
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        link.setblocking(False)
        await asyncio.get_running_loop().sock_connect(link, ("127.0.0.1", server.port))
        peer = cls(*await asyncio.open_connection(sock=link, limit=1024))
        peer.writer.write(handshake(f"127.0.0.1:{server.port}"))
        await peer.hear(b"\r\n\r\n")
        peer.say(join(name))
        await peer.hear(b'"token":"')
        peer.token = (await peer.hear(b'"'))[:-1].decode()
        peer.say({"type": "token_stored", "generation": 1})
        return peer

    token = ""

    async def dawdle(self) -> None:
        """Read on, slowly, until it is cut off."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(1024):  # noqa: ASYNC110 - it is slow on purpose
                await asyncio.sleep(1.0)


async def _scenario(server: ServerProcess, slow: int) -> WellBehavedClients:
    """Quick clients with so many slow ones among them; returns once these were cut off and are back."""
    async with WellBehavedClients(CLIENTS, server.url, over=0.1) as well_behaved:
        await well_behaved.opened()
        clients = [await Slow.seated(server, f"slow{i}") for i in range(slow)]
        dawdlers = [asyncio.create_task(client.dawdle()) for client in clients]
        await _until_shown(server, 'quiz_connection_losses_total{cause="slow"}', slow)
        await well_behaved.answered(10)
        await well_behaved.settle()
        assert well_behaved.wrongs() == []
        for client in clients:
            await _returns(server, client)
        for dawdler, client in zip(dawdlers, clients, strict=True):
            dawdler.cancel()
            client.drop()
    return well_behaved


async def _until_shown(server: ServerProcess, sample: str, value: float) -> None:
    """Wait until ``/metrics`` shows so much."""
    async with asyncio.timeout(HANG_S):
        while (await server.metrics()).get(sample, 0.0) < value:  # noqa: ASYNC110 - a page sets no event
            await asyncio.sleep(0.1)


async def _returns(server: ServerProcess, client: Slow) -> None:
    """Its session waits for it, as itself."""
    back = await Peer.upgraded(server.port)
    back.say({"type": "resume", "event": "quiz", "token": client.token})
    heard = await back.hear(b'"token":"')
    assert b"state_restored" in heard
    back.drop()


async def test_slow_clients_are_cut_off_and_take_nothing_from_the_others(tmp_path: Path) -> None:
    """F21: one in twenty reads 1 KB/s. The others lose nothing and have their verdicts; memory is bounded."""
    async with target(tmp_path, TALKATIVE) as server:
        before = server.memory()
        await _scenario(server, SLOW)
        shown = await server.metrics()
        assert shown['quiz_connection_losses_total{cause="slow"}'] == SLOW
        assert shown['quiz_reconnections_total{outcome="resumed"}'] == SLOW
        assert server.memory() - before < 16 * 2**20
        assert server.noise() == []


@pytest.mark.bench
async def test_slow_clients_delay_no_other_client(tmp_path: Path) -> None:
    """F21: the others hear everything as soon as without the slow ones."""
    async with target(tmp_path / "a", TALKATIVE) as server:
        alone = (await _scenario(server, 0)).delivery()
    async with target(tmp_path / "b", TALKATIVE) as server:
        others = await _scenario(server, SLOW)
    assert len(others.delivery()) > 1000
    assert percentile(others.delivery(), 0.99) < percentile(alone, 0.99) + 0.1
    assert percentile(others.acks(), 0.99) < 1.0


# files ----------------------------------------------------------------------------------------------------------------

FEW_FILES = """
[server]
first_message_deadline = 4.0
address_rate = 0
[quiz]
lobby = 1.0
question_time = 1.0
questions = 100
"""


async def _handshake_load(server: ServerProcess) -> tuple[int, str]:
    """Status and Retry-After for one more connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, local_addr=(HOSTILE, 0))
    writer.write(handshake(f"127.0.0.1:{server.port}"))
    try:
        async with asyncio.timeout(HANG_S):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except (EOFError, ConnectionError):
        return 0, ""
    finally:
        writer.transport.abort()
    lines = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
    return int(head.split()[1]), lines.get("Retry-After", "")


async def test_at_the_limit_on_open_files_new_connections_receive_a_retry_time(tmp_path: Path) -> None:
    """F19: 256 files. Full is full: 503 and when to come; who is in stays in and is served; room is found again."""
    async with target(tmp_path, FEW_FILES, files=256) as server:
        async with WellBehavedClients(100, server.url) as well_behaved:
            await well_behaved.opened()
            crowd = [await Peer.upgraded(server.port) for _ in range(28)]
            for number, peer in enumerate(crowd):
                peer.say(join(f"bad{number}"))
            assert {await _handshake_load(server) for _ in range(40)} == {(503, "5.000")}
            for peer in crowd:
                peer.drop()
            await _until_let_in(server)
            await well_behaved.settle()
            assert well_behaved.wrongs() == []
        shown = await server.metrics()
        assert shown['quiz_joins_shed_total{cause="full"}'] >= 40
        assert server.noise() == []


async def test_more_sockets_than_files_stall_no_client_and_do_not_spin(tmp_path: Path) -> None:
    """F19: bare connections use up every file. Those inside play on, the server works no more than before, it passes.

    Its work is compared in CPU seconds with that of the same quiz before, since the machine may be slow.
    """
    async with target(tmp_path, FEW_FILES, files=256) as server:
        async with WellBehavedClients(60, server.url) as well_behaved:
            await well_behaved.opened()
            await well_behaved.answered()
            calm = await _work(server, 1.5)
            idle = [await Peer.dial(server.port) for _ in range(250)]
            await asyncio.sleep(0.5)
            crowded = await _work(server, 1.5)
            assert server.descriptors() <= 256
            assert crowded < 3 * calm + 0.2
            assert well_behaved.are_open
            for peer in idle:
                peer.drop()
            await _until_let_in(server)
            await well_behaved.answered()
            await well_behaved.settle()
            assert well_behaved.wrongs() == []
        assert server.noise() == []


async def _work(server: ServerProcess, seconds: float) -> float:
    """CPU seconds that the server uses during so many seconds."""
    before = server.cpu()
    await asyncio.sleep(seconds)
    return server.cpu() - before


async def _until_let_in(server: ServerProcess) -> None:
    """A new connection is accepted again, soon."""
    async with asyncio.timeout(HANG_S):
        while (await _handshake_load(server))[0] != 101:  # noqa: ASYNC110 - no event reports it
            await asyncio.sleep(0.1)
