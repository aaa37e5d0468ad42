"""One experiment: frozen, validated when made, and the same for every lane. Pure.

A rule that is broken raises :class:`~resilience.errors.ConfigError` whose key is the dotted path inside the experiment.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from enum import StrEnum

import msgspec

from resilience.config import ClientConfig, QuizConfig, ServerConfig
from resilience.errors import require
from resilience.eventlog.vocabulary import Lane
from resilience.experiment.costs import ModelCosts
from resilience.experiment.drivers import (
    BUNDLED_DRIVERS,
    ClientDriver,
    FleetDriver,
    check_drivers,
    records_all,
)
from resilience.experiment.fault_rules import check_values
from resilience.experiment.faults import EVERY_LANE, AnyFault, BlackholeFault, ServerDrainFault, ServerKillFault
from resilience.experiment.primitives import Direction, FaultTarget
from resilience.experiment.schedule import SERVER, FaultWindow, LinkGroup, last_end, links_of, windows_of
from resilience.experiment.targets import (
    EvidenceSource,
    ExternalTargetSpec,
    QuizTargetSpec,
    TargetSpec,
    check_target,
)
from resilience.experiment.virtual_conditions import VirtualConditions, check_conditions
from resilience.units import Instant, Seconds

CLOCKS = ("detection_s", "reconnection_s", "downtime_s", "excess_s")
STATISTICS = ("mean", "restricted_mean", "p50", "p90", "p95", "p99", "max")
METRICS = (
    "success_rate",
    *(f"{clock}.{statistic}" for clock in CLOCKS for statistic in STATISTICS),
    *(f"attempts.{statistic}" for statistic in ("mean", "p95", "max")),
    *(f"heartbeat_rtt_s.{statistic}" for statistic in ("mean", "p50", "p95", "p99", "max")),
    "grace_expirations",
)
"""Everything an expectation may be about."""
LOGGED_METRICS = ("heartbeat_rtt_s", "grace_expirations")
"""Those, without their statistics, that only the server's own log tells."""

SETTLE_S: Seconds = 2.0
"""At least so long a run must continue after its last heal, for participants to be seen alive or back."""
SETTLE_FOR_LATENCY_S: Seconds = 5.0
"""The same where a latency is judged: a return that is cut off by the run's end has none."""
DRAIN_END_S: Seconds = 1.0
"""A drained server needs so long for its last commits, its final records and its end."""
MIN_GAP_S: Seconds = 1.0
"""More strikes than one a second are flaps."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_MODE = re.compile(r"F[1-9]\d*")
_CATALOGUE_FIELDS = frozenset({"question", "group", "shows"})
_MAX_CLIENTS = 1_000_000
_MAX_STORMS = 100
_MAX_SERVERS = 10_000
_LEAST_CONFIDENCE = 0.5
_ROUNDING_S = 1e-9


class Op(StrEnum):
    """How a metric is compared with its threshold."""

    AT_LEAST = ">="
    AT_MOST = "<="
    ABOVE = ">"
    BELOW = "<"


class Cohort(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Clients that share one link, and so suffer the same faults.

    ``leaves_at``: when those of them that have a session leave on purpose, for good, seconds after the run's start;
    only the virtual lane can carry this out. ``profiles``: the network profiles whose outages they suffer, bundled ones
    by name or files of one's own; only the population lane can carry this out. ``driver``: the program of its clients,
    a bundled one (``fleet``, ``chromium``) or that of a table ``[drivers.NAME]``, where it is not the experiment's
    ``[driver]``; only the real lane can run one that is not the fleet.
    """

    name: str
    clients: int
    leaves_at: Instant | None = None
    profiles: tuple[str, ...] = ()
    driver: str | None = None


class PopulationSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What only the population lane reads.

    ``servers``: how many servers the clients are spread over evenly, each with the server's settings. ``latency``: one
    way to a client of a cohort without network profiles, seconds.
    """

    servers: int = 1
    latency: Seconds = 0.0125


class Hypothesis(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Steady state: this share of the clients has joined, ``within`` so many seconds of the run's start.

    A share of 0 asks for nothing: faults may strike while clients still make their first dial.
    When it does not hold nothing is injected and the run ends as a failure to start, never as one of the system.
    """

    joined: float = 0.99
    within: Seconds = 10.0


class Expectation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A metric, a threshold and how sure the verdict must be; ``cohort`` or ``fault`` (a kind) narrow it."""

    metric: str
    op: Op
    threshold: float
    confidence: float = 0.95
    cohort: str | None = None
    fault: str | None = None


class Statistics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the analysis counts.

    ``deadline``: of the restricted mean, seconds. ``correlation``: within-event correlation assumed for drops of one
    fault when there are too few events to estimate it from.
    """

    deadline: Seconds = 30.0
    correlation: float = 0.05


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the real lane measures of itself before the run, through the run's own proxies.

    ``storms``: how often as many bare clients of ``websockets`` as take part are cut at once; 0 measures nothing. Their
    return is the laboratory's and Python's share of every figure. In the other lanes a laboratory takes no time.
    """

    storms: int = 0


class Obstacle(msgspec.Struct, frozen=True):
    """A value of an experiment, ``key``, that only these ``lanes`` can carry out; ``what`` it asks for, in words."""

    key: str
    what: str
    lanes: frozenset[Lane]


class Experiment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A run, whole: the system under test, clients, quiz, cohorts, faults and what must hold.

    ``duration`` is the length of the run in seconds from its start; clients make their first dial at a seeded moment
    within ``ramp`` seconds. ``drivers``: those of the cohorts that name one. For readers and lists only: ``title``, the
    ``question`` that a run answers, the ``group`` in a catalogue, and the failure modes that a run ``shows``, such as
    "F7" (docs/failure-modes.md).
    """

    name: str
    duration: Seconds
    cohorts: tuple[Cohort, ...]
    title: str = ""
    question: str = ""
    group: str = ""
    shows: tuple[str, ...] = ()
    seed: int = 1
    ramp: Seconds = 3.0
    target: TargetSpec = QuizTargetSpec()
    server: ServerConfig = ServerConfig()
    client: ClientConfig = ClientConfig()
    driver: ClientDriver = FleetDriver()
    drivers: dict[str, ClientDriver] = {}
    quiz: QuizConfig = QuizConfig()
    costs: ModelCosts = ModelCosts()
    population: PopulationSpec = PopulationSpec()
    virtual: VirtualConditions = VirtualConditions()
    faults: tuple[AnyFault, ...] = ()
    hypothesis: Hypothesis = Hypothesis()
    expectations: tuple[Expectation, ...] = ()
    statistics: Statistics = Statistics()
    reference: Reference = Reference()

    def __post_init__(self) -> None:
        """Check every rule that spans more than one value."""
        _check_run(self)
        _check_system(self)
        _check_cohorts(self.cohorts, self.duration)
        named = [cohort.driver for cohort in self.cohorts]
        check_drivers(self.drivers, named, has_pages=isinstance(self.target, QuizTargetSpec))
        _check_population(self.population)
        check_conditions("virtual", self.virtual)
        for i, fault in enumerate(self.faults):
            _check_fault(f"faults[{i}]", fault, self)
        for i, expectation in enumerate(self.expectations):
            _check_expectation(f"expectations[{i}]", expectation, self)
        _check_settle(self)

    @property
    def clients(self) -> int:
        """How many clients take part."""
        return sum(cohort.clients for cohort in self.cohorts)

    @property
    def settle_s(self) -> Seconds:
        """How long the run must continue after its last heal, seconds: no less than any latency that is asked for."""
        asked = [each.threshold for each in self.expectations if each.metric.partition(".")[0] in CLOCKS]
        return max(SETTLE_FOR_LATENCY_S, *asked) if asked else SETTLE_S

    @property
    def evidence(self) -> frozenset[EvidenceSource]:
        """The sources of evidence that a run of it leaves behind for the checks that need them."""
        drivers = list(self.drivers_by_cohort.values())
        left = {
            EvidenceSource.QUIZ_CLIENTS: all(map(records_all, drivers)),
            EvidenceSource.OBSERVATIONS: any(map(records_all, drivers)),
        }
        own = frozenset(source for source, is_left in left.items() if is_left)
        return (self.target.evidence - left.keys()) | own

    @property
    def drivers_by_cohort(self) -> dict[str, ClientDriver]:
        """The driver of each cohort's clients."""
        return {cohort.name: self.driver_named(cohort.driver) for cohort in self.cohorts}

    @property
    def drivers_in_use(self) -> dict[str | None, ClientDriver]:
        """The drivers of its clients by the names that cohorts give them; ``None`` for the one of ``[driver]``."""
        return {cohort.driver: self.driver_named(cohort.driver) for cohort in self.cohorts}

    def driver_named(self, name: str | None) -> ClientDriver:
        """The driver that a cohort names; that of the table ``[driver]`` for one that names none."""
        return self.driver if name is None else {**BUNDLED_DRIVERS, **self.drivers}[name]

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical form, without what only catalogues read.

        Two runs of one digest and seed ran the same thing.
        """
        values = msgspec.structs.asdict(self)
        ran = {name: value for name, value in values.items() if name not in _CATALOGUE_FIELDS}
        ran["costs"] = self.costs.canonical
        return hashlib.sha256(msgspec.json.encode(ran)).hexdigest()

    def windows(self, seed: int | None = None) -> tuple[FaultWindow, ...]:
        """Every fault window in the order of its start; jitter and victims as the seed says."""
        return windows_of(self.faults, self._sizes, self.seed if seed is None else seed)

    def links(self, seed: int | None = None) -> tuple[LinkGroup, ...]:
        """Every link and who uses it; a cohort of which faults strike only a share has several."""
        return links_of(self.faults, self._sizes, self.seed if seed is None else seed)

    def isolated_links(self, seed: int | None = None) -> frozenset[str]:
        """The links on whose clients some window acts: these share a process with no others."""
        windows = self.windows(seed)
        return frozenset(link for w in windows if w.fault.target is FaultTarget.CLIENT for link in w.links)

    def obstacle(self, lane: Lane) -> Obstacle | None:
        """The first value that this lane cannot carry out; ``None`` when it can carry out everything."""
        return next((each for each in self._obstacles() if lane not in each.lanes), None)

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """The lanes that can carry out everything."""
        return tuple(lane for lane in Lane if lane in EVERY_LANE and self.obstacle(lane) is None)

    def _obstacles(self) -> Iterator[Obstacle]:
        """Every value that not every lane can carry out."""
        virtual, real, population = (frozenset((lane,)) for lane in (Lane.VIRTUAL, Lane.REAL, Lane.POPULATION))
        if not isinstance(self.target, QuizTargetSpec):
            yield Obstacle("target.kind", f"a target of the kind {self.target.kind}", real)
        for i, fault in enumerate(self.faults):
            yield from _fault_obstacles(f"faults[{i}]", fault)
        if not isinstance(self.driver, FleetDriver):
            yield Obstacle("driver", "clients of another program", real)
        for i, cohort in enumerate(self.cohorts):
            if cohort.driver is not None and not isinstance(self.driver_named(cohort.driver), FleetDriver):
                yield Obstacle(f"cohorts[{i}].driver", "clients of another program", real)
            if cohort.leaves_at is not None:
                yield Obstacle(f"cohorts[{i}].leaves_at", "clients that leave", virtual)
            if cohort.profiles:
                yield Obstacle(f"cohorts[{i}].profiles", "outages of network profiles", population)
        if self.population.servers > 1:
            yield Obstacle("population.servers", "several servers", population)
        if self.server.adaptive_heartbeat:
            yield Obstacle("server.adaptive_heartbeat", "heartbeats that adapt", EVERY_LANE)

    @property
    def _sizes(self) -> tuple[tuple[str, int], ...]:
        return tuple((cohort.name, cohort.clients) for cohort in self.cohorts)


def _fault_obstacles(key: str, fault: AnyFault) -> Iterator[Obstacle]:
    yield Obstacle(key, fault.kind, fault.lanes)
    if isinstance(fault, ServerKillFault) and fault.crash is not None:
        yield Obstacle(f"{key}.crash", "a crash at a boundary of the server's work", frozenset((Lane.VIRTUAL,)))
    if isinstance(fault, BlackholeFault) and fault.direction is not Direction.BOTH:
        yield Obstacle(f"{key}.direction", "a blackhole in one direction", EVERY_LANE)


def _check_run(run: Experiment) -> None:
    require(bool(_NAME.fullmatch(run.name)), "name", run.name, "must be lower-case letters, digits, - and _")
    for i, mode in enumerate(run.shows):
        require(bool(_MODE.fullmatch(mode)), f"shows[{i}]", mode, "must be the id of a failure mode, such as F7")
        require(mode not in run.shows[:i], f"shows[{i}]", mode, "must not repeat")
    require(0 < run.duration < float("inf"), "duration", run.duration, "must be a positive number of seconds")
    require(0 <= run.ramp < run.duration, "ramp", run.ramp, "must be at least 0 and less than duration")
    hypothesis = run.hypothesis
    require(0 <= hypothesis.joined <= 1, "hypothesis.joined", hypothesis.joined, "must be a share from 0 to 1")
    within, least = hypothesis.within, run.ramp if hypothesis.joined else 0.0
    require(least <= within <= run.duration, "hypothesis.within", within, "must lie between ramp and duration")
    require(run.statistics.deadline > 0, "statistics.deadline", run.statistics.deadline, "must be positive")
    storms = run.reference.storms
    require(0 <= storms <= _MAX_STORMS, "reference.storms", storms, f"must be from 0 to {_MAX_STORMS}")
    correlation = run.statistics.correlation
    require(0 <= correlation <= 1, "statistics.correlation", correlation, "must be between 0 and 1")


def _check_system(run: Experiment) -> None:
    check_target("target", run.target)
    rule = "must be left out: the table configures this program's own server, and [target] names another one"
    defaults = msgspec.structs.asdict(ServerConfig())
    changed = [name for name, value in msgspec.structs.asdict(run.server).items() if value != defaults[name]]
    require(isinstance(run.target, QuizTargetSpec) or not changed, "server", changed, rule)


def _check_cohorts(cohorts: tuple[Cohort, ...], duration: Seconds) -> None:
    require(bool(cohorts), "cohorts", [], "must name at least one cohort")
    seen: set[str] = set()
    for i, cohort in enumerate(cohorts):
        key = f"cohorts[{i}]"
        require(
            bool(_NAME.fullmatch(cohort.name)), f"{key}.name", cohort.name, "must be lower-case letters, digits, - _"
        )
        require(cohort.name != SERVER, f"{key}.name", cohort.name, "names the server; choose another")
        require(cohort.name not in seen, f"{key}.name", cohort.name, "must be unique")
        require(1 <= cohort.clients <= _MAX_CLIENTS, f"{key}.clients", cohort.clients, "must be from 1 to 1,000,000")
        leaves_in_time = cohort.leaves_at is None or 0 < cohort.leaves_at <= duration
        require(leaves_in_time, f"{key}.leaves_at", cohort.leaves_at, "must lie within the run's duration")
        seen.add(cohort.name)


def _check_population(population: PopulationSpec) -> None:
    servers, latency = population.servers, population.latency
    require(1 <= servers <= _MAX_SERVERS, "population.servers", servers, f"must be from 1 to {_MAX_SERVERS:,}")
    require(0 < latency < float("inf"), "population.latency", latency, "must be a positive, finite number of seconds")


def _check_fault(key: str, fault: AnyFault, run: Experiment) -> None:
    _check_place(key, fault, run)
    require(fault.times >= 1, f"{key}.times", fault.times, "must be at least 1")
    require(fault.times == 1 or fault.every is not None, f"{key}.every", fault.every, "is needed when times is above 1")
    _check_poisson(key, fault)
    require(fault.every is None or fault.every > 0, f"{key}.every", fault.every, "must be positive")
    require(fault.flaps >= 1, f"{key}.flaps", fault.flaps, "must be at least 1")
    rule = "is needed when flaps is above 1"
    require(fault.flaps == 1 or fault.flap_every is not None, f"{key}.flap_every", fault.flap_every, rule)
    require(fault.flap_every is None or fault.flap_every > 0, f"{key}.flap_every", fault.flap_every, "must be positive")
    require(fault.rolling >= 0, f"{key}.rolling", fault.rolling, "must not be negative")
    require(fault.jitter >= 0, f"{key}.jitter", fault.jitter, "must not be negative")
    check_values(key, fault)
    if isinstance(fault, ServerDrainFault):
        least = _drain_s(run) + DRAIN_END_S
        rule = f"must be at least {least:g} s: so long the server takes to drain {run.clients} clients and to end"
        require(fault.length >= least - _ROUNDING_S, f"{key}.duration", fault.length, rule)
    require(fault.at >= run.hypothesis.within, f"{key}.at", fault.at, "must not come before hypothesis.within")
    last = last_end(fault)
    require(last < run.duration, f"{key}.at", fault.at, f"the fault would end at {last:g} s, after the run's duration")


def _drain_s(run: Experiment) -> Seconds:
    """How long this program's own server spreads its closes over; how long another one takes is not known."""
    return run.server.drain.window(run.clients) if isinstance(run.target, QuizTargetSpec) else 0.0


def _check_poisson(key: str, fault: AnyFault) -> None:
    if fault.mean_gap is None and fault.until is None:
        return
    require(fault.mean_gap is not None, f"{key}.mean_gap", None, "is needed with until")
    require(
        (fault.mean_gap or 0.0) >= MIN_GAP_S, f"{key}.mean_gap", fault.mean_gap, f"must be at least {MIN_GAP_S:g} s"
    )
    require(fault.until is not None, f"{key}.until", None, "is needed with mean_gap")
    require((fault.until or 0.0) > fault.at, f"{key}.until", fault.until, "must be later than at")
    rule = "must be left out: mean_gap says when the fault repeats"
    require(fault.times == 1, f"{key}.times", fault.times, rule)
    require(fault.every is None, f"{key}.every", fault.every, rule)


def _check_settle(run: Experiment) -> None:
    """A participant whose return the run does not wait for would count as one that failed to return."""
    healed, settle = max(map(last_end, run.faults), default=0.0), run.settle_s if run.faults else 0.0
    rule = f"must be at least {healed + settle:g}: the last fault ends at {healed:g} s, and returns need {settle:g} s"
    require(run.duration >= healed + settle - _ROUNDING_S, "duration", run.duration, rule)


def _check_place(key: str, fault: AnyFault, run: Experiment) -> None:
    if fault.target is FaultTarget.SERVER:
        rule = (
            "an external target cannot be killed, suspended or drained by this runner, which has not started it: "
            'use a fault of links or clients, or have the runner start it (target.kind = "command")'
        )
        require(not isinstance(run.target, ExternalTargetSpec), f"{key}.kind", fault.kind, rule)
        rule = "must be left out: the fault strikes the server"
        require(not fault.cohorts, f"{key}.cohorts", list(fault.cohorts), rule)
        require(fault.share == 1.0, f"{key}.share", fault.share, rule)
        return
    drivers = run.drivers_by_cohort
    require(bool(fault.cohorts), f"{key}.cohorts", [], "must name at least one cohort")
    for name in fault.cohorts:
        require(name in drivers, f"{key}.cohorts", name, f"unknown cohort; there are: {', '.join(drivers)}")
    rule = "needs this program's own clients: those of another program cannot be ordered to do it"
    obey = all(isinstance(drivers[name], FleetDriver) for name in fault.cohorts)
    require(not fault.fleet_only or obey, f"{key}.kind", fault.kind, rule)
    require(len(set(fault.cohorts)) == len(fault.cohorts), f"{key}.cohorts", list(fault.cohorts), "must not repeat")
    require(0 < fault.share <= 1, f"{key}.share", fault.share, "must be above 0 and at most 1")


def _check_expectation(key: str, expectation: Expectation, run: Experiment) -> None:
    metric, threshold = expectation.metric, expectation.threshold
    require(metric in METRICS, f"{key}.metric", metric, f"unknown; one of: {', '.join(METRICS)}")
    has_log = EvidenceSource.SERVER_LOG in run.evidence or metric.partition(".")[0] not in LOGGED_METRICS
    require(has_log, f"{key}.metric", metric, f"a target of the kind {run.target.kind} has no log that tells it")
    if metric == "success_rate":
        require(0 <= threshold <= 1, f"{key}.threshold", threshold, "a rate must be between 0 and 1")
    else:
        require(0 <= threshold < float("inf"), f"{key}.threshold", threshold, "must be a finite number, at least 0")
    _check_missable(key, expectation, run.statistics.deadline)
    require(
        _LEAST_CONFIDENCE <= expectation.confidence < 1,
        f"{key}.confidence",
        expectation.confidence,
        "must be from 0.5 to below 1",
    )
    names = [cohort.name for cohort in run.cohorts]
    require(expectation.cohort in (None, *names), f"{key}.cohort", expectation.cohort, "unknown cohort")
    kinds = {fault.kind for fault in run.faults}
    require(expectation.fault in (None, *kinds), f"{key}.fault", expectation.fault, "no fault of this kind in the run")


def _check_missable(key: str, expectation: Expectation, deadline: Seconds) -> None:
    """A target that every run meets asks for nothing: a value at its least or greatest, or one cut off before it."""
    metric, op, threshold = expectation.metric, expectation.op, expectation.threshold
    rule = "every run meets this target; none is below 0"
    require(not (op is Op.AT_LEAST and threshold == 0), f"{key}.threshold", threshold, rule)
    greatest = {"success_rate": 1.0}.get(metric, deadline if metric.endswith(".restricted_mean") else float("inf"))
    is_met_by_all = (op is Op.AT_MOST and threshold >= greatest) or (op is Op.BELOW and threshold > greatest)
    rule = "every run meets this target; no rate is above 1"
    if metric != "success_rate":
        rule = f"every run meets this target: statistics.deadline counts no episode for more than {deadline:g} s"
    require(not is_met_by_all, f"{key}.threshold", threshold, rule)
