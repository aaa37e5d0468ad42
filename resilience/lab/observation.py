"""What a client was shown, sent or suffered at one moment: the lines of a run's ``observations``. Pure values."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from resilience.quiz.phases import Phase
from resilience.units import Instant, Seconds

SILENCE = "silence"
"""The cause of a loss that nothing but silence announced."""


class ObservationKind(StrEnum):
    """What an observation is about."""

    SHOWN = "shown"
    """A state of no more particular kind."""
    JOINED = "joined"
    """The snapshot of a new participant."""
    RESTORED = "restored"
    """The snapshot of a restored session."""
    QUESTION = "question"
    """In the stream: a question was opened."""
    REVEAL = "reveal"
    """In the stream: a question was closed."""
    LEADERBOARD = "leaderboard"
    """In the stream: the leaderboard."""
    FINISHED = "finished"
    """In the stream: the end of the quiz."""
    PRESENCE = "presence"
    """In the stream: presence changed."""
    UNKNOWN = "unknown"
    """In the stream: a message of a type that only newer clients know."""
    SCORE = "score"
    """The client's own score after a reveal."""
    SENT = "sent"
    """The client sent an answer."""
    VERDICT = "verdict"
    """The verdict on an answer."""
    REFUSED = "refused"
    """The server knows no session of the token that the client presented."""
    LOST = "lost"
    """A connection with a session ended."""
    LEFT = "left"
    """The client left on purpose."""
    REPLAY = "replay"
    """Another program presented an old token of the client's; made when the reply came, or when none could come."""
    OPEN = "open"
    """A connection with a session was open when the observation ended."""


STREAM_KINDS = (
    ObservationKind.QUESTION,
    ObservationKind.REVEAL,
    ObservationKind.LEADERBOARD,
    ObservationKind.FINISHED,
    ObservationKind.PRESENCE,
    ObservationKind.UNKNOWN,
)
"""The kinds of numbered messages."""


class Observation(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What a client was shown, sent or suffered at one moment, as ``participant`` (``?`` before it is one).

    ``actor`` is the client's name in the experiment. ``score`` is its own, over all questions before ``question`` while
    the ``phase`` is *question*, else with it; ``remaining`` is for how long the question was said to be open,
    ``correct`` the right choice, each where the message contained it.

    ``connection`` is the number of the dial, ``stale`` whether a newer one replaced it. ``epoch`` and ``seq`` are the
    position in the stream. ``answer`` is the client's own choice, in a snapshot as the server stored it; ``ref`` is
    ``"<question>/<key>"``. ``outcome``: the verdict, the reason of a refusal, the cause of a loss, what came of a
    replay. ``content``: the leaderboard as ``"<participant>:<score>"`` in its order, or presence as ids after their
    :data:`~.observer.PRESENCE_SIGNS`. ``name`` is the client's own name in the roster, ``token`` the first digits of
    its token's hash, ``fence`` the server's number of this connection. The end of a connection has ``since`` and
    ``heard``, the times of its snapshot and of its last message, and the number of ``pings``.
    """

    t: Instant
    actor: str
    participant: str
    phase: Phase | None
    question: str | None
    score: int | None = None
    remaining: Seconds | None = None
    correct: int | None = None
    kind: ObservationKind = ObservationKind.SHOWN
    connection: int = 0
    stale: bool = False
    epoch: str | None = None
    seq: int | None = None
    answer: int | None = None
    ref: str | None = None
    outcome: str | None = None
    points: int | None = None
    content: str | None = None
    name: str | None = None
    token: str | None = None
    fence: int | None = None
    since: Instant | None = None
    heard: Instant | None = None
    pings: int | None = None
