"""Each kind of fault as one client and the server's log see it, to the millisecond, and the injector's own events."""

from __future__ import annotations

import msgspec
import pytest

from resilience.config import ServerConfig
from resilience.errors import InjectionError
from resilience.eventlog.vocabulary import LogEvent, LogEventKind
from resilience.experiment.costs import ModelCosts
from resilience.experiment.faults import BlackholeFault, CutFault, RefuseFault, ResetFault, ServerKillFault
from resilience.experiment.primitives import Direction
from resilience.experiment.spec import Hypothesis
from sim.model.lane import ModelSystem

from .runs import LIVELY, experiment, of, run, system_of

HALF, LATENCY, CONNECT = 0.00025, 0.0005, 0.0003
COSTS = ModelCosts()
OPENING = COSTS.connect + 2 * LATENCY + COSTS.handshake + COSTS.message
"""Dial to open."""

ANSWERED = 2 * LATENCY + COSTS.commit + COSTS.message
"""Open to session, but for the processor time of the request."""

JOINING, RESTORING = OPENING + COSTS.join + ANSWERED, OPENING + COSTS.restore + ANSWERED
"""Dial to session, of a first join and of a resume."""

K = LogEventKind


def _one(log: list[LogEvent], kind: LogEventKind, **where: str) -> LogEvent:
    found = of(log, kind, **where)
    assert len(found) == 1, found
    return found[0]


def test_a_join_takes_one_dial_one_handshake_and_one_commit() -> None:
    """Without faults or a queue the times are sums of the modelled costs."""
    log = run(experiment())
    assert _one(log, K.TRANSPORT_OPENED).t == pytest.approx(OPENING, abs=1e-9)
    assert _one(log, K.SESSION_CREATED).t == pytest.approx(OPENING + LATENCY + COSTS.join + COSTS.commit, abs=1e-9)
    assert _one(log, K.SESSION_JOINED).t == pytest.approx(JOINING, abs=1e-9)


def test_a_cut_is_noticed_by_both_ends_and_the_client_is_back_after_its_first_delay() -> None:
    """Loss half a way after the cut, one dial, restored a handshake and a commit later."""
    log = run(experiment(CutFault(at=5.0, cohorts=("a",))))
    lost = _one(log, K.TRANSPORT_LOST, role="client")
    assert lost.t == pytest.approx(5.0 + HALF)
    assert (lost.cause, lost.actor, lost.cohort) == ("closed", "a-0001", "a")
    assert _one(log, K.TRANSPORT_LOST, role="server").t == pytest.approx(5.0 + HALF)
    assert _one(log, K.SESSION_DETACHED).cause == "closed"
    delay = _one(log, K.BACKOFF_SCHEDULED)
    assert delay.value is not None
    assert _one(log, K.SESSION_RESTORED).t == pytest.approx(5.0 + HALF + delay.value + RESTORING, abs=1e-9)


def test_refused_dials_fail_after_one_connect_time_until_the_link_is_back() -> None:
    """Every dial of the window is refused; the first one after it is the one that restores."""
    log = run(experiment(RefuseFault(at=5.0, cohorts=("a",), duration=3.0)))
    failures = of(log, K.TRANSPORT_FAILED)
    dials = [event for event in of(log, K.TRANSPORT_OPENING) if event.t > 5.0]
    assert len(failures) >= 3
    assert {event.cause for event in failures} == {"refused"}
    assert [event.t for event in failures] == pytest.approx([event.t + CONNECT for event in dials[:-1]])
    assert dials[-2].t + CONNECT < 8.0 <= dials[-1].t + CONNECT
    assert _one(log, K.SESSION_RESTORED).t == pytest.approx(dials[-1].t + RESTORING, abs=1e-9)


def test_a_black_hole_is_found_by_silence_and_its_end_fails_the_dial_that_hangs() -> None:
    """Probe after 4 s, dead 2 s later, dials hang for their timeout or until healing closes them."""
    log = run(experiment(BlackholeFault(at=5.0, cohorts=("a",), duration=12.0)))
    dead = _one(log, K.PEER_DEAD)
    suspected = [event for event in of(log, K.PEER_SUSPECTED) if event.t < dead.t][-1]
    assert suspected.t - 4.0 <= 5.0 + LATENCY
    assert dead.t - suspected.t == pytest.approx(2.0)
    assert dead.value == pytest.approx(6.0)
    server_side = of(log, K.TRANSPORT_LOST, role="server")
    assert server_side[0].t == pytest.approx(dead.t + LATENCY)
    hung = [event for event in of(log, K.TRANSPORT_OPENING) if dead.t < event.t < 17.0]
    failed = of(log, K.TRANSPORT_FAILED)
    assert [event.cause for event in failed] == ["open_timeout"] * (len(hung) - 1) + ["closed"]
    assert [event.t for event in failed] == pytest.approx([event.t + 5.0 for event in hung[:-1]] + [17.0 + HALF])
    assert _one(log, K.SESSION_RESTORED).t > 17.0


def test_a_short_black_hole_is_noticed_only_at_its_end() -> None:
    """Healing closes the connection, since bytes are missing, before any silence was long enough."""
    log = run(experiment(BlackholeFault(at=5.0, cohorts=("a",), duration=1.0)))
    assert not of(log, K.PEER_DEAD)
    assert _one(log, K.TRANSPORT_LOST, role="client").t == pytest.approx(6.0 + HALF)


def test_a_hole_downwards_keeps_the_server_believing_until_its_client_goes() -> None:
    """The client's probes still arrive; it gives up by itself and the server notices one latency later."""
    log = run(
        experiment(BlackholeFault(at=5.0, cohorts=("a",), duration=20.0, direction=Direction.DOWN), duration=40.0)
    )
    dead = _one(log, K.PEER_DEAD)
    detached = of(log, K.SESSION_DETACHED)[0]
    assert detached.cause == "closed"
    assert detached.t == pytest.approx(dead.t + LATENCY)


def test_a_hole_upwards_lets_the_server_evict_a_client_that_still_hears_it() -> None:
    """Frequent pings keep the client content while its answers vanish: the grace period ends it from the other side."""
    server = ServerConfig(heartbeat_interval=2.0, grace_period=5.0, cleanup_interval=60.0)
    hole = BlackholeFault(at=5.0, cohorts=("a",), duration=20.0, direction=Direction.UP)
    system, log = system_of(experiment(hole, server=server))
    assert len(system.driver._connections) == 1
    assert not of(log, K.PEER_DEAD)
    detached = of(log, K.SESSION_DETACHED)[0]
    assert detached.cause == "grace"
    lost = of(log, K.TRANSPORT_LOST, role="client")[0]
    assert lost.cause == "closed"
    assert lost.t == pytest.approx(detached.t + 0.00002 + LATENCY)
    assert of(log, K.TRANSPORT_LOST, role="server")[0].t == detached.t


@pytest.mark.parametrize(
    "direction,cause,after", [(Direction.UP, "close_4001", 1.0), (Direction.BOTH, "closed", 2.0)], ids=str
)
def test_a_client_whose_first_message_vanished_is_closed(direction: Direction, cause: str, after: float) -> None:
    """The server waits a second from the handshake's request; in a hole its close frame vanishes, and costs another."""
    server, cut = ServerConfig(first_message_deadline=1.0), CutFault(at=5.0, cohorts=("a",))
    opened = of(run(experiment(cut, server=server)), K.TRANSPORT_OPENED)[1].t
    hole = BlackholeFault(at=opened + 0.0001, cohorts=("a",), duration=10.0, direction=direction)
    log = run(experiment(cut, hole, server=server))
    lost = of(log, K.TRANSPORT_LOST, role="client")[1]
    assert lost.cause == cause
    handshake = COSTS.handshake
    assert lost.t == pytest.approx(opened - handshake + after, abs=0.0001)


def test_other_cohorts_do_not_notice() -> None:
    """A fault stays on the link it was meant for."""
    log = run(experiment(CutFault(at=5.0, cohorts=("a",)), cohorts=("a", "b"), clients=3))
    assert {event.cohort for event in of(log, K.TRANSPORT_LOST, role="client")} == {"a"}


@pytest.mark.parametrize(
    "fault,ends_at",
    [
        (CutFault(at=5.0, cohorts=("a",)), 5.0),
        (RefuseFault(at=5.0, cohorts=("a",), duration=3.0), 8.0),
        (BlackholeFault(at=5.0, cohorts=("a",), duration=3.0, direction=Direction.UP), 8.0),
    ],
    ids=lambda value: value.kind if hasattr(value, "kind") else "",
)
def test_the_injector_writes_begin_and_end_of_each_window(
    fault: CutFault | RefuseFault | BlackholeFault, ends_at: float
) -> None:
    """Planned times as values, the fault's id as reference, the cohort as actor; both probes of the link agreed."""
    log = run(experiment(fault))
    events = [event for event in log if event.role == "injector"]
    assert sorted((event.kind, event.t, event.value) for event in events) == [
        (K.FAULT_CLEARED, ends_at, 0.0),
        (K.FAULT_CONFIRMED, 5.0, 0.0),
        (K.FAULT_ENDED, ends_at, ends_at),
        (K.FAULT_STARTED, 5.0, 5.0),
    ]
    assert {(event.actor, event.cohort, event.ref) for event in events} == {("a", "a", f"0.0:{fault.kind}@a")}


def test_a_window_that_another_fault_outlasts_is_masked_by_it() -> None:
    faults = (RefuseFault(at=5.0, cohorts=("a",), duration=3.0), BlackholeFault(at=6.0, cohorts=("a",), duration=4.0))
    log = run(experiment(*faults))
    masked, last = of(log, K.FAULT_CLEARED)
    assert (masked.ref, masked.detail, masked.t) == ("0.0:refuse@a", "masked by 1.0:blackhole@a", 8.0)
    assert (last.ref, last.detail, last.t) == ("1.0:blackhole@a", None, 10.0)
    assert not of(log, K.FAULT_INVALID)


def test_a_reset_ends_connections_as_a_cut_does() -> None:
    log = run(experiment(ResetFault(at=5.0, cohorts=("a",))))
    lost = _one(log, K.TRANSPORT_LOST, role="client")
    assert lost.t == pytest.approx(5.0 + HALF)
    assert lost.cause == "closed"
    assert _one(log, K.FAULT_CONFIRMED).ref == "0.0:reset@a"


def test_a_killed_server_is_followed_by_one_that_recovers_the_run() -> None:
    """Dials are accepted by the proxy and closed while no server is there; sessions, answers and deadlines last."""
    costs = ModelCosts(startup=1.0)
    plan = experiment(ServerKillFault(at=9.0, duration=2.0), clients=3, quiz=LIVELY, duration=40.0)
    system, log = system_of(plan, costs=costs)
    fresh, recovered = of(log, K.SERVER_STARTED)
    assert (fresh.t, fresh.outcome, fresh.detail) == (0.0, "fresh", "1.1")
    assert (recovered.t, recovered.outcome, recovered.value, recovered.detail) == (12.0, "recovered", 3.0, "1.2")
    assert {event.cause for event in of(log, K.TRANSPORT_FAILED)} == {"closed"}
    assert len(of(log, K.SESSION_RESTORED)) == 3
    assert _one(log, K.FAULT_CLEARED).t == pytest.approx(12.0, abs=0.1)
    opened = [event.t for event in of(log, K.QUESTION_OPENED)]
    assert opened == pytest.approx([opened[0] + 6.0 * i for i in range(4)])
    assert system.driver.incarnation == 2


def test_a_kill_loses_what_was_not_committed() -> None:
    """A join whose commit was under way never happened; its client joins once there is a server again."""

    def kill_early(system: ModelSystem) -> None:
        system.environment.at(0.2, lambda _: system.driver.kill())
        system.environment.at(0.2, lambda _: system.links["a"].link.upstream_died())
        system.environment.at(1.0, lambda _: system.driver.start())

    plan = msgspec.structs.replace(experiment(duration=20.0), hypothesis=Hypothesis(within=19.0))
    system, log = system_of(plan, costs=ModelCosts(commit=0.5), prepare=kill_early)
    assert _one(log, K.SESSION_JOINED).t > 1.6
    assert [event.value for event in of(log, K.SERVER_STARTED)] == [0.0, 0.0]
    assert len(system.driver.store.sessions) == 1


def test_a_second_start_is_refused() -> None:
    system, _ = system_of(experiment())
    with pytest.raises(InjectionError, match="runs already"):
        system.driver.start()


def test_a_repeated_fault_comes_back() -> None:
    """Three cuts, three losses, three ids."""
    log = run(experiment(CutFault(at=5.0, cohorts=("a",), times=3, every=7.0)))
    assert [event.t for event in of(log, K.TRANSPORT_LOST, role="client")] == pytest.approx(
        [5.00025, 12.00025, 19.00025]
    )
    assert [event.ref for event in of(log, K.FAULT_STARTED)] == ["0.0:cut@a", "0.1:cut@a", "0.2:cut@a"]


def test_jitter_moves_a_window_as_the_seed_says() -> None:
    """The seed of the run decides, not the one in the experiment file."""
    plan = experiment(CutFault(at=5.0, cohorts=("a",), jitter=10.0))
    starts = {seed: _one(run(plan, seed), K.FAULT_STARTED).t for seed in (1, 2)}
    assert starts == {seed: plan.windows(seed)[0].starts_at for seed in (1, 2)}
    assert starts[1] != starts[2]
