"""Whole runs: the log's shape, the steady state, determinism, conservation, and invariants read off the log alone."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from resilience.config import ClientConfig, QuizConfig
from resilience.errors import HarnessError, SystemFailedError
from resilience.eventlog.vocabulary import LogEvent, LogEventKind
from resilience.eventlog.writer import EventList
from resilience.experiment.costs import ModelCosts
from resilience.experiment.faults import BlackholeFault, CutFault, RefuseFault, ServerSuspendFault
from resilience.experiment.loader import load_file
from resilience.experiment.spec import Experiment
from resilience.lab.cancellation import Cancellation
from resilience.lab.participants import participants_of
from resilience.lab.progress import Progress
from resilience.lab.recording import read_stored_run_file
from resilience.lab.run import execute
from resilience.lab.run_directory import RunStatus
from resilience.policy.backoff import Jitter, Preset
from resilience.protocol import codec
from resilience.protocol.effects import Persist
from resilience.protocol.messages import ClientMessage, Message, ServerMessage
from sim.model import ModelLane
from sim.model.clock import SimEnvironment
from sim.model.lab_clock import SimLabClock, _Wait, run_to_end
from sim.model.lane import ModelSystem
from sim.model.store import ModelStore
from tests.support.stored_lines import read_observations

from ...support.short_runs import ended_at
from .runs import LIVELY, experiment, of, run, system_of

K = LogEventKind
ROOT = Path(__file__).parents[3]
ALL_KINDS = (
    CutFault(at=4.0, cohorts=("a",)),
    RefuseFault(at=9.0, cohorts=("b",), duration=3.0),
    BlackholeFault(at=12.0, cohorts=("a",), duration=9.0),
    CutFault(at=24.0, cohorts=("a", "b")),
)


def _stormy() -> Experiment:
    return experiment(*ALL_KINDS, clients=12, cohorts=("a", "b"), ramp=1.0, quiz=LIVELY, duration=35.0)


@pytest.fixture(scope="module")
def stormy() -> tuple[ModelSystem, EventList]:
    return system_of(_stormy())


# --- the log ----------------------------------------------------------------------------------------------------------


def test_a_run_begins_and_ends_with_the_runners_words(stormy: tuple[ModelSystem, EventList]) -> None:
    """Started at 0 with the planned duration, ended as completed at that duration."""
    log = [event for event in stormy[1] if event.role == "runner"]
    assert (log[0].kind, log[0].t, log[0].value, log[0].actor) == (K.RUN_STARTED, 0.0, 35.0, "runner")
    assert (log[-1].kind, log[-1].t, log[-1].outcome) == (K.RUN_ENDED, 35.0, "completed")


def test_events_are_written_in_order_of_time(stormy: tuple[ModelSystem, EventList]) -> None:
    """No event is earlier than the one before it."""
    times = [event.t for event in stormy[1]]
    assert times == sorted(times)


def test_every_event_says_where_it_comes_from(stormy: tuple[ModelSystem, EventList]) -> None:
    """One lane; clients by the name they have in every lane; one server."""
    log = stormy[1]
    assert {event.lane for event in log} == {"model"}
    clients = {event.actor for event in log if event.role == "client"}
    assert clients == {f"{cohort}-{i:04d}" for cohort in "ab" for i in range(1, 13)}
    assert {event.actor for event in log if event.role == "server"} == {"server"}
    assert all(event.actor.startswith(f"{event.cohort}-") for event in log if event.role == "client")


def test_the_server_ends_with_every_state_and_every_stored_score(stormy: tuple[ModelSystem, EventList]) -> None:
    """One of each per participant, at the end, and the scores are the sums of the committed points."""
    log = stormy[1]
    states, scores = of(log, K.SESSION_STATE), of(log, K.SCORE_FINAL)
    assert {event.t for event in states + scores} == {35.0}
    assert Counter(event.outcome for event in states) == {"connected": 24}
    won: dict[str | None, float] = defaultdict(float)
    for event in of(log, K.ANSWER_COMMITTED):
        won[event.session_id] += event.value or 0.0
    assert {event.session_id: event.value for event in scores} == {
        event.session_id: won[event.session_id] for event in states
    }
    assert sum(won.values()) > 0


# --- the steady state -------------------------------------------------------------------------------------------------


def test_a_run_that_does_not_get_steady_injects_nothing_and_fails() -> None:
    """0.3 s per join: three of five have joined when the hypothesis is judged."""
    plan = experiment(CutFault(at=5.0, cohorts=("a",)), clients=5)
    log = run(plan, costs=ModelCosts(join=0.3))
    steady, ended = of(log, K.RUN_STEADY)[0], log[-1]
    assert (steady.t, steady.outcome, steady.value) == (1.0, "fail", 3 / 5)
    assert (ended.kind, ended.t, ended.outcome) == (K.RUN_ENDED, 1.0, "failed")
    assert (ended.cause or "").startswith("no steady state: 60.0% of the clients had joined")
    assert not [event for event in log if event.role == "injector"]


def test_a_steady_run_says_so_before_anything_is_injected(stormy: tuple[ModelSystem, EventList]) -> None:
    """All are in; the first fault comes later in the log."""
    log = stormy[1]
    steady = of(log, K.RUN_STEADY)[0]
    assert (steady.t, steady.outcome, steady.value) == (1.5, "pass", 1.0)
    assert log.index(steady) < log.index(of(log, K.FAULT_STARTED)[0])


# --- determinism ------------------------------------------------------------------------------------------------------

_SCRIPT = """
import sys
from pathlib import Path
from resilience.eventlog.writer import EventWriter
from resilience.experiment.loader import load
from resilience.lab.recording import Recording
from resilience.lab.run import conduct
from sim.model import ModelLane
writer = EventWriter(Path(sys.argv[2]))
conduct(ModelLane(), load(sys.argv[1], (), 0.1), 7, Recording(writer))
writer.close()
"""


def _log_of_process(path: Path, hash_seed: str) -> str:
    demo = ROOT / "chaos" / "experiments" / "demo.toml"
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", _SCRIPT, str(demo), str(path)]
    subprocess.run(command, env=environment, check=True, cwd=ROOT)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_same_seed_writes_the_same_bytes_in_any_process(tmp_path: Path) -> None:
    """Two processes with different hash seeds agree on every byte."""
    first, second = (_log_of_process(tmp_path / seed, seed) for seed in ("1", "4711"))
    assert first == second
    assert (tmp_path / "1").stat().st_size > 100_000


def test_another_seed_is_another_run() -> None:
    """The seed reaches the draws."""
    assert run(_stormy(), seed=1) != run(_stormy(), seed=2)


def test_a_further_cohort_changes_no_draws_of_the_others() -> None:
    """First dials, choices and jittered delays of the old cohorts stay what they were."""
    client = ClientConfig(preset=Preset.CLASSIC, jitter=Jitter.FULL)
    small, large = (
        run(experiment(*ALL_KINDS, clients=4, cohorts=cohorts, ramp=1.0, quiz=LIVELY, duration=35.0, client=client))
        for cohorts in (("a", "b"), ("c", "a", "b"))
    )

    def draws(log: EventList, actor: str) -> tuple[float, list[float | None], dict[str | None, str | None]]:
        choices = {event.ref: event.detail for event in of(log, K.ANSWER_SUBMITTED, actor=actor)}
        delays = [event.value for event in of(log, K.BACKOFF_SCHEDULED, actor=actor)]
        return of(log, K.TRANSPORT_OPENING, actor=actor)[0].t, delays, choices

    for actor in ("a-0001", "a-0004", "b-0002"):
        assert draws(small, actor) == draws(large, actor)
        assert draws(small, actor)[2]


def test_a_token_is_128_bits_and_never_comes_twice(stormy: tuple[ModelSystem, EventList]) -> None:
    """The credentials that the clients hold at the end."""
    tokens = [client.machine.credentials.token for client in stormy[0].clients if client.machine.credentials]
    assert len(set(tokens)) == 24
    assert {len(token) for token in tokens} == {32}


# --- messages as objects ----------------------------------------------------------------------------------------------


class _AsText:
    """Messages really encoded and decoded."""

    def __init__(self) -> None:
        self.carried: Counter[str] = Counter()

    def up(self, message: Message) -> ClientMessage:
        self.carried["up"] += 1
        heard = codec.decode_client(codec.encode(message))
        assert heard == message
        return heard

    def down(self, message: Message) -> ServerMessage:
        self.carried["down"] += 1
        return codec.decode_server(codec.encode(message))


def test_passing_messages_as_objects_changes_nothing(stormy: tuple[ModelSystem, EventList]) -> None:
    """The same run with every message encoded and decoded writes the same log."""
    wire = _AsText()
    _, log = system_of(_stormy(), wire=wire)
    assert log == stormy[1]
    assert min(wire.carried["up"], wire.carried["down"]) > 100


# --- conservation and invariants --------------------------------------------------------------------------------------


def _ends_of_losses(log: list[LogEvent]) -> Counter[str]:
    """The outcomes of all noticed losses of open sessions."""
    down: set[str] = set()
    ends: Counter[str] = Counter()
    for event in of(log, K.TRANSPORT_LOST, K.PEER_DEAD, K.SESSION_RESTORED, K.GAVE_UP, role="client"):
        if event.kind in (K.TRANSPORT_LOST, K.PEER_DEAD):
            ends["noticed"] += event.actor not in down
            down.add(event.actor)
        elif event.actor in down:
            down.discard(event.actor)
            ends[event.kind] += 1
    ends["open"] = len(down)
    return ends


def test_every_noticed_loss_is_restored_given_up_or_open_at_the_end() -> None:
    """Nothing is lost between the outcomes: two attempts in a long refusal give up, a late cut stays open."""
    faults = (
        CutFault(at=5.0, cohorts=("a", "b")),
        RefuseFault(at=12.0, cohorts=("b",), duration=15.0),
        RefuseFault(at=28.0, cohorts=("a",), duration=1.9),
    )
    client = ClientConfig(preset=Preset.CLASSIC, attempts=2, initial=1.0)
    plan = experiment(*faults, clients=10, cohorts=("a", "b"), client=client, duration=40.0)
    system, log = system_of(ended_at(plan, 30.0))
    ends = _ends_of_losses(log)
    assert ends == {"noticed": 40, K.SESSION_RESTORED: 20, K.GAVE_UP: 10, "open": 10}
    states = Counter(client.machine.state.value for client in system.clients)
    assert states == {"gave_up": 10, "backing_off": 10}


def test_a_client_that_is_not_down_has_an_open_session(stormy: tuple[ModelSystem, EventList]) -> None:
    """The log's account and the machines' states agree at the end, and so does the server's."""
    system, log = stormy
    ends = _ends_of_losses(log)
    assert ends["noticed"] == ends[K.SESSION_RESTORED] >= 48
    assert all(client.is_open for client in system.clients)
    assert len(system.driver._connections) == 24
    assert sum(len(link.link.connections) for link in system.links.values()) == 24


def test_nothing_is_acknowledged_before_it_is_committed(stormy: tuple[ModelSystem, EventList]) -> None:
    """Each accepted answer has its commit earlier in the log, and each commit happened once."""
    committed: set[tuple[str | None, str | None]] = set()
    acked = 0
    for event in of(stormy[1], K.ANSWER_COMMITTED, K.ANSWER_ACKED):
        key = (event.session_id, event.ref)
        if event.kind is K.ANSWER_COMMITTED:
            assert key not in committed
            committed.add(key)
        elif event.outcome == "accepted":
            assert key in committed
            acked += 1
    assert acked > 50


def test_what_is_restored_is_what_the_server_holds_true(stormy: tuple[ModelSystem, EventList]) -> None:
    """Each restored session carries the digest that the server recomputed for that connection."""
    truth = {(event.session_id, event.connection_no): event.detail for event in of(stormy[1], K.SESSION_RESUMED)}
    restored = of(stormy[1], K.SESSION_RESTORED)
    assert len(restored) >= 48
    assert all(truth[event.session_id, event.connection_no] == event.detail for event in restored)


def test_no_participant_is_announced_twice_or_changes_its_identity(stormy: tuple[ModelSystem, EventList]) -> None:
    """Coming back is silent: one announcement per participant, one participant per client."""
    announced = Counter(event.session_id for event in of(stormy[1], K.PARTICIPANT_ANNOUNCED))
    assert list(announced.values()) == [1] * 24
    assert len(of(stormy[1], K.SESSION_JOINED)) == 24


def test_the_stream_has_no_gap_and_no_duplicate(stormy: tuple[ModelSystem, EventList]) -> None:
    """Per client the numbers go up by one, or to the snapshot's number when it comes back."""
    position: dict[str, int] = {}
    for event in of(stormy[1], K.SESSION_JOINED, K.SESSION_RESTORED, K.STREAM_DELIVERED):
        assert event.seq is not None
        if event.kind is K.STREAM_DELIVERED:
            assert event.seq == position[event.actor] + 1
        position[event.actor] = event.seq


def test_a_join_that_was_lost_before_its_commit_leaves_nothing_behind() -> None:
    """The client joins as a new participant; the first one, unknown to it, has neither state nor score at the end."""
    system, log = system_of(
        experiment(), prepare=lambda system: system.environment.at(0.003, lambda _: system.links["a"].link.cut())
    )
    attempts = system.driver.store.attempts
    known = {event.session_id for event in of(log, K.SESSION_JOINED, K.SESSION_STATE, K.SCORE_FINAL)}
    assert known == {attempts[1].participant}
    assert [row.outcome for row in attempts] == ["created", "created"]
    assert attempts[0].participant != attempts[1].participant


# --- scale and costs --------------------------------------------------------------------------------------------------


def test_the_pending_set_stays_near_two_per_client() -> None:
    """Lazy alarms and feeds: what waits in the heap does not grow with the number of messages."""
    peak = 0

    class Sink:
        def write(self, event: LogEvent) -> None:
            nonlocal peak
            peak = max([peak, *(environment.pending for environment in environments)])

    environments: list[SimEnvironment] = []
    system_of(_stormy(), sink=Sink(), prepare=lambda system: environments.append(system.environment))
    assert 24 <= peak <= 2 * 24 + 32


class _CountingStore(ModelStore):
    """A store that knows how many commits were under way at once at most."""

    flying = most = 0

    def _begin(self) -> None:
        self.flying += 1
        self.most = max(self.most, self.flying)
        super()._begin()

    def _commit(self, batch: list[Persist], process: int) -> None:
        self.flying -= 1
        super()._commit(batch, process)


@pytest.mark.parametrize("shared", [0, 2])
def test_one_commit_is_under_way_however_often_the_server_stands_still(
    shared: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What becomes durable under a suspended server is settled once it continues, and only then the next one begins."""
    monkeypatch.setattr("sim.model.server.ModelStore", _CountingStore)
    still = ServerSuspendFault(at=10.03, duration=0.5, times=12, every=3.1)
    costs = ModelCosts(commit=0.3, shared_processors=shared, client_processes=shared)
    busy = QuizConfig(questions=9, lobby=2.0, question_time=3.0, reveal_time=0.5, leaderboard_time=0.5)
    system, log = system_of(experiment(still, clients=60, quiz=busy, duration=50.0), costs=costs)
    assert len(of(log, K.FAULT_ENDED)) == 12
    assert isinstance(system.driver.store, _CountingStore)
    assert system.driver.store.most == 1


@pytest.mark.parametrize("shared", [0, 2])
def test_a_suspended_server_serves_no_return(shared: int) -> None:
    """Its threads stand still in the midst of a herd, and continue where they were."""
    still = ServerSuspendFault(at=12.2, duration=2.0)
    costs = ModelCosts(handshake=0.05, restore=0.02, reply=0.01, shared_processors=shared, client_processes=shared)
    _, log = system_of(experiment(CutFault(at=10.0, cohorts=("a",)), still, clients=40, ramp=5.0), costs=costs)
    (begin, end) = (of(log, kind)[-1].t for kind in (K.FAULT_STARTED, K.FAULT_ENDED))
    resumed = [event.t for event in of(log, K.SESSION_RESUMED, role="server")]
    assert min(resumed) < begin
    assert max(resumed) > end
    assert not [t for t in resumed if begin < t < end]


def test_a_broadcast_reaches_its_last_receiver_later_than_its_first() -> None:
    """Each frame leaves the server after the one before it."""
    log = run(experiment(clients=10, quiz=LIVELY, duration=3.0), costs=ModelCosts(message=0.001))
    seq = of(log, K.QUESTION_OPENED)[0].seq
    arrivals = [event.t for event in of(log, K.STREAM_DELIVERED) if event.seq == seq]
    assert len(arrivals) == 10
    assert arrivals[-1] - arrivals[0] == pytest.approx(0.009)


def test_a_world_with_hardly_any_cost_still_runs() -> None:
    """Everything at nearly one instant is an edge, not an endless loop."""
    least = 1e-12
    costs = ModelCosts(
        latency=least, connect=least, handshake=least, join=least, restore=least, message=least, commit=least
    )
    log = run(_stormy(), costs=costs)
    assert log[-1].outcome == "completed"
    assert len(of(log, K.SESSION_RESTORED)) >= 48


def test_a_run_leaves_what_clients_were_shown_and_what_the_store_holds(tmp_path: Path) -> None:
    plan = load_file(ROOT / "chaos" / "experiments" / "demo.toml")
    assert execute(ModelLane(), plan, 7, tmp_path).status is RunStatus.COMPLETED
    stored = read_stored_run_file(tmp_path)
    assert stored is not None
    assert len(stored.scores) == plan.clients
    assert {shown.actor for shown in read_observations(tmp_path)} == {p.actor for p in participants_of(plan, 7)}


def test_a_request_ends_a_run_between_two_events(tmp_path: Path) -> None:
    cancellation = Cancellation()

    def request(progress: Progress) -> None:
        if progress.phase == "running":
            cancellation.request("the test")

    outcome = execute(ModelLane(), _stormy(), 1, tmp_path, progress=request, cancellation=cancellation)
    assert outcome.status is RunStatus.INTERRUPTED


def test_a_run_that_can_never_end_is_the_systems_failure() -> None:
    async def wait_for_nothing() -> None:
        await _Wait(environment.event())

    environment = SimEnvironment()
    with pytest.raises(SystemFailedError, match="cannot happen"):
        run_to_end(environment, wait_for_nothing, Cancellation())


async def _fail() -> None:
    raise HarnessError("one of them failed")


def test_the_first_failure_of_several_is_raised_as_it_is() -> None:
    environment = SimEnvironment()
    clock = SimLabClock(environment)
    ended: list[str] = []

    async def sleep() -> None:
        try:
            await clock.sleep_until(5.0)
        finally:
            ended.append(f"{clock.now():g}")

    with pytest.raises(HarnessError, match="one of them failed"):
        run_to_end(environment, lambda: clock.run_all([sleep(), _fail(), sleep()]), Cancellation())
    environment.run()
    assert ended == ["0", "0"]
