"""One participant's side of the protocol: join or resume, follow the stream, answer. Pure.

``ReconnectingConnection`` connects and reconnects. An answer is kept until its verdict arrives, and is sent again after
every reconnection. The time left for a question is as true as its message was fresh: for one that was held on its way,
and after a sleep with an open question, the client resumes, since a new snapshot states the true time.
"""

from __future__ import annotations

import msgspec

from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.return_window import ReturnWindow
from resilience.protocol.client.connection import QUESTION_HELD, SLEPT, ClientRules, ReconnectingConnection
from resilience.protocol.messages import (
    Answer,
    AnswerResult,
    Credentials,
    Error,
    Join,
    Joined,
    LeaderboardShown,
    Leave,
    Message,
    OpenQuestion,
    Ping,
    Pong,
    PresenceChanged,
    ProbeReply,
    QuestionOpened,
    QuestionRevealed,
    QuizFinished,
    Resume,
    ResumeRejected,
    SequencedMessage,
    ServerMessage,
    StateRestored,
    TokenStored,
)
from resilience.protocol.states import ClientState
from resilience.quiz.phases import Phase
from resilience.random_streams import UniformSource
from resilience.units import Instant, Seconds

__all__ = ["MAX_HOLD_S", "MAX_PENDING_ANSWERS", "ClientRules", "Identity", "ParticipantClient", "open_question"]

MAX_PENDING_ANSWERS = 1000
"""The most answers that may wait for their verdict: twice as many as a quiz has questions."""

MAX_HOLD_S: Seconds = 1.0
"""A question that may have waited longer than this on its way is shown with too much time."""

_SUPERSEDED = ("retired", "superseded")
"""Reasons for which a server rejects a token because another client has the session."""

_SEQUENCED = (QuestionOpened, QuestionRevealed, LeaderboardShown, QuizFinished, PresenceChanged)


def open_question(message: Message) -> OpenQuestion | None:
    """The open question in a message: a new one, or, in a snapshot, the one not answered yet."""
    if isinstance(message, QuestionOpened):
        return message.question
    if isinstance(message, Joined | StateRestored):
        snapshot = message.snapshot
        return snapshot.question if snapshot.phase == Phase.QUESTION and snapshot.answer is None else None
    return None


class Identity(msgspec.Struct, frozen=True):
    """The client's identity. ``instance`` must differ between any two clients alive at once."""

    event: str
    name: str
    instance: str


class ParticipantClient(ReconnectingConnection):
    """A participant's decisions."""

    __slots__ = ("_answers", "_is_question_open", "credentials", "epoch", "identity", "pending", "seq")

    def __init__(self, identity: Identity, rules: ClientRules, draw: UniformSource) -> None:
        super().__init__(rules, draw)
        self.identity = identity
        self.credentials: Credentials | None = None
        self.epoch, self.seq = "", 0
        self.pending: dict[str, Answer] = {}
        self._answers = 0
        self._is_question_open = False

    @property
    def participant(self) -> str | None:
        """The public id that the server gave; ``None`` before."""
        return self.credentials.participant if self.credentials else None

    # the application's requests ---------------------------------------------------------------------------------------

    def answer(self, question: str, choice: int, now: Instant) -> None:
        """Answer a question, now or when the connection is back.

        A second answer to a question whose first has no verdict yet is ignored, as is one above
        ``MAX_PENDING_ANSWERS``.
        """
        if question in self.pending or self.state in (ClientState.CLOSED, ClientState.IDLE):
            return
        if len(self.pending) >= MAX_PENDING_ANSWERS:
            return
        self._answers += 1
        answer = Answer(question, choice, f"{self.identity.instance}-{self._answers}")
        self.pending[question] = answer
        self._record(LogEventKind.ANSWER_SUBMITTED, now, ref=f"{question}/{answer.key}", detail=str(choice))
        if self.state is ClientState.OPEN:
            self._submit(answer, now)

    def slept(self, now: Instant) -> None:
        """The computer slept, and the clock of ``now`` stood still meanwhile: a countdown on it is wrong."""
        if self._is_question_open:
            self.resume(SLEPT, now)
        super().slept(now)

    # the server's messages --------------------------------------------------------------------------------------------

    def receive_unknown(self, seq: int | None, dial: int, now: Instant) -> None:
        """A message of a type that only newer clients know; one in the stream counts as received."""
        super().receive_unknown(seq, dial, now)
        if seq is not None and dial == self.dial and self.state is ClientState.OPEN:
            self._accept_sequenced(seq, now)

    def _leave_message(self) -> Leave:
        return Leave()

    def _session_id(self) -> str | None:
        return self.participant

    def _send_first_message(self, now: Instant) -> None:  # noqa: ARG002 - the link's signature
        me, dials = self.identity, self._dials
        if self.credentials is None:
            self._send(Join(event=me.event, name=me.name, instance=me.instance, accepts_deflate=True, attempt=dials))
            return
        token, participant = self.credentials.token, self.credentials.participant
        self._send(Resume(event=me.event, token=token, participant=participant, accepts_deflate=True, attempt=dials))

    def _receive_joining(self, message: ServerMessage, now: Instant) -> None:
        if isinstance(message, Joined):
            self._on_welcome(message, LogEventKind.SESSION_JOINED, now)
        elif isinstance(message, StateRestored):
            self._on_welcome(message, LogEventKind.SESSION_RESTORED, now)
        elif isinstance(message, ResumeRejected):
            self._rejected(message, now)
        elif isinstance(message, Error):
            self._first_message_rejected(message, now)

    def _rejected(self, message: ResumeRejected, now: Instant) -> None:
        """End if another client has the session; else join as a new participant, once.

        A server that then rejects the join too is retried with backoff.
        """
        self._record(LogEventKind.SESSION_REJECTED, now, cause=message.reason)
        if self.credentials is None:
            self._abort_transport("resume_rejected", now)
        elif message.reason in _SUPERSEDED:
            self._superseded("another client has this session", now)
        else:
            self.credentials = None
            self._send_first_message(now)

    def _on_welcome(self, message: Joined | StateRestored, kind: LogEventKind, now: Instant) -> None:
        self.credentials = message.credentials
        timing, snapshot = message.timing, message.snapshot
        self.window = ReturnWindow(timing.spread_ms / 1000, timing.step_ms / 1000, timing.cap_ms / 1000)
        self.epoch, self.seq = snapshot.epoch, snapshot.seq
        held_for = self.held_for
        self._session_opened(now)
        self._record(
            kind,
            now,
            connection_no=message.credentials.connection_no,
            seq=snapshot.seq,
            attempt=self._backoff.attempt,
            detail=snapshot.digest(),
        )
        self._mark_restored(now)
        self._send(TokenStored(message.credentials.generation))
        for answer in self.pending.values():  # the server answers each one with its stored verdict
            self._submit(answer, now)
        self._is_question_open = snapshot.phase == Phase.QUESTION
        self._deliver(message, now)
        if self._is_question_open and held_for > MAX_HOLD_S:
            self._question_held(now)

    def _receive_open(self, message: ServerMessage, now: Instant) -> None:
        if isinstance(message, _SEQUENCED):
            if self._accept_sequenced(message.seq, now):
                self._deliver(message, now)
                self._follow_question(message, now)
        elif isinstance(message, Ping):
            self.window = ReturnWindow(message.spread_ms / 1000, message.step_ms / 1000, message.cap_ms / 1000)
            self._send(Pong(message.id))
            self._record(LogEventKind.PONG_SENT, now)
        elif isinstance(message, AnswerResult):
            self._on_answer_result(message, now)
        elif isinstance(message, ProbeReply):
            self._liveness.answered(now, owing=bool(self.pending))
        else:
            self._deliver(message, now)

    def _follow_question(self, message: SequencedMessage, now: Instant) -> None:
        """A message of the stream was delivered: one that opens a question may have been held."""
        if isinstance(message, QuestionOpened):
            self._is_question_open = True
            if self.held_for > MAX_HOLD_S:
                self._question_held(now)
        elif not isinstance(message, PresenceChanged):
            self._is_question_open = False

    def _question_held(self, now: Instant) -> None:
        """A question is shown with too much time."""
        self.resume(QUESTION_HELD, now)

    def _accept_sequenced(self, seq: int, now: Instant) -> bool:
        """Accept the next number of the stream; returns whether it was the next. A gap is repaired by a resume."""
        if seq <= self.seq:
            return False
        if seq > self.seq + 1:
            self._abort_transport("stream_gap", now)
            return False
        self.seq = seq
        self._record(LogEventKind.STREAM_DELIVERED, now, seq=seq, detail=self.epoch)
        return True

    def _submit(self, answer: Answer, now: Instant) -> None:
        self._send(answer)
        self._liveness.asked(now)

    def _on_answer_result(self, message: AnswerResult, now: Instant) -> None:
        answer = self.pending.get(message.question)
        if answer is not None and answer.key == message.key:
            del self.pending[message.question]
            self._liveness.answered(now, owing=bool(self.pending))
            ref = f"{message.question}/{message.key}"
            self._record(LogEventKind.ANSWER_ACKED, now, ref=ref, outcome=message.verdict)
            self._deliver(message, now)
