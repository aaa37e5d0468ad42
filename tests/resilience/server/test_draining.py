"""An orderly stop of a real server process under load, and the next one on the same database: nobody notices much."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from resilience.eventlog.reader import read_events
from resilience.eventlog.vocabulary import LogEventKind
from tests.hostile.server_process import ServerProcess, free_port, target
from tests.hostile.well_behaved import WellBehavedClients

LATENESS = 0.5
"""What a machine that is shared with others may add to any time here, seconds."""

SETTINGS = """
[server]
drain_window = {window}
restart_pause = 1.0
join_capacity = 2000.0
[quiz]
questions = 200
lobby = 2.0
question_time = 1.0
reveal_time = 0.2
leaderboard_time = 0.2
"""


class Watch(NamedTuple):
    """What somebody outside saw while the server stopped."""

    ready: list[int]
    health: list[int]
    newcomers: list[tuple[int, float]]


async def _watch(server: ServerProcess) -> Watch:
    """Ask again and again until nobody answers."""
    seen = Watch([], [], [])
    while True:
        try:
            health, ready = await server.get("/healthz"), await server.get("/readyz")
            async with connect(server.url, proxy=None):
                pass
        except InvalidStatus as error:
            advice = float(error.response.headers.get("Retry-After", "nan"))
            seen.newcomers.append((error.response.status_code, advice))
            seen.health.append(health.status)
            seen.ready.append(ready.status)
        except (OSError, EOFError, IndexError):
            return seen
        await asyncio.sleep(0.05)


class Scenario(NamedTuple):
    """All that a stop and a restart left to look at."""

    well_behaved: WellBehavedClients
    watch: Watch
    told: float
    ended: float
    restarted: float
    codes: list[int]


async def _scenario(folder: Path, clients: int, window: float) -> Scenario:
    settings, log = SETTINGS.format(window=window), str(folder / "log" / "events" / "server.jsonl")
    port = free_port()
    async with target(folder, settings, "--event-log", log, port=port) as first:
        well_behaved = WellBehavedClients(clients, first.url, over=0.9)
        await well_behaved.__aenter__()
        await well_behaved.opened(60)
        await asyncio.sleep(2.5)
        told, watching = time.monotonic(), asyncio.create_task(_watch(first))
        first.terminate()
        code = await first.wait()
        ended, watch = time.monotonic(), await watching
        assert first.noise() == []
    async with target(folder, settings, "--event-log", log, port=port) as second:
        restarted = time.monotonic()
        await well_behaved.opened(60)
        await asyncio.sleep(3.0)
        await _settled(well_behaved)
        await well_behaved.__aexit__()
        await asyncio.sleep(0.3)
        second.terminate()
        codes = [code, await second.wait()]
        assert second.noise() == []
    return Scenario(well_behaved, watch, told, ended, restarted, codes)


async def _settled(well_behaved: WellBehavedClients) -> None:
    """Wait until every answer that was given has its verdict."""
    async with asyncio.timeout(20):
        while any(client.is_waiting for client in well_behaved.clients):  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.02)


def _check_closes(scenario: Scenario, clients: int, window: float) -> None:
    """One orderly close each, spread evenly over the window."""
    losses = [loss for client in scenario.well_behaved.clients for loss in client.losses]
    assert Counter(cause for _, cause in losses) == {"close_1012": clients}
    times = sorted(when - scenario.told for when, _ in losses)
    assert 0.8 * window <= times[-1] - times[0] <= window + LATENESS
    per_tenth = Counter(int(t / (window / 10)) for t in times)
    assert max(per_tenth.values()) <= 2.5 * clients / 10, per_tenth
    assert scenario.ended - scenario.told <= window + 5.0


def _check_watch(scenario: Scenario, window: float) -> None:
    """Not ready, but healthy; newcomers are told when to come."""
    watch = scenario.watch
    assert len(watch.newcomers) >= 5
    assert set(watch.ready) == {503}
    assert set(watch.health) == {200}
    assert {status for status, _ in watch.newcomers} == {503}
    assert all(1.0 <= advice <= window + 2.0 for _, advice in watch.newcomers)


def _check_return(scenario: Scenario, clients: int, window: float) -> None:
    """All came back by themselves as who they were, no faster than they were sent."""
    back = sorted(welcome for client in scenario.well_behaved.clients for welcome in client.welcomes[1:])
    assert len(back) == clients
    assert all(len(client.participants) == 1 for client in scenario.well_behaved.clients)
    burst = max(Counter(int(2 * (when - back[0])) for when in back).values())  # a busy machine may stall for 0.1 s
    assert burst <= max(1.8 * clients / (2 * window), 15), burst
    complaints = [wrong for client in scenario.well_behaved.clients for wrong in scenario.well_behaved.unserved(client)]
    assert complaints == []


def _check_stored(folder: Path) -> None:
    """Each answer once; every score is the sum of its answers; what was acknowledged is there."""
    with closing(sqlite3.connect(folder / "quiz.db")) as database:
        rows = database.execute("select participant, question, points from answers").fetchall()
        totals = dict(database.execute("select participant, total_score from event_participants").fetchall())
    assert len({(who, question) for who, question, _ in rows}) == len(rows)
    points: Counter[str] = Counter()
    for who, _, won in rows:
        points[who] += won
    assert {who: score for who, score in totals.items() if score} == {who: won for who, won in points.items() if won}
    events = read_events(folder / "log")
    committed = Counter(e.ref for e in events if e.kind is LogEventKind.ANSWER_COMMITTED)
    assert set(committed.values()) == {1}
    assert len(committed) == len(rows)


def _check(folder: Path, clients: int, window: float) -> Scenario:
    scenario = asyncio.run(_scenario(folder, clients, window))
    assert scenario.codes == [0, 0]
    _check_closes(scenario, clients, window)
    _check_watch(scenario, window)
    _check_return(scenario, clients, window)
    _check_stored(folder)
    assert scenario.well_behaved.verdicts()["accepted"] >= 2 * clients
    return scenario


def test_f20_a_deploy_under_load(tmp_path: Path) -> None:
    """200 guests who answer all the time: a stop over two seconds, a restart, and every answer has one verdict."""
    _check(tmp_path, 200, 2.0)


@pytest.mark.bench
@pytest.mark.timeout(300)
def test_f20_a_deploy_under_load_of_a_thousand(tmp_path: Path) -> None:
    """The same with 1,000 guests over ten seconds."""
    _check(tmp_path, 1000, 10.0)
