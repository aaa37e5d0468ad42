"""The database goes away and comes back: so does the event, by itself, with everything that was acknowledged."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol.messages import AnswerResult, Host, HostAction, HostCommand, HostResult, Join
from resilience.protocol.states import ClientState
from resilience.quiz.phases import Phase
from resilience.server.pages import not_ready
from resilience.server.store import SqlStore
from resilience.units import Seconds
from tests.support.lost_database import LosableStore
from tests.support.virtual_server import CALM, URL, VirtualServerHarness, act
from tests.support.websocket import KEY, dial, hear, say

BACK_S: Seconds = 8.0
"""The longest wait of a recovery, a client's retry time, and the joins."""


def reasons(harness: VirtualServerHarness) -> tuple[str, ...]:
    """Why the server is not ready."""
    return not_ready(harness.server.view("ws://server.test/ws"))


async def turned_away(message: Join | Host) -> tuple[int | None, str | None]:
    """Code and reason of the close that a new connection receives."""
    socket = await dial(URL)
    await say(socket, message)
    with suppress(ConnectionClosed):
        while True:
            await socket.recv()
    return socket.close_code, socket.close_reason


@pytest.mark.parametrize("lands", [True, False])
@pytest.mark.parametrize("away", [3.0, 14.0, 60.0])
def test_f43_database_outage_over_a_commit(away: Seconds, caplog: pytest.LogCaptureFixture, *, lands: bool) -> None:
    """The reply to the commit of an answer is lost with the database, which stays away for a while.

    No client receives that the event moves, the server says that it is not ready and why, and when the database is back
    the same participants are too. The answer counts once, whether the lost commit was durable or not.
    """

    async def script(harness: VirtualServerHarness) -> None:
        store = LosableStore()
        await harness.serve(quiz=CALM, store=store)
        ada, bob = harness.client(), harness.client("bob")
        await harness.opened(ada, bob)
        await harness.until(lambda: harness.room.game.phase is Phase.QUESTION)
        store.lose_at_the_next_answer(lands=lands)
        ada.answer("q1", harness.room.game.questions[0].correct)
        await harness.until(lambda: store.database.is_away)
        await asyncio.sleep(1.0)
        code, reason = await turned_away(Join(event="quiz", name="cy", instance="cy"))
        assert (code, reason) == (1013, "retry_after=2.0 the database is away; the event continues when it is back")
        await asyncio.sleep(away - 1.0)
        assert reasons(harness) == ("database: 1 event waits for it to be recovered",)
        store.database.is_away = False
        await harness.until(lambda: ada.state is bob.state is ClientState.OPEN, within=BACK_S)
        await harness.until(lambda: not ada.machine.pending, within=1.0)
        assert reasons(harness) == ()
        assert harness.room.game.scores["p1"] == harness.room.game.recomputed_score("p1") > 0
        assert len(store.scores(harness.server.hubs["quiz"].lease.key)) == 2

    harness = act(script)
    assert [result.verdict for result in harness.told("ada", AnswerResult)][-1] in ("accepted", "duplicate")
    assert [event.outcome for event in harness.of(LogEventKind.SERVER_STARTED)] == ["fresh", "recovered"]
    assert not caplog.records


def test_f43_database_outage_between_commits() -> None:
    """No commit was under way: only a client that wants something stored is closed, and nothing needs a recovery."""

    async def script(harness: VirtualServerHarness) -> None:
        store = LosableStore()
        await harness.serve(quiz=CALM, store=store)
        ada, bob = harness.client(), harness.client("bob")
        await harness.opened(ada, bob)
        await harness.until(lambda: harness.room.game.phase is Phase.QUESTION)
        store.database.is_away = True
        ada.answer("q1", harness.room.game.questions[0].correct)
        await asyncio.sleep(20.0)
        assert reasons(harness) == ("database: the last commit was not taken",)
        assert bob.state is ClientState.OPEN
        store.database.is_away = False
        await harness.until(lambda: not ada.machine.pending, within=BACK_S)
        assert reasons(harness) == ()

    harness = act(script)
    assert [result.verdict for result in harness.told("ada", AnswerResult)] == ["accepted"]
    assert len(harness.of(LogEventKind.SERVER_STARTED)) == 1


def test_f43_database_outage_that_leaves_nothing_to_store() -> None:
    """A server that is not ready gets no new clients, and so no commit that could succeed: it asks by itself."""

    async def script(harness: VirtualServerHarness) -> None:
        store = LosableStore()
        await harness.serve_hosts(host_key=KEY, store=store)
        boss = await dial(URL)
        await say(boss, Host(event="quiz", key=KEY))
        store.database.is_away = True
        await say(boss, HostCommand(HostAction.START, 0))
        assert (await hear(boss, HostResult)).verdict == "refused"
        boss.transport.abort()
        await asyncio.sleep(30.0)
        assert reasons(harness)
        before = store.database.calls
        await asyncio.sleep(30.0)
        assert 5 < store.database.calls - before < 20
        store.database.is_away = False
        await harness.until(lambda: not reasons(harness), within=BACK_S)

    act(script)


def test_f45_deleted_database_file(tmp_path: Path) -> None:
    """The SQLite file is moved away during a question: nothing is acknowledged until it is back, then everything is."""
    path = tmp_path / "quiz.db"
    store = SqlStore(f"sqlite:///{path}")

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=CALM, store=store)
        ada = harness.client()
        await harness.opened(ada)
        await harness.until(lambda: harness.room.game.phase is Phase.QUESTION)
        path.rename(tmp_path / "elsewhere")
        ada.answer("q1", harness.room.game.questions[0].correct)
        await asyncio.sleep(20.0)
        assert ada.machine.pending
        assert reasons(harness) == ("database: the last commit was not taken",)
        assert not path.exists()
        (tmp_path / "elsewhere").rename(path)
        await harness.until(lambda: not ada.machine.pending, within=BACK_S)
        assert reasons(harness) == ()

    harness = act(script)
    store.close()
    assert [result.verdict for result in harness.told("ada", AnswerResult)] == ["accepted"]
    failed = harness.of(LogEventKind.COMMIT_FAILED)
    assert all("quiz.db was deleted while it was open" in (event.cause or "") for event in failed)
