"""How a host sees a quiz: a live panel on a terminal, plain lines on any other output. Decides nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from resilience.client.suspend import elapsed_clock
from resilience.client.terminal_text import standings, strip_control_characters
from resilience.protocol.client.host import next_action
from resilience.protocol.messages import HostAction, HostStatus
from resilience.quiz.phases import Phase
from resilience.units import Seconds

_WORDS = {HostAction.START: "start", HostAction.REVEAL: "reveal", HostAction.NEXT: "next step"}


def headline(status: HostStatus) -> str:
    """The phase of the quiz in one line."""
    number = f"question {status.question} of {status.questions}"
    return {
        Phase.LOBBY: f"lobby, {status.questions} questions ahead",
        Phase.QUESTION: f"{number}: {strip_control_characters(status.text)}",
        Phase.REVEAL: f"{number} is closed: {strip_control_characters(status.text)}",
        Phase.LEADERBOARD: f"leaderboard after {number}",
        Phase.FINISHED: "the quiz is over",
    }.get(Phase(status.phase), status.phase)


def crowd(status: HostStatus) -> str:
    """The number of participants by state, and the number of answers."""
    here = f"{status.connected} connected, {status.away} away, {status.gone} gone"
    return f"{here}, {status.answered} answered" if status.question and status.phase != Phase.FINISHED else here


class View(ABC):
    """The output of the host's console."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    @abstractmethod
    def show(self, status: HostStatus) -> None:
        """Show a new status."""

    @abstractmethod
    def say(self, text: str) -> None:
        """Show a message."""

    def online(self) -> None:
        """The connection is open."""
        return

    def offline(self, attempt: int, why: str | None = None) -> None:  # noqa: ARG002 - for those who show it
        """The connection is lost, in words why; ``attempt`` is next."""
        return

    def refresh(self) -> None:
        """Redraw, as time has passed."""
        return


class LinesView(View):
    """One line for each step of the quiz and for the first participants."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last: tuple[int, int] | None = None

    def show(self, status: HostStatus) -> None:
        """Print the status if it is new."""
        seen = (status.step, status.connected if status.phase == Phase.LOBBY else -1)
        if seen == self._last:
            return
        self._last = seen
        left = f" ({status.remaining_ms / 1000:.0f} s)" if status.remaining_ms is not None else ""
        self.say(f"{headline(status)}{left}; {crowd(status)}")
        if status.phase in (Phase.LEADERBOARD, Phase.FINISHED):
            for line in standings(status.leaders):
                self.say(f"  {line}")

    def say(self, text: str) -> None:
        """Print the text unchanged."""
        self._console.print(strip_control_characters(text), markup=False, soft_wrap=True)


class LiveView(View):
    """A panel that is kept up to date, with a countdown in seconds."""

    def __init__(self, console: Console, clock: Callable[[], Seconds] = elapsed_clock) -> None:
        self._console, self._clock = console, clock
        self._status: HostStatus | None = None
        self._shown_at = clock()
        self._attempt: int | None = 0
        self._why: str | None = None
        self._live = Live(console=console, auto_refresh=False, get_renderable=self.picture)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refresh()
        self._live.stop()

    def show(self, status: HostStatus) -> None:
        """Show the status in the panel."""
        self._status, self._shown_at = status, self._clock()
        self.refresh()

    def say(self, text: str) -> None:
        """Print the text above the panel."""
        self._console.print(Text(strip_control_characters(text), style="dim"))

    def online(self) -> None:
        """Remove the banner."""
        self._attempt = None

    def offline(self, attempt: int, why: str | None = None) -> None:
        """Show a banner."""
        self._attempt, self._why = attempt, why

    def refresh(self) -> None:
        """Draw the panel again."""
        if self._live.is_started:
            self._live.refresh()

    def picture(self) -> RenderableType:
        """The panel as it is now."""
        status = self._status
        if status is None:
            return Panel(self._banner() or Text("waiting for the server"), title="resilience host")
        parts: list[RenderableType] = [Text(headline(status), style="bold"), Text(self._countdown(status))]
        parts += [Text(crowd(status)), *(Text(f"  {line}") for line in standings(status.leaders))]
        parts.append(Text(_keys(status), style="dim"))
        banner = self._banner()
        title = Text(strip_control_characters(status.title or status.event))
        return Panel(Group(*([banner] if banner else []), *parts), title=title)

    def _banner(self) -> Text | None:
        if self._attempt is None:
            return None
        why = f" ({self._why})" if self._why else ""
        words = f"offline{why}: attempt {self._attempt}; Enter retries now" if self._attempt else "connecting"
        return Text(words, style="black on yellow")

    def _countdown(self, status: HostStatus) -> str:
        if status.remaining_ms is None:
            return "" if status.phase == Phase.FINISHED else "waiting for you"
        left: Seconds = max(status.remaining_ms / 1000 - (self._clock() - self._shown_at), 0.0)
        return f"{left:.0f} s left"


def _keys(status: HostStatus) -> str:
    action = next_action(status.phase)
    first = f"Enter: {_WORDS[action]}   " if action is not None else ""
    return f"{first}r: reveal   f: finish   q: detach"
