"""``resilience play``: a participant in the terminal. Shows messages, reads choices, decides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from resilience.client.client import ReconnectingClient, connect
from resilience.client.keyboard import Keyboard
from resilience.client.terminal_text import escape_markup, standings
from resilience.config import ClientConfig
from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.backoff import Preset
from resilience.protocol.client.participant import open_question
from resilience.protocol.effects import Record
from resilience.protocol.messages import (
    AnswerResult,
    Error,
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
from resilience.quiz.phases import Phase


def play_command(url: str, name: str, event: str, preset: str, resume: Path | None = None) -> None:
    """Play until the quiz is finished, the user leaves, or the client gives up."""
    asyncio.run(_play(url, name, event, ClientConfig(preset=Preset(preset)), resume))


async def _play(url: str, name: str, event: str, config: ClientConfig, resume: Path | None) -> None:
    player = PlayerConsole(Console(highlight=False))
    client = player.client = connect(
        url, name=name, event=event, config=config, identity_file=resume, deliver=player.show, log=player.record
    )
    with Keyboard() as keyboard:
        listening = asyncio.get_running_loop().create_task(_listen(keyboard, player))
        try:
            async with client:
                await player.over.wait()
                if client.state is not ClientState.OPEN:
                    await client.stop()
        finally:
            listening.cancel()


async def _listen(keyboard: Keyboard, player: PlayerConsole) -> None:
    while not player.over.is_set():
        typed = await keyboard.next()
        player.typed("q" if typed is None else typed)


_END_MESSAGES = {
    LogEventKind.SESSION_SUPERSEDED: "you are connected in another window; this one ends",
    LogEventKind.CLIENT_LEFT: "goodbye",
    LogEventKind.CLIENT_DISMISSED: "[red]the server rejected this connection for good[/]",
}


class PlayerConsole:
    """Shows the quiz and reads the user's answers."""

    client: ReconnectingClient

    def __init__(self, console: Console) -> None:
        self.over = asyncio.Event()
        self._console = console
        self._question: OpenQuestion | None = None
        self._handlers: dict[type[Message], Callable[..., None]] = {
            Joined: lambda m: self._on_welcome("you have joined", m),
            StateRestored: lambda m: self._on_welcome("you are back, with your answers and score", m),
            QuestionOpened: lambda m: self._show_question(m.question),
            AnswerResult: lambda m: self._say(f"  your answer: {escape_markup(m.verdict)}"),
            QuestionRevealed: self._show_reveal,
            ScoreChanged: lambda m: self._say(f"  +{m.points} points, {m.score} in total"),
            LeaderboardShown: lambda m: self._show_leaders(m.leaders),
            QuizFinished: self._finish,
            Error: lambda m: self._say(
                f"[red]the server rejected {escape_markup(m.field)}: {escape_markup(m.rule)}[/]"
            ),
        }

    def show(self, message: Message) -> None:
        """Show a message of the server."""
        handler = self._handlers.get(type(message))
        if handler is not None:
            handler(message)

    def record(self, record: Record) -> None:
        """Show a change of the connection."""
        if record.kind is LogEventKind.BACKOFF_SCHEDULED:
            hint = (
                " Your answer will be sent when you are back online." if record.attempt == 1 and self._question else ""
            )
            self._say(f"[black on yellow] OFFLINE [/] attempt {record.attempt} in {record.value:.1f} s.{hint}")
        elif record.kind is LogEventKind.GAVE_UP:
            self._say("[red]gave up; your progress is saved on the server: press Enter to try again, q to leave[/]")
        elif record.kind in _END_MESSAGES:
            self._say(_END_MESSAGES[record.kind])
            self.over.set()

    def typed(self, line: str) -> None:
        """Handle a line: a choice by number, ``q`` to leave, Enter to reconnect at once."""
        text, question = line.strip().lower(), self._question
        if text == "q":
            self.over.set()
        elif self.client.state in (ClientState.GAVE_UP, ClientState.BACKING_OFF) and not text:
            self.client.wake()
        elif question is None:
            self._say("  no question is open")
        elif text.isdecimal() and 1 <= int(text) <= len(question.choices):
            self.client.answer(question.id, int(text) - 1)
            if self.client.state is not ClientState.OPEN:
                self._say("  saved; your answer will be sent when you are back online")
        else:
            self._say(f"  type a number from 1 to {len(question.choices)}, or q to leave")

    def _say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)

    def _on_welcome(self, words: str, message: Joined | StateRestored) -> None:
        snapshot = message.snapshot
        self._say(f"[green]{words}[/] (phase {escape_markup(snapshot.phase)}, {snapshot.score} points)")
        self._question = snapshot.question if snapshot.phase == Phase.QUESTION else None
        question = open_question(message)
        if question is not None and question.remaining_ms > 0:
            self._show_question(question)

    def _show_question(self, question: OpenQuestion) -> None:
        self._question = question
        self._say(f"\n[bold]{escape_markup(question.text)}[/]  ({question.remaining_ms / 1000:.0f} s)")
        for i, choice in enumerate(question.choices, 1):
            self._say(f"  {i}) {escape_markup(choice)}")

    def _show_reveal(self, message: QuestionRevealed) -> None:
        question, self._question = self._question, None
        if question is not None and question.id == message.question and message.correct < len(question.choices):
            self._say(
                f"  the right answer was {message.correct + 1}) {escape_markup(question.choices[message.correct])}"
            )

    def _show_leaders(self, leaders: tuple[Standing, ...]) -> None:
        for line in standings(leaders, self.client.machine.participant):
            self._say(f"  {escape_markup(line)}")

    def _finish(self, message: QuizFinished) -> None:
        self._say("\n[bold]the quiz is over[/]")
        self._show_leaders(message.leaders)
        self.over.set()
