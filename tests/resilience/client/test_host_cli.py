"""The host's terminal: what is typed becomes the right order, and what is shown is what the server said."""

from __future__ import annotations

import asyncio
import io
from typing import cast

import pytest
from rich.console import Console

from resilience.client.host_cli import HostConsole
from resilience.client.host_client import HostClient
from resilience.client.host_view import LinesView, LiveView, View
from resilience.errors import HarnessError, UsageError
from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.close_codes import CloseCode
from resilience.protocol.effects import Record
from resilience.protocol.messages import Error, HostAction, Hosting, HostResult, HostStatus, Message, Standing
from resilience.protocol.states import ClientState
from resilience.quiz.phases import Phase

LEADERS = (Standing("p1", "Ada", 900), Standing("p2", "Bo\x1b[2J", 900), Standing("p3", "[red]Cy", 10))


def status(phase: Phase = Phase.LOBBY, step: int = 0, remaining_ms: int | None = None) -> HostStatus:
    """How an event stands."""
    return HostStatus("e", "Sums", step, phase, 1, 3, "[b]1 + 1?", remaining_ms, 5, 2, 1, 4, LEADERS)


class FakeClient:
    """Takes orders, and remembers them."""

    def __init__(self) -> None:
        self.state = ClientState.OPEN
        self.machine = self
        self.pending: HostAction | None = None
        self.orders: list[str] = []

    def order(self, action: HostAction) -> bool:
        """Take one unless one is waiting."""
        if self.pending is not None:
            return False
        self.pending = action
        self.orders.append(action)
        return True

    def create(self) -> bool:
        """Remember that it was asked."""
        self.orders.append("create")
        return True

    def wake(self) -> None:
        """Remember that it was woken."""
        self.orders.append("wake")


class Host:
    """A console on a screen of text, and what stands behind it. To be made where a loop runs."""

    def __init__(self, *, again: bool = False, live: bool = False) -> None:
        self.screen = io.StringIO()
        console = Console(file=self.screen, width=100, force_terminal=live, highlight=False)
        self.view: View = LiveView(console) if live else LinesView(console)
        self.console, self.client = HostConsole(self.view, again=again), FakeClient()
        self.console.client = cast("HostClient", self.client)

    def hear(self, *messages: Message) -> None:
        """The server says something; a result settles what was ordered."""
        for message in messages:
            if isinstance(message, HostResult) and message.action == self.client.pending:
                self.client.pending = None
            self.console.show(message)

    def ready(self, phase: Phase = Phase.LOBBY) -> None:
        """Attached to an event of these questions."""
        self.hear(Hosting("e", status(phase)), HostResult("create", "done", 0))
        self.client.orders.clear()

    def lines(self) -> list[str]:
        """What was printed."""
        return self.screen.getvalue().splitlines()


@pytest.mark.parametrize(
    "phase, typed, order",
    [
        (Phase.LOBBY, "", HostAction.START),
        (Phase.LOBBY, "N ", HostAction.START),
        (Phase.QUESTION, "", HostAction.REVEAL),
        (Phase.QUESTION, "r", HostAction.REVEAL),
        (Phase.REVEAL, "n", HostAction.NEXT),
        (Phase.LEADERBOARD, "", HostAction.NEXT),
    ],
)
async def test_one_key_is_enough(phase: Phase, typed: str, order: HostAction) -> None:
    """Whatever is the sensible next step."""
    host = Host()
    host.ready(phase)
    host.console.typed(typed)
    assert host.client.orders == [order]


@pytest.mark.parametrize(
    "answer, orders", [("y", [HostAction.FINISH]), ("n", [HostAction.START]), ("x", []), ("f", [])]
)
async def test_finishing_is_asked_twice(answer: str, orders: list[HostAction]) -> None:
    """And anything else is no yes."""
    host = Host()
    host.ready()
    host.console.typed("f")
    assert host.client.orders == []
    host.console.typed(answer)
    assert host.client.orders == orders
    host.console.typed("y")
    assert HostAction.FINISH not in host.client.orders[1:] or answer == "f"


async def test_nothing_is_ordered_before_the_event_is_known_to_be_ours() -> None:
    """It could be somebody else's quiz of the same name."""
    host = Host()
    host.hear(Hosting("e", status()))
    host.console.typed("")
    host.console.typed("r")
    assert host.client.orders == ["create"]
    host.hear(HostResult("create", "refused", 0, "event 'e' is under way with other questions"))
    with pytest.raises(UsageError, match="other questions"):
        await host.console.over


async def test_a_new_event_is_waited_for() -> None:
    """Lines that were typed ahead are held back until the server has said how it stands."""
    host = Host()
    host.hear(Hosting("e"))
    assert not host.console.settled.is_set()
    host.hear(HostResult("create", "done", 0))
    assert not host.console.settled.is_set()
    host.hear(Hosting("e", status()))
    assert host.console.settled.is_set()
    host.console.typed("")
    assert not host.console.settled.is_set()
    host.hear(HostResult("start", "done", 1), status(Phase.QUESTION, 1))
    assert host.console.settled.is_set()


@pytest.mark.parametrize("verdict, told", [("stale_step", "already at a later step"), ("refused", "rejected: because")])
async def test_orders_that_came_to_nothing_are_told(verdict: str, told: str) -> None:
    """And the next one may be given."""
    host = Host()
    host.ready()
    host.console.typed("")
    host.hear(HostResult("start", verdict, 1, "because"))
    assert told in host.lines()[-1]
    assert host.console.settled.is_set()


async def test_a_second_order_waits_for_the_first() -> None:
    """The person is told so."""
    host = Host()
    host.ready()
    host.console.typed("")
    host.console.typed("r")
    assert host.client.orders == [HostAction.START]
    assert "has not answered yet" in host.lines()[-1]


async def test_an_order_given_offline_is_announced() -> None:
    """It will be sent; and Enter dials at once while a dial is waited for."""
    host = Host()
    host.ready()
    host.client.state = ClientState.BACKING_OFF
    host.console.typed("n")
    assert "will be sent when you are back online" in host.lines()[-1]
    host.console.typed("")
    assert host.client.orders == [HostAction.START, "wake"]


async def test_the_end_of_the_quiz_is_the_end() -> None:
    """With the last standings; equal scores share a rank, and nobody's name moves the cursor."""
    host = Host()
    host.ready(Phase.LEADERBOARD)
    host.hear(status(Phase.FINISHED, 9))
    await host.console.over
    assert host.lines()[-4:] == [
        "the quiz is over; 5 connected, 2 away, 1 gone",
        "  1. Ada  900",
        "  1. Bo\N{REPLACEMENT CHARACTER}[2J  900",
        "  3. [red]Cy  10",
    ]


@pytest.mark.parametrize("again", [True, False])
async def test_a_quiz_that_is_over_already_is_begun_anew_on_demand_only(again: bool) -> None:
    """Else it is shown as it ended."""
    host = Host(again=again)
    host.hear(Hosting("e", status(Phase.FINISHED, 9)))
    assert host.client.orders == (["create"] if again else [])
    assert host.console.over.done() is not again
    if again:
        host.hear(HostResult("create", "done", 0), Hosting("e", status(Phase.LOBBY)))
        assert not host.console.over.done()


async def test_detaching_leaves_the_quiz_alone() -> None:
    """And says how to come back."""
    host = Host()
    host.ready()
    host.console.typed("q")
    await host.console.over
    assert host.client.orders == []
    assert "run the same command to host it again" in host.lines()[-1]


@pytest.mark.parametrize(
    "code, kind, told",
    [
        (CloseCode.KEY_REFUSED, UsageError, "rejected the host key"),
        (CloseCode.NORMAL, HarnessError, "closed this event"),
        (CloseCode.STRIKES, HarnessError, "close code 4203"),
    ],
)
async def test_a_rejection_is_one_line(code: CloseCode, kind: type[Exception], told: str) -> None:
    """With the exit code of its class."""
    host = Host()
    host.console.record(Record(LogEventKind.CLIENT_DISMISSED, 1.0, cause=str(int(code))))
    with pytest.raises(kind, match=told):
        await host.console.over


async def test_an_unreachable_server_is_told_of_now_and_then() -> None:
    """Not at each attempt of an hour."""
    host = Host()
    for attempt in range(1, 26):
        host.console.record(Record(LogEventKind.BACKOFF_SCHEDULED, 1.0, attempt=attempt, value=1.0))
    assert [line.split("(")[1] for line in host.lines()] == ["attempt 1)", "attempt 10)", "attempt 20)"]
    for _ in range(2):
        host.hear(Hosting("e"))
    assert host.lines()[3:] == ["the connection is back"]


async def test_an_error_of_the_server_is_told() -> None:
    """With the field that it names."""
    host = Host()
    host.console.show(Error("malformed", "plan.pace", "bad"))
    assert host.lines() == ["the server rejected plan.pace: bad"]


async def test_lines_come_with_moves_and_first_comers_only() -> None:
    """A log stays readable: the same status twice is one line."""
    host = Host()
    host.hear(*[status(Phase.QUESTION, 1, 20_000)] * 3)
    assert host.lines() == ["question 1 of 3: [b]1 + 1? (20 s); 5 connected, 2 away, 1 gone, 4 answered"]


async def test_the_picture_counts_down_and_says_when_it_is_offline() -> None:
    """Markup in a question is shown as it is."""
    now = [0.0]
    console = Console(file=io.StringIO(), width=100, highlight=False)
    view = LiveView(console, lambda: now[0])
    view.online()
    view.show(status(Phase.QUESTION, 1, 20_000))
    now[0] = 7.0
    console.print(view.picture())
    view.offline(3)
    now[0] = 70.0
    console.print(view.picture())
    online, offline = cast("io.StringIO", console.file).getvalue().split("Sums")[1:]
    for part in (
        "question 1 of 3: [b]1 + 1?",
        "13 s left",
        "5 connected",
        "4 answered",
        "1. Ada  900",
        "Enter: reveal",
    ):
        assert part in online
    assert "offline" not in online
    assert "offline: attempt 3" in offline
    assert "0 s left" in offline


async def test_a_live_picture_ends_as_it_was_last() -> None:
    """On a terminal, with what was said above it."""
    host = Host(live=True)
    with host.view:
        host.ready()
        host.console.typed("?")
        await asyncio.sleep(0)
    shown = host.screen.getvalue()
    assert "Enter or n: next step" in shown
    assert "waiting for you" in shown.rsplit("Sums", 1)[1]
