"""A scripted participant that records what it was shown, a source besides event log and database. Pure.

Observations are made at the message boundary, before the client machine interprets a message, so a defect of the
machine hides nothing. Heartbeats are counted, not recorded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial

import msgspec

from resilience.errors import RemoteProtocolError
from resilience.experiment.spec import Experiment
from resilience.lab.observation import SILENCE, Observation, ObservationKind
from resilience.lab.observation_rows import ListedRows, ObservationRows, encode_line
from resilience.lab.participants import EVENT, ParticipantSpec
from resilience.lab.scripted_client import ScriptedClient
from resilience.lab.token_history import TokenHistory
from resilience.policy.close_codes import CloseCode
from resilience.protocol.client.participant import ClientRules, Identity
from resilience.protocol.compression import roster_of
from resilience.protocol.messages import (
    Answer,
    AnswerResult,
    Joined,
    LeaderboardShown,
    Ping,
    PresenceChanged,
    QuestionOpened,
    QuestionRevealed,
    QuizFinished,
    ResumeRejected,
    ScoreChanged,
    SequencedMessage,
    ServerMessage,
    Snapshot,
    Standing,
    StateRestored,
)
from resilience.protocol.states import ClientState, ConnectionState
from resilience.quiz.answer_behaviour import AnswerBehaviour
from resilience.quiz.phases import Phase
from resilience.random_streams import UniformSource, random_for
from resilience.units import Instant, Seconds

TOKEN_DIGITS = 16
"""Hexadecimal digits of a token's hash that are kept: enough to tell a million tokens apart, too few to find one.

With 8 of them two of the 20,000 tokens of a run with 5,000 clients are alike in one run of twenty.
"""

PRESENCE_SIGNS: dict[str, str] = {
    ConnectionState.CONNECTED: "=",
    ConnectionState.TEMPORARILY_DISCONNECTED: "-",
    ConnectionState.DISCONNECTED: "!",
}
"""The sign before a participant's id in the ``content`` of a presence message; ``+`` announces a new one."""


class _Connection(msgspec.Struct):
    """One connection since its snapshot."""

    number: int
    epoch: str
    since: Instant
    heard: Instant
    pings: int = 0


class ClientObserver:
    """Keeps the observations of one client, ``actor``. ``dial`` is the number of a connection, from 1."""

    def __init__(self, actor: str) -> None:
        self._actor, self._participant = actor, "?"
        self._open: _Connection | None = None
        self._rows: ObservationRows = ListedRows()

    def keep_in(self, rows: ObservationRows) -> None:
        """Keep the observations there, none of which has been made."""
        self._rows = rows

    @property
    def rows(self) -> list[Observation]:
        """Everything so far; last the connection that is open, as of its last message."""
        return [*self._rows, *self._still_open()]

    def lines(self) -> Iterator[bytes]:
        """The same as JSON Lines, in pieces of whole lines."""
        yield from self._rows.lines()
        yield from map(encode_line, self._still_open())

    def _still_open(self) -> list[Observation]:
        open_ = self._open
        return [] if open_ is None else [self._end(open_, ObservationKind.OPEN, open_.heard)]

    @property
    def connection(self) -> int:
        """The number of the connection that has a session; 0 for none."""
        return self._open.number if self._open is not None else 0

    def receive(self, message: ServerMessage, dial: int, now: Instant, *, stale: bool = False) -> None:
        """A message arrived over this connection, which is ``stale`` when a newer one replaced it."""
        match message:
            case Joined() | StateRestored():
                self._rows.append(self._snapshot(message, dial, now, stale=stale))
            case QuestionOpened() | QuestionRevealed() | LeaderboardShown() | QuizFinished() | PresenceChanged():
                self._rows.append(self._in_stream(message, dial, now, stale=stale))
            case ScoreChanged() | AnswerResult() | ResumeRejected():
                self._rows.append(self._own(message, dial, now, stale=stale))
            case _:
                pass
        self._heard(dial, now, pings=isinstance(message, Ping))

    def receive_unknown(self, seq: int | None, dial: int, now: Instant, *, stale: bool = False) -> None:
        """A message arrived whose type is not known; ``seq`` is its number in the stream if it has one."""
        if seq is not None:
            kind, epoch = ObservationKind.UNKNOWN, self._epoch_of(dial)
            self._rows.append(self._row(kind, dial, now, stale=stale, epoch=epoch, seq=seq))
        self._heard(dial, now)

    def sent(self, answer: Answer, dial: int, now: Instant) -> None:
        """The client sent an answer."""
        ref, kind = f"{answer.question}/{answer.key}", ObservationKind.SENT
        self._rows.append(self._row(kind, dial, now, question=answer.question, ref=ref, answer=answer.choice))

    def ended(self, dial: int, kind: ObservationKind, now: Instant, cause: str | None = None) -> None:
        """A connection was *lost* or *left*; only one that had a snapshot is recorded, once."""
        open_ = self._open
        if open_ is not None and open_.number == dial:
            self._rows.append(self._end(open_, kind, now, cause))
            self._open = None

    def replayed(self, token: str, outcome: str, now: Instant) -> None:
        """Another program presented this token and got this reply."""
        row = self._row(ObservationKind.REPLAY, self.connection, now, outcome=outcome)
        self._rows.append(msgspec.structs.replace(row, token=_digits(token)))

    def _heard(self, dial: int, now: Instant, *, pings: bool = False) -> None:
        open_ = self._open
        if open_ is not None and open_.number == dial:
            open_.heard = now
            open_.pings += pings

    def _epoch_of(self, dial: int) -> str | None:
        return self._open.epoch if self._open is not None and self._open.number == dial else None

    def _row(  # noqa: PLR0913 - the fields that most kinds have
        self,
        kind: ObservationKind,
        dial: int,
        now: Instant,
        *,
        stale: bool = False,
        phase: Phase | None = None,
        question: str | None = None,
        epoch: str | None = None,
        seq: int | None = None,
        ref: str | None = None,
        answer: int | None = None,
        outcome: str | None = None,
        score: int | None = None,
        points: int | None = None,
        remaining: Seconds | None = None,
        correct: int | None = None,
        content: str | None = None,
    ) -> Observation:
        return Observation(
            now,
            self._actor,
            self._participant,
            phase,
            question,
            score,
            remaining,
            correct,
            kind,
            dial,
            stale,
            epoch,
            seq,
            answer,
            ref,
            outcome,
            points,
            content,
        )

    def _snapshot(self, message: Joined | StateRestored, dial: int, now: Instant, *, stale: bool) -> Observation:
        credentials, snapshot = message.credentials, message.snapshot
        self._participant = credentials.participant
        if not stale:
            self._open = _Connection(dial, snapshot.epoch, now, now)
        question, phase = snapshot.question, Phase(snapshot.phase)
        row = self._row(
            ObservationKind.JOINED if isinstance(message, Joined) else ObservationKind.RESTORED,
            dial,
            now,
            stale=stale,
            phase=phase,
            question=question.id if question else None,
            epoch=snapshot.epoch,
            seq=snapshot.seq,
            answer=snapshot.answer,
            score=snapshot.score,
            remaining=question.remaining_ms / 1000 if question and phase is Phase.QUESTION else None,
            correct=question.correct if question else None,
        )
        name = _own_name(snapshot, credentials.participant)
        return msgspec.structs.replace(
            row, name=name, token=_digits(credentials.token), fence=credentials.connection_no
        )

    def _in_stream(self, message: SequencedMessage, dial: int, now: Instant, *, stale: bool) -> Observation:
        add = partial(self._row, dial=dial, now=now, stale=stale, epoch=self._epoch_of(dial), seq=message.seq)
        match message:
            case QuestionOpened(question=shown):
                return add(
                    ObservationKind.QUESTION,
                    phase=Phase.QUESTION,
                    question=shown.id,
                    remaining=shown.remaining_ms / 1000,
                    correct=shown.correct,
                )
            case QuestionRevealed(question=name, correct=correct):
                return add(ObservationKind.REVEAL, phase=Phase.REVEAL, question=name, correct=correct)
            case LeaderboardShown(leaders=leaders):
                return add(ObservationKind.LEADERBOARD, phase=Phase.LEADERBOARD, content=_standings(leaders))
            case QuizFinished(leaders=leaders):
                return add(ObservationKind.FINISHED, phase=Phase.FINISHED, content=_standings(leaders))
            case PresenceChanged():
                return add(ObservationKind.PRESENCE, content=_presence(message))

    def _own(
        self, message: ScoreChanged | AnswerResult | ResumeRejected, dial: int, now: Instant, *, stale: bool
    ) -> Observation:
        add = partial(self._row, dial=dial, now=now, stale=stale)
        match message:
            case ScoreChanged(question=name, points=points, score=score):
                return add(ObservationKind.SCORE, phase=Phase.REVEAL, question=name, score=score, points=points)
            case AnswerResult(question=name, key=key, verdict=verdict):
                return add(ObservationKind.VERDICT, question=name, ref=f"{name}/{key}", outcome=verdict)
            case ResumeRejected(reason=reason):
                return add(ObservationKind.REFUSED, outcome=reason)

    def _end(self, ended: _Connection, kind: ObservationKind, now: Instant, cause: str | None = None) -> Observation:
        row = self._row(kind, ended.number, now, epoch=ended.epoch, outcome=cause)
        return msgspec.structs.replace(row, since=ended.since, heard=ended.heard, pings=ended.pings)


def _digits(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()[:TOKEN_DIGITS]


def _own_name(snapshot: Snapshot, participant: str) -> str | None:
    """The participant's name in the roster; ``None`` where the roster does not list it."""
    try:
        players = roster_of(snapshot).players
    except RemoteProtocolError:
        return None
    return next((player.name for player in players if player.participant == participant), None)


def _standings(leaders: tuple[Standing, ...]) -> str:
    return " ".join(f"{line.participant}:{line.score}" for line in leaders)


def _presence(message: PresenceChanged) -> str:
    changed = (f"{PRESENCE_SIGNS.get(player.state, '?')}{player.participant}" for player in message.changed)
    return " ".join([*(f"+{player.participant}" for player in message.joined), *changed])


class ObservingClient(ScriptedClient):
    """A scripted client with a :class:`ClientObserver`; ``tokens`` are those that it has held."""

    def __init__(self, identity: Identity, rules: ClientRules, player: AnswerBehaviour, draw: UniformSource) -> None:
        super().__init__(identity, rules, player, draw)
        self._observer = ClientObserver(identity.instance)
        self.tokens = TokenHistory()

    @property
    def observations(self) -> list[Observation]:
        """What it was shown, sent and suffered so far."""
        return self._observer.rows

    def observation_lines(self) -> Iterator[bytes]:
        """The same as JSON Lines, in pieces of whole lines."""
        return self._observer.lines()

    def keep_observations_in(self, rows: ObservationRows) -> None:
        """Keep them there from now on; called before the client starts."""
        self._observer.keep_in(rows)

    def receive(self, message: ServerMessage, dial: int, now: Instant) -> None:
        """A message arrived over this dial."""
        self._observer.receive(message, dial, now, stale=dial != self.dial)
        if dial == self.dial:
            self.tokens.receive(message)
        super().receive(message, dial, now)
        self._note_end("client", now)

    def receive_unknown(self, seq: int | None, dial: int, now: Instant) -> None:
        """A message of a type that only newer clients know."""
        self._observer.receive_unknown(seq, dial, now, stale=dial != self.dial)
        super().receive_unknown(seq, dial, now)
        self._note_end("client", now)

    def transport_lost(  # noqa: PLR0913 - as in the base class
        self,
        dial: int,
        cause: str,
        now: Instant,
        code: int = CloseCode.ABNORMAL,
        advice: Seconds | None = None,
        *,
        reason: str = "",
    ) -> None:
        """An open transport ended."""
        self._observer.ended(dial, ObservationKind.LOST, now, cause)
        super().transport_lost(dial, cause, now, code, advice, reason=reason)

    def handle_timeout(self, now: Instant) -> None:
        """Act on a deadline."""
        super().handle_timeout(now)
        self._note_end(SILENCE, now)

    def wake(self, now: Instant) -> None:
        """The network or the computer is available again."""
        super().wake(now)
        self._note_end("stale", now)

    def leave(self, now: Instant) -> None:
        """Leave on purpose."""
        self._observer.ended(self.dial, ObservationKind.LEFT, now)
        super().leave(now)

    def note_replay(self, token: str, outcome: str, now: Instant) -> None:
        """Another program presented this token, which the client once held, and got this reply."""
        self._observer.replayed(token, outcome, now)

    def _submit(self, answer: Answer, now: Instant) -> None:
        self._observer.sent(answer, self.dial, now)
        super()._submit(answer, now)

    def _note_end(self, cause: str, now: Instant) -> None:
        """The machine may have ended its connection by itself."""
        if self.state is not ClientState.OPEN:
            self._observer.ended(self._observer.connection, ObservationKind.LOST, now, cause)


def make_observing_client(experiment: Experiment, participant: ParticipantSpec, seed: int) -> ObservingClient:
    """The machine of one participant, as :func:`~resilience.lab.participants.make_scripted_client`, with a memory."""
    identity = Identity(EVENT, participant.actor, participant.actor)
    return ObservingClient(
        identity, experiment.client.rules, experiment.quiz.player, random_for(seed, participant.actor)
    )
