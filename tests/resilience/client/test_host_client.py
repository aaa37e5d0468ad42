"""Hosts and players of a real server, on the virtual network: the quiz moves as ordered, whatever the network does."""

from __future__ import annotations

import asyncio

import pytest

from resilience.client.client import ReconnectingClient
from resilience.client.host_client import HostClient, host
from resilience.config import ClientConfig
from resilience.errors import UsageError
from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol.client.participant import Identity
from resilience.protocol.messages import (
    AnswerResult,
    HostAction,
    Hosting,
    HostResult,
    HostStatus,
    Message,
    QuestionOpened,
    QuizFinished,
)
from resilience.protocol.states import ClientState
from resilience.quiz.phases import Phase
from resilience.quiz.plan import Pace, QuizPlan
from resilience.quiz.questions import arithmetic_questions
from tests.support.virtual_server import LINKED, URL, VirtualServerHarness, play

from .scripted import HOST_KEY, hosting_server

PLAN = QuizPlan(arithmetic_questions(1, 2, 20.0), "sums")
AUTOMATIC = QuizPlan(PLAN.questions, "sums", Pace(2.0, 1.0, 1.0))


class Scenario:
    """One host, and what it heard."""

    def __init__(
        self, harness: VirtualServerHarness, plan: QuizPlan = PLAN, key: str = HOST_KEY, url: str = LINKED
    ) -> None:
        self.heard: list[Message] = []
        self.client: HostClient = host(url, key=key, plan=plan, event="sums", deliver=self.heard.append)
        self.client._clock = harness.clock

    @property
    def status(self) -> HostStatus:
        """How the event stands, as the host knows it."""
        assert self.client.machine.status is not None
        return self.client.machine.status

    @property
    def verdicts(self) -> list[str]:
        """What became of its orders, but for the creation."""
        return [message.verdict for message in self.heard if isinstance(message, HostResult)][1:]

    async def order(self, action: HostAction, pause: float = 0.5) -> None:
        """Give an order and let it be carried out."""
        assert self.client.order(action)
        await asyncio.sleep(pause)


def player(harness: VirtualServerHarness) -> ReconnectingClient:
    """Somebody who plays in the host's event, over a link of its own."""
    client = harness.client(url=URL)
    client.machine.identity = Identity("sums", "ada", "ada")
    return client


def test_a_quiz_is_run_by_hand() -> None:
    """Lobby, question, reveal, leaderboard, question ... and the end, each on its order."""

    async def script(harness: VirtualServerHarness) -> None:
        app = await hosting_server(harness)
        scenario, ada = Scenario(harness), player(harness)
        scenario.client.start()
        await asyncio.sleep(1)
        ada.start()
        await asyncio.sleep(1)
        assert (scenario.status.phase, scenario.status.connected) == (Phase.LOBBY, 1)
        await scenario.order(HostAction.START)
        ada.answer("q1", PLAN.questions[0].correct)
        await asyncio.sleep(1)
        assert scenario.status.phase == Phase.QUESTION
        for action, phase in [
            (HostAction.REVEAL, Phase.REVEAL),
            (HostAction.NEXT, Phase.LEADERBOARD),
            (HostAction.NEXT, Phase.QUESTION),
            (HostAction.FINISH, Phase.FINISHED),
        ]:
            await scenario.order(action)
            assert scenario.status.phase == phase
            assert scenario.status.answered == (phase in (Phase.REVEAL, Phase.LEADERBOARD))
        assert [standing.name for standing in scenario.status.leaders] == ["ada"]
        await scenario.client.leave()
        await app.stop()

    harness = play(script)
    assert any(isinstance(message, QuizFinished) for message in harness.delivered)
    assert [m.verdict for m in harness.delivered if isinstance(m, AnswerResult)] == ["accepted"]


@pytest.mark.parametrize("moment", ["before the order", "with the order under way", "with the answer under way"])
def test_an_order_is_carried_out_once_whatever_is_cut(moment: str) -> None:
    """Sent again with its step, it is done or was done: one question is opened, never two moves for one order."""

    async def script(harness: VirtualServerHarness) -> None:
        app = await hosting_server(harness)
        scenario, ada = Scenario(harness), player(harness)
        scenario.client.start()
        await asyncio.sleep(1)
        ada.start()
        await scenario.order(HostAction.START)
        if moment == "before the order":
            harness.link.refuse(True)
            await asyncio.sleep(0.1)
        up, down = moment == "with the order under way", moment == "with the answer under way"
        harness.link.blackhole(up=up, down=down)
        await scenario.order(HostAction.REVEAL, pause=12)
        harness.link.blackhole(up=False, down=False)
        harness.link.refuse(False)
        await asyncio.sleep(5)
        assert scenario.client.machine.pending is None
        assert scenario.status.phase == Phase.REVEAL
        assert scenario.verdicts == ["done", "stale_step" if down else "done"]
        await scenario.client.leave()
        await app.stop()

    orders = [event.outcome for event in play(script).events(LogEventKind.HOST_ORDERED)]
    assert orders.count("done") == 2


def test_a_detached_quiz_goes_on_and_is_taken_up_again() -> None:
    """By the same plan; a host that comes later sees where it stands."""

    async def script(harness: VirtualServerHarness) -> None:
        app = await hosting_server(harness)
        first = Scenario(harness, AUTOMATIC)
        first.client.start()
        await asyncio.sleep(0.5)
        ada = player(harness)
        ada.start()
        await asyncio.sleep(0.5)
        await first.client.leave()
        await asyncio.sleep(3)
        second = Scenario(harness, AUTOMATIC)
        second.client.start()
        await asyncio.sleep(1)
        assert second.status.phase == Phase.QUESTION
        assert second.client.create()
        await asyncio.sleep(1)
        assert second.heard[-1] == HostResult("create", "done", 0)
        await second.client.leave()
        await app.stop()

    assert any(isinstance(message, QuestionOpened) for message in play(script).delivered)


def test_a_host_with_other_questions_is_refused() -> None:
    """It would otherwise run somebody else's quiz."""

    async def script(harness: VirtualServerHarness) -> None:
        app = await hosting_server(harness)
        first, second = Scenario(harness), Scenario(harness, AUTOMATIC)
        first.client.start()
        await asyncio.sleep(1)
        second.client.start()
        await asyncio.sleep(1)
        second.client.create()
        await asyncio.sleep(1)
        result = second.heard[-1]
        assert isinstance(result, HostResult)
        assert (result.verdict, "other questions" in result.rule) == ("refused", True)
        await first.client.leave()
        await second.client.leave()
        await app.stop()

    play(script)


def test_an_event_that_is_over_is_begun_anew() -> None:
    """The end of the old one does not send its host away."""

    async def script(harness: VirtualServerHarness) -> None:
        app = await hosting_server(harness)
        scenario = Scenario(harness)
        scenario.client.start()
        await asyncio.sleep(1)
        await scenario.order(HostAction.FINISH)
        assert scenario.status.phase == Phase.FINISHED
        scenario.client.create()
        await asyncio.sleep(5)
        assert scenario.client.state is ClientState.OPEN
        assert scenario.status.phase == Phase.LOBBY
        await scenario.order(HostAction.START)
        assert scenario.status.phase == Phase.QUESTION
        await scenario.client.leave()
        await app.stop()

    play(script)


def test_a_wrong_key_is_shown_once() -> None:
    """And never again."""

    async def script(harness: VirtualServerHarness) -> None:
        app = await hosting_server(harness)
        scenario = Scenario(harness, key="another key, long enough")
        scenario.client.start()
        await asyncio.sleep(30)
        assert scenario.client.state is ClientState.CLOSED
        assert scenario.client.machine.dial == 1
        await app.stop()

    play(script)


def test_a_host_does_not_give_up() -> None:
    """An hour without a server, and it is there within seconds; a classic policy changes nothing about that."""

    async def script(harness: VirtualServerHarness) -> None:
        scenario = Scenario(harness)
        scenario.client.start()
        await asyncio.sleep(3600)
        app = await hosting_server(harness)
        await asyncio.sleep(4)
        assert any(isinstance(message, Hosting) for message in scenario.heard)
        await scenario.client.leave()
        await app.stop()

    play(script)


def test_a_host_that_hears_a_lot_is_not_let_go() -> None:
    """Minutes of a busy lobby, and its connection is the first one still."""

    async def script(harness: VirtualServerHarness) -> None:
        app = await hosting_server(harness)
        scenario = Scenario(harness)
        scenario.client.start()
        await asyncio.sleep(1)
        for i in range(60):
            guest = player(harness)
            guest.machine.identity = Identity("sums", f"guest {i}", f"i{i}")
            guest.start()
            await asyncio.sleep(2)
        assert scenario.status.connected == 60
        assert scenario.client.machine.dial == 1
        await scenario.client.leave()
        await app.stop()

    play(script)


@pytest.mark.parametrize(
    "arguments, told",
    [
        ({"key": ""}, "host key = '...': must have 1 to 256"),
        ({"key": "k" * 300}, "host key = '...': must have 1 to 256"),
        ({"key": HOST_KEY, "event": "e" * 65}, "event = "),
    ],
)
def test_what_no_server_would_take_is_refused_at_once(arguments: dict[str, str], told: str) -> None:
    """And the key is not shown."""

    async def script(_harness: VirtualServerHarness) -> None:
        with pytest.raises(UsageError) as caught:
            host(URL, plan=PLAN, config=ClientConfig(), **arguments)  # type: ignore[arg-type]
        assert told in str(caught.value)
        assert "kkk" not in str(caught.value)

    play(script)
