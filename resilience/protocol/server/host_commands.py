"""The hosts of one event: their commands, carried out once and after their commit, and the status they see. Pure.

A command names the step that it is meant for. A command that is sent twice, or that arrives after a timer or another
host has moved the quiz, finds it at another step and does nothing; so a host may resend any command that has no reply.

One command at most is on its way to the store, and while it is, nothing else may move the quiz: each step has one state
that is ever stored.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from resilience.errors import LocalProtocolError
from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.close_codes import CloseCode
from resilience.policy.failure_detectors import extended
from resilience.protocol.effects import Disconnect, Record, SendToClient, ServerEffect
from resilience.protocol.messages import HostAction, HostCommand, Hosting, HostResult, HostStatus
from resilience.protocol.server.pending_commits import PendingCommits
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
"""The phases in which a command is allowed."""


class _PendingCommand(msgspec.Struct):
    """A command until its commit, with the hosts that wait for it; continues in its ``owner``."""

    owner: HostCommands
    command: HostCommand
    state: QuizState
    connections: list[int]
    ticket: int = 0

    def committed(self, now: Instant) -> None:
        self.owner.committed(now)

    def commit_failed(self, now: Instant) -> None:
        self.owner.commit_failed(now)


class HostCommands:
    """The connected hosts and their pending commands. ``effects`` is the room's list.

    ``status`` describes the event at a time; ``settle`` moves the quiz to a committed state, or receives ``None`` when
    the commit failed and timers may move the quiz again. Status is sent at most once per ``interval`` seconds; a host
    that is silent for ``grace`` seconds is disconnected.
    """

    def __init__(  # noqa: PLR0913 - all that host commands depend on
        self,
        game: Game,
        effects: list[ServerEffect],
        commits: PendingCommits,
        *,
        status: Callable[[Instant], HostStatus],
        settle: Callable[[QuizState | None, Instant], None],
        interval: Seconds,
        grace: Seconds,
    ) -> None:
        self._game, self._effects, self._commits = game, effects, commits
        self._status, self._settle = status, settle
        self._interval, self._grace = interval, grace
        self._heard: dict[int, Instant] = {}
        self._pending: _PendingCommand | None = None
        self._changed = False
        self._next_flush: Instant = float("-inf")

    def __contains__(self, connection: object) -> bool:
        return connection in self._heard

    def attach(self, connection: int, event: str, now: Instant) -> None:
        """Add a connection whose host key is right."""
        self._heard[connection] = now
        self._effects.append(Record(LogEventKind.HOST_ATTACHED, now, ref=event))
        self._effects.append(SendToClient(connection, Hosting(event, self._status(now))))

    def heard(self, connection: int, now: Instant) -> None:
        """A message arrived from a host."""
        self._heard[connection] = now

    def detach(self, connection: int) -> None:
        """A host's connection ended."""
        self._heard.pop(connection, None)

    # commands ---------------------------------------------------------------------------------------------------------

    @property
    def is_pending(self) -> bool:
        """Whether a command is on its way to the store: until its outcome is known nothing else may move the quiz."""
        return self._pending is not None

    def submit(self, connection: int, command: HostCommand, now: Instant) -> None:
        """Judge a command: reply at once, order its commit, or let it wait for the commit of an equal one."""
        pending = self._pending
        if pending is not None and pending.command == command:
            pending.connections.append(connection)
            self._commits.wait_for(pending.ticket, connection)
        elif pending is not None or command.step != self._game.progress.step:
            self._reply(connection, command, STALE_STEP, now)
        elif self._game.phase not in _FROM[command.action]:
            rule = f"{command.action} is for {' or '.join(sorted(_FROM[command.action]))}"
            self._reply(connection, command, REFUSED, now, f"{rule}; the quiz is in {self._game.phase}")
        else:
            self._persist(connection, command, now)

    def _persist(self, connection: int, command: HostCommand, now: Instant) -> None:
        is_finish = command.action is HostAction.FINISH
        state = self._game.finished(now) if is_finish else self._game.next_state(now)
        self._pending = pending = _PendingCommand(self, command, state, [connection])
        pending.ticket = self._commits.persist_then((state,), connection, pending)

    def committed(self, now: Instant) -> None:
        """The pending command is durable: reply to it and move the quiz."""
        pending = self._take_pending()
        for connection in pending.connections:
            self._reply(connection, pending.command, DONE, now)
        self._settle(pending.state, now)

    def commit_failed(self, now: Instant) -> None:
        """The pending command was not stored and is not carried out."""
        pending = self._take_pending()
        for connection in pending.connections:
            self._reply(connection, pending.command, REFUSED, now, "it could not be stored; try again")
        self._settle(None, now)

    def _take_pending(self) -> _PendingCommand:
        pending, self._pending = self._pending, None
        if pending is None:
            raise LocalProtocolError("no host command is on its way to the store")
        return pending

    def _reply(self, connection: int, command: HostCommand, verdict: str, now: Instant, rule: str = "") -> None:
        step = self._game.progress.step + (verdict == DONE)
        self._effects.append(Record(LogEventKind.HOST_ORDERED, now, ref=command.action, outcome=verdict))
        self._effects.append(SendToClient(connection, HostResult(command.action, verdict, step, rule)))

    # status -----------------------------------------------------------------------------------------------------------

    def mark_status_dirty(self) -> None:
        """Something in the host status has changed."""
        self._changed = bool(self._heard)

    def next_deadline(self) -> Instant | None:
        """When to call :meth:`handle_timeout`; ``None`` without hosts."""
        if not self._heard:
            return None
        silent = min(self._heard.values()) + self._grace
        return min(silent, self._next_flush) if self._changed else silent

    def extend_by_lag(self, lag: Seconds, now: Instant) -> None:
        """Give ``lag`` seconds that the scheduler overslept back to every host."""
        for connection, heard in self._heard.items():
            self._heard[connection] = extended(heard + self._grace, lag, now, longest=self._grace) - self._grace

    def handle_timeout(self, now: Instant) -> None:
        """Disconnect silent hosts; send a changed status."""
        for connection, heard in list(self._heard.items()):
            if now >= heard + self._grace:
                del self._heard[connection]
                self._effects.append(Disconnect(connection, CloseCode.SILENT, "no sign of life"))
        if self._changed and now >= self._next_flush:
            self.send_status(now)

    def send_status(self, now: Instant) -> None:
        """Send the current status to every host."""
        self._changed = False
        self._next_flush = now + self._interval
        if self._heard:
            status = self._status(now)
            self._effects += [SendToClient(connection, status) for connection in self._heard]
