"""``resilience host``: one person runs a quiz. What is typed becomes orders, what happens is shown; decides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from resilience.client.host_client import HostClient, host
from resilience.client.host_view import LinesView, LiveView, View
from resilience.client.keyboard import Keyboard
from resilience.client.question_file import read_plan
from resilience.errors import HarnessError, ResilienceError, UsageError
from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.close_codes import CloseCode
from resilience.protocol.client.host import CREATE, next_action
from resilience.protocol.effects import Record
from resilience.protocol.messages import Error, HostAction, Hosting, HostResult, HostStatus, Message
from resilience.protocol.states import ClientState
from resilience.quiz.phases import Phase
from resilience.quiz.plan import QuizPlan
from resilience.units import Seconds

REFRESH_INTERVAL_S: Seconds = 0.25
UNREACHABLE_EVERY = 10
"""Attempts between two complaints."""


def host_command(  # noqa: PLR0913 - one for each option
    url: str, questions: Path, *, event: str | None, automatic: bool, again: bool, key: str | None
) -> None:
    """Run the quiz of this file until it is over or the person detaches."""
    plan = read_plan(questions, automatic=automatic)
    if key is None:
        raise UsageError("no host key: give the server's in RESILIENCE_HOST_KEY or with --key-file")
    asyncio.run(_host(url, plan, questions.stem if event is None else event, key, again=again))


async def _host(url: str, plan: QuizPlan, event: str, key: str, *, again: bool) -> None:
    console = Console(highlight=False)
    view: View = LiveView(console) if console.is_terminal else LinesView(console)
    host_console = HostConsole(view, again=again)
    client = host_console.client = host(
        url, key=key, plan=plan, event=event, deliver=host_console.show, log=host_console.record
    )
    view.say(f"event '{event}'; players come in with: resilience play {url} --event {event}")
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
    """Keys act at once; lines, which may all be there already, each when the one before has been answered."""
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
    """Whether it needs somebody to come to its end."""
    return None in (plan.pace.lobby, plan.pace.reveal, plan.pace.leaderboard)


class HostConsole:
    """What one host sees and types. ``over`` is done when there is nothing more to do, or fails with the reason."""

    client: HostClient

    def __init__(self, view: View, *, again: bool) -> None:
        loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = loop.create_future()
        self.settled = asyncio.Event()
        self._view, self._again = view, again
        self._status: HostStatus | None = None
        self._is_ours = self._asking = self._is_offline = False
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
            self._view.say("Enter or n: go on, r: reveal, f: finish, q: detach")

    def detach(self) -> None:
        """Leave the quiz as it is."""
        if self.over.done():
            return
        self._view.say("detached; the quiz stays: run the same command again to take it up")
        self._end(None)

    # what happens -----------------------------------------------------------------------------------------------------

    def show(self, message: Message) -> None:
        """Show what the server told us."""
        if isinstance(message, Hosting):
            self._on_hosting(message)
        elif isinstance(message, HostStatus):
            self._on_status(message)
        elif isinstance(message, HostResult):
            self._on_result(message)
        elif isinstance(message, Error):
            self._view.say(f"the server cannot use {message.field}: {message.rule}")
            self._settle()

    def record(self, record: Record) -> None:
        """Show how the connection is doing."""
        if record.kind is LogEventKind.BACKOFF_SCHEDULED:
            attempt, self._is_offline = record.attempt or 1, True
            self._view.offline(attempt)
            if attempt == 1 or attempt % UNREACHABLE_EVERY == 0:
                self._view.say(f"no connection to the server; trying again (attempt {attempt})")
        elif record.kind is LogEventKind.CLIENT_DISMISSED:
            self._end(_refusal(int(record.cause or 0)))

    def _on_hosting(self, message: Hosting) -> None:
        """Before anything is ordered, the server says whether the event it has is the one of these questions."""
        self._view.online()
        if self._is_offline:
            self._view.say("the connection is back")
        self._is_offline = False
        if message.status is None:
            return
        if self._is_ours or message.status.phase != Phase.FINISHED:
            self._on_status(message.status)
        elif not self._again:
            self._view.say("this quiz is over; --again begins it anew")
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
            self._view.say("the quiz had moved on already")
        elif result.verdict != "done":
            self._view.say(f"refused: {result.rule}")
        if result.verdict != "done":
            self._settle()

    # what is typed ----------------------------------------------------------------------------------------------------

    def _send_next_action(self) -> None:
        action = next_action(self._status.phase) if self._status is not None and self._is_ours else None
        if action is None:
            self._view.say("there is nothing to move yet")
        else:
            self._send_action(action)

    def _send_action(self, action: HostAction) -> None:
        if not self._is_ours or not self.client.order(action):
            self._view.say("wait: the server has not answered yet")
            return
        self.settled.clear()
        if self.client.state is not ClientState.OPEN:
            self._view.say(f"offline: '{action}' will be sent with the return")

    def _ask(self) -> None:
        self._asking = True
        self._view.say("finish the quiz now, for everybody? y: yes, anything else: no")

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


def _refusal(code: int) -> ResilienceError:
    if code == CloseCode.KEY_REFUSED:
        return UsageError("the host key is not this server's, or this server takes no hosts")
    if code == CloseCode.NORMAL:
        return HarnessError("the server has closed this event; it was begun anew, or is over")
    return HarnessError(f"the server ended this for good (close code {code})")
