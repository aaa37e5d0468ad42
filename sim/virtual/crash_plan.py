"""What happens to one seed's server: where it is killed, what becomes of what was under way, and for how long.

Pure: a plan is a function of its seed. Nothing here runs anything.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from resilience.config import ClientConfig, QuizConfig, ServerConfig
from resilience.experiment.spec import Cohort, Experiment, Hypothesis
from resilience.random_streams import uniform
from resilience.units import Instant, Seconds

CALM, ROUGH = "calm", "rough"
"""Cohorts: one behind a link that holds, one behind a link that breaks."""

SERVER = ServerConfig(
    heartbeat_interval=2.0, grace_period=4.0, cleanup_interval=8.0, drain_window=0.5, restart_pause=0.2
)
CLIENT = ClientConfig(probe_after=1.0, probe_deadline=0.5, join_timeout=2.0, open_timeout=2.0, stable_after=1.0)
QUIZ = QuizConfig(
    questions=4, lobby=1.0, question_time=2.0, reveal_time=0.5, leaderboard_time=0.5, fastest=0.0, slowest=0.9
)
RAMP: Seconds = 1.0
FINISHED: Instant = RAMP + QUIZ.lobby + QUIZ.questions * (QUIZ.question_time + 1.0)
"""By when the quiz is over."""

LAST_RESTART: Instant = FINISHED - RAMP + SERVER.cleanup_interval - 2.0
"""A server that comes much later finds a quiz that has been over for too long to go on with."""

LAST_DEATH: Instant = LAST_RESTART - 1.0


class Point(StrEnum):
    """Boundaries at which a server dies."""

    INSTANT = "at some instant"
    EVENT = "as something happens, before it acts"
    ORDERED = "before a commit is handed to storage"
    NEVER_WRITTEN = "in a commit that never happens"
    WRITTEN = "in a commit that is durable"
    SETTLED = "settled, before the log is flushed"
    LOGGED = "flushed, before anybody is told"
    HANDSHAKE = "during a handshake"
    DRAIN = "while it drains"
    TAKING_UP = "as it takes a run up"
    READING = "as it reads what it took up"
    LISTENING = "as soon as it listens"


AT_START = (Point.TAKING_UP, Point.READING, Point.LISTENING)
"""Boundaries that only a server that follows another one has."""

ANYWHERE = tuple(point for point in Point if point not in AT_START)


class Crash(msgspec.Struct, frozen=True):
    """One death: from ``armed_at`` seconds of the server's life on, at the point's ``skip`` + 1-th time.

    ``lands``: whether the commit that storage has been given by then still happens; ``flushes``: whether what was sent
    reaches the clients; ``kept``: the share of its unflushed log that is on disk; ``pause``: until there is a new one.
    """

    point: Point
    armed_at: Seconds
    skip: int
    lands: bool
    flushes: bool
    kept: float
    pause: Seconds


class Plan(msgspec.Struct, frozen=True):
    """Everything that happens under one seed."""

    seed: int
    experiment: Experiment
    crashes: tuple[Crash, ...]
    clocks: tuple[Seconds, ...]
    """What each server's run clock shows at its start: each process has its own zero."""


def plan(seed: int, clients: int) -> Plan:
    """The plan of a seed; some seeds are crashed twice or three times."""
    count = 1 + int(3 * uniform(seed, "crashes"))
    crashes = tuple(_crash(seed, i, count) for i in range(count))
    clocks = tuple(5.0 * uniform(seed, "clock", i) for i in range(count + 1))
    return Plan(seed, experiment(seed, clients), crashes, clocks)


def experiment(seed: int, clients: int) -> Experiment:
    """The world that is crashed; half of its clients are behind a link that breaks."""
    rough = clients // 2
    cohorts = tuple(Cohort(name, n) for name, n in ((CALM, clients - rough), (ROUGH, rough)) if n)
    return Experiment(
        "crash",
        FINISHED + 60.0,
        cohorts,
        seed=seed,
        ramp=RAMP,
        server=SERVER,
        client=CLIENT,
        quiz=QUIZ,
        hypothesis=Hypothesis(within=RAMP),
    )


def _crash(seed: int, i: int, count: int) -> Crash:
    def u(what: str) -> float:
        return uniform(seed, "crash", i, what)

    points = ANYWHERE if i == 0 or u("again") < 0.5 else AT_START  # noqa: PLR2004 - even odds
    point = points[int(u("point") * len(points))]
    span = RAMP if point is Point.HANDSHAKE else FINISHED / count  # clients dial when a server is new
    return Crash(
        point=point,
        armed_at=u("armed") * span,
        skip=int(4 * u("skip")),
        lands=u("lands") < 0.5,  # noqa: PLR2004 - even odds
        flushes=u("flushes") < 0.5,  # noqa: PLR2004 - even odds
        kept=u("kept"),
        pause=_pause(u("kind"), u("pause")),
    )


def _pause(kind: float, u: float) -> Seconds:
    """Mostly a moment; one in five spans a deadline or two, one in ten the clean-up; some follow on the heels."""
    for share, low, high in ((0.2, 0.0, 0.02), (0.7, 0.02, 1.0), (0.9, 1.0, 5.0)):
        if kind < share:
            return low + u * (high - low)
    return SERVER.cleanup_interval + 0.5 + 2.0 * u
