"""The typed client against the real server, and against fake ones that fail as the real one does when it is ill."""

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
    "look at proxy 'p'": lambda api: api.set_enabled("p", False),
    "add toxic 't' to proxy 'p'": lambda api: api.add_toxic("p", Timeout(stream="upstream", timeout_ms=0, name="t")),
}


def listen() -> str:
    return f"127.0.0.1:{free_ports(1)[0]}"


@asynccontextmanager
async def fake(*answers: bytes | None, timeout_s: float = HANG_S) -> AsyncIterator[ToxiproxyApi]:
    """A client of a server that gives these answers in turn, the last for ever; None never answers."""
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


async def test_the_real_port_is_read_back(api: ToxiproxyApi) -> None:
    """Asked for any port, the proxy says which it got, and there it listens."""
    proxy = await api.create_proxy("p", "127.0.0.1:0", NOWHERE)
    assert (proxy.host, proxy.upstream, proxy.enabled, proxy.toxics) == ("127.0.0.1", NOWHERE, True, ())
    assert proxy.port > 0
    with contextlib.closing(socket.create_connection((proxy.host, proxy.port))):
        assert (await api.list_proxies())["p"].listen == proxy.listen


async def test_times_bracket_the_order(api: ToxiproxyApi) -> None:
    """Each order's instants lie around what it did, on the monotonic clock, and follow one another."""
    start = time.monotonic()
    proxy = await api.create_proxy("p", listen(), NOWHERE)
    added = await api.add_toxic("p", Timeout(stream="upstream", timeout_ms=0))
    removed = await api.remove_toxic("p", "timeout_upstream")
    deleted = await api.delete_proxy("p")
    instants = [start, *proxy.times, *added, *removed, *deleted, time.monotonic()]
    assert instants == sorted(instants)
    assert added.after - added.before > 0


async def test_disabled_refuses_and_enabled_listens_on_the_same_port(api: ToxiproxyApi) -> None:
    """Down and up again, toxics and port kept."""
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
async def test_the_server_understands_every_toxic(api: ToxiproxyApi, toxic: Toxic) -> None:
    """Each attribute arrives under its name with its value: none was dropped as misspelt."""
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
    """By PATCH, which the library does not have."""
    await api.create_proxy("p", listen(), NOWHERE)
    await api.add_toxic("p", Timeout(stream="upstream", timeout_ms=0))
    times = await api.update_toxic("p", Timeout(stream="upstream", timeout_ms=900))
    seen = (await api.list_proxies())["p"].toxic("timeout_upstream")
    assert isinstance(times, CallTimes)
    assert seen is not None
    assert seen.attributes == {"timeout": 900}


async def test_update_keeps_type_and_direction(api: ToxiproxyApi) -> None:
    """The server would ignore a new direction and misread a new type; we refuse."""
    await api.create_proxy("p", listen(), NOWHERE)
    await api.add_toxic("p", Timeout(stream="upstream", timeout_ms=0, name="t"))
    with pytest.raises(ToxiproxyError, match="timeout toxic on the upstream"):
        await api.update_toxic("p", Timeout(stream="downstream", timeout_ms=5, name="t"))
    with pytest.raises(ToxiproxyError, match="keeps type"):
        await api.update_toxic("p", SlowClose(stream="upstream", delay_ms=5, name="t"))


async def test_a_live_rate_is_never_raised_from_zero(api: ToxiproxyApi) -> None:
    """That crashes the server under traffic: refused even with live=True, allowed on a disabled proxy."""
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
    "toxic", [Latency(stream="upstream", latency_ms=5, jitter_ms=0), Bandwidth(stream="upstream", rate_kb_s=5)]
)
async def test_what_can_deadlock_needs_insisting(api: ToxiproxyApi, toxic: Toxic) -> None:
    """Latency and bandwidth are neither changed nor removed on a live proxy unless the caller says so."""
    await api.create_proxy("p", listen(), NOWHERE)
    await api.add_toxic("p", toxic)
    with pytest.raises(ToxiproxyError, match="remove_toxic_safely"):
        await api.remove_toxic("p", toxic.name)
    with pytest.raises(ToxiproxyError, match="live=True"):
        await api.update_toxic("p", toxic)
    await api.update_toxic("p", toxic, live=True)
    await api.remove_toxic("p", toxic.name, live=True)
    assert (await api.list_proxies())["p"].toxics == ()


async def test_a_safe_removal_cuts_and_comes_back(api: ToxiproxyApi) -> None:
    """Three steps in order, the open connection is closed, the proxy is up afterwards on its port."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as upstream:
        proxy = await api.create_proxy("p", listen(), f"127.0.0.1:{upstream.getsockname()[1]}")
        await api.add_toxic("p", Latency(stream="upstream", latency_ms=5, jitter_ms=0))
        reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
        steps = await api.remove_toxic_safely("p", "latency_upstream")
        assert await asyncio.wait_for(reader.read(1), HANG_S) == b""
        writer.close()
    assert steps.disabled is not None
    assert steps.enabled is not None
    assert steps.disabled.after <= steps.removed.before <= steps.removed.after <= steps.enabled.before
    after = (await api.list_proxies())["p"]
    assert (after.enabled, after.toxics, after.listen) == (True, (), proxy.listen)


async def test_a_safe_removal_leaves_a_disabled_proxy_disabled(api: ToxiproxyApi) -> None:
    """Whoever took the link down decides when it comes back."""
    await api.create_proxy("p", listen(), NOWHERE)
    await api.add_toxic("p", Latency(stream="upstream", latency_ms=5, jitter_ms=0))
    await api.set_enabled("p", False)
    steps = await api.remove_toxic_safely("p", "latency_upstream")
    assert (steps.disabled, steps.enabled) == (None, None)
    assert not (await api.list_proxies())["p"].enabled


async def test_a_safe_removal_of_nothing_cuts_nobody(api: ToxiproxyApi) -> None:
    """A wrong name is found out before the proxy is touched."""
    await api.create_proxy("p", listen(), NOWHERE)
    with pytest.raises(ToxiproxyError, match="no such toxic; the proxy has none"):
        await api.remove_toxic_safely("p", "latency_upstream")
    assert (await api.list_proxies())["p"].enabled


async def test_a_refused_safe_removal_enables_the_proxy_again() -> None:
    """When the removal itself is refused, the last thing the server hears is the order to enable."""
    live = PROXY_BODY.replace(b"false", b"true")
    async with fake(http(200, live), http(200, live), http(500, b"no"), http(409, b"enable heard")) as api:
        with pytest.raises(ToxiproxyRefusedError, match=r"enable proxy 'p'.*enable heard") as caught:
            await api.remove_toxic_safely("p", "t")
    causes = list[BaseException]()
    cause: BaseException | None = caught.value
    while cause is not None:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    assert any("(no)" in str(error) for error in causes)


async def test_duplicates_are_told_apart(api: ToxiproxyApi) -> None:
    """The library calls every 409 "proxy exists"; here a duplicate toxic is a duplicate toxic."""
    await api.create_proxy("p", listen(), NOWHERE)
    toxic = Timeout(stream="upstream", timeout_ms=0)
    await api.add_toxic("p", toxic)
    with pytest.raises(ToxiproxyRefusedError, match=r"add toxic 'timeout_upstream' to proxy 'p'.*toxic already exists"):
        await api.add_toxic("p", toxic)
    with pytest.raises(ToxiproxyRefusedError, match=r"create proxy 'p'.*proxy already exists"):
        await api.create_proxy("p", listen(), NOWHERE)


async def test_a_missing_proxy_is_named(api: ToxiproxyApi) -> None:
    """404 names the order and what to do."""
    with pytest.raises(ToxiproxyRefusedError, match=r"delete proxy 'nobody'.*404.*create it first") as caught:
        await api.delete_proxy("nobody")
    assert caught.value.status == 404


async def test_a_taken_port_is_an_error_of_its_own(api: ToxiproxyApi) -> None:
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
async def test_names_that_would_change_the_path_are_refused(name: str) -> None:
    """Before anything is sent."""
    with contextlib.closing(ToxiproxyApi("127.0.0.1", 1)) as api:
        for order in (api.delete_proxy(name), api.remove_toxic(name, "t"), api.remove_toxic("p", name)):
            with pytest.raises(ValueError, match="letters, digits"):
                await order


async def test_two_servers_at_once(server: ToxiproxyProcess, api: ToxiproxyApi) -> None:
    """Host and port belong to the instance: orders to two servers never cross, and the library's own are untouched."""
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
    """The library lets a 500 through, as a KeyError or as success; here each order says who refused what."""
    async with fake(http(status, b'{"error":"out of luck"}')) as api:
        with pytest.raises(ToxiproxyRefusedError, match=rf"{doing}: refused with {status} \(out of luck\)") as caught:
            await ORDERS[doing](api)
        assert (caught.value.status, caught.value.said, api.hung) == (status, "out of luck", False)


@pytest.mark.parametrize("order", ["delete_proxy", "remove_toxic"])
async def test_a_503_means_hung(order: str) -> None:
    """Toxiproxy gives it only when an order outlasted its own limit; for the library a removal then just was False."""
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
    """The deadline ends the order, the loop serves it meanwhile, and no later order reaches the server."""
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
            with pytest.raises(ToxiproxyHungError, match="list proxies: no answer in time"):
                await api.list_proxies()
            assert served == 1, "the loop was blocked while the order waited"
            for order in ORDERS.values():
                with pytest.raises(ToxiproxyHungError):
                    await order(api)
            assert api.hung
            assert served == 1


async def test_a_server_that_trickles_meets_the_overall_deadline() -> None:
    """A byte now and then keeps each read alive; the order as a whole still ends."""
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
    """A client made before the freeze is hung for good; one made after the thaw works."""
    server.suspend()
    with contextlib.closing(server.api(0.2)) as impatient:
        with pytest.raises(ToxiproxyHungError):
            await impatient.version()
        server.resume()
        assert impatient.hung
        with pytest.raises(ToxiproxyHungError):
            await impatient.version()
    assert await api.version()


async def test_waiting_for_ones_turn_does_not_count() -> None:
    """Orders queue up; the deadline of each starts with its turn, so a long queue is not a hung server."""
    async with fake(http(200, b'{"version":"x"}')) as api:
        async with api._turn:
            api.timeout_s = 0.01
            order = asyncio.create_task(api.version())
            await asyncio.sleep(0.1)
            api.timeout_s = HANG_S
        assert await order == "x"
        assert not api.hung


@pytest.mark.parametrize("body", [b"", b"hello", b"[]", b'{"p": 3}', b'{"version": 3}'])
async def test_answers_of_somebody_else_are_recognised(body: bytes) -> None:
    """A 200 that is not Toxiproxy's is an error, not an empty list."""
    async with fake(http(200, body)) as api:
        for order in (api.list_proxies(), api.version()):
            with pytest.raises(NotToxiproxyError, match="another server has the port"):
                await order


@pytest.mark.parametrize("answer", [b"220 smtp ready\r\n", b""])
async def test_not_even_http(answer: bytes) -> None:
    """Another protocol, or a close without a word, is an error too."""
    async with fake(answer) as api:
        with pytest.raises(ToxiproxyError, match="list proxies: no usable answer"):
            await api.list_proxies()
        assert not api.hung


async def test_nobody_there() -> None:
    """A dead process is no hung one; the error says where we looked."""
    port = free_ports(1)[0]
    with contextlib.closing(ToxiproxyApi("127.0.0.1", port)) as api:
        with pytest.raises(ToxiproxyError, match=rf"127\.0\.0\.1:{port}: version: no usable answer.*respawn"):
            await api.version()
        assert not api.hung


async def test_the_environments_http_proxy_is_not_asked(api: ToxiproxyApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Orders to loopback stay there, whatever proxy the user has set for the web."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_ports(1)[0]}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert await api.version()


async def test_closed_means_closed(server: ToxiproxyProcess) -> None:
    """After close every order is refused; closing twice is fine."""
    api = server.api()
    api.close()
    api.close()
    with pytest.raises(ToxiproxyError, match="closed"):
        await api.version()


async def test_a_cancelled_order_leaves_the_client_usable(api: ToxiproxyApi) -> None:
    """Cancelling one order neither hangs the client nor loses the next order's turn."""
    order = asyncio.create_task(api.list_proxies())
    await asyncio.sleep(0)
    order.cancel()
    with pytest.raises(asyncio.CancelledError):
        await order
    assert await api.list_proxies() == {}
    assert not api.hung
