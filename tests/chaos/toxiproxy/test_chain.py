"""Toxics are removed under traffic without hanging the control API, which a bare removal does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from chaos.ports import free_ports
from chaos.toxiproxy.chain import ToxicChain
from chaos.toxiproxy.client import ToxiproxyApi, ToxiproxyHungError
from chaos.toxiproxy.process import ToxiproxyProcess
from chaos.toxiproxy.toxics import Bandwidth, Latency, LimitData, Slicer, SlowClose, Timeout, Toxic

from ...support.deadlines import HANG_S
from ...support.http_stub import push
from ...support.processes import eventually

LONG_MS = 60_000
HOLDING: dict[str, Toxic] = {
    "latency": Latency(stream="downstream", latency_ms=LONG_MS, jitter_ms=0, name="t"),
    "stall": Bandwidth(stream="downstream", rate_kb_s=0, name="t"),
    "bandwidth": Bandwidth(stream="downstream", rate_kb_s=1, name="t"),
    "slicer": Slicer(stream="downstream", average_size=4, size_variation=0, delay_us=1_000_000, name="t"),
}


class Pusher:
    """A server that sends bytes to every connection."""

    def __init__(self) -> None:
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    async def push(self, pieces: int) -> None:
        """Send so many pieces, one after the other."""
        await push(self.writers, pieces)


@asynccontextmanager
async def pushing(api: ToxiproxyApi) -> AsyncIterator[tuple[Pusher, int]]:
    """A server behind the proxy ``p``, and the proxy's port."""
    pusher = Pusher()
    server = await asyncio.start_server(pusher.serve, "127.0.0.1", 0)
    port = free_ports(1)[0]
    await api.create_proxy("p", f"127.0.0.1:{port}", f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    try:
        yield pusher, port
    finally:
        server.close()


async def leave_while_bytes_are_held(pusher: Pusher, port: int) -> None:
    """A client connects, is sent what the toxic holds back, and is gone without having read it."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    await eventually(lambda: bool(pusher.writers))
    await pusher.push(4)
    writer.transport.abort()
    await asyncio.sleep(0.05)


async def test_a_bare_removal_hangs_when_a_client_has_left(server: ToxiproxyProcess, api: ToxiproxyApi) -> None:
    async with pushing(api) as (pusher, port):
        await api.add_toxic("p", HOLDING["latency"])
        await leave_while_bytes_are_held(pusher, port)
        with contextlib.closing(server.api(1.0)) as impatient, pytest.raises(ToxiproxyHungError):
            await impatient.remove_toxic("p", "t", live=True)


@pytest.mark.parametrize("toxic", HOLDING.values(), ids=HOLDING.keys())
async def test_a_removal_from_the_chain_does_not(api: ToxiproxyApi, toxic: Toxic) -> None:
    async with pushing(api) as (pusher, port):
        chain = ToxicChain(lambda: api, "p")
        await chain.add(toxic)
        await leave_while_bytes_are_held(pusher, port)
        await chain.remove(toxic)
        pusher.writers.clear()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await eventually(lambda: bool(pusher.writers))
        await pusher.push(1)
        assert await asyncio.wait_for(reader.readexactly(5000), HANG_S) == bytes(5000)
        writer.close()


async def test_a_toxic_that_is_off_is_used_again_with_other_settings(api: ToxiproxyApi) -> None:
    """So the chain does not grow; a limit is not used again, since it would count the bytes of the one before."""
    async with pushing(api):
        chain = ToxicChain(lambda: api, "p")
        for ms in (5, 10):
            first, second = (Latency(stream="upstream", latency_ms=ms, jitter_ms=0, name=f"{n}-{ms}") for n in "ab")
            limit = LimitData(stream="upstream", limit_bytes=ms, name=f"limit-{ms}")
            for toxic in (first, second, limit):
                await chain.add(toxic)
            acting = {toxic.name: toxic for toxic in (await api.list_proxies())["p"].toxics if toxic.toxicity}
            assert acting["a-5"].attributes == acting["b-5"].attributes == {"latency": ms, "jitter": 0}
            for toxic in (first, second, limit):
                await chain.remove(toxic)
        toxics = (await api.list_proxies())["p"].toxics
        assert {toxic.name for toxic in toxics if not toxic.toxicity} == {"a-5", "b-5", "limit-5", "limit-10"}
        assert all(toxic.attributes == {"latency": 0, "jitter": 0} for toxic in toxics if toxic.toxicity)


async def test_connections_that_are_closing_do_not_crash_the_server(
    server: ToxiproxyProcess, api: ToxiproxyApi
) -> None:
    """A close that waits in the chain while a toxic before it is switched off, and another one is added."""
    async with pushing(api) as (pusher, port):
        chain = ToxicChain(lambda: api, "p")
        stall, slow = HOLDING["stall"], SlowClose(stream="downstream", delay_ms=LONG_MS, name="slow")
        await chain.add(stall)
        await chain.add(slow)
        await leave_while_bytes_are_held(pusher, port)
        await chain.remove(stall)
        await chain.add(replace(HOLDING["slicer"], name="other"))
        await chain.remove(slow)
        await api.list_proxies()
        assert server.alive


async def test_every_toxic_acts_fully_once_it_was_added(api: ToxiproxyApi) -> None:
    """None is left inert, and one that throws bytes away has no tail."""
    async with pushing(api):
        chain = ToxicChain(lambda: api, "p")
        await chain.add(Timeout(stream="upstream", timeout_ms=0, name="drop"))
        await chain.add(SlowClose(stream="downstream", delay_ms=5, name="close"))
        toxics = (await api.list_proxies())["p"].toxics
        assert {toxic.toxicity for toxic in toxics} == {1.0}
        assert [toxic.type for toxic in toxics if toxic.stream == "upstream"] == ["timeout"]
