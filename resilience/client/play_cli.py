"""``resilience play``: a participant in the terminal. Shows messages, reads choices, decides nothing.

It ends with an error if the server rejected it for good, or if there was no connection when the user left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from resilience.client.client import ReconnectingClient, connect
from resilience.client.failure_words import describe_failure, error_of
from resilience.client.keyboard import Keyboard
from resilience.client.terminal_text import escape_markup, standings
from resilience.config import ClientConfig
from resilience.errors import HarnessError, ResilienceError
from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.backoff import Preset
from resilience.protocol.client.dismissal import Dismissal
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
    """Play until the quiz is finished, the user leaves, or the server rejects the participant for good.

    Raises :class:`~resilience.errors.ResilienceError` with the cause if there is no connection at the end.
    """
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
                error = player.error
                if client.state is not ClientState.OPEN:
                    await client.stop()
        finally:
            listening.cancel()
    if error is not None:
        raise error


async def _listen(keyboard: Keyboard, player: PlayerConsole) -> None:
    while not player.over.is_set():
        typed = await keyboard.next()
        if typed is None:
            await player.settled.wait()
        player.typed("q" if typed is None else typed)


_END_MESSAGES = {
    LogEventKind.SESSION_SUPERSEDED: "you are connected in another window; this one ends",
    LogEventKind.CLIENT_LEFT: "goodbye",
}


class PlayerConsole:
    """Shows the quiz and reads the user's answers.

    ``over`` is set when the user leaves or nothing more can come, ``settled`` when the first dial has succeeded or
    failed.
    """

    client: ReconnectingClient

    def __init__(self, console: Console) -> None:
        self.over, self.settled = asyncio.Event(), asyncio.Event()
        self._why: str | None = None
        self._dismissal: Dismissal | None = None
        self._has_joined = False
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

    @property
    def error(self) -> ResilienceError | None:
        """Why there is no connection; ``None`` while there is one, and before the first dial has ended."""
        if self._dismissal is not None:
            return error_of(self._dismissal)
        return None if self._why is None else HarnessError(f"no connection to the server: {self._why}")

    def record(self, record: Record) -> None:
        """Show a change of the connection."""
        match record.kind:
            case LogEventKind.TRANSPORT_FAILED | LogEventKind.TRANSPORT_LOST:
                self._why = describe_failure(record.cause or "closed", record.detail)
            case LogEventKind.PEER_DEAD:
                self._why = describe_failure("silent")
            case LogEventKind.BACKOFF_SCHEDULED:
                self._show_offline(record)
            case LogEventKind.GAVE_UP:
                self._show_gave_up()
            case LogEventKind.CLIENT_DISMISSED:
                self._dismissal = Dismissal.from_log(record.cause, record.detail)
                self.over.set()
            case kind if kind in _END_MESSAGES:
                self._why = None
                self._say(_END_MESSAGES[kind])
                self.over.set()
        if self.over.is_set() or record.kind in (LogEventKind.BACKOFF_SCHEDULED, LogEventKind.GAVE_UP):
            self.settled.set()

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

    def _show_offline(self, record: Record) -> None:
        why = f": {escape_markup(self._why)}" if self._why else ""
        hint = " Your answer will be sent when you are back online." if record.attempt == 1 and self._question else ""
        self._say(f"[black on yellow] OFFLINE [/] attempt {record.attempt} in {record.value:.1f} s{why}.{hint}")

    def _show_gave_up(self) -> None:
        why = f": {escape_markup(self._why)}" if self._why else ""
        saved = "; your progress is saved on the server" if self._has_joined else ""
        self._say(f"[red]gave up{why}{saved}. Press Enter to try again, q to leave[/]")

    def _say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)

    def _on_welcome(self, words: str, message: Joined | StateRestored) -> None:
        snapshot = message.snapshot
        self._why, self._has_joined = None, True
        self.settled.set()
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
        self._why = None
        self.over.set()
