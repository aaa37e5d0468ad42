"""What the server says while many are lost at once: little, nothing unread, and without falling behind."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from resilience.server.logs import RecordLogger
from tests.support.processes import eventually
from tests.support.server_process import ServerProcess, Stopwatch, raw_connection, target
from tests.support.virtual_server import WAITING, VirtualServerHarness, act

CONNECTIONS = 500
MOST_LAG_S = 0.05
SETTINGS = "[server]\njoin_capacity = 1000.0\n"


@pytest.mark.parametrize("how", ["reset", "cut"])
def test_f37_abrupt_log_storm(how: str, caplog: pytest.LogCaptureFixture) -> None:
    """Five hundred clients vanish at one instant, by a reset or by an end without a close frame.

    Each is one structured line that says which and why. No library adds a traceback or a warning of its own.
    """
    raised: list[dict[str, Any]] = []

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=WAITING)
        harness.loop.set_exception_handler(lambda _, context: raised.append(context))
        link = harness.network.link("lossy", port=9000, upstream=("server.test", 80), resets_cross=True)
        crowd = harness.crowd(CONNECTIONS, url=f"ws://server.test:{link.port}/ws")
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
    """Three hundred real sockets are closed at once, and another client is answered meanwhile.

    The server process writes one line for each and no traceback.
    """
    async with target(tmp_path, SETTINGS) as served:
        watch = await _storm(served, "storm", 300)
        assert watch.replies
        text = served.log.read_text()
    assert "Traceback" not in text
    assert '"unexpected"' not in text
    lost = [line["participant"] for line in _lines(served.log) if line["event"] == "connection lost"]
    assert len(lost) == len(set(lost))


@pytest.mark.bench
async def test_f37_abrupt_log_storm_delays_a_reply_by_less_than_50_ms_of_work(tmp_path: Path) -> None:
    """The server's main thread works for less than 50 ms before it answers another; the best of three storms."""
    async with target(tmp_path, SETTINGS) as served:
        worst = [(await _storm(served, f"storm{attempt}", 1000)).worst_s for attempt in range(3)]
    assert min(worst) < MOST_LAG_S, worst


async def _storm(served: ServerProcess, name: str, count: int) -> Stopwatch:
    """Close ``count`` clients at once while another one asks; returns once each loss has its line."""
    before = _losses(served.log)
    connections = await asyncio.gather(*(raw_connection(served.port, f"{name}.{i}") for i in range(count)))
    watch = Stopwatch(served, name)
    with watch.running():
        await eventually(lambda: watch.replies > 0)
        for connection in connections:
            connection.transport.abort()
        await eventually(lambda: _losses(served.log) >= before + count)
    return watch


def _losses(log: Path) -> int:
    return sum(line["event"] == "connection lost" for line in _lines(log))


def _lines(log: Path) -> list[Any]:
    return [
        msgspec.json.decode(text) for text in log.read_text().rpartition("\n")[0].splitlines() if text.startswith("{")
    ]
