"""The host's terminal: typed keys become commands, and the server's messages are shown."""

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
    """The status of an event."""
    return HostStatus("e", "Sums", step, phase, 1, 3, "[b]1 + 1?", remaining_ms, 5, 2, 1, 4, LEADERS)


class FakeClient:
    """Accepts and records commands."""

    def __init__(self) -> None:
        self.state = ClientState.OPEN
        self.machine = self
        self.pending: HostAction | None = None
        self.orders: list[str] = []

    def order(self, action: HostAction) -> bool:
        """Accept a command unless one is pending."""
        if self.pending is not None:
            return False
        self.pending = action
        self.orders.append(action)
        return True

    def create(self) -> bool:
        """Record the request."""
        self.orders.append("create")
        return True

    def wake(self) -> None:
        """Record the wake-up."""
        self.orders.append("wake")


class Host:
    """A host console on a text screen with a fake client; create it where a loop runs."""

    def __init__(self, *, again: bool = False, live: bool = False) -> None:
        self.screen = io.StringIO()
        console = Console(file=self.screen, width=100, force_terminal=live, highlight=False)
        self.view: View = LiveView(console) if live else LinesView(console)
        self.console, self.client = HostConsole(self.view, again=again), FakeClient()
        self.console.client = cast("HostClient", self.client)

    def hear(self, *messages: Message) -> None:
        """Deliver a server message; a result completes the pending command."""
        for message in messages:
            if isinstance(message, HostResult) and message.action == self.client.pending:
                self.client.pending = None
            self.console.show(message)

    def ready(self, phase: Phase = Phase.LOBBY) -> None:
        """Attach to an event of these questions."""
        self.hear(Hosting("e", status(phase)), HostResult("create", "done", 0))
        self.client.orders.clear()

    def lines(self) -> list[str]:
        """The printed lines."""
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
async def test_enter_sends_the_next_action_of_the_phase(phase: Phase, typed: str, order: HostAction) -> None:
    host = Host()
    host.ready(phase)
    host.console.typed(typed)
    assert host.client.orders == [order]


@pytest.mark.parametrize(
    "answer, orders", [("y", [HostAction.FINISH]), ("n", [HostAction.START]), ("x", []), ("f", [])]
)
async def test_finishing_needs_a_confirmation(answer: str, orders: list[HostAction]) -> None:
    host = Host()
    host.ready()
    host.console.typed("f")
    assert host.client.orders == []
    host.console.typed(answer)
    assert host.client.orders == orders
    host.console.typed("y")
    assert HostAction.FINISH not in host.client.orders[1:] or answer == "f"


async def test_no_command_is_sent_before_the_server_confirms_the_questions() -> None:
    """The event could be another host's quiz of the same name."""
    host = Host()
    host.hear(Hosting("e", status()))
    host.console.typed("")
    host.console.typed("r")
    assert host.client.orders == ["create"]
    host.hear(HostResult("create", "refused", 0, "event 'e' is under way with other questions"))
    with pytest.raises(UsageError, match="other questions"):
        await host.console.over


async def test_typed_lines_wait_for_the_first_status() -> None:
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
async def test_a_command_without_effect_is_reported(verdict: str, told: str) -> None:
    """The next command is accepted."""
    host = Host()
    host.ready()
    host.console.typed("")
    host.hear(HostResult("start", verdict, 1, "because"))
    assert told in host.lines()[-1]
    assert host.console.settled.is_set()


async def test_a_second_command_is_rejected_until_the_first_has_a_result() -> None:
    host = Host()
    host.ready()
    host.console.typed("")
    host.console.typed("r")
    assert host.client.orders == [HostAction.START]
    assert "has not answered yet" in host.lines()[-1]


async def test_a_command_given_offline_is_sent_later() -> None:
    """Enter reconnects at once."""
    host = Host()
    host.ready()
    host.client.state = ClientState.BACKING_OFF
    host.console.typed("n")
    assert "will be sent when you are back online" in host.lines()[-1]
    host.console.typed("")
    assert host.client.orders == [HostAction.START, "wake"]


async def test_the_end_of_the_quiz_ends_the_console_with_the_standings() -> None:
    """Equal scores share a rank, and control characters in names are removed."""
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
async def test_a_finished_quiz_starts_a_new_run_on_request_only(again: bool) -> None:
    host = Host(again=again)
    host.hear(Hosting("e", status(Phase.FINISHED, 9)))
    assert host.client.orders == (["create"] if again else [])
    assert host.console.over.done() is not again
    if again:
        host.hear(HostResult("create", "done", 0), Hosting("e", status(Phase.LOBBY)))
        assert not host.console.over.done()


async def test_detaching_sends_no_command_and_names_the_way_back() -> None:
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
    host = Host()
    host.console.record(Record(LogEventKind.CLIENT_DISMISSED, 1.0, cause=str(int(code))))
    with pytest.raises(kind, match=told):
        await host.console.over


async def test_an_unreachable_server_is_reported_at_intervals() -> None:
    host = Host()
    for attempt in range(1, 26):
        host.console.record(Record(LogEventKind.BACKOFF_SCHEDULED, 1.0, attempt=attempt, value=1.0))
    assert [line.split("(")[1] for line in host.lines()] == ["attempt 1)", "attempt 10)", "attempt 20)"]
    for _ in range(2):
        host.hear(Hosting("e"))
    assert host.lines()[3:] == ["the connection is back"]


async def test_the_cause_is_shown_when_it_changes_and_at_the_end() -> None:
    """A host that never reached the server has detached from nothing."""
    host = Host()
    for attempt, cause in enumerate(["name_unknown", "refused", "refused", "status_502"], 1):
        host.console.record(Record(LogEventKind.TRANSPORT_FAILED, 1.0, cause=cause))
        host.console.record(Record(LogEventKind.BACKOFF_SCHEDULED, 1.0, attempt=attempt, value=1.0))
    assert [line.split(": ")[1].split(";")[0] for line in host.lines()] == [
        "the name of the server is unknown",
        "the connection was refused",
        "the server answered with HTTP status 502 Bad Gateway",
    ]
    host.console.detach()
    with pytest.raises(HarnessError, match="no connection to the server: the server answered with HTTP status 502"):
        await host.console.over


async def test_detaching_while_offline_is_no_error_once_the_event_was_reached() -> None:
    """The quiz stays on the server."""
    host = Host()
    host.ready()
    host.console.record(Record(LogEventKind.TRANSPORT_LOST, 1.0, cause="closed"))
    host.console.detach()
    assert await host.console.over is None  # type: ignore[func-returns-value]


async def test_the_banner_shows_the_cause() -> None:
    host = Host(live=True)
    with host.view:
        host.view.offline(2, "the connection was refused")
        host.view.refresh()
    assert "offline (the connection was refused): attempt 2" in host.screen.getvalue()


async def test_an_error_of_the_server_is_shown_with_its_field() -> None:
    host = Host()
    host.console.show(Error("malformed", "plan.pace", "bad"))
    assert host.lines() == ["the server rejected plan.pace: bad"]


async def test_a_line_is_printed_per_step_and_for_the_first_participants() -> None:
    host = Host()
    host.hear(*[status(Phase.QUESTION, 1, 20_000)] * 3)
    assert host.lines() == ["question 1 of 3: [b]1 + 1? (20 s); 5 connected, 2 away, 1 gone, 4 answered"]


async def test_the_panel_counts_down_and_shows_that_it_is_offline() -> None:
    """Markup in a question is escaped."""
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


async def test_the_live_panel_stays_with_its_last_content() -> None:
    host = Host(live=True)
    with host.view:
        host.ready()
        host.console.typed("?")
        await asyncio.sleep(0)
    shown = host.screen.getvalue()
    assert "Enter or n: next step" in shown
    assert "waiting for you" in shown.rsplit("Sums", 1)[1]
