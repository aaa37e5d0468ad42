"""What a crash campaign is: how many deaths, under how many clients, and when each comes. Pure; starts nothing."""

from __future__ import annotations

import msgspec

from resilience.config import ClientConfig, QuizConfig, ServerConfig
from resilience.experiment.spec import Cohort, Experiment, Hypothesis
from resilience.random_streams import uniform
from resilience.units import Instant, Seconds

MOST_ROUNDS = 150
"""A quiz has at most 500 questions, and a round takes two or three."""

BURST, ANYTIME = "burst", "anytime"

_QUESTIONS = 500
_ANYTIME_OF = 5
_QUESTION, _PAUSE = 1.6, 0.2
_SLOWEST = 0.1
_RAMP: Seconds = 1.0

PERIOD: Seconds = _QUESTION + 2 * _PAUSE
"""From one question to the next."""

LEAD: Seconds = 0.05
COMMIT: Seconds = 0.001
"""About what an answer takes from its client into the database, on a disk that is not slow."""


class CrashPlan(msgspec.Struct, frozen=True):
    """A campaign; ``db`` is the database's URL, ``None`` for an SQLite file of its own."""

    rounds: int
    clients: int
    seed: int
    db: str | None = None


class Kill(msgspec.Struct, frozen=True):
    """A death that is due: ``at`` an instant, or, from then on, ``delay`` seconds after the ``answer``-th answer."""

    aim: str
    at: Instant
    answer: int = 0
    delay: Seconds = 0.0


def experiment(plan: CrashPlan) -> Experiment:
    """The campaign's world: short questions that everybody answers at once, a server that goes on command.

    A session that lives one second counts as stable: else fifty deaths four seconds apart were one long incident, and
    the clients would pace themselves for minutes, as they should with a server like that.
    """
    return Experiment(
        "crash",
        duration=_QUESTIONS * PERIOD,
        cohorts=(Cohort("everybody", plan.clients),),
        title="The server is killed again and again",
        seed=plan.seed,
        ramp=_RAMP,
        server=ServerConfig(drain_window=0.0, restart_pause=0.0),
        client=ClientConfig(stable_after=1.0),
        quiz=QuizConfig(
            questions=_QUESTIONS,
            lobby=1.0,
            question_time=_QUESTION,
            reveal_time=_PAUSE,
            leaderboard_time=_PAUSE,
            answer_share=1.0,
            fastest=0.0,
            slowest=_SLOWEST,
        ),
        hypothesis=Hypothesis(joined=1.0),
    )


def kill(plan: CrashPlan, number: int, now: Instant, closes_at: Instant) -> Kill:
    """When round ``number`` (from 1) kills, decided ``now``; ``closes_at`` is when some question closes.

    Four rounds of five strike among the answers to the next question, the fifth anywhere in one period.
    """
    u = uniform(plan.seed, "kill", number)
    if number % _ANYTIME_OF == 0:
        return Kill(ANYTIME, now + u * PERIOD)
    opening = closes_at - _QUESTION
    next_opening = opening + ((now + LEAD - opening) // PERIOD + 1) * PERIOD
    delay = COMMIT * uniform(plan.seed, "delay", number)
    return Kill(BURST, next_opening - LEAD, 1 + int(u * plan.clients), delay)
