"""Builds small event logs whose right results are known. Holds no assertion."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from reports.frames import RunHistory
from resilience.eventlog.vocabulary import Lane, LogEvent, LogEventKind, Role
from resilience.eventlog.writer import EventWriter
from resilience.experiment.faults import AnyFault, BlackholeFault, CutFault, RefuseFault
from resilience.experiment.loader import to_toml
from resilience.experiment.spec import Cohort, Expectation, Experiment, Hypothesis, Op, Statistics
from resilience.lab.manifest import take_inventory
from resilience.lab.run_directory import RunInfo, RunStatus, write_run_info

EPOCH = "e1"
TARGET = Expectation("success_rate", Op.AT_LEAST, 0.95)


def experiment(
    faults: tuple[AnyFault, ...] = (CutFault(at=10.0, cohorts=("alpha",)),),
    expectations: tuple[Expectation, ...] = (),
    *,
    clients: int = 4,
    cohorts: tuple[str, ...] = ("alpha",),
    duration: float = 60.0,
    statistics: Statistics | None = None,
) -> Experiment:
    """A small experiment; each cohort has ``clients`` clients."""
    return Experiment(
        name="tiny",
        title="A tiny experiment",
        duration=duration,
        ramp=1.0,
        hypothesis=Hypothesis(within=5.0),
        cohorts=tuple(Cohort(name, clients) for name in cohorts),
        faults=faults,
        expectations=expectations,
        statistics=statistics or Statistics(),
    )


@dataclass
class Person:
    """The state of one participant while its log is built."""

    cohort: str
    session: str
    connection: int = 0
    dial: int = 0
    score: float = 0.0
    identities: int = 1
    position: int = 0
    earlier: list[str] = field(default_factory=list)


@dataclass
class LogBuilder:
    """A run built event by event; nothing is checked, so that it can be wrong on purpose."""

    experiment: Experiment
    lane: Lane = Lane.MODEL
    status: RunStatus = RunStatus.COMPLETED
    seed: int = 1
    cause: str | None = None
    events: list[LogEvent] = field(default_factory=list)
    people: dict[str, Person] = field(default_factory=dict)

    def add(self, t: float, role: Role, actor: str, kind: LogEventKind, **fields: object) -> LogBuilder:
        """One event, with these other fields of ``LogEvent``."""
        self.events.append(LogEvent(t, self.lane, role, actor, kind, **fields))  # type: ignore[arg-type]
        return self

    def client(self, t: float, who: str, kind: LogEventKind, **fields: object) -> LogBuilder:
        """One event of a client."""
        person = self.people[who]
        return self.add(t, Role.CLIENT, who, kind, cohort=person.cohort, session_id=person.session, **fields)

    def server(self, t: float, who: str, kind: LogEventKind, **fields: object) -> LogBuilder:
        """One event of the server about a participant."""
        fields.setdefault("connection_no", self.people[who].connection)
        return self.add(t, Role.SERVER, "server", kind, session_id=self.people[who].session, **fields)

    # participants -----------------------------------------------------------------------------------------------------

    def join(self, who: str, t: float = 1.0, cohort: str = "alpha") -> LogBuilder:
        """Join as a new participant, announced to the room a moment later."""
        self.people[who] = Person(cohort, f"p-{who}")
        self.dial(who, t, t + 0.01)
        self._attach(who, t + 0.02, new=True, server_digest=f"new {t}")
        return self.server(t + 0.5, who, LogEventKind.PARTICIPANT_ANNOUNCED)

    def dial(self, who: str, t: float, opened: float | None = None) -> LogBuilder:
        """Dial at ``t``; open at ``opened``, or fail half a second later."""
        person = self.people[who]
        person.dial += 1
        self.client(t, who, LogEventKind.TRANSPORT_OPENING, connection_no=person.dial)
        kind = LogEventKind.TRANSPORT_FAILED if opened is None else LogEventKind.TRANSPORT_OPENED
        return self.client(t + 0.5 if opened is None else opened, who, kind, connection_no=person.dial)

    def lose(self, who: str, t: float, *, server_at: float | None = None) -> LogBuilder:
        """Both ends notice that the connection is lost; the server at ``server_at``."""
        self.client(t, who, LogEventKind.TRANSPORT_LOST, connection_no=self.people[who].dial, cause="closed")
        at = t if server_at is None else server_at
        self.server(at, who, LogEventKind.TRANSPORT_LOST, cause="closed")
        return self.server(at, who, LogEventKind.SESSION_DETACHED, cause="closed")

    def restore(self, who: str, t: float, *, holds: str | None = None, outcome: str = "resumed") -> LogBuilder:
        """Resumed by the server and restored at the client, which ``holds`` this digest (default: the server's)."""
        return self._attach(who, t, new=False, server_digest=f"state {who} {t}", holds=holds, outcome=outcome)

    def back(self, who: str, t: float) -> LogBuilder:
        """Dial, open and restore, the last at ``t``."""
        return self.dial(who, t - 0.1, t - 0.05).restore(who, t)

    def become_new(self, who: str, t: float) -> LogBuilder:
        """The server does not know the session: the client joins as a new participant."""
        person = self.people[who]
        person.identities += 1
        person.earlier.append(person.session)
        person.session, person.connection = f"p-{who}-{person.identities}", 0
        return self._attach(who, t, new=True, server_digest=f"new {t}")

    def give_up(self, who: str, t: float) -> LogBuilder:
        """Stop retrying."""
        return self.client(t, who, LogEventKind.GAVE_UP)

    def answer(self, who: str, t: float, question: str = "q1", points: float = 100.0) -> LogBuilder:
        """Answer a question: submitted, committed, acknowledged."""
        ref = f"{question}/{who}-{question}"
        self.people[who].score += points
        self.client(t, who, LogEventKind.ANSWER_SUBMITTED, ref=ref)
        self.server(t + 0.01, who, LogEventKind.ANSWER_COMMITTED, ref=ref, outcome="accepted", value=points)
        return self.client(t + 0.02, who, LogEventKind.ANSWER_ACKED, ref=ref, outcome="accepted")

    def deliver(self, who: str, t: float, seq: int, epoch: str = EPOCH) -> LogBuilder:
        """Receive one message of the stream."""
        self.people[who].position = seq
        return self.client(t, who, LogEventKind.STREAM_DELIVERED, seq=seq, detail=epoch)

    def _attach(
        self, who: str, t: float, *, new: bool, server_digest: str, holds: str | None = None, **fields: object
    ) -> LogBuilder:
        person = self.people[who]
        person.connection += 1
        server = LogEventKind.SESSION_CREATED if new else LogEventKind.SESSION_RESUMED
        client = LogEventKind.SESSION_JOINED if new else LogEventKind.SESSION_RESTORED
        at = person.position
        self.server(t - 0.005, who, server, seq=at, detail=server_digest, **fields)
        return self.client(t, who, client, connection_no=person.connection, seq=at, detail=holds or server_digest)

    # faults -----------------------------------------------------------------------------------------------------------

    def fault(
        self, fault_id: str, start: float, end: float, *, confirmed: bool = True, cleared: bool = True
    ) -> LogBuilder:
        """A fault window with its canary's findings."""
        cohort = fault_id.partition("@")[2]
        inject = Role.INJECTOR
        self.add(start, inject, cohort, LogEventKind.FAULT_STARTED, ref=fault_id, value=start)
        if confirmed:
            self.add(start + 0.01, inject, cohort, LogEventKind.FAULT_CONFIRMED, ref=fault_id, value=0.01)
        self.add(end, inject, cohort, LogEventKind.FAULT_ENDED, ref=fault_id, value=end)
        if cleared:
            self.add(end + 0.01, inject, cohort, LogEventKind.FAULT_CLEARED, ref=fault_id, value=0.01)
        return self

    def end(self, t: float | None = None) -> LogBuilder:
        """Final scores and the run's end."""
        at = self.experiment.duration if t is None else t
        for who, person in self.people.items():
            self.server(at, who, LogEventKind.SCORE_FINAL, value=person.score)
            for session in person.earlier:
                self.add(at, Role.SERVER, "server", LogEventKind.SCORE_FINAL, session_id=session, value=0.0)
        return self.add(at, Role.RUNNER, "runner", LogEventKind.RUN_ENDED, outcome="completed")

    # results ----------------------------------------------------------------------------------------------------------

    @property
    def info(self) -> RunInfo:
        """``run.json`` of this run."""
        return RunInfo(
            experiment=self.experiment.name,
            experiment_digest=self.experiment.digest,
            lane=self.lane,
            seed=self.seed,
            started_at="2025-01-01T00:00:00Z",
            duration_s=self.experiment.duration,
            status=self.status,
            cause=self.cause if self.status == RunStatus.COMPLETED else "told so",
            wall_s=1.5,
            versions={"python": "3.11"},
        )

    def log(self) -> RunHistory:
        """The run as the reports read it."""
        return RunHistory(self.info, self.experiment, sorted(self.events, key=lambda event: event.t))

    def write(self, run_dir: Path) -> Path:
        """The run as a directory with complete evidence: its clients have the names that the experiment gives them."""
        run_dir.mkdir(parents=True, exist_ok=True)
        writer = EventWriter(run_dir / "events" / "run.jsonl")
        for event in sorted([*self._run_records(), *self.events], key=lambda event: event.t):
            writer.write(msgspec.structs.replace(event, actor=self._names.get(event.actor, event.actor)))
        writer.close()
        (run_dir / "experiment.toml").write_text(to_toml(self.experiment), encoding="utf-8")
        return self.seal(run_dir)

    def seal(self, run_dir: Path) -> Path:
        """Write ``run.json`` with a list of the evidence as it is now."""
        write_run_info(run_dir, msgspec.structs.replace(self.info, evidence=take_inventory(run_dir)))
        return run_dir

    def _run_records(self) -> list[LogEvent]:
        begin = LogEvent(
            0.0, self.lane, Role.RUNNER, "runner", LogEventKind.RUN_STARTED, value=self.experiment.duration
        )
        steady = LogEvent(5.0, self.lane, Role.RUNNER, "runner", LogEventKind.RUN_STEADY, outcome="pass", value=1.0)
        return [begin, steady]

    @property
    def _names(self) -> dict[str, str]:
        """The experiment's names of the participants, by the builder's own."""
        given: dict[str, str] = {}
        for cohort in self.experiment.cohorts:
            members = [who for who, person in self.people.items() if person.cohort == cohort.name]
            given |= {who: f"{cohort.name}-{i:04d}" for i, who in enumerate(members, 1)}
        return given


def clean_history(clients: int = 4, correlation: float = 0.0) -> LogBuilder:
    """One cut, all clients back within two seconds, answers and stream in order: a run that breaks no invariant."""
    statistics = Statistics(correlation=correlation)
    history = LogBuilder(experiment(expectations=(TARGET,), clients=clients, statistics=statistics))
    names = [f"c{i}" for i in range(clients)]
    for i, who in enumerate(names):
        history.join(who, 1.0 + i * 0.001).deliver(who, 6.0, 1).deliver(who, 7.0, 2).answer(who, 8.0)
    history.fault("0.0:cut@alpha", 10.0, 10.0)
    for i, who in enumerate(names):
        history.lose(who, 10.0 + i * 0.001).back(who, 11.0 + i % 10 * 0.1).deliver(who, 20.0, 3).answer(who, 21.0, "q2")
    return history.end()


def sample_history(
    lane: Lane = Lane.MODEL, *, clients: int = 100, losing: float = 0.04, slow: float = 1.0
) -> LogBuilder:
    """Three cohorts, nine windows of three kinds that do not overlap, some participants give up or change identity."""
    cohorts = ("alpha", "beta", "gamma")
    kinds = {"cut": 0.0, "refuse": 1.0, "blackhole": 4.5}
    faults: list[AnyFault] = []
    for c, cohort in enumerate(cohorts):
        for k in range(3):
            kind, offset = list(kinds.items())[(k + c) % 3]
            at = 8.0 + 16.0 * k + offset
            if kind == "cut":
                faults.append(CutFault(at=at, cohorts=(cohort,)))
            elif kind == "refuse":
                faults.append(RefuseFault(at=at, cohorts=(cohort,), duration=3.0))
            else:
                faults.append(BlackholeFault(at=at, cohorts=(cohort,), duration=8.0))
    targets = (
        TARGET,
        Expectation("reconnection_s.mean", Op.BELOW, 5.0),
        Expectation("excess_s.p95", Op.BELOW, 5.0),
        Expectation("excess_s.restricted_mean", Op.BELOW, 2.0),
    )
    history = LogBuilder(experiment(tuple(faults), targets, clients=clients, cohorts=cohorts, duration=64.0), lane)
    _play(history, cohorts, clients, RandomHistory(losing, slow))
    return history.end()


@dataclass
class RandomHistory:
    """Random behaviour. ``losing``: share that gives up per fault; ``slow``: scale of the return times."""

    losing: float
    slow: float
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(5))
    gone: set[str] = field(default_factory=set)

    def uniform(self, low: float, high: float) -> float:
        """A number between the two."""
        return float(self.rng.uniform(low, high))


def _play(history: LogBuilder, cohorts: tuple[str, ...], clients: int, chance: RandomHistory) -> None:
    for cohort in cohorts:
        for i in range(clients):
            who = f"{cohort}-{i:03d}"
            history.join(who, chance.uniform(0.5, 3.5), cohort).deliver(who, 4.0, 1)
    for window in history.experiment.windows(history.seed):
        history.fault(window.fault_id, window.starts_at, window.ends_at)
        silent = window.fault.kind == "blackhole"
        for who in [who for who, person in history.people.items() if person.cohort == window.place]:
            if who not in chance.gone:
                noticed = window.starts_at + (chance.uniform(2, 6) if silent else 0.003)
                _return(history, who, noticed, window.ends_at, chance)


def _return(history: LogBuilder, who: str, noticed: float, healed: float, chance: RandomHistory) -> None:
    history.lose(who, noticed)
    t = noticed + chance.uniform(0.1, 0.4)
    while t < healed:
        history.dial(who, t)
        t += 0.6 + chance.uniform(0.1, 0.9)
    back = max(t, healed) + chance.slow * float(chance.rng.gamma(2.0, 0.25))
    history.dial(who, max(t, healed), back - 0.02)
    fate = chance.uniform(0, 1)
    if fate < chance.losing:
        chance.gone.add(who)
        history.client(back, who, LogEventKind.TRANSPORT_LOST, cause="closed").give_up(who, back + 1.0)
    elif fate < chance.losing * 1.2:
        history.become_new(who, back)
    else:
        history.restore(who, back)
        history.server(back + 0.3, who, LogEventKind.HEARTBEAT_ACKED, value=float(chance.rng.lognormal(-6.5, 0.6)))
