"""The client over real ``websockets``, in virtual time."""

from __future__ import annotations

import asyncio

from resilience.config import ClientConfig, QuizConfig
from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.backoff import Preset
from resilience.protocol.client.participant import Identity
from resilience.protocol.messages import AnswerResult, Joined, QuestionOpened, StateRestored
from resilience.protocol.states import ClientState
from tests.support.virtual_server import HOST, VirtualServerHarness, play

QUICK = QuizConfig(questions=2, lobby=1, question_time=20)


def test_a_cut_client_resumes_with_its_answer_and_score() -> None:

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=QUICK)
        client = harness.client()
        client.start()
        await asyncio.sleep(2)
        client.answer("q1", 2)
        await asyncio.sleep(0.1)
        harness.link.cut()
        await asyncio.sleep(2)
        assert client.machine.state is ClientState.OPEN

    harness = play(script)
    restored = [message for message in harness.delivered if isinstance(message, StateRestored)]
    assert [message.snapshot.answer for message in restored] == [2]
    (joined,) = [message for message in harness.delivered if isinstance(message, Joined)]
    assert restored[0].credentials.participant == joined.credentials.participant
    assert restored[0].credentials.token != joined.credentials.token


def test_an_answer_given_offline_is_synced_and_acknowledged_once() -> None:

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=QUICK)
        client = harness.client()
        client.start()
        await asyncio.sleep(2)
        harness.link.refuse(True)
        await asyncio.sleep(0.5)
        client.answer("q1", 1)
        await asyncio.sleep(1)
        harness.link.refuse(False)
        await asyncio.sleep(4)
        assert not client.machine.pending

    harness = play(script)
    assert [m.verdict for m in harness.delivered if isinstance(m, AnswerResult)] == ["accepted"]
    assert len(harness.events(LogEventKind.ANSWER_COMMITTED)) == 1


def test_a_client_detects_a_silent_link_by_probing() -> None:
    """Four seconds of silence, a probe, two more seconds: dead, without any sign from TCP."""

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=QuizConfig(lobby=100))
        client = harness.client()
        client.start()
        await asyncio.sleep(2)
        harness.link.blackhole(up=True, down=True)
        await asyncio.sleep(8)
        harness.link.blackhole(up=False, down=False)
        await asyncio.sleep(5)
        assert client.machine.state is ClientState.OPEN

    harness = play(script)
    (dead,) = harness.events(LogEventKind.PEER_DEAD)
    assert dead.value is not None
    assert 5.9 < dead.value < 6.1


def test_a_newer_connection_replaces_the_older_client_for_good() -> None:

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=QUICK)
        first, second = harness.client("ada"), harness.client("tab")
        first.start()
        await asyncio.sleep(2)
        second.machine.credentials = first.machine.credentials
        second.start()
        await asyncio.sleep(10)
        assert first.machine.state is ClientState.CLOSED
        assert second.machine.state is ClientState.OPEN

    harness = play(script)
    assert harness.kinds("ada")[-1] is LogEventKind.SESSION_SUPERSEDED
    assert harness.events(LogEventKind.SESSION_DETACHED) == []


def test_a_client_of_an_unknown_event_does_not_retry() -> None:

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=QUICK)
        client = harness.client()
        client.machine.identity = Identity("nowhere", "ada", "ada")
        client.start()
        await asyncio.sleep(30)
        assert client.machine.state is ClientState.CLOSED

    assert play(script).kinds("ada").count(LogEventKind.TRANSPORT_OPENING) == 1


def test_giving_up_is_recorded_and_can_be_undone() -> None:
    """The attempt budget ends the retries; the user may start again."""

    async def script(harness: VirtualServerHarness) -> None:
        client = harness.client(config=ClientConfig(preset=Preset.CLASSIC, attempts=3))
        client.start()
        await asyncio.sleep(60)
        assert client.machine.state is ClientState.GAVE_UP
        await harness.serve(quiz=QUICK)
        client.start()
        await asyncio.sleep(1)
        assert client.machine.participant == "p1"

    harness = play(script)
    delays = [event.value for event in harness.events(LogEventKind.BACKOFF_SCHEDULED)]
    assert delays == [1, 2, 4]
    assert len(harness.events(LogEventKind.GAVE_UP)) == 1


def test_a_leave_reaches_the_server_and_ends_the_session() -> None:

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=QUICK)
        client = harness.client()
        client.start()
        await asyncio.sleep(2)
        await client.leave()
        await asyncio.sleep(5)

    harness = play(script)
    assert harness.kinds("ada")[-1] is LogEventKind.CLIENT_LEFT
    assert len(harness.events(LogEventKind.SESSION_LEFT)) == 1
    assert harness.events(LogEventKind.SESSION_DETACHED) == []


def test_a_dial_without_a_response_times_out_and_is_repeated() -> None:

    async def script(harness: VirtualServerHarness) -> None:
        harness.link.blackhole(up=True, down=True)
        await harness.serve(quiz=QUICK)
        client = harness.client(config=ClientConfig(open_timeout=3))
        client.start()
        await asyncio.sleep(3.5)

    (failed,) = play(script).events(LogEventKind.TRANSPORT_FAILED)
    assert (failed.cause, round(failed.t, 3)) == ("open_timeout", 3.0)


def test_messages_are_delivered_in_order_after_the_welcome() -> None:

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=QUICK)
        harness.client(url=f"ws://{HOST}:80/ws").start()
        await asyncio.sleep(3)

    kinds = [type(message) for message in play(script).delivered]
    assert kinds[0] is Joined
    assert QuestionOpened in kinds


def test_a_join_with_a_lost_reply_makes_one_participant() -> None:
    """Cut between the commit and ``joined``: the second join returns the first identity."""

    async def script(harness: VirtualServerHarness) -> None:
        app = await harness.serve(quiz=QUICK)
        client = harness.client()
        client.start()
        while not harness.events(LogEventKind.SESSION_CREATED):  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.0001)  # virtual: finer than the link's latency
        assert client.machine.participant is None
        harness.link.cut()
        await asyncio.sleep(5)
        assert client.machine.participant == "p1"
        assert list(app.hubs["quiz"].room.sessions) == ["p1"]

    assert len(play(script).events(LogEventKind.PARTICIPANT_ANNOUNCED)) == 1
