"""Each lane as one function: an experiment in, its events out."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from chaos.real_lane import RealLane
from resilience.eventlog.vocabulary import LogEvent, LogEventKind, Role
from resilience.eventlog.writer import EventList
from resilience.experiment.loader import load_file
from resilience.experiment.schedule import FaultWindow
from resilience.experiment.spec import Experiment
from resilience.lab.participants import first_dial, make_scripted_client, participants_of
from resilience.lab.recording import Recording
from resilience.lab.run import conduct, execute
from resilience.lab.run_directory import RunStatus
from resilience.lab.system import LaneDriver
from sim.model.lane import ModelLane
from sim.virtual.lane import VirtualLane
from tests.resilience.protocol.machine_pair import MachinePair, Peer
from tests.support.prompt_runs import prompt_run
from tests.support.stored_lines import read_events

SMALL = load_file(Path(__file__).with_name("small.toml"))
"""Delays with jitter, as clients have them; for lanes with a clock of their own."""

WIDE = load_file(Path(__file__).with_name("wide.toml"))
"""Nothing near an edge; for the lane whose clock the machine owns."""

Lane = Callable[[Experiment, int], Sequence[LogEvent]]

HISTORY = ("transport.", "session.", "peer.", "backoff.", "answer.", "client.")
"""The kinds of a client's history; heartbeats and the stream run at their own pace."""

ROUTINE = frozenset({LogEventKind.PEER_SUSPECTED})
"""A probe of a healthy link is as routine as a heartbeat; whether one is due hangs on milliseconds."""


def pair(experiment: Experiment, seed: int, latency: float = 0.0005) -> Sequence[LogEvent]:
    """The two machines over a fake link; ``latency`` is one way, seconds."""
    run = MachinePair(
        0, seed=seed, server=experiment.server, client=experiment.client, quiz=experiment.quiz, latency=latency
    )
    by_cohort: dict[str, list[Peer]] = {}
    for member in participants_of(experiment, seed):
        peer = Peer(member.actor, make_scripted_client(experiment, member, seed))
        run.peers.append(peer)
        by_cohort.setdefault(member.cohort, []).append(peer)
        run.at(first_dial(experiment, member, seed), _start(run, peer), peer)
    for window in experiment.windows(seed):
        for peer in by_cohort[window.place]:
            run.at(window.starts_at, _begin(run, window, peer), peer)
            run.at(window.ends_at, _end(run, window, peer), peer)
    run.run(experiment.duration)
    return run.log


def _start(run: MachinePair, peer: Peer) -> Callable[[], None]:
    return lambda: peer.machine.start(run.now)


def _begin(run: MachinePair, window: FaultWindow, peer: Peer) -> Callable[[], None]:
    def begin() -> None:
        if window.fault.kind == "blackhole":
            peer.link = "hole"
            return
        if window.fault.kind == "refuse":
            peer.link = "refused"
        run.cut(peer)

    return begin


def _end(run: MachinePair, window: FaultWindow, peer: Peer) -> Callable[[], None]:
    def end() -> None:
        if window.fault.kind == "blackhole":
            run.heal(peer)
            peer.machine.transport_failed(peer.machine.dial, "closed", run.now)
        elif window.fault.kind == "refuse":
            peer.link = "up"

    return end


def model(experiment: Experiment, seed: int) -> Sequence[LogEvent]:
    """SimPy."""
    return in_memory(ModelLane(), experiment, seed)


def virtual(experiment: Experiment, seed: int) -> Sequence[LogEvent]:
    """The real code under a virtual clock."""
    return in_memory(VirtualLane(), experiment, seed)


def in_memory(driver: LaneDriver, experiment: Experiment, seed: int) -> Sequence[LogEvent]:
    """The events of one run in a lane of one process, in the order of time."""
    recording = Recording.in_memory()
    outcome = conduct(driver, experiment, seed, recording)
    assert outcome.status is RunStatus.COMPLETED, outcome.cause
    assert isinstance(recording.events, EventList)
    return sorted(recording.events, key=lambda event: event.t)


def real(experiment: Experiment, seed: int) -> Sequence[LogEvent]:
    """Real processes, real sockets, a real Toxiproxy."""
    with tempfile.TemporaryDirectory() as folder:
        outcome, run_dir = prompt_run(lambda where: execute(RealLane(), experiment, seed, where), Path(folder))
        assert outcome.status is RunStatus.COMPLETED, outcome.cause
        return read_events(run_dir)


def histories(events: Iterable[LogEvent], until: float = SMALL.duration) -> dict[str, list[str]]:
    """By client: the kinds of what it went through until then, in order, each with its cause or outcome."""
    by_actor: dict[str, list[str]] = {}
    for event in events:
        if (
            event.t < until
            and event.role is Role.CLIENT
            and event.kind.startswith(HISTORY)
            and event.kind not in ROUTINE
        ):
            about = event.outcome if event.kind is LogEventKind.ANSWER_ACKED else event.cause
            by_actor.setdefault(event.actor, []).append(f"{event.kind} {about or ''}".strip())
    return by_actor
