"""``resilience host``: one person hosts a quiz. Turns keys into commands and shows the event; decides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from resilience.client.failure_words import describe_failure, error_of
from resilience.client.host_client import HostClient, host
from resilience.client.host_view import LinesView, LiveView, View
from resilience.client.keyboard import Keyboard
from resilience.client.question_file import read_plan
from resilience.errors import HarnessError, ResilienceError, UsageError
from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol.client.dismissal import Dismissal
from resilience.protocol.client.host import CREATE, next_action
from resilience.protocol.effects import Record
from resilience.protocol.messages import Error, HostAction, Hosting, HostResult, HostStatus, Message
from resilience.protocol.states import ClientState
from resilience.quiz.phases import Phase
from resilience.quiz.plan import QuizPlan
from resilience.units import Seconds

REFRESH_INTERVAL_S: Seconds = 0.25
UNREACHABLE_EVERY = 10
"""Attempts between two messages about a missing connection."""


def host_command(  # noqa: PLR0913 - one for each option
    url: str, questions: Path, *, event: str | None, automatic: bool, again: bool, key: str | None
) -> None:
    """Host the quiz of this file until it is over or the user detaches."""
    plan = read_plan(questions, automatic=automatic)
    if key is None:
        raise UsageError("no host key: set RESILIENCE_HOST_KEY to the server's key, or name its file with --key-file")
    asyncio.run(_host(url, plan, questions.stem if event is None else event, key, again=again))


async def _host(url: str, plan: QuizPlan, event: str, key: str, *, again: bool) -> None:
    console = Console(highlight=False)
    view: View = LiveView(console) if console.is_terminal else LinesView(console)
    host_console = HostConsole(view, again=again)
    client = host_console.client = host(
        url, key=key, plan=plan, event=event, deliver=host_console.show, log=host_console.record
    )
    view.say(f"event '{event}'; players join with: resilience play {url} --event {event}")
    with view, Keyboard(by_key=console.is_terminal) as keyboard:
        loop = asyncio.get_running_loop()
        chores = [loop.create_task(_listen(keyboard, host_console, plan)), loop.create_task(_refresh_view(view))]
        try:
            async with client:
                await host_console.over
        finally:
            for chore in chores:
                chore.cancel()


async def _listen(keyboard: Keyboard, host_console: HostConsole, plan: QuizPlan) -> None:
    """A key acts at once; a line, which may be read from a file, waits for the result of the one before."""
    while (typed := await keyboard.next()) is not None:
        if not keyboard.by_key and typed.strip() != "q":
            await host_console.settled.wait()
        if host_console.over.done():
            return
        host_console.typed(typed)
    if is_endless(plan):
        await host_console.settled.wait()
        host_console.detach()


async def _refresh_view(view: View) -> None:
    while True:
        await asyncio.sleep(REFRESH_INTERVAL_S)
        view.refresh()


def is_endless(plan: QuizPlan) -> bool:
    """Whether the quiz needs a host's commands to reach its end."""
    return None in (plan.pace.lobby, plan.pace.reveal, plan.pace.leaderboard)


class HostConsole:
    """Shows a host its event and carries out typed commands. ``over`` is done at the end, or fails with the reason."""

    client: HostClient

    def __init__(self, view: View, *, again: bool) -> None:
        loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = loop.create_future()
        self.settled = asyncio.Event()
        self._view, self._again = view, again
        self._status: HostStatus | None = None
        self._is_ours = self._asking = self._is_offline = False
        self._why: str | None = None
        self._shown_why: str | None = None
        self._commands: dict[str, Callable[[], None]] = {
            "": self._send_next_action,
            "n": self._send_next_action,
            "r": lambda: self._send_action(HostAction.REVEAL),
            "f": self._ask,
            "q": self.detach,
        }

    def typed(self, text: str) -> None:
        """Carry out a command: Enter or ``n``, ``r``, ``f`` (asks again), ``q``."""
        command, asking, self._asking = text.strip().lower(), self._asking, False
        if asking and command == "y":
            self._send_action(HostAction.FINISH)
        elif self.client.state is ClientState.BACKING_OFF and command == "":
            self.client.wake()
        elif command in self._commands:
            self._commands[command]()
        else:
            self._view.say("Enter or n: next step, r: reveal, f: finish, q: detach")

    def detach(self) -> None:
        """Detach; the quiz stays on the server. An error if the server was never reached."""
        if self.over.done():
            return
        if self._status is None and self._why is not None:
            self._end(HarnessError(f"no connection to the server: {self._why}"))
            return
        self._view.say("detached; the quiz stays on the server: run the same command to host it again")
        self._end(None)

    # messages and records ---------------------------------------------------------------------------------------------

    def show(self, message: Message) -> None:
        """Show a message of the server."""
        if isinstance(message, Hosting):
            self._on_hosting(message)
        elif isinstance(message, HostStatus):
            self._on_status(message)
        elif isinstance(message, HostResult):
            self._on_result(message)
        elif isinstance(message, Error):
            self._view.say(f"the server rejected {message.field}: {message.rule}")
            self._settle()

    def record(self, record: Record) -> None:
        """Show a change of the connection."""
        match record.kind:
            case LogEventKind.TRANSPORT_FAILED | LogEventKind.TRANSPORT_LOST:
                self._why = describe_failure(record.cause or "closed", record.detail)
            case LogEventKind.PEER_DEAD:
                self._why = describe_failure("silent")
            case LogEventKind.BACKOFF_SCHEDULED:
                self._show_offline(record.attempt or 1)
            case LogEventKind.CLIENT_DISMISSED:
                self._end(error_of(Dismissal.from_log(record.cause, record.detail)))

    def _show_offline(self, attempt: int) -> None:
        """Say so at the first attempt, at intervals, and when the cause is another one."""
        self._is_offline = True
        self._view.offline(attempt, self._why)
        if attempt == 1 or attempt % UNREACHABLE_EVERY == 0 or self._why != self._shown_why:
            why = f": {self._why}" if self._why else ""
            self._view.say(f"no connection to the server{why}; trying again (attempt {attempt})")
        self._shown_why = self._why

    def _on_hosting(self, message: Hosting) -> None:
        """Have the server compare its event with these questions before any command is sent."""
        self._view.online()
        if self._is_offline:
            self._view.say("the connection is back")
        self._is_offline, self._why, self._shown_why = False, None, None
        if message.status is None:
            return
        if self._is_ours or message.status.phase != Phase.FINISHED:
            self._on_status(message.status)
        elif not self._again:
            self._view.say("this quiz is over; --again starts a new run")
            self._on_status(message.status)
        if not self._is_ours and not self.over.done():
            self.client.create()

    def _on_status(self, status: HostStatus) -> None:
        self._status = status
        self._view.show(status)
        self._settle()
        if status.phase == Phase.FINISHED:
            self._end(None)

    def _on_result(self, result: HostResult) -> None:
        if result.action == CREATE:
            self._is_ours = result.verdict == "done"
            if not self._is_ours:
                self._end(UsageError(result.rule))
            self._settle()
            return
        if result.verdict == "stale_step":
            self._view.say("the quiz was already at a later step; nothing was done")
        elif result.verdict != "done":
            self._view.say(f"rejected: {result.rule}")
        if result.verdict != "done":
            self._settle()

    # commands ---------------------------------------------------------------------------------------------------------

    def _send_next_action(self) -> None:
        action = next_action(self._status.phase) if self._status is not None and self._is_ours else None
        if action is None:
            self._view.say("there is no next step yet")
        else:
            self._send_action(action)

    def _send_action(self, action: HostAction) -> None:
        if not self._is_ours or not self.client.order(action):
            self._view.say("wait: the server has not answered yet")
            return
        self.settled.clear()
        if self.client.state is not ClientState.OPEN:
            self._view.say(f"offline: '{action}' will be sent when you are back online")

    def _ask(self) -> None:
        self._asking = True
        self._view.say("finish the quiz now for all players? y: yes, any other key: no")

    def _settle(self) -> None:
        if self._is_ours and self._status is not None and self.client.machine.pending is None:
            self.settled.set()

    def _end(self, error: ResilienceError | None) -> None:
        self.settled.set()
        if self.over.done():
            return
        if error is None:
            self.over.set_result(None)
        else:
            self.over.set_exception(error)
