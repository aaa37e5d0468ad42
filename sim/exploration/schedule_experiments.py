"""The experiment of one seed of schedule exploration: any faults at any time, settings and conditions that vary.

Conditions are drawn in two stages: a seed activates each kind of uneven delay or not, and an active one strikes some of
the packets or calls. Few at once show more than all together, which drown one another. Pure: an experiment is a
function of its seed and size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from resilience.config import ClientConfig, ServerConfig
from resilience.errors import ConfigError
from resilience.experiment.faults import (
    AnyFault,
    BandwidthFault,
    BlackholeFault,
    ClientDuplicateFault,
    ClientSuspendFault,
    CutFault,
    CutMidMessageFault,
    FreezeFault,
    LatencyFault,
    RefuseFault,
    ResetFault,
    ServerDrainFault,
    ServerKillFault,
    ServerSuspendFault,
    SliceFault,
    SlowCloseFault,
    StallFault,
    TokenReplayFault,
)
from resilience.experiment.primitives import Crash, CrashPoint, Direction
from resilience.experiment.schedule import last_end
from resilience.experiment.spec import Cohort, Experiment, Hypothesis, Statistics
from resilience.experiment.virtual_conditions import VirtualConditions
from resilience.policy.backoff import Preset
from resilience.random_streams import uniform
from resilience.units import Instant, Seconds

from .crash_experiments import ANYWHERE, CLIENT, LAST_RESTART, QUIET, QUIZ, RAMP, RETURN, SERVER

COHORTS = ("a", "b", "c")
MOST_FAULTS = 6
FIRST_FAULT: Instant = 0.3
LAST_FAULT: Instant = 12.0
"""The quiz is over by then; what strikes later shows little."""

ACTIVATED, FIRED = 0.35, 0.25
"""The share of seeds that activate a kind of uneven delay, and the largest share of packets or calls that it strikes.

As FoundationDB's simulation does it: a site is activated once for each run and fires in a quarter of its calls.
"""

LONGEST_STALL: Seconds = 0.2
"""Both packets of a probe may take so long, and its deadline of 0.5 s still holds."""

SHORTEST: Seconds = 0.5
"""Of a silence that a canary can see."""

LONGEST: Seconds = SERVER.cleanup_interval + 4.0
DRAIN: Seconds = 2.5
LOOKED_AT: Seconds = 1.5
"""A canary compares several exchanges over a slow link."""


@dataclass(frozen=True)
class Draws:
    """The numbers of one place of one seed."""

    seed: int
    place: str
    number: int = 0

    def unit(self, what: str) -> float:
        """A number in [0, 1)."""
        return uniform(self.seed, "schedule", self.place, self.number, what)

    def between(self, what: str, low: float, high: float) -> float:
        """A number from ``low`` to ``high``, in milliseconds, so that an experiment can be read."""
        return round(low + self.unit(what) * (high - low), 3)

    def happens(self, what: str, share: float) -> bool:
        """Whether something comes about that does so in this share of the seeds."""
        return self.unit(what) < share

    def count(self, what: str, low: int, high: int) -> int:
        """A number from ``low`` to ``high``, both included."""
        return low + int(self.unit(what) * (high - low + 1))

    def length(self, least: Seconds) -> Seconds:
        """Of a fault: mostly short, one in five longer than the grace period, one in ten than the clean-up."""
        u = self.unit("length kind")
        if u < 0.7:  # noqa: PLR2004 - shares of the three lengths
            return self.between("length", least, least + 1.5)
        if u < 0.9:  # noqa: PLR2004 - as above
            return self.between("length", max(least, 2.0), SERVER.grace_period + 1.0)
        return self.between("length", SERVER.grace_period + 1.0, LONGEST)

    def direction(self) -> Direction:
        """Both ways as often as one."""
        return (Direction.BOTH, Direction.BOTH, Direction.UP, Direction.DOWN)[self.count("direction", 0, 3)]


Make = Callable[[Draws, Instant, tuple[str, ...], float], AnyFault]
"""One kind of fault: from its draws, its time, its cohorts and the share of them that it strikes."""


def schedule_experiment(seed: int, clients: int) -> Experiment:
    """A short quiz under one to six faults of any kind."""
    draws = Draws(seed, "run")
    cohorts = _cohorts(draws, clients)
    experiment = Experiment(
        "schedule",
        LAST_RESTART + QUIET,
        cohorts,
        title="Faults of any kind at any time",
        seed=seed,
        ramp=RAMP,
        server=_server(draws),
        client=_client(draws),
        quiz=QUIZ,
        virtual=_conditions(Draws(seed, "conditions")),
        hypothesis=Hypothesis(joined=0.0, within=0.0),
        statistics=Statistics(deadline=RETURN),
    )
    for number in range(draws.count("faults", 1, MOST_FAULTS)):
        experiment = _with_fault(experiment, _fault(Draws(seed, "fault", number), cohorts))
    return experiment


def _with_fault(experiment: Experiment, fault: AnyFault) -> Experiment:
    """The experiment with this fault too, and long enough; unchanged where the fault cannot be carried out."""
    duration = max(experiment.duration, last_end(fault) + QUIET)
    try:
        return msgspec.structs.replace(experiment, faults=(*experiment.faults, fault), duration=duration)
    except ConfigError:
        return experiment


def _cohorts(draws: Draws, clients: int) -> tuple[Cohort, ...]:
    """One to three cohorts; in one seed of ten the last one leaves."""
    count = min(draws.count("cohorts", 1, len(COHORTS)), clients)
    sizes = [clients // count + (i < clients % count) for i in range(count)]
    leaves_at = draws.between("leaves", 2.0, LAST_FAULT) if count > 1 and draws.happens("leaving", 0.1) else None
    return tuple(
        Cohort(name, size, leaves_at if i == count - 1 else None)
        for i, (name, size) in enumerate(zip(COHORTS, sizes, strict=False))
    )


def _server(draws: Draws) -> ServerConfig:
    return msgspec.structs.replace(
        SERVER,
        late_window=1.0 if draws.happens("late window", 0.3) else 0.0,
        flap_hidden=draws.between("flap hidden", 0.2, 2.0),
        participants_cap=2 if draws.happens("small roster", 0.2) else SERVER.participants_cap,
    )


def _client(draws: Draws) -> ClientConfig:
    return msgspec.structs.replace(CLIENT, preset=Preset.CLASSIC if draws.happens("classic", 0.2) else Preset.WINDOW)


def _conditions(draws: Draws) -> VirtualConditions:
    def active(what: str) -> bool:
        return draws.happens(what, ACTIVATED)

    return VirtualConditions(
        latency_spread=draws.between("latency spread", 0.001, 0.05) if active("packets vary") else 0.0,
        packet_stalls=draws.between("packet stalls", 0.005, FIRED) if active("packets stall") else 0.0,
        storage_spread=draws.between("storage spread", 0.005, 0.05) if active("calls vary") else 0.0,
        storage_stalls=draws.between("storage stalls", 0.005, FIRED) if active("calls stall") else 0.0,
        storage_share=draws.between("storage share", 0.0, 1.0),
        stall=draws.between("stall", 0.02, LONGEST_STALL),
        shuffled=draws.happens("shuffled", 0.5),
    )


def _fault(draws: Draws, cohorts: tuple[Cohort, ...]) -> AnyFault:
    """One of the kinds, each as likely; of links and clients it strikes one cohort or all, one in three a part."""
    at = draws.between("at", FIRST_FAULT, LAST_FAULT)
    names = tuple(cohort.name for cohort in cohorts)
    chosen = names if draws.happens("all", 0.3) else (names[draws.count("cohort", 0, len(names) - 1)],)
    share = 0.5 if draws.happens("share", 0.33) else 1.0
    kind = list(MAKERS)[draws.count("kind", 0, len(MAKERS) - 1)]
    return MAKERS[kind](draws, at, chosen, share)


def _cut_mid_message(draws: Draws, at: Instant, cohorts: tuple[str, ...], share: float) -> AnyFault:
    duration, after = draws.length(LOOKED_AT), draws.count("after", 1, 60)
    return CutMidMessageFault(
        at, cohorts, share=share, duration=duration, after=after, direction=_one_way(draws.direction())
    )


def _one_way(direction: Direction) -> Direction:
    return Direction.DOWN if direction is Direction.BOTH else direction


def _kill(draws: Draws, at: Instant, _: tuple[str, ...], __: float) -> AnyFault:
    """At an instant as often as at a boundary; the next server starts in time to find the quiz."""
    duration = min(draws.length(0.05), LAST_RESTART - at)
    if draws.happens("plain", 0.5):
        return ServerKillFault(at, duration=duration)
    point = ANYWHERE[draws.count("point", 0, len(ANYWHERE) - 1)]
    crash = Crash(
        point=point,
        skip=draws.count("skip", 0, 3),
        within=duration / 2,
        pause=draws.between("pause", 0.0, duration / 2),
        lands=draws.happens("lands", 0.5),
        flushes=draws.happens("flushes", 0.5),
        kept=draws.between("kept", 0.0, 1.0),
    )
    return ServerKillFault(at, duration=duration, crash=crash if point is not CrashPoint.INSTANT else Crash())


MAKERS: Mapping[str, Make] = {
    "cut": lambda _, at, who, share: CutFault(at, who, share=share),
    "reset": lambda _, at, who, share: ResetFault(at, who, share=share),
    "refuse": lambda d, at, who, share: RefuseFault(at, who, share=share, duration=d.length(0.05)),
    "blackhole": lambda d, at, who, share: BlackholeFault(
        at, who, share=share, duration=d.length(SHORTEST), direction=d.direction()
    ),
    "stall": lambda d, at, who, share: StallFault(
        at, who, share=share, duration=d.length(SHORTEST), direction=d.direction()
    ),
    "freeze": lambda d, at, who, share: FreezeFault(at, who, share=share, duration=d.length(SHORTEST)),
    "latency": lambda d, at, who, share: LatencyFault(
        at, who, share=share, duration=d.length(LOOKED_AT), delay=d.between("delay", 0.02, 0.2)
    ),
    "bandwidth": lambda d, at, who, share: BandwidthFault(
        at, who, share=share, duration=d.length(LOOKED_AT), rate=1000 * d.count("rate", 2, 20)
    ),
    "slice": lambda d, at, who, share: SliceFault(
        at, who, share=share, duration=d.length(LOOKED_AT), size=d.count("size", 10, 60), delay=0.002
    ),
    "cut_mid_message": _cut_mid_message,
    "slow_close": lambda d, at, who, share: SlowCloseFault(
        at, who, share=share, duration=d.length(LOOKED_AT), delay=d.between("delay", 0.1, 3.0), direction=d.direction()
    ),
    "server_kill": _kill,
    "server_suspend": lambda d, at, _, __: ServerSuspendFault(at, duration=min(d.length(SHORTEST), LAST_RESTART - at)),
    "server_drain": lambda _, at, __, ___: ServerDrainFault(at, duration=DRAIN),
    "client_suspend": lambda d, at, who, share: ClientSuspendFault(at, who, share=share, duration=d.length(SHORTEST)),
    "client_duplicate": lambda _, at, who, share: ClientDuplicateFault(at, who, share=share),
    "token_replay": lambda _, at, who, share: TokenReplayFault(at, who, share=share),
}
"""Every kind of fault that the virtual lane can carry out."""
