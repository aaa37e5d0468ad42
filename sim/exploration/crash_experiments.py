"""The experiment of one seed of crash exploration: where the server is killed, what survives, which links break.

Pure: an experiment is a function of its seed and size. Nothing here runs anything.
"""

from __future__ import annotations

from resilience.config import ClientConfig, QuizConfig, ServerConfig
from resilience.experiment.faults import AnyFault, BlackholeFault, CutFault, RefuseFault, ServerKillFault
from resilience.experiment.primitives import Crash, CrashPoint
from resilience.experiment.spec import Cohort, Experiment, Hypothesis, Statistics
from resilience.experiment.virtual_conditions import VirtualConditions
from resilience.random_streams import uniform
from resilience.units import Instant, Seconds

STABLE, FLAKY, ABSENT, LEAVING = "stable", "flaky", "absent", "leaving"
"""Cohorts: behind a link that holds, behind one that breaks now and then, one client that is away for long, one that
leaves for good."""

SERVER = ServerConfig(
    heartbeat_interval=2.0, grace_period=4.0, cleanup_interval=8.0, drain_window=0.5, restart_pause=0.2
)
CLIENT = ClientConfig(probe_after=1.0, probe_deadline=0.5, join_timeout=2.0, open_timeout=2.0, stable_after=1.0)
QUIZ = QuizConfig(
    questions=4, lobby=1.0, question_time=2.0, reveal_time=0.5, leaderboard_time=0.5, fastest=0.0, slowest=0.9
)
UNEVEN = VirtualConditions(
    latency_spread=0.01, storage=0.001, storage_spread=0.02, storage_stalls=0.01, storage_share=0.5, stall=0.3
)
"""Packets and calls of the store of uneven length, so that races show."""

RAMP: Seconds = 1.0
FINISHED: Instant = RAMP + QUIZ.lobby + QUIZ.questions * (QUIZ.question_time + 1.0)
"""By when the quiz is over."""

LAST_RESTART: Instant = FINISHED - RAMP + SERVER.cleanup_interval - 2.0
"""A server that starts much later finds a quiz that has been over for too long to resume."""

LAST_DEATH: Instant = LAST_RESTART - 1.0

LONGEST_LIFE: Seconds = 8.0
"""A server that does not reach the boundary where it is to die dies so long after."""

RETURN: Seconds = 10.0
"""Seconds after the last fault by which every client must be back."""

QUIET: Seconds = RETURN + 1.0
"""Seconds without a fault at the end of the run."""

SHORTEST_SILENCE: Seconds = 0.6
"""A canary sees no shorter one."""

ABSENT_SHARE, LEAVING_SHARE = 0.3, 0.1
"""Of the seeds: those in which a client is away for long, and those in which one leaves."""

FIRST_DEPARTURE: Instant = 2.0
ABSENT_FOR: Seconds = SERVER.cleanup_interval + 4.0
"""Longer than a participant may stay temporarily disconnected."""

AT_START = (CrashPoint.RECOVERING, CrashPoint.READING, CrashPoint.LISTENING)
"""Boundaries that only a server that follows another one has."""

ANYWHERE = tuple(point for point in CrashPoint if point not in AT_START)


def crash_experiment(seed: int, clients: int) -> Experiment:
    """A short quiz whose server is killed once, twice or three times; half of the clients have a flaky link."""
    kills = _kills(seed)
    cohorts = _cohorts(seed, clients)
    names = {cohort.name for cohort in cohorts}
    faults: tuple[AnyFault, ...] = (*kills, *(_link_faults(seed) if FLAKY in names else ()))
    if ABSENT in names:
        faults = (*faults, _absence(seed, kills))
    return Experiment(
        "crash",
        max(fault.at + fault.length for fault in faults) + QUIET,
        cohorts,
        title="The server is killed at a boundary of its work",
        seed=seed,
        ramp=RAMP,
        server=SERVER,
        client=CLIENT,
        quiz=QUIZ,
        virtual=UNEVEN,
        faults=faults,
        hypothesis=Hypothesis(joined=0.0, within=0.0),
        statistics=Statistics(deadline=RETURN),
    )


def crashes_of(experiment: Experiment) -> tuple[Crash, ...]:
    """The crashes of an experiment, in the order of its faults."""
    return tuple(f.crash for f in experiment.faults if isinstance(f, ServerKillFault) and f.crash is not None)


def _cohorts(seed: int, clients: int) -> tuple[Cohort, ...]:
    """Half of the clients have a flaky link; in some seeds one of the others is absent for long, or leaves."""
    flaky, u = clients // 2, uniform(seed, "departure")
    special = clients - flaky > 1
    absent = int(special and u < ABSENT_SHARE)
    leaving = int(special and ABSENT_SHARE <= u < ABSENT_SHARE + LEAVING_SHARE)
    leaves_at = FIRST_DEPARTURE + uniform(seed, "departure", "at") * (LAST_DEATH - FIRST_DEPARTURE)
    made = (
        Cohort(STABLE, clients - flaky - absent - leaving),
        Cohort(FLAKY, flaky),
        Cohort(ABSENT, absent),
        Cohort(LEAVING, leaving, leaves_at),
    )
    return tuple(cohort for cohort in made if cohort.clients)


def _kills(seed: int) -> tuple[ServerKillFault, ...]:
    count = 1 + int(3 * uniform(seed, "crashes"))
    points = [_point(seed, i) for i in range(count)]
    orders = [(0.0, 0.0)]
    kills: list[ServerKillFault] = []
    for i, point in enumerate(points):
        before, up = orders[-1]
        at = before if point in AT_START else up + _armed_after(seed, i, point, count)
        if at < LAST_DEATH:
            pause = _pause(_u(seed, i, "kind"), _u(seed, i, "pause"))
            kills.append(_kill(seed, i, point, at, pause))
            orders.append((at, at + pause))
    return tuple(kills)


def _kill(seed: int, i: int, point: CrashPoint, at: Instant, pause: Seconds) -> ServerKillFault:
    longest = LAST_DEATH - at if point in AT_START else min(LONGEST_LIFE, LAST_DEATH - at)
    skip = int(4 * _u(seed, i, "skip"))
    crash = Crash(
        point=point,
        skip=skip % 2 if point in (CrashPoint.RECOVERING, CrashPoint.READING) else skip,
        within=longest,
        pause=pause,
        lands=_u(seed, i, "lands") < 0.5,  # noqa: PLR2004 - even odds
        flushes=_u(seed, i, "flushes") < 0.5,  # noqa: PLR2004 - even odds
        kept=_u(seed, i, "kept"),
    )
    return ServerKillFault(at, duration=min(longest + max(pause, 0.001), LAST_RESTART - at), crash=crash)


def _u(seed: int, i: int, what: str) -> float:
    return uniform(seed, "crash", i, what)


def _point(seed: int, i: int) -> CrashPoint:
    points = ANYWHERE if i == 0 or _u(seed, i, "again") < 0.5 else AT_START  # noqa: PLR2004 - even odds
    return points[int(_u(seed, i, "point") * len(points))]


def _armed_after(seed: int, i: int, point: CrashPoint, count: int) -> Seconds:
    span = RAMP if point is CrashPoint.HANDSHAKE else FINISHED / count  # clients dial when a server is new
    return _u(seed, i, "armed") * span


def _pause(kind: float, u: float) -> Seconds:
    """Mostly a moment; one in five spans a deadline or two, one in ten the clean-up; one in five is next to nothing."""
    for share, low, high in ((0.2, 0.0, 0.02), (0.7, 0.02, 1.0), (0.9, 1.0, 5.0)):
        if kind < share:
            return low + u * (high - low)
    return SERVER.cleanup_interval + 0.5 + 2.0 * u


def _link_faults(seed: int) -> tuple[AnyFault, ...]:
    """A few short faults of the flaky link."""
    return tuple(_link_fault(seed, i) for i in range(int(4 * uniform(seed, "faults"))))


def _link_fault(seed: int, i: int) -> AnyFault:
    kind, at, long = (uniform(seed, "fault", i, what) for what in ("kind", "at", "long"))
    start = LAST_RESTART * at
    match int(kind * 3):
        case 0:
            return CutFault(start, (FLAKY,))
        case 1:
            return RefuseFault(start, (FLAKY,), duration=0.01 + 2.0 * long)
        case _:
            return BlackholeFault(start, (FLAKY,), duration=SHORTEST_SILENCE + 1.5 * long)


def _absence(seed: int, kills: tuple[ServerKillFault, ...]) -> AnyFault:
    """One client goes shortly before a kill and stays away for longer than the clean-up after it."""
    kill = kills[int(uniform(seed, "absent", "kill") * len(kills))]
    at = max(kill.at - 0.5 * uniform(seed, "absent", "at"), min(FIRST_DEPARTURE, kill.at))
    return RefuseFault(at, (ABSENT,), duration=ABSENT_FOR + (kill.lasts or 0.0))
