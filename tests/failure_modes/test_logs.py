"""What the server says while many are lost at once: little, nothing unread, and without falling behind."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from resilience.server.logs import RecordLogger
from tests.support.restartable_server import WAITING, RestartableServerHarness, act
from tests.support.server_process import ServerProcess, Stopwatch, raw_connection

CONNECTIONS = 1000
MOST_LAG = 0.05


@pytest.mark.parametrize("how", ["reset", "cut"])
def test_f37_abrupt_log_storm(how: str, caplog: pytest.LogCaptureFixture) -> None:
    """Five hundred clients vanish at one instant, by a reset or by an end without a close frame.

    Each is one structured line that says which and why. No library adds a traceback or a warning of its own.
    """
    raised: list[dict[str, Any]] = []

    async def script(harness: RestartableServerHarness) -> None:
        await harness.serve(quiz=WAITING)
        harness.loop.set_exception_handler(lambda _, context: raised.append(context))
        link = harness.network.link("lossy", port=9000, upstream=("server.test", 80), resets_cross=True)
        crowd = harness.crowd(CONNECTIONS // 2, url=f"ws://server.test:{link.port}/ws")
        await harness.opened(*crowd)
        await asyncio.sleep(2)
        for client in crowd:
            client._timer.stop()
        with capture_logs() as lines:
            log = harness.also_log = RecordLogger()
            if how == "reset":
                link.reset()
            link.refuse(True)
            await asyncio.sleep(0.1)
            log.flush()
        lost = [line["participant"] for line in lines if line["event"] == "connection lost"]
        assert len(lost) == len(set(lost)) == len(lines) == len(crowd)
        link.refuse(False)

    act(script)
    assert not raised
    assert not [record for record in caplog.records if record.levelname in {"WARNING", "ERROR", "CRITICAL"}]


async def test_f37_abrupt_log_storm_through_real_sockets(tmp_path: Path) -> None:
    """A thousand real sockets are closed at once, and somebody else is served meanwhile.

    The server process writes one line for each and no traceback, and never works for more than 50 ms on them before it
    answers the other; of three attempts one counts, so that a stray pause of the machine does not.
    """
    late = []
    with ServerProcess(tmp_path) as served:
        for attempt in range(3):
            connections = await _connections(served.port, f"{attempt}.")
            late.append(await _drop(Stopwatch(served, f"watch {attempt}"), connections))
            await _until_lines(served.log, (attempt + 1) * CONNECTIONS)
            if late[-1] < MOST_LAG:
                break
    assert min(late) < MOST_LAG, late
    text = served.log.read_text()
    assert "Traceback" not in text
    assert '"unexpected"' not in text
    lost = [line["participant"] for line in _lines(served.log) if line["event"] == "connection lost"]
    assert len(lost) == len(set(lost))


async def _connections(port: int, prefix: str) -> list[asyncio.StreamWriter]:
    return list(await asyncio.gather(*(raw_connection(port, f"{prefix}{i}") for i in range(CONNECTIONS))))


async def _drop(watch: Stopwatch, connections: list[asyncio.StreamWriter]) -> float:
    """Close all of these at once; returns how late somebody else was answered at worst, seconds."""
    await asyncio.sleep(0.5)
    with watch.running():
        await asyncio.sleep(0.1)
        for connection in connections:
            connection.transport.abort()
        await asyncio.sleep(0.5)
    return watch.worst


async def _until_lines(log: Path, count: int) -> None:
    async with asyncio.timeout(10):
        while _losses(log) < count:  # noqa: ASYNC110 - a file sets no event
            await asyncio.sleep(0.05)


def _losses(log: Path) -> int:
    return sum(line["event"] == "connection lost" for line in _lines(log))


def _lines(log: Path) -> list[Any]:
    return [msgspec.json.decode(text) for text in log.read_text().splitlines() if text.startswith("{")]
