"""A drain of a real server process under load, and the next one on the same database: the clients hardly notice."""

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
from websockets.exceptions import InvalidMessage, InvalidStatus

from resilience.eventlog.vocabulary import LogEventKind
from tests.hostile.well_behaved import WellBehavedClients
from tests.support.server_process import ServerProcess, free_port, target
from tests.support.stored_lines import read_events

LATENESS_S = 0.5
"""What the machine may add to any time of the benchmark."""

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
    """What a client without a session saw while the server stopped."""

    ready: list[int]
    health: list[int]
    rejected: list[tuple[int, float]]


async def _watch(server: ServerProcess) -> Watch:
    """Ask again and again until no server answers."""
    seen = Watch([], [], [])
    while True:
        try:
            refused = await _refusal(server.url)
            if refused is not None:
                seen.rejected.append(refused)
                seen.health.append((await server.get("/healthz")).status)
                seen.ready.append((await server.get("/readyz")).status)
        except (OSError, EOFError, IndexError, InvalidMessage):
            return seen
        await asyncio.sleep(0.05)


async def _refusal(url: str) -> tuple[int, float] | None:
    """Status and Retry-After with which a handshake is refused; ``None`` when it is not."""
    try:
        async with connect(url, proxy=None):
            return None
    except InvalidStatus as error:
        return error.response.status_code, float(error.response.headers.get("Retry-After", "nan"))


class Scenario(NamedTuple):
    """All that was recorded of a stop and a restart."""

    well_behaved: WellBehavedClients
    watch: Watch
    stopped_at: float
    ended: float
    codes: list[int]


async def _scenario(folder: Path, clients: int, window: float) -> Scenario:
    settings, log = SETTINGS.format(window=window), str(folder / "log" / "events" / "server.jsonl")
    port = free_port()
    async with target(folder, settings, "--event-log", log, port=port) as first:
        well_behaved = WellBehavedClients(clients, first.url, over=0.9)
        await well_behaved.__aenter__()
        await well_behaved.opened()
        await well_behaved.answered()
        stopped_at, watching = time.monotonic(), asyncio.create_task(_watch(first))
        first.terminate()
        code = await first.wait()
        ended, watch = time.monotonic(), await watching
        assert first.noise() == []
    async with target(folder, settings, "--event-log", log, port=port) as second:
        await well_behaved.opened()
        await well_behaved.answered()
        await well_behaved.settle()
        await well_behaved.__aexit__()
        second.terminate()
        codes = [code, await second.wait()]
        assert second.noise() == []
    return Scenario(well_behaved, watch, stopped_at, ended, codes)


def _check_closes(scenario: Scenario, clients: int) -> None:
    """One orderly close each."""
    losses = [loss for client in scenario.well_behaved.clients for loss in client.losses]
    assert Counter(cause for _, cause in losses) == {"close_1012": clients}


def _check_watch(scenario: Scenario, window: float) -> None:
    """Not ready, but healthy; a new connection is rejected with a retry time."""
    watch = scenario.watch
    assert watch.rejected
    assert set(watch.ready) <= {503}
    assert set(watch.health) <= {200}
    assert {status for status, _ in watch.rejected} == {503}
    assert all(1.0 <= advice <= window + 2.0 for _, advice in watch.rejected)


def _check_return(scenario: Scenario, clients: int) -> None:
    """All came back by themselves as who they were, and every answer has one verdict."""
    assert sum(len(client.welcomes) - 1 for client in scenario.well_behaved.clients) == clients
    complaints = [wrong for client in scenario.well_behaved.clients for wrong in scenario.well_behaved.unserved(client)]
    assert complaints == []


def _check_pace(scenario: Scenario, clients: int, window: float) -> None:
    """Closes are spread evenly over the window, and returns are no faster than the closes."""
    times = sorted(when - scenario.stopped_at for client in scenario.well_behaved.clients for when, _ in client.losses)
    assert 0.8 * window <= times[-1] - times[0] <= window + LATENESS_S
    per_tenth = Counter(int(t / (window / 10)) for t in times)
    assert max(per_tenth.values()) <= 2.5 * clients / 10, per_tenth
    assert scenario.ended - scenario.stopped_at <= window + 5.0
    back = sorted(welcome for client in scenario.well_behaved.clients for welcome in client.welcomes[1:])
    burst = max(Counter(int(2 * (when - back[0])) for when in back).values())
    assert burst <= max(1.8 * clients / (2 * window), 15), burst


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
    _check_closes(scenario, clients)
    _check_watch(scenario, window)
    _check_return(scenario, clients)
    _check_stored(folder)
    return scenario


def test_f20_a_deploy_under_load(tmp_path: Path) -> None:
    """60 clients that answer all the time: a stop over two seconds, a restart, and every answer has one verdict.

    That closes and returns are spread over the window is shown in virtual time (tests/failure_modes/test_stopping.py).
    """
    _check(tmp_path, 60, 2.0)


@pytest.mark.bench
@pytest.mark.timeout(300)
def test_f20_a_deploy_under_load_of_a_thousand(tmp_path: Path) -> None:
    """The same with 1,000 clients over ten seconds, at the pace that was announced."""
    _check_pace(_check(tmp_path, 1000, 10.0), 1000, 10.0)
