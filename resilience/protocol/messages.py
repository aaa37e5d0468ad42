"""Every message on the wire: JSON objects told apart by ``type``. Pure values, no behaviour.

The first message of a connection is ``join`` or ``resume``. ``seq`` numbers the room's stream: each sequenced message
of an event has the number after its predecessor's; ``epoch`` names the stream and changes only when it was lost.
Durations are milliseconds on the wire, so that they are whole numbers in every language.
"""

from __future__ import annotations

import msgspec

PROTOCOL_VERSION = 1


def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")


class Message(msgspec.Struct, frozen=True, tag_field="type", tag=_snake, omit_defaults=True):
    """Anything on the wire."""


# --- client to server -------------------------------------------------------------------------------------------------


class Join(Message, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Take part in ``event`` as somebody new. ``instance`` tells this client from another tab of the same person."""

    event: str
    name: str
    instance: str
    protocol: int = PROTOCOL_VERSION


class Resume(Message, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Come back as the holder of ``token``; ``epoch`` and ``seq`` say how far this client had heard."""

    event: str
    token: str
    instance: str
    epoch: str = ""
    seq: int = 0
    protocol: int = PROTOCOL_VERSION


class TokenStored(Message, frozen=True, forbid_unknown_fields=True):
    """The token of this generation is kept: the one before it may be forgotten."""

    generation: int


class Pong(Message, frozen=True, forbid_unknown_fields=True):
    """Answer to ``ping``, with its id."""

    id: int


class Probe(Message, frozen=True, forbid_unknown_fields=True):
    """Are you there? Sent by a client that has heard nothing for a while."""

    id: int


class Answer(Message, frozen=True, forbid_unknown_fields=True):
    """A choice (counted from 0) for a question; ``key`` makes a resend recognisable."""

    question: str
    choice: int
    key: str


class Leave(Message, frozen=True, forbid_unknown_fields=True):
    """The participant goes on purpose."""


ClientMessage = Join | Resume | TokenStored | Pong | Probe | Answer | Leave

# --- shared parts -----------------------------------------------------------------------------------------------------


class Credentials(msgspec.Struct, frozen=True):
    """Who this client is and how it may come back. ``connection_no`` is the fencing number of this connection."""

    participant: str
    token: str
    generation: int
    connection_no: int


class Timing(msgspec.Struct, frozen=True):
    """The server's effective settings, milliseconds, and the return window for the crowd of this moment."""

    heartbeat_ms: int
    grace_ms: int
    cleanup_ms: int
    spread_ms: int
    step_ms: int
    cap_ms: int


class OpenQuestion(msgspec.Struct, frozen=True, omit_defaults=True):
    """A question as players see it; ``correct`` only once it is revealed."""

    id: str
    text: str
    choices: tuple[str, ...]
    time_ms: int
    remaining_ms: int
    correct: int | None = None


class Player(msgspec.Struct, frozen=True):
    """One participant as others see it."""

    participant: str
    name: str
    state: str


class Standing(msgspec.Struct, frozen=True):
    """One line of the leaderboard."""

    participant: str
    score: int


class Roster(msgspec.Struct, frozen=True):
    """Who takes part, as everybody sees it. ``players`` is complete up to the server's cap; above it it is empty."""

    count: int
    players: tuple[Player, ...]
    leaders: tuple[Standing, ...]


class Snapshot(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything a client needs to go on, at one position of the stream.

    ``answer`` is this participant's own choice for ``question``; ``roster`` is a :class:`Roster` as JSON, serialised
    once for all who are told the same.
    """

    epoch: str
    seq: int
    phase: str
    score: int
    server_time_ms: int
    roster: msgspec.Raw
    question: OpenQuestion | None = None
    answer: int | None = None

    def digest(self) -> str:
        """The state in one readable line: what both ends must agree on."""
        question = self.question.id if self.question else "-"
        return state_digest(self.phase, question, self.score, self.answer, self.epoch, self.seq)


def state_digest(  # noqa: PLR0913, PLR0917 - what a state consists of
    phase: str, question: str, score: int, answer: int | None, epoch: str, seq: int
) -> str:
    """One participant's state in one readable line, compared between the ends by the ``restored`` invariant."""
    own = "-" if answer is None else answer
    return f"phase={phase};question={question};score={score};answer={own};epoch={epoch};seq={seq}"


# --- server to client -------------------------------------------------------------------------------------------------


class Joined(Message, frozen=True):
    """You are in, as somebody new."""

    credentials: Credentials
    timing: Timing
    snapshot: Snapshot


class StateRestored(Message, frozen=True):
    """You are back: the same participant, with all it had. ``rejoined``: after the clean-up, not within it."""

    credentials: Credentials
    timing: Timing
    snapshot: Snapshot
    rejoined: bool = False


class ResumeRejected(Message, frozen=True):
    """No session for this token; ``reason`` is ``unknown`` or ``expired``. Join anew on the same connection."""

    reason: str


class Ping(Message, frozen=True):
    """Answer with ``pong`` and this id; the return window as it is now, milliseconds."""

    id: int
    spread_ms: int
    step_ms: int
    cap_ms: int


class ProbeReply(Message, frozen=True):
    """Here I am."""

    id: int


class AnswerResult(Message, frozen=True):
    """What became of the answer with this key; sent after it was committed."""

    question: str
    key: str
    verdict: str


class ScoreChanged(Message, frozen=True):
    """Your own score after a reveal, and the points of that question."""

    question: str
    points: int
    score: int


class QuestionOpened(Message, frozen=True):
    """Sequenced: a question is open for ``remaining_ms``."""

    seq: int
    question: OpenQuestion


class QuestionRevealed(Message, frozen=True):
    """Sequenced: the question is closed; this was right."""

    seq: int
    question: str
    correct: int


class LeaderboardShown(Message, frozen=True):
    """Sequenced: who leads."""

    seq: int
    leaders: tuple[Standing, ...]


class QuizFinished(Message, frozen=True):
    """Sequenced: the end, and who led."""

    seq: int
    leaders: tuple[Standing, ...]


class PresenceChanged(Message, frozen=True):
    """Sequenced: who came and whose state changed since the last one; ``count`` takes part now."""

    seq: int
    count: int
    joined: tuple[Player, ...]
    changed: tuple[Player, ...]


class Error(Message, frozen=True):
    """A message could not be used; the connection stays. ``field`` names what was wrong."""

    code: str
    field: str
    rule: str


SequencedMessage = QuestionOpened | QuestionRevealed | LeaderboardShown | QuizFinished | PresenceChanged
ServerMessage = (
    Joined
    | StateRestored
    | ResumeRejected
    | Ping
    | ProbeReply
    | AnswerResult
    | ScoreChanged
    | QuestionOpened
    | QuestionRevealed
    | LeaderboardShown
    | QuizFinished
    | PresenceChanged
    | Error
)
