"""Every message on the wire: JSON objects told apart by ``type``. Pure values, no behaviour.

The first message of a connection is ``join``, ``resume`` or ``host``. Durations are milliseconds on the wire, so that
they are whole numbers in every language. These names mean the same in every message:

- ``event``: the event's id.
- ``participant``: the public id of one who takes part; it opens nothing.
- ``name``: what others see; two may have the same.
- ``instance``: tells this client from another tab of the same person; no two clients alive at once share one.
- ``token``: the secret that lets its holder come back; replaced on every return.
- ``generation``: which token of the participant this is, counted from 1.
- ``protocol``: the version the sender speaks; a server of another one refuses with close code 1002.
- ``attempt``: how many dials it took, for the server's statistics.
- ``epoch``: the name of the event's stream; another name means that positions in the old stream mean nothing.
- ``seq``: the position in the stream: each sequenced message has the number after its predecessor's.
- ``phase``: a :class:`~resilience.quiz.phases.Phase`.
- ``step``: how often the quiz has moved on, so that an order meant for an earlier moment is recognisable.
- ``question``: the question's id.
- ``correct``: the right choice, counted from 0.
- ``points``: what one answer won.
- ``score``: all points of one participant, without those of a question that is still open.
- ``leaders``: the best, best first, as many as the server's ``leaderboard_size``.
- ``count``: how many take part, absent ones included.
- ``title``: the event's title, for people.
- ``credentials``: who this client is and how it comes back.
- ``timing``: the server's settings, as far as a client needs them.
- ``snapshot``: the state to go on from; it replaces whatever the client held.
- ``spread_ms``: after a loss the first attempt is made at a random moment within this time.
- ``step_ms``: the first step of the ladder of delays for the attempts after it.
- ``cap_ms``: the longest step of that ladder.
- ``id``: the number that a reply repeats.
- ``rule``: the rule that was broken, in words for a person.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from resilience.quiz.plan import QuizPlan
from resilience.quiz.questions import PRINTABLE

PROTOCOL_VERSION = 1

ShortText = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=PRINTABLE)]
"""An id or a name: what a peer may make this server keep is bounded."""

Secret = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]


def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")


class Message(msgspec.Struct, frozen=True, tag_field="type", tag=_snake, omit_defaults=True):
    """Anything on the wire."""


# --- client to server -------------------------------------------------------------------------------------------------


class Join(Message, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Take part in ``event`` as somebody new.

    Whoever never confirmed its first token and joins again with the same ``instance`` is given that identity again.
    """

    event: ShortText
    name: ShortText
    instance: ShortText
    accepts_deflate: bool = False
    """Whether this client can inflate a packed roster."""
    attempt: Count = 0
    protocol: Count = PROTOCOL_VERSION


class Resume(Message, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Come back as the holder of ``token``. The answer is a whole snapshot, however far this client had heard."""

    event: ShortText
    token: Secret
    accepts_deflate: bool = False
    """Whether this client can inflate a packed roster."""
    attempt: Count = 0
    protocol: Count = PROTOCOL_VERSION


class TokenStored(Message, frozen=True, forbid_unknown_fields=True):
    """The token of this generation is kept: the one before it may be forgotten."""

    generation: Count


class Pong(Message, frozen=True, forbid_unknown_fields=True):
    """Answer to ``ping``, with its id."""

    id: Count


class Probe(Message, frozen=True, forbid_unknown_fields=True):
    """Are you there? Sent by a client that has heard nothing for a while."""

    id: Count


class Answer(Message, frozen=True, forbid_unknown_fields=True):
    """A choice for a question. Sent again, with the same key, until its verdict has come."""

    question: ShortText
    choice: Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)]
    """Which of the question's choices, counted from 0."""
    key: ShortText
    """The client's own name for this answer; makes a resend recognisable."""


class Leave(Message, frozen=True, forbid_unknown_fields=True):
    """The participant goes on purpose."""


class Host(Message, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Run ``event`` from this connection; the first message of a host."""

    event: ShortText
    key: Secret
    """The server's host key."""
    protocol: Count = PROTOCOL_VERSION


class CreateEvent(Message, frozen=True, forbid_unknown_fields=True):
    """Open the event that this host named, with this plan; again with the same plan is harmless."""

    plan: QuizPlan
    """Title, questions and pace."""


class HostAction(StrEnum):
    """What a host may order."""

    START = "start"
    """Lobby to the first question."""
    REVEAL = "reveal"
    """Close the question now."""
    NEXT = "next"
    """Reveal to leaderboard, leaderboard to the next question or the end."""
    FINISH = "finish"
    """End the quiz, whatever its phase."""


class HostCommand(Message, frozen=True, forbid_unknown_fields=True):
    """Move on, if the quiz still is at ``step``: an order that is sent twice, or crosses a timer, is done once."""

    action: HostAction
    """What to do."""
    step: Count


HostMessage = Host | CreateEvent | HostCommand
ClientMessage = Join | Resume | TokenStored | Pong | Probe | Answer | Leave | Host | CreateEvent | HostCommand

# --- shared parts -----------------------------------------------------------------------------------------------------


class Credentials(msgspec.Struct, frozen=True):
    """Who this client is and how it may come back."""

    participant: str
    token: str
    generation: int
    connection_no: int
    """The fencing number of this connection: one more than that of the participant's connection before it."""


class Timing(msgspec.Struct, frozen=True):
    """The server's effective settings, milliseconds, and the return window for the crowd of this moment."""

    heartbeat_ms: int
    """The time between two pings."""
    grace_ms: int
    """A participant that was silent for so long is shown as temporarily disconnected."""
    cleanup_ms: int
    """One that was silent for so long is shown as disconnected; its score is kept."""
    spread_ms: int
    step_ms: int
    cap_ms: int


class OpenQuestion(msgspec.Struct, frozen=True, omit_defaults=True):
    """A question as players see it."""

    id: str
    """The question's id."""
    text: str
    """What is asked."""
    choices: tuple[str, ...]
    """What can be answered."""
    time_ms: int
    """How long it is open in all."""
    remaining_ms: int
    """How long it is open from the moment of sending; 0 once it is closed."""
    correct: int | None = None
    """The right choice, counted from 0; absent until the reveal."""


class Player(msgspec.Struct, frozen=True):
    """One participant as others see it."""

    participant: str
    name: str
    state: str
    """A :class:`~resilience.protocol.states.ConnectionState`."""


class Standing(msgspec.Struct, frozen=True):
    """One line of the leaderboard."""

    participant: str
    name: str
    score: int


class Roster(msgspec.Struct, frozen=True):
    """Who takes part, as everybody sees it: a moment late, short absences hidden."""

    count: int
    players: tuple[Player, ...]
    """Everybody, up to the server's ``participants_cap``; nobody when there are more."""
    leaders: tuple[Standing, ...]


class Snapshot(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything a client needs to go on, at one position of the stream."""

    epoch: str
    seq: int
    phase: str
    score: int
    server_time_ms: int
    """The server's run clock, which has nothing to do with the time of day."""
    roster: msgspec.Raw
    """A :class:`Roster`, serialised once for all who are told the same.

    To a client that ``accepts_deflate``, a large one is a string: base64 of the roster's JSON in zlib form.
    """
    question: OpenQuestion | None = None
    """The question that is open, revealed or on the leaderboard; absent before the first and after the last."""
    answer: int | None = None
    """This participant's own stored choice for it."""

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
    """You are back: the same participant, with all it had."""

    credentials: Credentials
    timing: Timing
    snapshot: Snapshot
    rejoined: bool = False
    """Whether the participant had been cleaned up or had left; otherwise nobody else need have noticed."""


class ResumeRejected(Message, frozen=True):
    """No session for this token. Join anew on the same connection."""

    reason: str
    """A :class:`~resilience.protocol.server.tokens.ResumeRejection`."""


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
    """What became of an answer. ``accepted`` is sent only after the answer was committed."""

    question: str
    key: str
    """The key that the answer came with."""
    verdict: str
    """An :class:`~resilience.quiz.verdicts.AnswerVerdict`."""


class ScoreChanged(Message, frozen=True):
    """Your own score after a reveal, and the points of that question."""

    question: str
    points: int
    score: int


class QuestionOpened(Message, frozen=True):
    """Sequenced: a question is open for ``remaining_ms``."""

    seq: int
    question: OpenQuestion
    """What is asked, without the right answer."""


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
    """Sequenced: who came and whose state changed since the last one.

    While more take part than a snapshot lists, only ``count`` is told.
    """

    seq: int
    count: int
    joined: tuple[Player, ...]
    """Newcomers."""
    changed: tuple[Player, ...]
    """Those known before, with their new state."""


class HostStatus(Message, frozen=True):
    """To hosts: how the event stands, whole, whenever something changed and at most as often as presence is shown."""

    event: str
    title: str
    step: int
    phase: str
    question: int
    """The number of the last question that was opened, counted from 1; 0 before the first."""
    questions: int
    """How many there are."""
    text: str
    """The question; empty while there is none."""
    remaining_ms: int | None
    """Until the quiz moves on by itself; ``null`` where the host must move it."""
    connected: int
    """Participants that are here."""
    away: int
    """Participants that are temporarily disconnected."""
    gone: int
    """Participants that left or stayed away."""
    answered: int
    """How many answered the last question."""
    leaders: tuple[Standing, ...]


class Hosting(Message, frozen=True):
    """Answer to ``host``: the key is right."""

    event: str
    status: HostStatus | None = None
    """How the event stands; absent while it does not exist, so that the host creates it."""


class HostResult(Message, frozen=True):
    """Answer to ``create_event`` and ``host_command``, sent after the commit; ``action`` is ``create`` or the order."""

    action: str
    """The order that is answered: ``create`` or a :class:`HostAction`."""
    verdict: str
    """``done``; ``stale_step``: the quiz is at another step by now and nothing was done; ``refused``: see the rule."""
    step: int
    rule: str = ""


class ErrorCode(StrEnum):
    """The classes of :class:`Error`."""

    MALFORMED = "malformed"
    """Not JSON, no known type, or a field that breaks its rule."""
    UNEXPECTED = "unexpected"
    """Well-formed, but not to be said at this moment or by this side."""


class Error(Message, frozen=True):
    """A message could not be used; the connection stays, until there are too many of them."""

    code: str
    """An :class:`ErrorCode`."""
    field: str
    """Which field was wrong, as a path such as ``plan.questions[2].correct``; ``message`` for all of it."""
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
    | Hosting
    | HostStatus
    | HostResult
    | Error
)
