"""Every message on the wire: JSON objects told apart by ``type``. Pure values, no behaviour.

The first message of a connection is ``join``, ``resume`` or ``host``. Durations on the wire are milliseconds, so that
they are whole numbers in every language. These names have the same meaning in every message:

- ``event``: the event's id.
- ``participant``: a participant's public id; it grants nothing.
- ``name``: the name that others see; two participants may have the same.
- ``instance``: tells this client from another tab of the same person; no two clients alive at once share one.
- ``token``: the secret that lets its holder resume; replaced at every resume.
- ``generation``: the number of the participant's token, counted from 1.
- ``protocol``: the sender's protocol version; a server of another version rejects it with close code 1002.
- ``attempt``: the number of dials it took, for the server's statistics.
- ``epoch``: the name of the event's stream; positions in a stream of another name are void.
- ``seq``: the position in the stream: each sequenced message has the number after its predecessor's.
- ``phase``: a :class:`~resilience.quiz.phases.Phase`.
- ``step``: the number of steps the quiz has made, so that a command for an earlier step is recognised.
- ``question``: the question's id.
- ``correct``: the right choice, counted from 0.
- ``points``: the points of one answer.
- ``score``: all points of one participant, without those of a question that is still open.
- ``leaders``: the best participants, best first, as many as the server's ``leaderboard_size``.
- ``count``: the number of participants that are connected or temporarily disconnected.
- ``title``: the event's title, for people.
- ``credentials``: the client's identity and its token.
- ``timing``: the server's settings that a client needs.
- ``snapshot``: the complete state; it replaces the client's state.
- ``spread_ms``: after a loss the first attempt is made at a random moment within this time.
- ``step_ms``: the first delay of the ladder for the attempts after it.
- ``cap_ms``: the longest delay of that ladder.
- ``id``: the number that a reply repeats.
- ``rule``: the rule that was broken, in words for a person.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from resilience.quiz.plan import QuizPlan
from resilience.validation import PRINTABLE, VISIBLE, violation_of

PROTOCOL_VERSION = 1

ShortText = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=PRINTABLE)]
"""An id; its length limits what a peer can make this server keep."""

Label = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=VISIBLE)]
"""What people read and type: the name of a participant, the id of an event."""

Secret = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]


def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")


class Message(msgspec.Struct, frozen=True, tag_field="type", tag=_snake, omit_defaults=True):
    """Any message on the wire."""


def label_problem(label: str) -> str | None:
    """The rule for names of participants and ids of events that this one breaks, in words; ``None`` if it is good."""
    try:
        msgspec.convert(label, Label)
    except msgspec.ValidationError as error:
        return violation_of(error).rule
    return None


# --- client to server -------------------------------------------------------------------------------------------------


class Join(Message, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Take part in ``event`` as a new participant.

    A client that never confirmed its first token and joins again with the same ``instance`` gets the same identity.
    """

    event: Label
    name: Label
    instance: ShortText
    accepts_deflate: bool = False
    """Whether this client can inflate a deflated roster."""
    attempt: Count = 0
    protocol: Count = PROTOCOL_VERSION


class Resume(Message, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Resume the session of ``token``. The reply is a whole snapshot, whatever this client had received."""

    event: Label
    token: Secret
    participant: ShortText | None = None
    """Whose session this is, so that a server that knows the participant but not the token can tell both apart."""
    accepts_deflate: bool = False
    """Whether this client can inflate a deflated roster."""
    attempt: Count = 0
    protocol: Count = PROTOCOL_VERSION


class TokenStored(Message, frozen=True, forbid_unknown_fields=True):
    """The token of this generation is stored: the server may delete the one before it."""

    generation: Count


class Pong(Message, frozen=True, forbid_unknown_fields=True):
    """The reply to ``ping``, with its id."""

    id: Count


class Probe(Message, frozen=True, forbid_unknown_fields=True):
    """Asks for a sign of life; sent by a client after some silence."""

    id: Count


class Answer(Message, frozen=True, forbid_unknown_fields=True):
    """A choice for a question. Sent again, with the same key, until its verdict arrives."""

    question: ShortText
    choice: Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)]
    """One of the question's choices, counted from 0."""
    key: ShortText
    """The client's own name for this answer, so that a resend is recognised."""


class Leave(Message, frozen=True, forbid_unknown_fields=True):
    """The participant leaves on purpose."""


class Host(Message, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Run ``event`` from this connection; the first message of a host."""

    event: Label
    key: Secret
    """The server's host key."""
    protocol: Count = PROTOCOL_VERSION


class CreateEvent(Message, frozen=True, forbid_unknown_fields=True):
    """Create the event that this host named, from this plan; repeating it with the same plan has no effect."""

    plan: QuizPlan
    """Title, questions and pace."""


class HostAction(StrEnum):
    """The commands of a host."""

    START = "start"
    """From the lobby to the first question."""
    REVEAL = "reveal"
    """Close the question now."""
    NEXT = "next"
    """From the reveal to the leaderboard, from the leaderboard to the next question or the end."""
    FINISH = "finish"
    """End the quiz, whatever its phase; an open question is closed and revealed first."""


class HostCommand(Message, frozen=True, forbid_unknown_fields=True):
    """Carry out an action if the quiz is still at ``step``, so that a repeated command acts once."""

    action: HostAction
    """The action."""
    step: Count


HostMessage = Host | CreateEvent | HostCommand
ClientMessage = Join | Resume | TokenStored | Pong | Probe | Answer | Leave | Host | CreateEvent | HostCommand

# --- shared parts -----------------------------------------------------------------------------------------------------


class Credentials(msgspec.Struct, frozen=True):
    """The client's identity and its token."""

    participant: str
    token: str
    generation: int
    connection_no: int
    """The fencing number of this connection: one more than that of the participant's connection before it."""


class Timing(msgspec.Struct, frozen=True):
    """The server's effective settings, milliseconds, and the current return window."""

    heartbeat_ms: int
    """The time between two pings."""
    grace_ms: int
    """Silence after which a participant is shown as temporarily disconnected."""
    cleanup_ms: int
    """Silence after which a participant is shown as disconnected; its score is kept."""
    spread_ms: int
    step_ms: int
    cap_ms: int


class OpenQuestion(msgspec.Struct, frozen=True, omit_defaults=True):
    """A question as players see it."""

    id: str
    """The question's id."""
    text: str
    """The question's text."""
    choices: tuple[str, ...]
    """The possible answers."""
    time_ms: int
    """How long it is open in total."""
    remaining_ms: int
    """How long it stays open from the moment of sending; 0 once it is closed."""
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
    """The participants as others see them: slightly delayed, short absences hidden."""

    count: int
    players: tuple[Player, ...]
    """Those participants, up to the server's ``participants_cap``; empty if there are more, or were until lately."""
    leaders: tuple[Standing, ...]


class Snapshot(msgspec.Struct, frozen=True, omit_defaults=True):
    """The complete state of one client at one position of the stream."""

    epoch: str
    seq: int
    phase: str
    score: int
    server_time_ms: int
    """The server's run clock, which is independent of the time of day."""
    roster: msgspec.Raw
    """A :class:`Roster`, serialised once for all receivers.

    To a client that ``accepts_deflate``, a large one is a string: base64 of the roster's JSON in zlib form.
    """
    question: OpenQuestion | None = None
    """The question that is open, revealed or on the leaderboard; absent before the first and after the last."""
    answer: int | None = None
    """This participant's own stored choice for it."""

    def digest(self) -> str:
        """The state in one readable line, in which both ends must agree."""
        question = self.question.id if self.question else "-"
        return state_digest(self.phase, question, self.score, self.answer, self.epoch, self.seq)


def state_digest(  # noqa: PLR0913, PLR0917 - what a state consists of
    phase: str, question: str, score: int, answer: int | None, epoch: str, seq: int
) -> str:
    """One participant's state in one readable line; the ``restored`` invariant compares it between the ends."""
    own = "-" if answer is None else answer
    return f"phase={phase};question={question};score={score};answer={own};epoch={epoch};seq={seq}"


# --- server to client -------------------------------------------------------------------------------------------------


class Joined(Message, frozen=True):
    """The client has joined as a new participant."""

    credentials: Credentials
    timing: Timing
    snapshot: Snapshot


class StateRestored(Message, frozen=True):
    """The session is restored: the same participant with its answers and score."""

    credentials: Credentials
    timing: Timing
    snapshot: Snapshot
    rejoined: bool = False
    """Whether the participant had been disconnected or had left; if not, others may not have noticed its absence."""


class ResumeRejected(Message, frozen=True):
    """The server does not accept this token. Join on the same connection if the reason is ``unknown``.

    For any other reason another client of the same person has the session, and the server closes with 4200.
    """

    reason: str
    """A :class:`~resilience.protocol.server.tokens.ResumeRejection`."""


class Ping(Message, frozen=True):
    """Reply with ``pong`` and this id; the current return window, milliseconds."""

    id: int
    spread_ms: int
    step_ms: int
    cap_ms: int


class ProbeReply(Message, frozen=True):
    """The reply to ``probe``."""

    id: int


class AnswerResult(Message, frozen=True):
    """The verdict on an answer. ``accepted`` is sent only after the answer was committed."""

    question: str
    key: str
    """The key of the answer."""
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
    """The question without its right answer."""


class QuestionRevealed(Message, frozen=True):
    """Sequenced: the question is closed, and its right answer."""

    seq: int
    question: str
    correct: int


class LeaderboardShown(Message, frozen=True):
    """Sequenced: the leaderboard."""

    seq: int
    leaders: tuple[Standing, ...]


class QuizFinished(Message, frozen=True):
    """Sequenced: the quiz is over, with the final leaderboard."""

    seq: int
    leaders: tuple[Standing, ...]


class PresenceChanged(Message, frozen=True):
    """Sequenced: new participants and changed states since the last such message.

    If there are more participants than a snapshot lists, only ``count`` is sent. A client drops its list when the list
    is not ``count`` long after a message; a message that names ``count`` participants holds the whole list again.
    """

    seq: int
    count: int
    joined: tuple[Player, ...]
    """New participants."""
    changed: tuple[Player, ...]
    """Known participants with their new state, returned ones included; a disconnected one leaves the list."""


class HostStatus(Message, frozen=True):
    """To hosts: the whole status of the event, sent after a change, at most as often as presence is shown."""

    event: str
    title: str
    step: int
    phase: str
    question: int
    """The number of the last question that was opened, counted from 1; 0 before the first."""
    questions: int
    """The number of questions."""
    text: str
    """The question; empty if there is none."""
    remaining_ms: int | None
    """Until the quiz advances by itself; ``null`` if the host must advance it."""
    connected: int
    """Connected participants."""
    away: int
    """Participants that are temporarily disconnected."""
    gone: int
    """Participants that are disconnected."""
    answered: int
    """The number of participants that answered the last question."""
    leaders: tuple[Standing, ...]
    choices: tuple[str, ...] = ()
    """The question's possible answers; empty if there is none."""
    correct: int | None = None
    """The right choice, counted from 0; absent until the reveal, since an audience may see what a host sees."""
    time_ms: int | None = None
    """How long the question is open in total; absent if there is none."""


class Hosting(Message, frozen=True):
    """The reply to ``host``: the key is right."""

    event: str
    status: HostStatus | None = None
    """The status of the event; absent if it does not exist, so that the host creates it."""


class HostResult(Message, frozen=True):
    """The reply to ``create_event`` and ``host_command``, sent after the commit."""

    action: str
    """The command that is answered: ``create`` or a :class:`HostAction`."""
    verdict: str
    """``done``; ``stale_step``: the quiz is at a later step and nothing was done; ``refused``: see the rule."""
    step: int
    rule: str = ""


class ErrorCode(StrEnum):
    """The classes of :class:`Error`."""

    MALFORMED = "malformed"
    """Not JSON, no known type, or a field that breaks its rule."""
    UNEXPECTED = "unexpected"
    """Well-formed, but not allowed now or from this side."""


class Error(Message, frozen=True):
    """A message was rejected; the connection stays, until there are too many of them."""

    code: str
    """An :class:`ErrorCode`."""
    field: str
    """The field that was wrong, as a path such as ``plan.questions[2].correct``; ``message`` for the whole message."""
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
