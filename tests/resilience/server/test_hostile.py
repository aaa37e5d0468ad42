"""A real server process under attack while well-behaved clients use it; at full size under ``bench``."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from resilience.eventlog.vocabulary import LogEventKind, Role
from tests.hostile.__main__ import Wave, attack, besieged, summary_of
from tests.hostile.attacks import HOSTILE
from tests.hostile.well_behaved import WellBehavedClients, percentile
from tests.support.server_process import target
from tests.support.stored_lines import read_events

from ...support.deadlines import HANG_S
from .metrics_oracle import exposed, recounted

MESSAGES = 1500
MEGABYTE = 1_048_576

SCRAPED_LATER = {"quiz_draining", "quiz_connection_losses", "quiz_heartbeats_sent", "quiz_heartbeat_rtt_seconds"}
"""What continues, or is done, between the scrape and the end of the log."""


def check_account(folder: Path, metrics: str) -> Counter[str | None]:
    """The server's numbers are those of its log; returns refusals by cause."""
    log = [event for event in read_events(folder) if event.role is Role.SERVER]
    shown = exposed(metrics.encode())
    for name, expected in recounted(log, shown).items():
        if name not in SCRAPED_LATER:
            counts = {sample: value for sample, value in expected.items() if not sample[0].endswith("_sum")}
            assert {sample: shown[name].get(sample) for sample in counts} == counts, name
    return Counter(event.cause for event in log if event.kind is LogEventKind.CONNECTION_REFUSED)


def check_left(wave: Wave) -> None:
    """After a wave everything is as before it."""
    assert wave.after.connections == wave.before.connections
    assert wave.after.descriptors <= wave.before.descriptors + 1
    assert wave.after.threads <= wave.before.threads + 1


def check_siege(folder: Path, messages: int, clients: int) -> list[float]:
    """No well-behaved client is harmed, nothing is left, everything is counted; returns the clients' ack times."""
    found = asyncio.run(besieged(folder, messages, clients))
    summary = summary_of(found)
    assert (found["wrongs"], found["noise"], found["exit"]) == ([], [], 0), summary
    first, second = found["waves"]
    for wave in (first, second):
        assert sum(wave.sent["sent"].values()) >= messages
        assert all(wave.sent["rounds"].values())
        assert wave.sent["overstayed"] == {}
        check_left(wave)
    per_client = 10_000 * (second.after.participants - first.after.participants)
    assert second.after.memory - first.after.memory < 8 * MEGABYTE + per_client, summary
    refused = check_account(folder / "log", found["metrics"])
    assert set(refused) >= {"origin", "event", "late", "strikes", "key", "protocol"}, summary
    acks: list[float] = found["stormy"]
    return acks


def test_attacks_harm_no_client_and_leave_nothing(tmp_path: Path) -> None:
    """Two waves of every attack: no crash, no traceback, no lost session or verdict, sockets and memory as before."""
    check_siege(tmp_path, MESSAGES, 20)


@pytest.mark.bench
@pytest.mark.timeout(1800)
def test_a_hundred_thousand_hostile_messages(tmp_path: Path) -> None:
    """The same at full size."""
    assert percentile(check_siege(tmp_path, 100_000, 50), 0.99) < 1.0


LIMITED = """
[server]
address_failures = 10
address_rate = 2.0
address_burst = 30
[quiz]
lobby = 1.0
question_time = 2.0
questions = 100
"""


async def test_the_limits_of_one_address_bite_and_harm_no_other(tmp_path: Path) -> None:
    """429 with a retry time for the hostile address; clients from another one are served and more of them join."""
    async with target(tmp_path, LIMITED) as server, asyncio.timeout(HANG_S):
        async with WellBehavedClients(10, server.url) as well_behaved:
            await attack(server, 300, seed=1)
            refused = await _refusal(server.url)
            assert refused.response.status_code == 429
            assert 0 < float(refused.response.headers["Retry-After"]) < 600
            async with WellBehavedClients(5, server.url, seed=2) as more:
                await more.opened()
            assert well_behaved.are_open
            await well_behaved.settle()
            assert well_behaved.wrongs() == []
        shown = await server.metrics()
        assert shown['quiz_joins_shed_total{cause="address"}'] > 0
        assert server.noise() == []


async def _refusal(url: str) -> InvalidStatus:
    """How the hostile address is refused."""
    while True:
        try:
            async with connect(url, local_addr=(HOSTILE, 0), proxy=None):
                pass
        except InvalidStatus as error:
            return error
