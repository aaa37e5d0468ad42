"""A crash at any boundary loses nothing; and what a careless server would lose is found within a few seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from resilience.eventlog.vocabulary import LogEvent, LogEventKind
from resilience.eventlog.writer import EventList
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
from sim.virtual.crash import SeedResult, crash_seed
from sim.virtual.crash_parts import Disk, GoneError, LogFile
from sim.virtual.crash_plan import ANYWHERE, AT_START, LAST_DEATH, LAST_RESTART, Point, plan
from sim.virtual.crash_tally import Tally, explore, replay

CLIENTS = 8
SEEDS = 60
FEW = 30
"""A defect must show within so many seeds."""

Plant = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture(scope="module")
def outcomes() -> list[SeedResult]:
    """The first seeds, lived through once."""
    return list(explore(1, SEEDS, CLIENTS))


def test_nothing_is_lost(outcomes: list[SeedResult]) -> None:
    """Every seed keeps every promise."""
    assert {outcome.plan.seed: outcome.broken for outcome in outcomes if outcome.broken} == {}


def test_every_boundary_is_met(outcomes: list[SeedResult]) -> None:
    """Few seeds suffice to die everywhere, some of them twice or three times."""
    tally = Tally(CLIENTS)
    for outcome in outcomes:
        tally.take(outcome)
    assert set(tally.deaths) == set(Point)
    assert {len(outcome.deaths) for outcome in outcomes} >= {1, 2, 3}


def test_every_check_finds_something_to_look_at(outcomes: list[SeedResult]) -> None:
    """But for the harness's own, which has no faults to confirm here."""
    checked = sum((outcome.checked for outcome in outcomes[:10]), start=type(outcomes[0].checked)())
    idle = {name for name in outcomes[0].checked if not checked[name]}
    assert idle == {"faults_confirmed"}


def test_some_worlds_are_hard(outcomes: list[SeedResult]) -> None:
    """Deadlines pass while there is no server, commits stay unlogged, sessions come back as others' commits vanish."""
    late = [o for o in outcomes if any(crash.pause > 2 for crash in o.plan.crashes)]
    unlogged = [
        o for o in outcomes if _answers(o, LogEventKind.ANSWER_RECOVERED) - _answers(o, LogEventKind.ANSWER_COMMITTED)
    ]
    assert len(late) > SEEDS // 10
    assert unlogged


def test_a_new_server_says_whom_it_finds_away(outcomes: list[SeedResult]) -> None:
    """Those whose connection died with the one before it, and those who were away already; each once, at its start."""
    found = {LogEventKind.SESSION_DETACHED: 0, LogEventKind.SESSION_STATE: 0}
    for outcome in outcomes:
        started: LogEvent | None = None
        named: set[str | None] = set()
        for event in outcome.events:
            if event.kind is LogEventKind.SERVER_STARTED:
                started, named = event, set()
            elif event.cause == "restart":
                assert started is not None
                assert event.t == started.t
                assert event.session_id not in named
                named.add(event.session_id)
                found[event.kind] += 1
    assert all(found.values())


def _answers(outcome: SeedResult, kind: LogEventKind) -> set[str | None]:
    return {event.ref for event in outcome.events if event.kind is kind}


def test_the_same_seed_is_the_same_world(outcomes: list[SeedResult]) -> None:
    """Event by event, so that a failure can be looked at again."""
    again = crash_seed(outcomes[4].plan.seed, CLIENTS)
    assert again.events == outcomes[4].events
    assert again.deaths == outcomes[4].deaths


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
    monkeypatch.setattr(LogFile, "flush", lambda _: None)


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
    assert any(rule in outcome.broken for outcome in explore(1, FEW, CLIENTS))


# --- the parts --------------------------------------------------------------------------------------------------------


def test_a_plan_is_a_function_of_its_seed() -> None:
    """And it never kills so late that there is nothing to go on with."""
    plans = [plan(seed, CLIENTS) for seed in range(200)]
    assert plans == [plan(seed, CLIENTS) for seed in range(200)]
    assert {crash.point for made in plans for crash in made.crashes} == set(Point)
    assert all(made.crashes[0].point in ANYWHERE for made in plans)
    assert set(ANYWHERE) | set(AT_START) == set(Point)
    assert LAST_DEATH < LAST_RESTART


def test_the_disk_of_the_dead_takes_what_was_under_way_at_most() -> None:
    """One commit lands if it may; nothing else is ever done for a dead server."""
    done: list[object] = []

    class Books:
        def commit(self, rows: object, origin: float) -> None:
            done.append((rows, origin))

    disk = Disk(Books(), lambda _: None)  # type: ignore[arg-type]
    disk.die(lands=True)
    disk.commit([], 0.0)
    for call in (lambda: disk.commit([], 1.0), disk.unfinished, lambda: disk.acquire_lease("quiz#1")):
        with pytest.raises(GoneError):
            call()
    assert done == [([], 0.0)]


def test_a_failing_seed_is_printed_with_the_command_that_replays_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the command says so by its exit code."""
    _forget_tokens(monkeypatch)
    result = CliRunner().invoke(cli.sim, ["crash", "--seeds", "1", "--from", "3"], standalone_mode=False)
    assert result.return_value == 1
    assert replay(3, CLIENTS) in result.output
    assert "one_identity_each" in result.output


def test_a_sound_seed_passes_and_leaves_its_log(tmp_path: Path) -> None:
    """The log of the last world can be kept."""
    log = tmp_path / "world.jsonl"
    result = CliRunner().invoke(cli.sim, ["crash", "--seeds", "2", "--log", str(log)], standalone_mode=False)
    assert result.return_value == 0
    assert "2 of 2 seeds" in result.output
    assert len(log.read_text().splitlines()) > 100


def test_a_log_file_loses_its_end_with_its_process() -> None:
    """What was flushed stays, of the rest a share."""
    kept = EventList()
    events = crash_seed(2, 2).events[:10]
    log = LogFile(kept, 5.0, lambda _: None)
    for event in events[:4]:
        log.write(event)
    log.flush()
    for event in events[4:]:
        log.write(event)
    log.die(0.5)
    log.write(events[0])
    log.save()
    assert [event.t for event in kept] == [event.t + 5.0 for event in events[:7]]
