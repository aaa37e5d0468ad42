"""``resilience play``: one person at a terminal. Shows what is delivered, reads choices, decides nothing."""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import Callable
from urllib.parse import urlsplit

from rich.console import Console

from resilience.client.client import ReconnectingClient
from resilience.config import ClientConfig
from resilience.draws import draws_for
from resilience.errors import UsageError
from resilience.events import EventKind
from resilience.policy.backoff import Preset
from resilience.protocol.client import ClientMachine, Identity
from resilience.protocol.effects import Record
from resilience.protocol.messages import (
    AnswerResult,
    Joined,
    LeaderboardShown,
    Message,
    OpenQuestion,
    QuestionOpened,
    QuestionRevealed,
    QuizFinished,
    ScoreChanged,
    Standing,
    StateRestored,
)
from resilience.protocol.states import ClientState


def play_command(url: str, name: str, event: str, preset: str) -> None:
    """Play until the quiz is finished, the person leaves, or the client gives up."""
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise UsageError(f"{url}: must be a WebSocket URL such as ws://127.0.0.1:8765/ws")
    asyncio.run(_play(url, name, event, ClientConfig(preset=Preset(preset))))


async def _play(url: str, name: str, event: str, config: ClientConfig) -> None:
    seat = Seat(Console())
    identity = Identity(event, name, secrets.token_hex(8))
    machine = ClientMachine(identity, config.rules, draws_for(secrets.randbits(63), identity.instance))
    client = ReconnectingClient(machine, url, log=seat.record, deliver=seat.show)
    listening = asyncio.get_running_loop().create_task(_listen(await _keyboard(), seat, client))
    client.start()
    try:
        await seat.over.wait()
        if machine.state is ClientState.OPEN:
            await client.leave()
    finally:
        listening.cancel()
        await client.stop()


async def _keyboard() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    try:
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    except (OSError, ValueError) as error:
        raise UsageError(f"standard input must be a terminal or a pipe: {error}") from error
    return reader


async def _listen(reader: asyncio.StreamReader, seat: Seat, client: ReconnectingClient) -> None:
    while not seat.over.is_set():
        seat.typed((await reader.readline()).decode(errors="replace"), client)


_FAREWELLS = {
    EventKind.SESSION_SUPERSEDED: "you play on elsewhere",
    EventKind.CLIENT_LEFT: "goodbye",
    EventKind.CLIENT_DISMISSED: "[red]the server ended this connection for good[/]",
}


class Seat:
    """What one person sees and types."""

    def __init__(self, console: Console) -> None:
        self.over = asyncio.Event()
        self._console = console
        self._question: OpenQuestion | None = None
        self._handlers: dict[type[Message], Callable[..., None]] = {
            Joined: lambda m: self._arrived("you are in", m),
            StateRestored: lambda m: self._arrived("back, with everything you had", m),
            QuestionOpened: lambda m: self._ask(m.question),
            AnswerResult: lambda m: self._say(f"  your answer: {m.verdict}"),
            QuestionRevealed: self._reveal,
            ScoreChanged: lambda m: self._say(f"  +{m.points} points, {m.score} in all"),
            LeaderboardShown: lambda m: self._board(m.leaders),
            QuizFinished: self._finish,
        }

    def show(self, message: Message) -> None:
        """Show what the server told us."""
        handler = self._handlers.get(type(message))
        if handler is not None:
            handler(message)

    def record(self, record: Record) -> None:
        """Show how the connection is doing."""
        if record.kind is EventKind.BACKOFF_SCHEDULED:
            self._say(f"[yellow]connection lost; attempt {record.attempt} in {record.value:.1f} s[/]")
        elif record.kind is EventKind.GAVE_UP:
            self._say("[red]gave up; your progress is saved on the server: press Enter to try again, q to leave[/]")
        elif record.kind in _FAREWELLS:
            self._say(_FAREWELLS[record.kind])
            self.over.set()

    def typed(self, line: str, client: ReconnectingClient) -> None:
        """Take a line: a choice by number, ``q`` to leave, Enter to try again after giving up."""
        text = line.strip().lower()
        if text == "q" or not line:
            self.over.set()
        elif client.machine.state is ClientState.GAVE_UP:
            client.wake()
        elif self._question is None:
            self._say("  no question is open")
        elif text.isdecimal() and 1 <= int(text) <= len(self._question.choices):
            client.answer(self._question.id, int(text) - 1)
        else:
            self._say(f"  type a number from 1 to {len(self._question.choices)}, or q to leave")

    def _say(self, text: str) -> None:
        self._console.print(text)

    def _arrived(self, words: str, message: Joined | StateRestored) -> None:
        snapshot = message.snapshot
        self._say(f"[green]{words}[/] (phase {snapshot.phase}, {snapshot.score} points)")
        if snapshot.question is not None and snapshot.question.remaining_ms > 0:
            self._ask(snapshot.question)

    def _ask(self, question: OpenQuestion) -> None:
        self._question = question
        self._say(f"\n[bold]{question.text}[/]  ({question.remaining_ms / 1000:.0f} s)")
        for i, choice in enumerate(question.choices, 1):
            self._say(f"  {i}) {choice}")

    def _reveal(self, message: QuestionRevealed) -> None:
        if self._question is not None:
            self._say(f"  right was {message.correct + 1}) {self._question.choices[message.correct]}")
        self._question = None

    def _board(self, leaders: tuple[Standing, ...]) -> None:
        for place, standing in enumerate(leaders[:5], 1):
            self._say(f"  {place}. {standing.participant} {standing.score}")

    def _finish(self, message: QuizFinished) -> None:
        self._say("\n[bold]the quiz is over[/]")
        self._board(message.leaders)
        self.over.set()
