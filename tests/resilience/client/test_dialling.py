"""The race of a name's addresses: order and cancellation in virtual time, then a black hole on the loopback device."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection, serve
from websockets.uri import WebSocketURI

from resilience.client.client import connect
from resilience.client.dialled_connection import DialledConnection
from resilience.client.dialling import ATTEMPT_DELAY_S, interleaved, open_transport, race
from resilience.client.host_client import host
from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol.effects import Record
from resilience.protocol.messages import Hosting, Join
from sim.virtual.loop import run_virtual
from tests.support.deadlines import HANG_S
from tests.support.machines import joined

from .scripted import hear, say

V6, V4 = socket.AF_INET6, socket.AF_INET


def virtually(script: Callable[[], Awaitable[None]]) -> None:
    """Run ``script`` in virtual time."""

    async def main(_: object) -> None:
        await script()

    run_virtual(main)


class Course:
    """Attempts that take a time and then succeed or fail; notes when each started and how it ended."""

    def __init__(self) -> None:
        self.started: dict[str, float] = {}
        self.cancelled: list[str] = []
        self.discarded: list[str] = []

    async def attempt(self, name: str, takes: float, error: Exception | None = None) -> str:
        """One attempt."""
        self.started[name] = asyncio.get_running_loop().time()
        try:
            await asyncio.sleep(takes)
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise
        if error is not None:
            raise error
        return name

    async def race(self, *attempts: tuple[str, float] | tuple[str, float, Exception]) -> str:
        """Race them."""
        return await race([partial(self.attempt, *each) for each in attempts], self.discarded.append)


def test_a_silent_address_costs_a_quarter_of_a_second() -> None:
    course = Course()

    async def script() -> None:
        assert await course.race(("hole", 1e6), ("server", 0.02)) == "server"
        assert asyncio.get_running_loop().time() == ATTEMPT_DELAY_S + 0.02

    virtually(script)
    assert course.cancelled == ["hole"]


def test_a_failure_starts_the_next_address_at_once() -> None:
    course = Course()

    async def script() -> None:
        assert await course.race(("a", 0.01, OSError("a")), ("b", 0.02, OSError("b")), ("c", 0.01)) == "c"

    virtually(script)
    assert course.started == pytest.approx({"a": 0.0, "b": 0.01, "c": 0.03})


def test_an_address_that_is_only_slow_may_still_win() -> None:
    """And the later one is cancelled."""
    course = Course()

    async def script() -> None:
        assert await course.race(("slow", 0.4), ("slower", 1.0)) == "slow"

    virtually(script)
    assert course.cancelled == ["slower"]


@pytest.mark.parametrize(
    "first, second, raised",
    [
        (ConnectionRefusedError("a"), ConnectionResetError("b"), "a"),
        (OSError(101, "no route"), ConnectionRefusedError("b"), "b"),
        (OSError(101, "no route"), OSError(113, "no host"), "no route"),
    ],
)
def test_the_error_of_an_address_that_answered_is_raised(first: OSError, second: OSError, raised: str) -> None:

    async def script() -> None:
        with pytest.raises(OSError, match=raised):
            await Course().race(("a", 0.1, first), ("b", 0.1, second))

    virtually(script)


def test_a_name_without_an_address_is_an_error() -> None:

    async def script() -> None:
        with pytest.raises(OSError, match="no address"):
            await Course().race()

    virtually(script)


def test_a_cancelled_race_cancels_every_attempt() -> None:
    course = Course()

    async def script() -> None:
        racing = asyncio.create_task(course.race(("a", 1e6), ("b", 1e6), ("c", 1e6)))
        await asyncio.sleep(0.3)
        racing.cancel()
        await asyncio.wait([racing])
        assert racing.cancelled()
        await asyncio.sleep(0)

    virtually(script)
    assert (course.cancelled, list(course.started)) == (["a", "b"], ["a", "b"])


@given(st.lists(st.tuples(st.floats(0.0, 1.0), st.booleans()), min_size=1, max_size=6), st.floats(0.0, 2.0))
def test_nothing_outlives_a_race(attempts: list[tuple[float, bool]], stopped_after: float) -> None:
    """Whatever succeeds, fails or is cancelled when: every transport is the result, discarded, or was cancelled."""
    course, found = Course(), list[str]()
    opened: set[str] = set()

    async def attempt(name: str, takes: float, *, ok: bool) -> str:
        await asyncio.sleep(takes)
        if not ok:
            raise OSError(name)
        opened.add(name)
        return name

    async def script() -> None:
        starts = [partial(attempt, str(i), takes, ok=ok) for i, (takes, ok) in enumerate(attempts)]
        racing = asyncio.create_task(race(starts, course.discarded.append))
        done, _ = await asyncio.wait([racing], timeout=stopped_after)
        racing.cancel()
        await asyncio.wait([racing])
        if done and racing.exception() is None:
            found.append(racing.result())
        await asyncio.sleep(0.1)
        assert len(asyncio.all_tasks()) == 1

    virtually(script)
    assert opened >= {*course.discarded, *found}
    assert len(attempts) == 1 or opened == {*course.discarded, *found}


def info(family: int, address: str, port: int = 80, scope: int = 0) -> tuple[int, int, int, str, tuple[Any, ...]]:
    """One result of ``getaddrinfo``."""
    return (family, 1, 6, "", (address, port, 0, scope) if family == V6 else (address, port))


def test_the_families_alternate() -> None:
    """RFC 8305, section 4: the first family first, repetitions left out, an interface kept."""
    found = [info(V6, "::1"), info(V6, "::1"), info(V6, "fe80::1", scope=2), info(V4, "10.0.0.1"), info(V4, "10.0.0.2")]
    assert interleaved([*found, info(V6, "::3")]) == ["::1", "10.0.0.1", "fe80::1%2", "10.0.0.2", "::3"]


def test_an_address_is_not_looked_up() -> None:

    dialled = list[object]()

    async def connect(_make: object, *, host: str, port: int) -> tuple[None, str]:
        dialled.append((host, port))
        return None, "open"

    async def script() -> None:
        loop = asyncio.get_running_loop()
        loop.getaddrinfo = None  # type: ignore[method-assign, assignment]
        loop.create_connection = connect  # type: ignore[method-assign, assignment]
        for address in ("127.0.0.1", "::1", "fe80::1%lo"):
            uri = WebSocketURI(False, address, 80, "/ws", "")
            assert await open_transport(uri, partial(DialledConnection, uri)) == "open"  # type: ignore[comparison-overlap]

    virtually(script)
    assert dialled == [("127.0.0.1", 80), ("::1", 80), ("fe80::1%lo", 80)]


# real sockets ---------------------------------------------------------------------------------------------------------


@contextmanager
def black_hole(address: str, port: int) -> Iterator[None]:
    """This address drops requests to connect: Linux does so while a listener's queue is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((address, port))
        listener.listen(0)
        for _ in range(3):
            filling = stack.enter_context(socket.socket())
            filling.setblocking(False)
            filling.connect_ex((address, port))
        yield


async def welcome(connection: ServerConnection) -> None:
    """Welcome a participant or a host."""
    first = await hear(connection)
    await say(connection, joined() if isinstance(first, Join) else Hosting("quiz"))
    await connection.wait_closed()


DIALLING = ("01", "02")
"""Established and connecting, in ``/proc/net/tcp``."""

SERVER, HOLE, OTHER_HOLE = "127.0.0.1", "127.0.0.2", "127.0.0.3"


def run_with_names(kind: type[asyncio.AbstractEventLoop], main: Awaitable[None], *addresses: str) -> None:
    """Run ``main`` on a loop of this kind, for which every name has these addresses in this order."""

    async def getaddrinfo(_loop: object, _host: str, port: int, **_: object) -> list[Any]:
        return [info(V4, address, port) for address in addresses]

    async def start() -> None:
        await main

    with asyncio.Runner(loop_factory=type(kind.__name__, (kind,), {"getaddrinfo": getaddrinfo})) as runner:
        runner.run(start())


async def until(condition: Callable[[], bool]) -> None:
    """Wait for ``condition``."""
    async with asyncio.timeout(HANG_S):
        while not condition():  # noqa: ASYNC110 - descriptors send no event
            await asyncio.sleep(0.01)


LOOPS = pytest.mark.parametrize("kind", [asyncio.SelectorEventLoop, uvloop.Loop], ids=["asyncio", "uvloop"])


def dials_to(port: int) -> set[str]:
    """The sockets of this process that are connected or connecting to this port."""
    ours = {str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    found = {f"socket:[{row[9]}]" for row in rows if row[2].endswith(f":{port:04X}") and row[3] in DIALLING}
    return found & ours


@LOOPS
@pytest.mark.parametrize("role", ["participant", "host"])
def test_a_black_holed_first_address_costs_no_dial(kind: type[asyncio.AbstractEventLoop], role: str) -> None:
    """F49: in at the first dial, where the whole time of each dial went to the first address."""
    kinds: list[LogEventKind] = []

    def record(record: Record) -> None:
        kinds.append(record.kind)

    async def main() -> None:
        async with serve(welcome, SERVER, 0, compression=None) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            with black_hole(HOLE, port):
                before = dials_to(port)
                url = f"ws://quiz.test:{port}/ws"
                client = (
                    connect(url, name="Ada", log=record)
                    if role == "participant"
                    else host(url, key="a key that is long enough", plan=None, log=record)
                )
                async with asyncio.timeout(HANG_S), client:
                    async for _ in client:
                        break
                    assert len(dials_to(port) - before) == 1
        assert kinds.count(LogEventKind.TRANSPORT_OPENING) == 1

    run_with_names(kind, main(), HOLE, SERVER)


@LOOPS
def test_a_cancelled_dial_leaves_no_socket(kind: type[asyncio.AbstractEventLoop]) -> None:
    """Both addresses are under way when the client stops."""

    async def main() -> None:
        with ExitStack() as stack:
            server = stack.enter_context(socket.socket())
            server.bind((SERVER, 0))
            port = server.getsockname()[1]
            stack.enter_context(black_hole(HOLE, port))
            stack.enter_context(black_hole(OTHER_HOLE, port))
            before = dials_to(port)
            client = connect(f"ws://quiz.test:{port}/ws", name="Ada")
            client.start()
            await until(lambda: len(dials_to(port) - before) == 2)
            await client.stop()
            await until(lambda: not dials_to(port) - before)

    run_with_names(kind, main(), HOLE, OTHER_HOLE)
