"""A crash at any boundary loses nothing; and what a careless server would lose is found within a few seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from reports.build import build_report
from resilience.eventlog.vocabulary import LogEvent, LogEventKind
from resilience.eventlog.writer import EventList
from resilience.experiment.primitives import CrashPoint
from resilience.protocol.effects import SessionRow
from resilience.protocol.server.game_messages import GameMessages
from resilience.protocol.server.heartbeats import HeartbeatManager
from resilience.protocol.server.identities import IdentityRegistry
from resilience.protocol.server.presence import PresenceTracker
from resilience.protocol.server.session import ServerSession
from resilience.quiz.game import Game, QuizState, StoredAnswer
from resilience.quiz.phases import Phase
from resilience.server.committer import CommitRequest, Committer
from resilience.server.event_registry import EventRegistry
from sim import cli
from sim.exploration.crash_experiments import (
    ANYWHERE,
    AT_START,
    LAST_DEATH,
    LAST_RESTART,
    crash_experiment,
    crashes_of,
)
from sim.exploration.exploring import ExplorationStatistics
from sim.exploration.records import SeedRecord
from sim.exploration.seeds import SeedResult, SeedRunner
from sim.virtual.crash_doubles import CrashingLog, CrashingStore, ProcessDeadError
from sim.virtual.lane import collector_paused

CLIENTS = 8
SEEDS = 60
FEW = 30
"""A defect must show within so many seeds."""

Plant = Callable[[pytest.MonkeyPatch], None]


RUNNER = SeedRunner()


def run_seed(seed: int, clients: int) -> SeedResult:
    """The judged run of one seed."""
    return RUNNER.run(crash_experiment(seed, clients))


@pytest.fixture(scope="module")
def results() -> list[SeedResult]:
    """The first seeds, run once."""
    with collector_paused():
        return [run_seed(seed, CLIENTS) for seed in range(1, SEEDS + 1)]


def test_nothing_is_lost(results: list[SeedResult]) -> None:
    """Every seed keeps every promise."""
    assert {result.seed: result.broken for result in results if result.broken} == {}


def test_every_boundary_is_met(results: list[SeedResult]) -> None:
    """Few seeds suffice to die everywhere, some of them twice or three times."""
    statistics = ExplorationStatistics()
    for result in results:
        statistics.add(SeedRecord.of(result))
    assert set(statistics.crashes) == set(CrashPoint)
    assert {len(result.crashes) for result in results} >= {1, 2, 3}


def test_every_check_finds_something_to_check(results: list[SeedResult]) -> None:
    """Liveness and durability too, and the canaries; but for silence that lasts, second tabs and replayed tokens."""
    checked = sum((result.checked for result in results[:10]), start=Counter[str]())
    of_silence = {"absences_shown", "dead_peers_detected"}
    of_clients = {"replaced_tabs_stay_closed", "replays_refused", "second_tabs_take_over"}
    assert {name for name in results[0].checked if not checked[name]} == of_silence | of_clients
    assert {"clients_return", "answers_get_verdicts", "stream_reaches_everyone"} <= set(checked)


def test_departures_are_part_of_some_runs(results: list[SeedResult]) -> None:
    """A client leaves on purpose, another is away for longer than the clean-up, around a crash."""
    left = [result for result in results if result.history.of(LogEventKind.CLIENT_LEFT)]
    expired = [result for result in results if result.history.of(LogEventKind.SESSION_EXPIRED)]
    assert left
    assert len(expired) > SEEDS // 20


def test_every_fault_is_seen_by_a_canary(results: list[SeedResult]) -> None:
    """Kills at a boundary too."""
    assert [event for result in results for event in result.history.of(LogEventKind.FAULT_INVALID)] == []


def test_servers_die_while_clients_still_join(results: list[SeedResult]) -> None:
    """No steady state is asked for, so that a join itself may be cut in two."""
    early = [t for result in results for t, _ in result.crashes if t < result.experiment.ramp]
    assert len(early) > SEEDS // 20


def test_some_runs_are_hard(results: list[SeedResult]) -> None:
    """Deadlines pass while there is no server, and commits are found that no log has."""
    late = [result for result in results if any(crash.pause > 2 for crash in crashes_of(result.experiment))]
    recovered, committed = LogEventKind.ANSWER_RECOVERED, LogEventKind.ANSWER_COMMITTED
    unlogged = [result for result in results if _answers(result, recovered) - _answers(result, committed)]
    assert len(late) > SEEDS // 10
    assert unlogged


def test_a_new_server_records_whom_it_finds_away(results: list[SeedResult]) -> None:
    """Those whose connection died with the one before it, and those who were away already; each once, at its start."""
    found = {LogEventKind.SESSION_DETACHED: 0, LogEventKind.SESSION_STATE: 0}
    for result in results:
        started: LogEvent | None = None
        named: set[str | None] = set()
        for event in result.history.events:
            if event.kind is LogEventKind.SERVER_STARTED:
                started, named = event, set()
            elif event.cause == "restart":
                assert started is not None
                assert event.t == started.t
                assert event.session_id not in named
                named.add(event.session_id)
                found[event.kind] += 1
    assert all(found.values())


def _answers(result: SeedResult, kind: LogEventKind) -> set[str | None]:
    return {event.ref for event in result.history.of(kind)}


def test_the_same_seed_is_the_same_run(results: list[SeedResult]) -> None:
    """Event by event, so that a failure can be replayed."""
    again = run_seed(results[4].seed, CLIENTS)
    assert again.history.events == results[4].history.events
    assert again.history.observations == results[4].history.observations
    assert again.history.stored == results[4].history.stored
    assert again.crashes == results[4].crashes


# --- what must be caught ----------------------------------------------------------------------------------------------


def _acknowledge_before_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    submit = Committer.submit

    def eager(self: Committer, order: CommitRequest) -> None:
        order.settle([order.persist], None)
        submit(self, msgspec.structs.replace(order, settle=lambda *_: None))

    monkeypatch.setattr(Committer, "submit", eager)


def _forget_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    restore = IdentityRegistry.restore

    def forgetful(self: IdentityRegistry, row: SessionRow, now: float) -> ServerSession:
        return restore(self, msgspec.structs.replace(row, token_hashes=()), now)

    monkeypatch.setattr(IdentityRegistry, "restore", forgetful)


def _restart_the_question_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    restore = Game.restore

    def generous(self: Game, progress: QuizState, answers: Iterable[StoredAnswer]) -> None:
        if progress.phase is Phase.QUESTION and progress.ends_at is not None:
            later = progress.ends_at + 1.0
            progress = msgspec.structs.replace(progress, closes_at=later, ends_at=later)
        restore(self, progress, answers)

    monkeypatch.setattr(Game, "restore", generous)


def _count_answers_again(monkeypatch: pytest.MonkeyPatch) -> None:
    restore = Game.restore

    def twice(self: Game, progress: QuizState, answers: Iterable[StoredAnswer]) -> None:
        found = tuple(answers)
        restore(self, progress, found + found)

    monkeypatch.setattr(Game, "restore", twice)


def _forget_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    restore = Game.restore
    monkeypatch.setattr(Game, "restore", lambda self, progress, _: restore(self, progress, ()))


def _number_connections_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    restore = IdentityRegistry.restore

    def anew(self: IdentityRegistry, row: SessionRow, now: float) -> ServerSession:
        return restore(self, msgspec.structs.replace(row, connection_no=0), now)

    monkeypatch.setattr(IdentityRegistry, "restore", anew)


def _hand_out_identities_again(monkeypatch: pytest.MonkeyPatch) -> None:
    restore = IdentityRegistry.restore

    def without_instance(self: IdentityRegistry, row: SessionRow, now: float) -> ServerSession:
        return restore(self, msgspec.structs.replace(row, instance=""), now)

    monkeypatch.setattr(IdentityRegistry, "restore", without_instance)


def _announce_everybody_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PresenceTracker, "restore", lambda *_: None)


def _speak_before_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CrashingLog, "flush", lambda _: None)


def _say_nothing_of_what_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EventRegistry, "_log_answers", lambda *_: None)


def _forget_to_clean_up(monkeypatch: pytest.MonkeyPatch) -> None:
    restore = HeartbeatManager.restore

    def lax(self: HeartbeatManager, *arguments: Any, **_: bool) -> None:  # noqa: ANN401 - handed on
        restore(self, *arguments, expires=False)

    monkeypatch.setattr(HeartbeatManager, "restore", lax)


def _show_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    question_at = GameMessages.question_at

    def leaky(self: GameMessages, now: float) -> object:
        return msgspec.structs.replace(question_at(self, now), correct=0)

    monkeypatch.setattr(GameMessages, "question_at", leaky)


DEFECTS: list[tuple[Plant, str]] = [
    (_acknowledge_before_the_commit, "acknowledged_are_stored"),
    (_forget_tokens, "one_identity_each"),
    (_restart_the_question_clock, "deadlines_hold"),
    (_count_answers_again, "shown_scores_true"),
    (_forget_answers, "shown_scores_true"),
    (_number_connections_anew, "one_live_connection"),
    (_hand_out_identities_again, "one_identity_each"),
    (_announce_everybody_again, "announced_once"),
    (_speak_before_the_log, "restored_state_true"),
    (_say_nothing_of_what_was_found, "acknowledged_answers_kept"),
    (_forget_to_clean_up, "nobody_stuck"),
    (_show_the_answer, "nothing_told_early"),
]


@pytest.mark.parametrize("plant, rule", DEFECTS, ids=[plant.__name__.strip("_") for plant, _ in DEFECTS])
def test_a_careless_server_is_caught(plant: Plant, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the rule that it breaks."""
    plant(monkeypatch)
    assert any(rule in run_seed(seed, CLIENTS).broken for seed in range(1, FEW + 1))


# --- the parts --------------------------------------------------------------------------------------------------------


def test_an_experiment_is_a_function_of_its_seed() -> None:
    """And it never kills so late that there is nothing to resume."""
    experiments = [crash_experiment(seed, CLIENTS) for seed in range(200)]
    assert experiments == [crash_experiment(seed, CLIENTS) for seed in range(200)]
    crashes = [crashes_of(experiment) for experiment in experiments]
    assert {crash.point for mine in crashes for crash in mine} == set(CrashPoint)
    assert all(mine[0].point in ANYWHERE for mine in crashes)
    assert set(ANYWHERE) | set(AT_START) == set(CrashPoint)
    for experiment in experiments:
        for window in experiment.windows():
            crash = getattr(window.fault, "crash", None)
            if crash is not None:
                assert window.starts_at + crash.within <= LAST_DEATH
                assert window.ends_at <= LAST_RESTART


@pytest.mark.parametrize("clients", [1, 2, 3])
def test_few_clients_are_enough(clients: int) -> None:
    """Cohorts without clients are left out."""
    assert crash_experiment(1, clients).clients == clients
    assert run_seed(1, clients).broken == {}


def test_the_store_of_a_dead_process_does_what_was_under_way_at_most() -> None:
    """One commit lands if it may; nothing else is ever done for a dead process."""
    done: list[object] = []

    class RecordingStore:
        def commit(self, rows: object, origin: float) -> None:
            done.append((rows, origin))

    store = CrashingStore(RecordingStore(), lambda _: None)  # type: ignore[arg-type]
    store.die(lands=True)
    store.commit([], 0.0)
    for call in (lambda: store.commit([], 1.0), store.unfinished, lambda: store.acquire_lease("quiz#1")):
        with pytest.raises(ProcessDeadError):
            call()
    assert done == [([], 0.0)]


def test_a_failing_seed_is_printed_with_the_command_that_replays_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the command says so by its exit code."""
    _forget_tokens(monkeypatch)
    arguments = ["explore", "crash", "--seeds", "1", "--from", "3", "--shrink", "0", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(cli.sim, arguments, standalone_mode=False)
    assert result.return_value == 1
    assert "one_identity_each" in result.output
    assert "replay: resilience sim run " in result.output


def test_a_kept_seed_gets_the_same_verdict_from_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stored run of a careless server fails again; that of a sound one breaks nothing and states no target."""
    sound = tmp_path / "sound"
    arguments = ["explore", "crash", "--seeds", "1", "--from", "3", "--keep"]
    assert CliRunner().invoke(cli.sim, [*arguments, str(sound)], standalone_mode=False).return_value == 3
    assert not _failed(sound)
    _forget_tokens(monkeypatch)
    careless = tmp_path / "careless"
    result = CliRunner().invoke(cli.sim, [*arguments, str(careless)], standalone_mode=False)
    assert result.return_value == 1
    monkeypatch.undo()
    broken = set(run_seed(3, CLIENTS).broken)
    assert broken == set()
    assert "one_identity_each" in _failed(careless)
    assert all(f"  {name}: " in result.output for name in _failed(careless))


def _failed(run_dir: Path) -> set[str]:
    return {item.name for item in build_report(run_dir).invariants if item.verdict == "fail"}


def test_keep_is_for_one_seed(tmp_path: Path) -> None:
    """More would overwrite each other."""
    result = CliRunner().invoke(cli.sim, ["explore", "--seeds", "2", "--keep", str(tmp_path)], standalone_mode=False)
    assert "--seeds 1" in str(result.exception)


def test_a_log_loses_its_end_with_its_process() -> None:
    """What was flushed stays, of the rest a share."""
    kept = EventList()
    events = run_seed(2, 2).history.events[:10]
    log = CrashingLog(kept, 5.0, lambda _: None)
    for event in events[:4]:
        log.write(event)
    log.flush()
    for event in events[4:]:
        log.write(event)
    log.die(0.5)
    log.write(events[0])
    log.save()
    assert [event.t for event in kept] == [event.t + 5.0 for event in events[:7]]
