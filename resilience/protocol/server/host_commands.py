"""The hosts of one event: their orders, carried out once and after their commit, and what they are shown. Pure.

An order names the step it was meant for. Sent twice, or overtaken by a timer or another host, it finds the quiz
elsewhere and does nothing; so a host may send again whatever it had no answer to.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.close_codes import CloseCode
from resilience.protocol.effects import Disconnect, Record, SendToClient, ServerEffect
from resilience.protocol.messages import HostAction, HostCommand, Hosting, HostResult, HostStatus
from resilience.quiz.game import Game, QuizState
from resilience.quiz.phases import Phase
from resilience.units import Instant, Seconds

DONE, STALE_STEP, REFUSED = "done", "stale_step", "refused"

_FROM: dict[HostAction, frozenset[Phase]] = {
    HostAction.START: frozenset({Phase.LOBBY}),
    HostAction.REVEAL: frozenset({Phase.QUESTION}),
    HostAction.NEXT: frozenset({Phase.REVEAL, Phase.LEADERBOARD}),
    HostAction.FINISH: frozenset(Phase) - {Phase.FINISHED},
}
"""The phases in which an order means something."""


class _PendingCommand(msgspec.Struct):
    command: HostCommand
    progress: QuizState
    waiting: list[int]


class HostCommands:
    """``status`` tells how the event stands; a host that is silent for ``grace`` seconds is let go."""

    def __init__(
        self,
        game: Game,
        effects: list[ServerEffect],
        status: Callable[[Instant], HostStatus],
        interval: Seconds,
        grace: Seconds,
    ) -> None:
        self._game, self._effects, self._status = game, effects, status
        self._interval, self._grace = interval, grace
        self._heard: dict[int, Instant] = {}
        self._pending: dict[int, _PendingCommand] = {}
        self._changed = False
        self._next_flush: Instant = float("-inf")

    def __contains__(self, connection: object) -> bool:
        return connection in self._heard

    def attach(self, connection: int, event: str, now: Instant) -> None:
        """A connection whose key is right."""
        self._heard[connection] = now
        self._effects.append(Record(LogEventKind.HOST_ATTACHED, now, ref=event))
        self._effects.append(SendToClient(connection, Hosting(event, self._status(now))))

    def heard(self, connection: int, now: Instant) -> None:
        """A host said something."""
        self._heard[connection] = now

    def left(self, connection: int) -> None:
        """A host's connection ended."""
        self._heard.pop(connection, None)

    # orders -----------------------------------------------------------------------------------------------------------

    def submit(self, connection: int, command: HostCommand, now: Instant) -> QuizState | None:
        """Judge an order; returns the progress to persist, or ``None`` when there is nothing to do for it."""
        same = next((o for o in self._pending.values() if o.command.step == command.step), None)
        if same is not None and same.command.action is command.action:
            same.waiting.append(connection)
            return None
        if same is not None or command.step != self._game.progress.step:
            self._answer(connection, command, STALE_STEP, now)
            return None
        if self._game.phase not in _FROM[command.action]:
            rule = f"{command.action} is for {' or '.join(sorted(_FROM[command.action]))}"
            self._answer(connection, command, REFUSED, now, f"{rule}; the quiz is in {self._game.phase}")
            return None
        return self._game.finished(now) if command.action is HostAction.FINISH else self._game.next_state(now)

    def waiting_for(self, ticket: int, connection: int, command: HostCommand, progress: QuizState) -> None:
        """The progress is being committed under this ticket."""
        self._pending[ticket] = _PendingCommand(command, progress, [connection])

    def committed(self, ticket: int, now: Instant) -> QuizState | None:
        """The order is durable: answer it; returns where the quiz goes, unless it went on by itself meanwhile."""
        order = self._pending.pop(ticket, None)
        if order is None:
            return None
        current = order.command.step == self._game.progress.step
        for connection in order.waiting:
            self._answer(connection, order.command, DONE if current else STALE_STEP, now)
        return order.progress if current else None

    def commit_failed(self, ticket: int, now: Instant) -> None:
        """The order was not stored: it counts as never given."""
        order = self._pending.pop(ticket, None)
        if order is not None:
            for connection in order.waiting:
                self._answer(connection, order.command, REFUSED, now, "it could not be stored; try again")

    def _answer(self, connection: int, command: HostCommand, verdict: str, now: Instant, rule: str = "") -> None:
        step = self._game.progress.step + (verdict == DONE)
        self._effects.append(Record(LogEventKind.HOST_ORDERED, now, ref=command.action, outcome=verdict))
        self._effects.append(SendToClient(connection, HostResult(command.action, verdict, step, rule)))

    # what they are shown ----------------------------------------------------------------------------------------------

    def mark_status_dirty(self) -> None:
        """Something that hosts see has changed."""
        self._changed = bool(self._heard)

    def next_deadline(self) -> Instant | None:
        """When to call :meth:`handle_timeout`; ``None`` while nobody hosts."""
        if not self._heard:
            return None
        silent = min(self._heard.values()) + self._grace
        return min(silent, self._next_flush) if self._changed else silent

    def handle_timeout(self, now: Instant) -> None:
        """Show what has changed; let go of who is silent."""
        for connection, heard in list(self._heard.items()):
            if now >= heard + self._grace:
                del self._heard[connection]
                self._effects.append(Disconnect(connection, CloseCode.SILENT, "no sign of life"))
        if self._changed and now >= self._next_flush:
            self.send_status(now)

    def send_status(self, now: Instant) -> None:
        """Tell every host how things stand now."""
        self._changed = False
        self._next_flush = now + self._interval
        if self._heard:
            status = self._status(now)
            self._effects += [SendToClient(connection, status) for connection in self._heard]
