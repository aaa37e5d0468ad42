"""The typed client with the real server, and with fake servers that fail as the real one does."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from toxiproxy.api import APIConsumer

from chaos.ports import free_ports
from chaos.toxiproxy.client import (
    Bandwidth,
    Latency,
    LimitData,
    NotToxiproxyError,
    ResetPeer,
    Slicer,
    SlowClose,
    Timeout,
    Toxic,
    ToxiproxyApi,
    ToxiproxyHungError,
    ToxiproxyRefusedError,
)
from chaos.toxiproxy.process import ToxiproxyProcess
from resilience.errors import PortInUseError, ToxiproxyError
from resilience.lab.system import CallTimes

from ...support.deadlines import HANG_S

NOWHERE = "127.0.0.1:9"

Order = Callable[[ToxiproxyApi], Awaitable[object]]

PROXY_BODY = (
    b'{"name":"p","listen":"127.0.0.1:1","upstream":"x:1","enabled":false,'
    b'"toxics":[{"name":"t","type":"timeout","stream":"upstream","toxicity":1,"attributes":{"timeout":0}}]}'
)

ORDERS: dict[str, Order] = {
    "version": lambda api: api.version(),
    "list proxies": lambda api: api.list_proxies(),
    "create proxy 'p'": lambda api: api.create_proxy("p", "127.0.0.1:0", NOWHERE),
    "delete proxy 'p'": lambda api: api.delete_proxy("p"),
    "read proxy 'p'": lambda api: api.set_enabled("p", False),
    "add toxic 't' to proxy 'p'": lambda api: api.add_toxic("p", Timeout(stream="upstream", timeout_ms=0, name="t")),
}


def listen() -> str:
    return f"127.0.0.1:{free_ports(1)[0]}"


@asynccontextmanager
async def fake(*answers: bytes | None, timeout_s: float = HANG_S) -> AsyncIterator[ToxiproxyApi]:
    """A client of a server that sends these responses in turn, the last one repeatedly; None never answers."""
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        answer = left.pop(0) if len(left) > 1 else left[0]
        if answer is None:
            await reader.read()
        else:
            writer.write(answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        with contextlib.closing(ToxiproxyApi("127.0.0.1", server.sockets[0].getsockname()[1], timeout_s)) as api:
            yield api


def http(status: int, body: bytes = b"", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return b"HTTP/1.1 %d Whatever\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (status, size, body)


async def test_the_port_chosen_by_the_kernel_is_read_back(api: ToxiproxyApi) -> None:
    proxy = await api.create_proxy("p", "127.0.0.1:0", NOWHERE)
    assert (proxy.host, proxy.upstream, proxy.enabled, proxy.toxics) == ("127.0.0.1", NOWHERE, True, ())
    assert proxy.port > 0
    with contextlib.closing(socket.create_connection((proxy.host, proxy.port))):
        assert (await api.list_proxies())["p"].listen == proxy.listen


async def test_times_bracket_the_request(api: ToxiproxyApi) -> None:
    start = time.monotonic()
    proxy = await api.create_proxy("p", listen(), NOWHERE)
    added = await api.add_toxic("p", Timeout(stream="upstream", timeout_ms=0))
    removed = await api.remove_toxic("p", "timeout_upstream")
    deleted = await api.delete_proxy("p")
    instants = [start, *proxy.times, *added, *removed, *deleted, time.monotonic()]
    assert instants == sorted(instants)
    assert added.after - added.before > 0


async def test_disabled_refuses_and_enabled_listens_on_the_same_port(api: ToxiproxyApi) -> None:
    """Toxics and port are kept."""
    proxy = await api.create_proxy("p", listen(), NOWHERE)
    await api.add_toxic("p", Timeout(stream="upstream", timeout_ms=0))
    await api.set_enabled("p", False)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(proxy.host, proxy.port)
    await api.set_enabled("p", True)
    _, writer = await asyncio.open_connection(proxy.host, proxy.port)
    writer.close()
    assert (await api.list_proxies())["p"].toxic("timeout_upstream") is not None


@pytest.mark.parametrize(
    "toxic",
    [
        Latency(stream="upstream", latency_ms=50, jitter_ms=5),
        Bandwidth(stream="downstream", rate_kb_s=0),
        SlowClose(stream="upstream", delay_ms=3),
        Timeout(stream="downstream", timeout_ms=0),
        ResetPeer(stream="upstream", timeout_ms=1),
        Slicer(stream="downstream", average_size=8, size_variation=7, delay_us=10),
        LimitData(stream="upstream", limit_bytes=100, name="mine"),
    ],
    ids=lambda toxic: toxic.kind,
)
async def test_the_server_stores_every_attribute_of_every_toxic(api: ToxiproxyApi, toxic: Toxic) -> None:
    await api.create_proxy("p", listen(), NOWHERE)
    await api.add_toxic("p", toxic)
    seen = (await api.list_proxies())["p"].toxic(toxic.name)
    assert seen is not None
    assert (seen.type, seen.stream, seen.toxicity, seen.attributes) == (
        toxic.kind,
        toxic.stream,
        1.0,
        toxic.attributes,
    )


async def test_update_changes_the_settings(api: ToxiproxyApi) -> None:
    """By PATCH, which the library lacks."""
    await api.create_proxy("p", listen(), NOWHERE)
    await api.add_toxic("p", Timeout(stream="upstream", timeout_ms=0))
    times = await api.update_toxic("p", Timeout(stream="upstream", timeout_ms=900))
    seen = (await api.list_proxies())["p"].toxic("timeout_upstream")
    assert isinstance(times, CallTimes)
    assert seen is not None
    assert seen.attributes == {"timeout": 900}


async def test_update_keeps_type_and_direction(api: ToxiproxyApi) -> None:
    """The server would ignore a new direction and misread a new type."""
    await api.create_proxy("p", listen(), NOWHERE)
    await api.add_toxic("p", Timeout(stream="upstream", timeout_ms=0, name="t"))
    with pytest.raises(ToxiproxyError, match="timeout toxic on the upstream"):
        await api.update_toxic("p", Timeout(stream="downstream", timeout_ms=5, name="t"))
    with pytest.raises(ToxiproxyError, match="keeps type"):
        await api.update_toxic("p", SlowClose(stream="upstream", delay_ms=5, name="t"))


async def test_a_live_rate_is_never_raised_from_zero(api: ToxiproxyApi) -> None:
    """It crashes the server under traffic: rejected even with live=True, allowed on a disabled proxy."""
    await api.create_proxy("p", listen(), NOWHERE)
    await api.add_toxic("p", Bandwidth(stream="upstream", rate_kb_s=0))
    faster = Bandwidth(stream="upstream", rate_kb_s=10)
    with pytest.raises(ToxiproxyError, match="from 0 crashes"):
        await api.update_toxic("p", faster, live=True)
    await api.set_enabled("p", False)
    await api.update_toxic("p", faster)
    seen = (await api.list_proxies())["p"].toxic("bandwidth_upstream")
    assert seen is not None
    assert seen.attributes == {"rate": 10}


@pytest.mark.parametrize(
    "toxic",
    [
        Latency(stream="upstream", latency_ms=5, jitter_ms=0),
        Bandwidth(stream="upstream", rate_kb_s=5),
        Slicer(stream="upstream", average_size=5, size_variation=0, delay_us=0),
    ],
    ids=lambda toxic: toxic.kind,
)
async def test_changes_that_can_deadlock_need_live(api: ToxiproxyApi, toxic: Toxic) -> None:
    await api.create_proxy("p", listen(), NOWHERE)
    await api.add_toxic("p", toxic)
    with pytest.raises(ToxiproxyError, match="ToxicChain"):
        await api.remove_toxic("p", toxic.name)
    with pytest.raises(ToxiproxyError, match="live=True"):
        await api.update_toxic("p", toxic)
    await api.update_toxic("p", toxic, live=True)
    await api.remove_toxic("p", toxic.name, live=True)
    assert (await api.list_proxies())["p"].toxics == ()


async def test_an_inert_toxic_passes_everything_until_it_is_armed(api: ToxiproxyApi, echo: int) -> None:
    proxy = await api.create_proxy("p", listen(), f"127.0.0.1:{echo}")
    toxic = Timeout(stream="upstream", timeout_ms=0, name="t")
    await api.add_inert_toxic("p", toxic)
    reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
    writer.write(b"a")
    assert await asyncio.wait_for(reader.read(1), HANG_S) == b"a"
    await api.arm_toxic("p", toxic)
    writer.write(b"b")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.2)
    seen = (await api.list_proxies())["p"].toxic("t")
    assert seen is not None
    assert seen.toxicity == 1.0
    writer.close()


async def test_all_toxics_are_removed_at_once(api: ToxiproxyApi) -> None:
    await api.create_proxy("p", listen(), NOWHERE)
    await api.add_toxic("p", Timeout(stream="upstream", timeout_ms=0))
    await api.add_toxic("p", SlowClose(stream="downstream", delay_ms=5))
    await api.remove_all_toxics()
    assert (await api.list_proxies())["p"].toxics == ()


async def test_a_duplicate_toxic_is_not_reported_as_a_duplicate_proxy(api: ToxiproxyApi) -> None:
    """The library reports every 409 as "proxy exists"."""
    await api.create_proxy("p", listen(), NOWHERE)
    toxic = Timeout(stream="upstream", timeout_ms=0)
    await api.add_toxic("p", toxic)
    with pytest.raises(ToxiproxyRefusedError, match=r"add toxic 'timeout_upstream' to proxy 'p'.*toxic already exists"):
        await api.add_toxic("p", toxic)
    with pytest.raises(ToxiproxyRefusedError, match=r"create proxy 'p'.*proxy already exists"):
        await api.create_proxy("p", listen(), NOWHERE)


async def test_a_missing_proxy_is_named_with_the_remedy(api: ToxiproxyApi) -> None:
    with pytest.raises(ToxiproxyRefusedError, match=r"delete proxy 'missing'.*404.*create it first") as caught:
        await api.delete_proxy("missing")
    assert caught.value.status == 404


async def test_a_taken_port_has_its_own_error(api: ToxiproxyApi) -> None:
    """On create and on enable, so that the caller can choose another port; the failed proxy is not kept."""
    with contextlib.closing(socket.create_server(("127.0.0.1", free_ports(1)[0]))) as owner:
        port = owner.getsockname()[1]
        with pytest.raises(PortInUseError, match=str(port)):
            await api.create_proxy("p", f"127.0.0.1:{port}", NOWHERE)
    assert await api.list_proxies() == {}
    await api.create_proxy("p", f"127.0.0.1:{port}", NOWHERE)
    await api.set_enabled("p", False)
    with contextlib.closing(socket.create_server(("127.0.0.1", port))), pytest.raises(PortInUseError, match=str(port)):
        await api.set_enabled("p", True)


@pytest.mark.parametrize("name", ["a/b", "", "../proxies", "a b"])
async def test_names_that_change_the_path_are_rejected_before_sending(name: str) -> None:
    with contextlib.closing(ToxiproxyApi("127.0.0.1", 1)) as api:
        for order in (api.delete_proxy(name), api.remove_toxic(name, "t"), api.remove_toxic("p", name)):
            with pytest.raises(ValueError, match="letters, digits"):
                await order


async def test_requests_to_two_servers_never_cross(server: ToxiproxyProcess, api: ToxiproxyApi) -> None:
    """Host and port belong to the instance; the library's own are unchanged."""
    before, ports = (APIConsumer.host, APIConsumer.port), free_ports(10)
    other = await ToxiproxyProcess.start(server._binary)
    try:
        with contextlib.closing(other.api()) as second:
            await asyncio.gather(
                *(api.create_proxy(f"first-{port}", f"127.0.0.1:{port}", NOWHERE) for port in ports[:5]),
                *(second.create_proxy(f"second-{port}", f"127.0.0.1:{port}", NOWHERE) for port in ports[5:]),
            )
            assert {name.split("-")[0] for name in await api.list_proxies()} == {"first"}
            assert {name.split("-")[0] for name in await second.list_proxies()} == {"second"}
    finally:
        await other.stop()
    assert (APIConsumer.host, APIConsumer.port) == before


@pytest.mark.parametrize("doing", ORDERS)
@pytest.mark.parametrize("status", [500, 502, 403])
async def test_unexpected_statuses_raise(doing: str, status: int) -> None:
    """The library reports a 500 as a KeyError or as success."""
    async with fake(http(status, b'{"error":"out of luck"}')) as api:
        with pytest.raises(ToxiproxyRefusedError, match=rf"{doing}: refused with {status} \(out of luck\)") as caught:
            await ORDERS[doing](api)
        assert (caught.value.status, caught.value.said, api.hung) == (status, "out of luck", False)


@pytest.mark.parametrize("order", ["delete_proxy", "remove_toxic"])
async def test_a_503_means_hung(order: str) -> None:
    """Toxiproxy sends it only after its own time limit; the library then returns False for a removal."""
    removal: dict[str, Order] = {
        "delete_proxy": lambda api: api.delete_proxy("p"),
        "remove_toxic": lambda api: api.remove_toxic("p", "t"),
    }
    async with fake(*([http(200, PROXY_BODY)] if order == "remove_toxic" else []), http(503)) as api:
        with pytest.raises(ToxiproxyHungError, match="kill and respawn"):
            await removal[order](api)
        assert api.hung


@pytest.mark.parametrize(
    "answer",
    [None, b"HTTP/1.1 200 OK\r\n", http(200, b"{", length=100).replace(b"Connection: close\r\n", b"")],
    ids=["silent", "half a header", "half a body"],
)
async def test_a_hung_server_blocks_neither_loop_nor_caller(answer: bytes | None) -> None:
    """After the deadline no later request reaches the server; the loop runs meanwhile."""
    served = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        if answer:
            writer.write(answer)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        with contextlib.closing(ToxiproxyApi("127.0.0.1", server.sockets[0].getsockname()[1], 1.0)) as api:
            with pytest.raises(ToxiproxyHungError, match="list proxies: no response in time"):
                await api.list_proxies()
            assert served == 1, "the loop was blocked while the order waited"
            for order in ORDERS.values():
                with pytest.raises(ToxiproxyHungError):
                    await order(api)
            assert api.hung
            assert served == 1


async def test_a_slow_response_meets_the_deadline_of_the_request() -> None:
    """A byte now and then keeps each read alive; the request as a whole still ends."""
    enough = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not enough.is_set():
            writer.write(b" ")
            with contextlib.suppress(TimeoutError):  # the pause between two bytes
                await asyncio.wait_for(enough.wait(), 0.02)
        writer.close()
        await writer.wait_closed()
        enough.clear()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    with contextlib.closing(ToxiproxyApi("127.0.0.1", server.sockets[0].getsockname()[1], 0.3)) as api:
        with pytest.raises(ToxiproxyHungError):
            await asyncio.wait_for(api.version(), HANG_S)
        assert api.hung
    enough.set()
    async with server, asyncio.timeout(HANG_S):
        while enough.is_set():  # noqa: ASYNC110  # the handler clears it when it has ended
            await asyncio.sleep(0.005)


async def test_a_frozen_real_server_hangs_only_its_own_client(server: ToxiproxyProcess, api: ToxiproxyApi) -> None:
    """A client created before the freeze stays hung; one created after the thaw works."""
    server.suspend()
    with contextlib.closing(server.api(0.2)) as impatient:
        with pytest.raises(ToxiproxyHungError):
            await impatient.version()
        server.resume()
        assert impatient.hung
        with pytest.raises(ToxiproxyHungError):
            await impatient.version()
    assert await api.version()


async def test_the_deadline_starts_with_the_turn_of_a_request() -> None:
    """A long queue is not a hung server."""
    async with fake(http(200, b'{"version":"x"}')) as api:
        async with api._turn:
            api.timeout_s = 0.01
            order = asyncio.create_task(api.version())
            await asyncio.sleep(0.1)
            api.timeout_s = HANG_S
        assert await order == "x"
        assert not api.hung


@pytest.mark.parametrize("body", [b"", b"hello", b"[]", b'{"p": 3}', b'{"version": 3}'])
async def test_responses_of_another_server_are_recognised(body: bytes) -> None:
    """A 200 that is not Toxiproxy's is an error, not an empty list."""
    async with fake(http(200, body)) as api:
        for order in (api.list_proxies(), api.version()):
            with pytest.raises(NotToxiproxyError, match="another server has the port"):
                await order


@pytest.mark.parametrize("answer", [b"220 smtp ready\r\n", b""])
async def test_another_protocol_is_an_error(answer: bytes) -> None:
    async with fake(answer) as api:
        with pytest.raises(ToxiproxyError, match="list proxies: no usable response"):
            await api.list_proxies()
        assert not api.hung


async def test_a_dead_server_is_not_a_hung_one() -> None:
    """The error names the address."""
    port = free_ports(1)[0]
    with contextlib.closing(ToxiproxyApi("127.0.0.1", port)) as api:
        with pytest.raises(ToxiproxyError, match=rf"127\.0\.0\.1:{port}: version: no usable response.*respawn"):
            await api.version()
        assert not api.hung


async def test_the_environments_http_proxy_is_not_used(api: ToxiproxyApi, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_ports(1)[0]}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert await api.version()


async def test_a_closed_client_rejects_every_request(server: ToxiproxyProcess) -> None:
    """Closing twice has no effect."""
    api = server.api()
    api.close()
    api.close()
    with pytest.raises(ToxiproxyError, match="closed"):
        await api.version()


async def test_a_cancelled_request_leaves_the_client_usable(api: ToxiproxyApi) -> None:
    order = asyncio.create_task(api.list_proxies())
    await asyncio.sleep(0)
    order.cancel()
    with pytest.raises(asyncio.CancelledError):
        await order
    assert await api.list_proxies() == {}
    assert not api.hung
