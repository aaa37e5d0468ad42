"""Both machines together, through trouble: scenarios by hand, then random schedules against the global invariants."""

from __future__ import annotations

import pytest
from hypothesis import given

from resilience.config import ClientConfig, QuizConfig
from resilience.eventlog.vocabulary import LogEvent, LogEventKind, Role
from resilience.policy.backoff import Preset
from resilience.protocol.states import ClientState, ConnectionState
from tests.resilience.protocol import pair_checks
from tests.resilience.protocol.fault_schedules import QUIZ, hammered, heal_all, plan
from tests.resilience.protocol.machine_pair import MachinePair
from tests.support.strategies import LINK_TROUBLES, LONG_RUNS, SERVER_TROUBLES, Trouble, schedules


def seen(pair: MachinePair, kind: LogEventKind, role: Role | None = None) -> list[LogEvent]:
    """The log's events of a kind."""
    return [event for event in pair.log if event.kind is kind and role in (None, event.role)]


def test_a_quiet_quiz() -> None:
    """Nothing is lost, all clients receive the whole stream, no client dials twice."""
    pair = MachinePair(5)
    pair.start(spread=2.0)
    pair.run(120.0)
    assert pair_checks.broken(pair) == []
    assert {peer.machine.dial for peer in pair.peers} == {1}
    assert pair.room.game.phase_ends_at is None
    assert len(seen(pair, LogEventKind.ANSWER_COMMITTED)) > 20


@pytest.mark.parametrize("lasts", [5.0, 15.0, 45.0, 90.0, 300.0])
@pytest.mark.parametrize("kind", ["hole", "silent", "refused"])
def test_coming_back_from_one_outage(kind: str, lasts: float) -> None:
    """F1: whatever its length and kind, the session is restored as it was, within the ladder's cap."""
    pair = MachinePair(2, quiz=QUIZ)
    pair.start()
    plan(pair, [Trouble(kind, 0, 20.0, lasts, 0.0)])
    heal_all(pair, 20.0 + lasts)
    assert pair_checks.broken(pair) == []
    (restored,) = seen(pair, LogEventKind.SESSION_RESTORED)
    cap, hanging_dial = (3.5 if lasts < 50 else 30.5), (5.0 if kind == "silent" else 0.0)
    assert restored.t - (20.0 + lasts) < cap + hanging_dial


@pytest.mark.parametrize("at", [10.0, 11.3, 12.9, 14.2])
def test_a_hole_is_noticed_by_both_ends_in_time(at: float) -> None:
    """F1: the client within 4 + 2 s and a probe's flight, the server's grace counts from its last sign of life."""
    pair = MachinePair(1, quiz=QUIZ)
    pair.start()
    pair.at(at, lambda: setattr(pair.peers[0], "link", "silent"))
    pair.run(at + 60.0)
    (dead,) = seen(pair, LogEventKind.PEER_DEAD)
    assert 2.0 <= dead.t - at <= 6.0 + 0.05
    (detached,) = seen(pair, LogEventKind.SESSION_DETACHED)
    assert detached.cause == "grace"
    assert 24.0 <= detached.t - at <= 30.0


def test_the_server_keeps_a_client_that_only_its_probes_keep_alive() -> None:
    """With a heartbeat of an hour the client's own probes are the signs of life."""
    pair = MachinePair(1, quiz=QuizConfig(lobby=1000.0))
    pair.start()
    pair.run(900.0)
    assert pair.room.sessions["p1"].state is ConnectionState.CONNECTED
    assert pair.peers[0].machine.dial == 1


@pytest.mark.parametrize("preset", Preset)
def test_the_end_of_a_budget_and_the_way_back(preset: Preset) -> None:
    """After ten attempts, or ten minutes, the client gives up; a click on retry restores it."""
    pair = MachinePair(1, quiz=QUIZ, client=ClientConfig(preset=preset))
    pair.start()
    plan(pair, [Trouble("refused", 0, 20.0, 1000.0, 0.0)])
    pair.run(1020.0)
    peer = pair.peers[0]
    assert peer.machine.state is ClientState.GAVE_UP
    pair.at(1021.0, lambda: peer.machine.start(1021.0), peer)
    heal_all(pair, 1022.0)
    assert pair_checks.broken(pair) == []
    assert peer.machine.participant == "p1"


@pytest.mark.parametrize("after_ms", range(0, 45, 3))
def test_a_cut_at_any_moment_of_a_resume(after_ms: int) -> None:
    """F15, F27, F30: dial, resume, commit, reply and acknowledgement are each cut once; nothing is lost."""
    pair = MachinePair(2, quiz=QUIZ)
    pair.start()
    pair.at(20.0, lambda: pair.cut(pair.peers[0]))
    pair.run(20.0)
    deadline = pair.peers[0].machine.next_deadline() or 0.0
    pair.at(deadline + after_ms / 1000, lambda: pair.cut(pair.peers[0]))
    heal_all(pair, 30.0, leave_in_peace=400.0)
    assert pair_checks.broken(pair) == []


@pytest.mark.parametrize("after_ms", range(0, 30, 2))
def test_a_cut_at_any_moment_of_an_answer(after_ms: int) -> None:
    """F22: between submission, commit and acknowledgement; the resend gets a verdict and the answer counts once."""
    pair = MachinePair(1, quiz=QuizConfig(questions=3, answer_share=1.0))
    pair.start()
    while not seen(pair, LogEventKind.ANSWER_SUBMITTED):
        pair.run(pair.now + 0.001)
    submitted = seen(pair, LogEventKind.ANSWER_SUBMITTED)[0].t
    pair.at(submitted + after_ms / 1000, lambda: pair.cut(pair.peers[0]))
    heal_all(pair, pair.now + 60.0)
    assert pair_checks.broken(pair) == []
    first = [event for event in seen(pair, LogEventKind.ANSWER_ACKED) if str(event.ref).startswith("q1/")]
    assert [event.outcome for event in first] == ["accepted"]


@pytest.mark.parametrize("seconds", [5.0, 20.0, 40.0])
def test_a_stalled_server_evicts_no_participant(seconds: float) -> None:
    """F8: no grace period ends because the server slept, and no client stays disconnected because of it."""
    pair = MachinePair(10, quiz=QUIZ)
    pair.start(spread=3.0)
    plan(pair, [Trouble("stall", 0, 25.0, seconds, 0.0)])
    heal_all(pair, 25.0 + seconds)
    assert pair_checks.broken(pair) == []
    assert not [event for event in seen(pair, LogEventKind.SESSION_DETACHED) if event.cause == "grace"]


def test_a_broken_store_promises_nothing() -> None:
    """While nothing can be committed nothing is acknowledged; when it can, what waited is."""
    pair = MachinePair(3, quiz=QUIZ)
    pair.start()
    plan(pair, [Trouble("store", 0, 0.001, 9.0, 0.0), Trouble("store", 0, 20.0, 15.0, 0.0)])
    heal_all(pair, 40.0, leave_in_peace=400.0)
    assert pair_checks.broken(pair) == []
    acked = [event.t for event in seen(pair, LogEventKind.ANSWER_ACKED) if event.outcome == "accepted"]
    assert not [t for t in acked if 20.1 < t < 35.0]
    assert acked


def test_the_same_seed_gives_the_same_history() -> None:
    """Two runs through the same trouble are equal line by line; another seed's is not."""
    one, two, other = hammered(seed=3), hammered(seed=3), hammered(seed=4)
    assert one.log == two.log
    assert one.log != other.log


@LONG_RUNS
@given(schedules(3, 300.0))
def test_links_may_do_anything(troubles: list[Trouble]) -> None:
    """Cuts, holes, silences, refusals and slowness in any order: when all is healed every invariant holds."""
    pair = MachinePair(3, quiz=QUIZ)
    pair.start(spread=1.0)
    plan(pair, troubles)
    heal_all(pair, 430.0)
    assert pair_checks.broken(pair) == []


@LONG_RUNS
@given(schedules(3, 200.0, LINK_TROUBLES + SERVER_TROUBLES))
def test_the_server_may_fail_too(troubles: list[Trouble]) -> None:
    """The same with a store that fails and a server that stalls."""
    pair = MachinePair(3, quiz=QUIZ)
    pair.start(spread=1.0)
    plan(pair, troubles)
    heal_all(pair, 330.0)
    assert pair_checks.broken(pair) == []


def test_hours_of_trouble() -> None:
    """Eight clients, two virtual hours, one link in trouble every fifteen seconds: hundreds of returns, none wrong."""
    pair = MachinePair(4, quiz=QuizConfig(questions=700))
    pair.start(spread=3.0)
    kinds = ("cut", "hole", "silent", "refused")
    plan(pair, [Trouble(kinds[i % 4], i % 3, 20.0 + i * 15.0, (i * 7) % 40 + 0.5, i % 2 * 5.0) for i in range(470)])
    heal_all(pair, 7150.0)
    assert pair_checks.broken(pair) == []
    assert len(seen(pair, LogEventKind.SESSION_RESTORED)) > 300
