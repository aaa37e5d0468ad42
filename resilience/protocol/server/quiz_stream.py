"""The numbered stream of one event: game, sequence numbers, answers, host commands, phase timing. Pure.

What it announces follows from what is durable: a host's command and the start of the lobby time act after their commit,
and a phase that a timer enters is recomputed by the next server from the deadlines stored before.

It addresses participants only through :class:`Audience` and knows no session, token or heartbeat.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol.deadlines import DeadlineQueue
from resilience.protocol.effects import Record, SendToClient, ServerEffect
from resilience.protocol.messages import (
    Answer,
    ClientMessage,
    HostCommand,
    HostStatus,
    PresenceChanged,
    Probe,
    ProbeReply,
    SequencedMessage,
    ServerMessage,
    Snapshot,
    Standing,
)
from resilience.protocol.server.answers import PendingAnswers
from resilience.protocol.server.game_messages import GameMessages
from resilience.protocol.server.host_commands import HostCommands
from resilience.protocol.server.pending_commits import PendingCommits
from resilience.protocol.server.presence import PresenceDelta
from resilience.protocol.server.settings import RoomSettings
from resilience.protocol.server.snapshots import SnapshotBuilder
from resilience.quiz.game import Game, QuizState
from resilience.quiz.phases import Phase
from resilience.units import Instant, Seconds

_PHASE, _HOSTS, _PROGRESS, _LOBBY = "phase", "hosts", "progress", "lobby"
"""Keys of the deadline queue. A deadline that passed before it was scheduled is due now: no timer was late."""

LOBBY_RETRY_S: Seconds = 1.0
"""When to store the start of the lobby time again after a failed commit."""


class Audience(Protocol):
    """What the quiz stream needs of the participants who attend."""

    def broadcast(self, message: SequencedMessage) -> None:
        """Send a message to every subscribed connection."""

    def send_each(self, message_for: Callable[[str], ServerMessage | None]) -> None:
        """Send every subscribed participant a message of its own, or nothing."""

    def name_of(self, participant: str) -> str:
        """The display name of a participant."""

    def states(self) -> dict[str, int]:
        """How many participants are in each connection state."""

    def standings_changed(self) -> None:
        """The leaderboard changed."""

    def phase_entered(self, phase: Phase, now: Instant) -> None:
        """The quiz moved to another phase."""


class _LobbyStart(msgspec.Struct):
    """The start of the lobby time until its commit; continues in its ``owner``."""

    owner: QuizStream
    at: Instant

    def committed(self, now: Instant) -> None:
        self.owner.lobby_stored(self.at, now)

    def commit_failed(self, now: Instant) -> None:
        self.owner.lobby_not_stored(now)


class QuizStream:
    """The quiz of one room. ``effects`` is the room's list, ``commits`` its table of pending commits.

    ``epoch`` names the stream, ``seq`` is the number of its last message.
    """

    def __init__(  # noqa: PLR0913 - all that a quiz stream depends on
        self,
        game: Game,
        settings: RoomSettings,
        audience: Audience,
        *,
        commits: PendingCommits,
        effects: list[ServerEffect],
        epoch: str,
        event: str,
        title: str,
    ) -> None:
        self.game, self.event, self.seq = game, event, 0
        self._audience, self._commits, self._effects = audience, commits, effects
        self._deadlines = DeadlineQueue()
        self._retry_interval = settings.checkpoint_interval
        self._progress_is_unsaved = False
        self._lobby_is_pending = False
        self._answers = PendingAnswers(game, effects, commits, self._on_answer_stored)
        self._game_messages = GameMessages(game, settings.leaderboard_size, audience.name_of)
        self._snapshots = SnapshotBuilder(event, title, epoch, game, self._game_messages)
        self._host_commands = HostCommands(
            game,
            effects,
            commits,
            status=self._host_status,
            settle=self._on_command_settled,
            interval=settings.presence_interval,
            grace=settings.heartbeat.grace,
        )

    # participants -----------------------------------------------------------------------------------------------------

    def add_participant(self, participant: str, now: Instant) -> None:
        """Add a participant to the game; the first one starts the lobby time of an automatic quiz."""
        self.game.add_participant(participant)
        self._game_messages.participant_added(participant)
        self._start_lobby(now)

    def has_answers(self, participant: str) -> bool:
        """Whether this participant has an answer, stored or being stored."""
        return self.game.has_answered(participant) or self._answers.has_pending(participant)

    def forget_participant(self, participant: str) -> None:
        """Remove a participant without answers from the game."""
        self.game.forget_participant(participant)
        self._game_messages.participant_removed(participant)

    def restore(self, participants: list[str], now: Instant) -> None:
        """Continue a stored quiz, whose game is restored already, with these participants."""
        for participant in participants:
            self.game.add_participant(participant)
        self._game_messages.standings_changed()
        self._start_lobby(now)
        self._schedule_phase(now)
        self._audience.phase_entered(self.game.phase, now)

    def submit_answer(self, participant: str, answer: Answer, connection: int, now: Instant, *, excused: bool) -> None:
        """Judge an answer; ``excused`` allows the late window."""
        self._answers.submit(participant, answer, connection, now, excused=excused)

    def snapshot(self, participant: str, roster: msgspec.Raw, now: Instant) -> Snapshot:
        """Everything a client needs to continue from the current position."""
        return self._snapshots.snapshot(participant, self.seq, roster, now)

    def recomputed_digest(self, participant: str) -> str:
        """The participant's state recomputed from the answer log."""
        return self._snapshots.recomputed_digest(participant, self.seq)

    def leaders(self) -> tuple[Standing, ...]:
        """The head of the leaderboard, by visible scores."""
        return self._game_messages.leaders()

    def publish_presence(self, delta: PresenceDelta, now: Instant) -> None:
        """Broadcast a change of presence and record who was announced with it."""
        if delta.is_shown:
            self._broadcast(PresenceChanged(self.seq + 1, delta.count, delta.joined, delta.changed))
        for participant in delta.announced:
            self._effects.append(Record(LogEventKind.PARTICIPANT_ANNOUNCED, now, participant, seq=self.seq))

    # hosts ------------------------------------------------------------------------------------------------------------

    def is_host(self, connection: int) -> bool:
        """Whether this connection is a host's."""
        return connection in self._host_commands

    def attach_host(self, connection: int, now: Instant) -> None:
        """Add a host."""
        self._host_commands.attach(connection, self.event, now)
        self._schedule_hosts(now)

    def detach_host(self, connection: int) -> None:
        """A connection ended; harmless when it is no host's."""
        self._host_commands.detach(connection)

    def receive_host(self, message: ClientMessage, connection: int, now: Instant) -> bool:
        """A message from a host; returns whether it is one that a host may send."""
        self._host_commands.heard(connection, now)
        if isinstance(message, Probe):
            self._effects.append(SendToClient(connection, ProbeReply(message.id)))
        elif isinstance(message, HostCommand):
            self._host_commands.submit(connection, message, now)
        else:
            return False
        return True

    def attendance_changed(self, now: Instant) -> None:
        """A participant came, went or returned: hosts see it with their next status."""
        self._host_commands.mark_status_dirty()
        self._schedule_hosts(now)

    # time -------------------------------------------------------------------------------------------------------------

    def next_deadline(self) -> Instant | None:
        """When :meth:`handle_timeout` has something to do; ``None`` for never."""
        return self._deadlines.next_deadline()

    def extend_by_lag(self, lag: Seconds, now: Instant) -> None:
        """Give ``lag`` seconds that the scheduler overslept back to every host. The quiz's own deadlines stay."""
        self._host_commands.extend_by_lag(lag, now)

    def handle_timeout(self, now: Instant) -> None:
        """Enter the phases that are due; send status to hosts and disconnect silent ones."""
        due = self._deadlines.due(now)
        if _PROGRESS in due:
            self.save_unsaved()
        if _LOBBY in due:
            self._start_lobby(now)
        if _PHASE in due:
            self._advance(now)
        if _HOSTS in due:
            self._host_commands.handle_timeout(now)
            self._schedule_hosts(now)

    def save_unsaved(self) -> None:
        """Order the commit of the quiz's state if it is not stored."""
        if self._progress_is_unsaved:
            self._progress_is_unsaved = False
            self._store_progress(self.game.progress)

    # the parts --------------------------------------------------------------------------------------------------------

    def _store_progress(self, state: QuizState) -> None:
        """Order the commit of a state that the quiz enters by the clock; if it fails, store a later one."""
        self._commits.persist_or_retry((state,), self._progress_not_stored)

    def _progress_not_stored(self, now: Instant) -> None:
        self._progress_is_unsaved = True
        self._deadlines.schedule(_PROGRESS, now + self._retry_interval)

    def _start_lobby(self, now: Instant) -> None:
        """Order the start of the lobby time once there is a participant, unless a command is about to end the lobby."""
        if not self.game.scores or self._lobby_is_pending or self._host_commands.is_pending:
            return
        state = self.game.timed_lobby(now)
        if state is not None:
            self._lobby_is_pending = True
            self._commits.persist_with((state,), _LobbyStart(self, now))

    def lobby_stored(self, at: Instant, now: Instant) -> None:
        """The lobby time that starts ``at`` is durable: from now on its end is a deadline."""
        self._lobby_is_pending = False
        self.game.start_lobby(at)
        self._advance(now)

    def lobby_not_stored(self, now: Instant) -> None:
        """The start of the lobby time was not stored: try again later, since a crash would take back what follows."""
        self._lobby_is_pending = False
        self._deadlines.schedule(_LOBBY, now + LOBBY_RETRY_S)

    def _advance(self, now: Instant) -> None:
        """Enter the phases that are due, unless a command that is on its way to the store may move the quiz first."""
        if self._host_commands.is_pending:
            return
        while self.game.phase_ends_at is not None and self.game.phase_ends_at <= now:
            state = self.game.next_state(self.game.phase_ends_at)
            self._store_progress(state)
            self._enter_phase(state, now)
        self._schedule_phase(now)

    def _on_command_settled(self, state: QuizState | None, now: Instant) -> None:
        """A command was committed, or not (``None``): carry it out, then do what timers had to leave meanwhile."""
        if state is not None:
            self._enter_phase(state, now)
        self._start_lobby(now)
        self._advance(now)

    def _enter_phase(self, state: QuizState, now: Instant) -> None:
        """Move the quiz; an end during a question closes it first, so that its answer and its scores are revealed."""
        if self.game.phase is Phase.QUESTION and state.phase is Phase.FINISHED:
            self._announce_phase(self.game.next_state(state.since), now)
        self._announce_phase(state, now)
        self._audience.phase_entered(state.phase, now)
        self._host_commands.send_status(now)

    def _announce_phase(self, state: QuizState, now: Instant) -> None:
        self.game.apply(state)
        self._game_messages.standings_changed()
        self._audience.standings_changed()
        self._broadcast(self._game_messages.phase_message(self.seq + 1, now))
        self._log_phase(state.phase, now)
        if state.phase is Phase.REVEAL:
            self._audience.send_each(self._game_messages.score_of)

    def _log_phase(self, phase: Phase, now: Instant) -> None:
        question = self.game.question
        kinds = {Phase.QUESTION: LogEventKind.QUESTION_OPENED, Phase.REVEAL: LogEventKind.QUESTION_CLOSED}
        if question is not None and phase in kinds:
            self._effects.append(Record(kinds[phase], now, seq=self.seq, ref=question.id))

    def _on_answer_stored(self, now: Instant, standings_changed: bool) -> None:  # noqa: FBT001 - a callback
        if standings_changed:
            self._game_messages.standings_changed()
            self._audience.standings_changed()
        self.attendance_changed(now)

    def _broadcast(self, message: SequencedMessage) -> None:
        self.seq += 1
        self._audience.broadcast(message)

    def _host_status(self, now: Instant) -> HostStatus:
        return self._snapshots.host_status(self._audience.states(), now)

    def _schedule_phase(self, now: Instant) -> None:
        if self.game.phase_ends_at is None:
            self._deadlines.cancel(_PHASE)
        else:
            self._deadlines.schedule(_PHASE, max(self.game.phase_ends_at, now))

    def _schedule_hosts(self, now: Instant) -> None:
        deadline = self._host_commands.next_deadline()
        if deadline is not None:
            self._deadlines.schedule(_HOSTS, max(deadline, now))
