"""The virtual lane under the laboratory core: every fault does what it declares, and every run ends in order."""

from __future__ import annotations

import errno
import re
import threading
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from resilience.errors import UsageError
from resilience.eventlog.vocabulary import Lane, LogEvent, LogEventKind, Role
from resilience.eventlog.writer import EventList
from resilience.experiment.faults import (
    AnyFault,
    BlackholeFault,
    CutFault,
    RefuseFault,
    ResetFault,
    ServerDrainFault,
    ServerKillFault,
)
from resilience.experiment.loader import load, parse, to_toml
from resilience.experiment.primitives import Crash, CrashPoint, Direction
from resilience.experiment.spec import Cohort, Experiment, Hypothesis
from resilience.experiment.virtual_conditions import VirtualConditions
from resilience.lab.cancellation import Cancellation
from resilience.lab.progress import Progress
from resilience.lab.recording import Recording
from resilience.lab.run import RunOutcome, conduct, execute
from resilience.lab.run_directory import RunStatus, read_run_info
from sim.virtual.faultable_link import FaultableVirtualLink
from sim.virtual.faultable_server import FaultableVirtualServer
from sim.virtual.lane import VirtualLane

from ...support.short_runs import ended_at

DEMO = load("demo", scale=0.03)


def experiment(*faults: AnyFault, duration: float = 40.0, clients: int = 3) -> Experiment:
    """A few clients on one link."""
    return Experiment(
        "small", duration, (Cohort("a", clients),), ramp=1.0, hypothesis=Hypothesis(within=3.0), faults=faults
    )


class Run:
    """One run in memory: its outcome, its events in the order of time, its recording."""

    def __init__(self, experiment: Experiment, seed: int = 1) -> None:
        self.recording = Recording.in_memory()
        self.outcome = conduct(VirtualLane(), experiment, seed, self.recording)
        assert isinstance(self.recording.events, EventList)
        self.events = sorted(self.recording.events, key=lambda event: event.t)

    def of(self, kind: LogEventKind, role: Role | None = None) -> list[LogEvent]:
        """The events of one kind."""
        return [event for event in self.events if event.kind is kind and role in (None, event.role)]

    @property
    def faults(self) -> Counter[str]:
        """What the injector recorded."""
        return Counter(event.kind.value for event in self.events if event.role is Role.INJECTOR)


SEEN = {"fault.started", "fault.confirmed", "fault.ended", "fault.cleared"}


def test_every_window_is_confirmed_and_cleared() -> None:
    """Nine windows, nine begins seen, nine ends seen, each at its planned time."""
    run = Run(DEMO, 7)
    assert run.outcome == RunOutcome(RunStatus.COMPLETED)
    assert run.faults == dict.fromkeys(SEEN, 9)
    assert all(event.t == event.value for event in run.of(LogEventKind.FAULT_STARTED))


def test_the_same_seed_gives_the_same_history() -> None:
    """Events, observations and database; another seed gives another."""
    one, two, other = Run(DEMO, 7), Run(DEMO, 7), Run(DEMO, 8)
    assert one.events == two.events != other.events
    assert one.recording.observations == two.recording.observations != []
    assert one.recording.stored == two.recording.stored is not None


def test_a_fault_that_was_not_injected_is_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operations are ordered and nothing happens: the canary does not see it, and the window does not count."""
    monkeypatch.setattr("sim.virtual.link.VirtualLink.cut", lambda _: None)
    monkeypatch.setattr(FaultableVirtualLink, "_show", lambda *_: None)
    faults = Run(DEMO, 7).faults
    assert faults["fault.invalid"] == 9
    assert "fault.confirmed" not in faults


def test_a_fault_that_does_not_end_is_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    """The condition is lifted and the link stays down."""
    monkeypatch.setattr(FaultableVirtualLink, "_lift", lambda *_: None)
    run = Run(experiment(RefuseFault(5.0, ("a",), duration=2.0)))
    assert [event.cause for event in run.of(LogEventKind.FAULT_INVALID)] == [
        "the canary did not see the fault end within 5.0 s"
    ]


@pytest.mark.parametrize(
    "fault",
    [
        BlackholeFault(28.9, ("a",), duration=1.0),
        RefuseFault(6.0, ("a",), duration=23.999),
        ServerKillFault(29.7, duration=0.2),
    ],
    ids=lambda fault: str(fault.kind),
)
def test_a_fault_at_the_end_does_not_abort_the_run(fault: AnyFault) -> None:
    """The run ends before the place can be seen healthy: that does not make the window invalid."""
    run = Run(ended_at(experiment(fault, duration=40.0), 30.0))
    assert run.outcome == RunOutcome(RunStatus.COMPLETED)
    assert not [event for event in run.of(LogEventKind.FAULT_INVALID) if "fault end" in (event.cause or "")]
    assert run.of(LogEventKind.RUN_ENDED)[0].outcome == "completed"


def dials(run: Run) -> list[tuple[float, bool]]:
    """When each dial was answered, and whether the connection opened."""
    kinds = (LogEventKind.TRANSPORT_OPENED, LogEventKind.TRANSPORT_FAILED)
    return [(e.t, e.kind is kinds[0]) for e in run.events if e.role is Role.CLIENT and e.kind in kinds]


def is_open_within(run: Run, start: float, end: float) -> bool:
    """Whether any connection opened then."""
    return any(opened and start < t < end for t, opened in dials(run))


@pytest.mark.parametrize(
    "faults, last",
    [
        ([RefuseFault(6.0, ("a",), duration=10.0), RefuseFault(10.0, ("a",), duration=16.0)], 26.0),
        ([RefuseFault(6.0, ("a",), duration=20.0), RefuseFault(10.0, ("a",), duration=4.0)], 26.0),
        ([RefuseFault(6.0, ("a",), duration=1.0, times=10, every=1.0)], 16.0),
        ([RefuseFault(6.0, ("a",), duration=2.0, times=10, every=1.0)], 17.0),
        ([CutFault(6.0, ("a",)), RefuseFault(6.0, ("a",), duration=5.0)], 11.0),
        ([RefuseFault(6.0, ("a",), duration=5.0), CutFault(6.0, ("a",))], 11.0),
    ],
    ids=["overlapping", "nested", "touching", "self-overlapping", "simultaneous", "simultaneous, other order"],
)
def test_refusals_of_one_link_add_up(faults: list[AnyFault], last: float) -> None:
    """No connection opens before the last window has ended; then all return, and no window is invalid."""
    run = Run(experiment(*faults))
    assert not is_open_within(run, 6.0, last)
    assert is_open_within(run, last, 40.0)
    assert run.faults["fault.invalid"] == 0
    assert run.faults["fault.confirmed"] == run.faults["fault.cleared"] == run.faults["fault.started"]


@pytest.mark.parametrize(
    "faults, last",
    [
        ([BlackholeFault(6.0, ("a",), duration=10.0), BlackholeFault(10.0, ("a",), duration=16.0)], 26.0),
        (
            [
                BlackholeFault(6.0, ("a",), duration=10.0, direction=Direction.UP),
                BlackholeFault(10.0, ("a",), duration=16.0, direction=Direction.DOWN),
            ],
            26.0,
        ),
        ([RefuseFault(6.0, ("a",), duration=5.0), BlackholeFault(11.0, ("a",), duration=9.0)], 20.0),
        ([RefuseFault(6.0, ("a",), duration=20.0), BlackholeFault(10.0, ("a",), duration=4.0)], 26.0),
    ],
    ids=["overlapping", "other direction", "touching", "hole in a refusal"],
)
def test_blackholes_add_up(faults: list[AnyFault], last: float) -> None:
    """No session is restored before the last window has ended; then each is, and no window is invalid."""
    run = Run(experiment(*faults, duration=60.0))
    restored = [event.t for event in run.of(LogEventKind.SESSION_RESTORED, Role.CLIENT)]
    assert len(restored) == 3
    assert min(restored) > last
    assert run.faults["fault.invalid"] == 0


def test_lifting_one_of_two_drops_closes_every_connection() -> None:
    """As in Toxiproxy, where removing any ``timeout`` toxic closes the connections of its proxy."""
    holes = [BlackholeFault(6.0, ("a",), duration=3.0), BlackholeFault(6.5, ("a",), duration=10.0)]
    run = Run(experiment(*holes))
    lost = [event for event in run.of(LogEventKind.TRANSPORT_LOST, Role.SERVER) if 9.0 <= event.t < 9.1]
    assert lost


def test_a_reset_is_seen_as_one() -> None:
    """The canary accepts nothing but an RST, and every client returns."""
    run = Run(experiment(ResetFault(6.0, ("a",))))
    assert run.faults == dict.fromkeys(SEEN, 1)
    assert len(run.of(LogEventKind.SESSION_RESTORED, Role.CLIENT)) == 3


def test_a_share_of_a_cohort_is_struck() -> None:
    """One client of three."""
    run = Run(experiment(CutFault(6.0, ("a",), share=0.34)))
    assert run.faults == dict.fromkeys(SEEN, 1)
    assert len(run.of(LogEventKind.SESSION_RESTORED, Role.CLIENT)) == 1


def test_a_killed_server_is_followed_by_one_on_the_same_database() -> None:
    """Every client is restored as who it was, once the next server listens."""
    run = Run(experiment(ServerKillFault(6.0, duration=2.0)))
    assert run.outcome == RunOutcome(RunStatus.COMPLETED)
    assert run.faults == dict.fromkeys(SEEN, 1)
    fresh, recovered = run.of(LogEventKind.SERVER_STARTED)
    assert (fresh.outcome, recovered.outcome) == ("fresh", "recovered")
    assert 8.0 <= recovered.t < 8.2
    restored = run.of(LogEventKind.SESSION_RESTORED, Role.CLIENT)
    assert len(restored) == 3
    assert min(event.t for event in restored) > recovered.t
    assert run.recording.stored is not None
    assert run.recording.stored.incarnation == 2


@pytest.mark.parametrize(
    "second, back",
    [(ServerKillFault(7.0, duration=5.0), 12.0), (ServerKillFault(8.0, duration=3.0), 11.0)],
    ids=["overlapping", "touching"],
)
def test_kills_add_up(second: ServerKillFault, back: float) -> None:
    """There is no server until the last window has ended, and one start then."""
    run = Run(experiment(ServerKillFault(6.0, duration=2.0), second))
    starts = [event.t for event in run.of(LogEventKind.SERVER_STARTED)]
    assert len(starts) == 2
    assert back <= starts[1] < back + 0.2
    assert run.faults["fault.invalid"] == 0


def test_a_server_that_cannot_start_is_the_systems_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run completes and its cause says what happened."""
    start = FaultableVirtualServer.start

    async def once(self: FaultableVirtualServer) -> None:
        await start(self)
        monkeypatch.setattr("resilience.server.store.SqlStore.acquire_lease", _refuse_lease)

    monkeypatch.setattr(FaultableVirtualServer, "start", once)
    run = Run(experiment(ServerKillFault(6.0, duration=2.0)))
    assert run.outcome.status is RunStatus.COMPLETED
    assert run.outcome.cause == "the server could not start: ValueError: planted"


def test_a_server_that_is_to_drain_while_it_starts_does_so_afterwards() -> None:
    """As a process does with SIGTERM: it starts, ends in order, and leaves its port to the next one."""
    faults = (ServerKillFault(6.0, duration=1.0), ServerDrainFault(7.1, duration=3.0))
    slow = msgspec.structs.replace(experiment(*faults), virtual=VirtualConditions(storage=0.3))
    run = Run(slow)
    assert run.outcome == RunOutcome(RunStatus.COMPLETED)
    starts = [event.t for event in run.of(LogEventKind.SERVER_STARTED)]
    assert len(starts) == 3
    assert 7.1 < starts[1] < 10.1 < starts[2]


def _refuse_lease(*_: object) -> None:
    raise ValueError("planted")


CRASHES = experiment(
    ServerKillFault(6.0, duration=5.0, crash=Crash(point=CrashPoint.WRITTEN, skip=1, within=4.0, pause=0.5)),
    duration=30.0,
)


def test_a_crash_is_a_value_of_the_experiment_file() -> None:
    """It reads back as it was written."""
    assert parse(to_toml(CRASHES), "x.toml") == CRASHES


def test_a_crash_starts_the_next_server_after_its_pause() -> None:
    """Where the boundary was crossed decides when, within the window."""
    run = Run(CRASHES)
    (started,), (ended,) = run.of(LogEventKind.FAULT_STARTED), run.of(LogEventKind.FAULT_ENDED)
    assert 6.0 < started.t < 10.0
    assert ended.t == pytest.approx(started.t + 0.5)


def test_a_cohort_leaves_on_purpose() -> None:
    """At its time, with a word to the server; the other cohort stays."""
    leaving = (Cohort("a", 2, leaves_at=10.0), Cohort("b", 2))
    run = Run(msgspec.structs.replace(experiment(), cohorts=leaving))
    assert [(event.t, event.cohort) for event in run.of(LogEventKind.CLIENT_LEFT)] == [(10.0, "a")] * 2
    assert len(run.of(LogEventKind.SESSION_LEFT)) == 2


class OtherLane(VirtualLane):
    """A lane that cannot kill at a boundary."""

    lane = Lane.MODEL


@pytest.mark.parametrize(
    "refused, key",
    [(CRASHES, "faults[0].crash"), (Experiment("x", 30.0, (Cohort("a", 2, leaves_at=9.0),)), "cohorts[0].leaves_at")],
    ids=["crash", "leaves_at"],
)
def test_other_lanes_refuse_what_they_cannot_do(refused: Experiment, key: str, tmp_path: Path) -> None:
    """By its key and their name, before a directory is made."""
    told = rf"{re.escape(key)}: the lane model cannot carry out .+; choose the lane virtual"
    with pytest.raises(UsageError, match=told):
        execute(OtherLane(), refused, 1, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("phase", ["joining", "running"])
def test_a_cancelled_run_says_that_it_was_interrupted(phase: str, tmp_path: Path) -> None:
    """In run.json and in its log; requested from another thread, as it may be."""
    cancellation = Cancellation()

    def cancel(progress: Progress) -> None:
        if progress.phase == phase:
            thread = threading.Thread(target=cancellation.request, args=("a test",))
            thread.start()
            thread.join()

    outcome = execute(VirtualLane(), DEMO, 1, tmp_path / "run", progress=cancel, cancellation=cancellation)
    assert outcome == RunOutcome(RunStatus.INTERRUPTED, "interrupted by a test")
    assert read_run_info(tmp_path / "run").status is RunStatus.INTERRUPTED
    assert not cancellation.request("too late")


def test_a_run_works_in_any_thread() -> None:
    """It is a library call."""
    outcomes: list[RunOutcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(Run(DEMO, 7).outcome))
    thread.start()
    thread.join()
    assert outcomes == [RunOutcome(RunStatus.COMPLETED)]


def test_a_run_without_steady_state_injects_nothing() -> None:
    """And says so."""
    hasty = msgspec.structs.replace(
        DEMO,
        ramp=6.9,
        hypothesis=Hypothesis(joined=1.0, within=7.0),
        server=msgspec.structs.replace(DEMO.server, first_message_deadline=1e-7),
    )
    run = Run(hasty)
    assert run.outcome.status is RunStatus.NOT_STARTED
    assert not run.faults


class _FullDisk(EventList):
    """Takes so many events and no more."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self._capacity = capacity

    def write(self, event: LogEvent) -> None:
        if len(self) >= self._capacity:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write(event)


def test_an_event_that_cannot_be_written_is_not_the_clients_to_handle(caplog: pytest.LogCaptureFixture) -> None:
    """It ends the run, in one line; no timer and no dial prints a traceback of it."""
    recording = Recording(_FullDisk(300))
    with pytest.raises(OSError, match="No space left on device"):
        conduct(VirtualLane(), load("smoke"), 1, recording)
    assert caplog.records == []
    assert len(recording.events) == 300  # type: ignore[arg-type]
