"""The player's terminal: output and input."""

from __future__ import annotations

import io
from typing import cast

import msgspec
import pytest
from rich.console import Console

from resilience.client.client import ReconnectingClient
from resilience.client.play_cli import PlayerConsole
from resilience.errors import HarnessError, ResilienceError, UsageError
from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol.effects import Record
from resilience.protocol.messages import (
    AnswerResult,
    Error,
    Joined,
    LeaderboardShown,
    OpenQuestion,
    QuestionOpened,
    QuestionRevealed,
    Standing,
    StateRestored,
)
from resilience.protocol.states import ClientState
from tests.support.machines import joined, restored

QUESTION = OpenQuestion("q1", "2 [b]+ 2?", ("3", "[/]4", "\x1b[31m5"), 20_000, 20_000)
LEADERS = tuple(Standing(f"p{i}", name, 100 - i) for i, name in enumerate(["Bo[/red]", "Cy", "Di", "Ed", "Flo", "Ada"]))


class FakeClient:
    """Accepts and records answers."""

    def __init__(self) -> None:
        self.state = ClientState.OPEN
        self.machine = self
        self.participant = "p5"
        self.did: list[object] = []

    def answer(self, question: str, choice: int) -> None:
        """Record the answer."""
        self.did.append((question, choice))

    def wake(self) -> None:
        """Record the wake-up."""
        self.did.append("wake")


@pytest.fixture
def player() -> PlayerConsole:
    """A console on a text screen."""
    player = PlayerConsole(Console(file=io.StringIO(), width=80, highlight=False))
    player.client = cast("ReconnectingClient", FakeClient())
    return player


def lines(player: PlayerConsole) -> list[str]:
    """The printed lines."""
    return cast("io.StringIO", player._console.file).getvalue().splitlines()


def did(player: PlayerConsole) -> list[object]:
    """The calls that the client received."""
    return cast("FakeClient", player.client).did


def test_a_question_is_escaped_and_answered_by_number(player: PlayerConsole) -> None:
    player.show(QuestionOpened(1, QUESTION))
    assert lines(player)[-4:] == ["2 [b]+ 2?  (20 s)", "  1) 3", "  2) [/]4", "  3) \N{REPLACEMENT CHARACTER}[31m5"]
    for typed in ("0", "4", "x", "", "2"):
        player.typed(typed)
    assert did(player) == [("q1", 1)]
    player.show(AnswerResult("q1", "k", "accepted"))
    player.show(QuestionRevealed(2, "q1", 1))
    assert lines(player)[-2:] == ["  your answer: accepted", "  the right answer was 2) [/]4"]
    player.typed("2")
    assert lines(player)[-1] == "  no question is open"


def test_the_leaderboard_shows_five_lines_and_the_player(player: PlayerConsole) -> None:
    player.show(LeaderboardShown(1, LEADERS))
    assert lines(player) == [
        "  1. Bo[/red]  100",
        "  2. Cy  99",
        "  3. Di  98",
        "  4. Ed  97",
        "  5. Flo  96",
        "  6. Ada  95  (you)",
    ]


def test_an_outage_shows_a_banner_and_answers_are_kept(player: PlayerConsole) -> None:
    player.show(QuestionOpened(1, QUESTION))
    cast("FakeClient", player.client).state = ClientState.BACKING_OFF
    player.record(Record(LogEventKind.BACKOFF_SCHEDULED, 1.0, attempt=1, value=0.3))
    player.typed("1")
    assert "OFFLINE" in lines(player)[-2]
    assert "sent when you are back online" in lines(player)[-2]
    assert lines(player)[-1] == "  saved; your answer will be sent when you are back online"
    assert did(player) == [("q1", 0)]


@pytest.mark.parametrize("state", [ClientState.GAVE_UP, ClientState.BACKING_OFF])
def test_enter_reconnects_at_once(player: PlayerConsole, state: ClientState) -> None:
    """After giving up, and during a backoff."""
    cast("FakeClient", player.client).state = state
    player.show(joined())
    player.record(Record(LogEventKind.GAVE_UP, 1.0, attempt=10))
    assert "your progress is saved" in lines(player)[-1]
    player.typed("")
    assert did(player) == ["wake"]
    assert not player.over.is_set()


def at_question(message: Joined | StateRestored, answer: int | None) -> Joined | StateRestored:
    """A welcome during an open question."""
    snapshot = msgspec.structs.replace(message.snapshot, phase="question", question=QUESTION, answer=answer)
    return msgspec.structs.replace(message, snapshot=snapshot)


@pytest.mark.parametrize("answer", [None, 1])
def test_a_resume_shows_the_open_question_only_if_it_is_unanswered(player: PlayerConsole, answer: int | None) -> None:
    """The reveal is shown in both cases."""
    player.show(at_question(restored(), answer))
    assert ("  1) 3" in lines(player)) is (answer is None)
    player.show(QuestionRevealed(2, "q1", 1))
    assert lines(player)[-1] == "  the right answer was 2) [/]4"


def test_the_reveal_of_an_unseen_question_is_not_shown(player: PlayerConsole) -> None:
    player.show(joined())
    player.show(QuestionRevealed(2, "q7", 1))
    assert len(lines(player)) == 1


@pytest.mark.parametrize(
    "kind, told",
    [
        (LogEventKind.SESSION_SUPERSEDED, "you are connected in another window; this one ends"),
        (LogEventKind.CLIENT_LEFT, "goodbye"),
    ],
)
def test_every_ending_has_a_message_and_ends_the_program(player: PlayerConsole, kind: LogEventKind, told: str) -> None:
    player.record(Record(kind, 1.0))
    assert lines(player) == [told]
    assert player.over.is_set()
    assert player.error is None


@pytest.mark.parametrize(
    "cause, detail, kind, told",
    [
        ("4202", "there is no such event here", UsageError, "the event id: there is no such event here"),
        ("4203", "too many \x1b[2J", HarnessError, "(close code 4203): too many \N{REPLACEMENT CHARACTER}[2J"),
        ("status_404", None, UsageError, "HTTP status 404 Not Found; check the path"),
        ("status_403", None, HarnessError, "HTTP status 403 Forbidden"),
        ("rejected", "name: too long", UsageError, "the server rejected the request: name: too long"),
        (None, None, UsageError, "the server rejected the request"),
    ],
)
def test_a_dismissal_ends_the_program_with_its_reason(
    player: PlayerConsole, cause: str | None, detail: str | None, kind: type[ResilienceError], told: str
) -> None:
    player.record(Record(LogEventKind.CLIENT_DISMISSED, 1.0, cause=cause, detail=detail))
    assert player.over.is_set()
    assert isinstance(player.error, kind)
    assert told in str(player.error)


def test_an_outage_shows_its_cause_until_the_connection_is_back(player: PlayerConsole) -> None:
    """And the program ends with that cause if the player leaves meanwhile."""
    player.record(Record(LogEventKind.TRANSPORT_FAILED, 1.0, cause="certificate", detail="it has [b]expired"))
    player.record(Record(LogEventKind.BACKOFF_SCHEDULED, 1.0, attempt=2, value=1.0))
    why = "the certificate of the server is not valid: it has [b]expired"
    assert lines(player) == [f" OFFLINE  attempt 2 in 1.0 s: {why}."]
    assert str(player.error) == f"no connection to the server: {why}"
    player.record(Record(LogEventKind.GAVE_UP, 1.0, attempt=3))
    assert lines(player)[-1] == f"gave up: {why}. Press Enter to try again, q to leave"
    player.show(restored())
    assert player.error is None
    player.record(Record(LogEventKind.PEER_DEAD, 2.0, value=6.0))
    assert str(player.error) == "no connection to the server: the server fell silent"


def test_an_error_of_the_server_is_shown_with_its_field(player: PlayerConsole) -> None:
    player.show(Error("malformed", "name", "too [b]long"))
    assert lines(player) == ["the server rejected name: too [b]long"]
