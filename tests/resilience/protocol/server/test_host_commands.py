"""Hosts' orders: carried out once and after their commit, refused where they mean nothing, overtaken without harm."""

from __future__ import annotations

import pytest

from resilience.config import QuizConfig
from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.close_codes import CloseCode
from resilience.protocol import codec
from resilience.protocol.messages import (
    Answer,
    CreateEvent,
    Error,
    Host,
    HostAction,
    HostCommand,
    Hosting,
    HostResult,
    HostStatus,
    Join,
    Joined,
    Leave,
    Message,
    Pong,
    Probe,
    ProbeReply,
    QuestionRevealed,
    QuizFinished,
    ScoreChanged,
)
from resilience.quiz.game import QuizState
from resilience.quiz.phases import Phase
from resilience.quiz.plan import MANUAL_PACE, QuizPlan
from resilience.quiz.questions import arithmetic_questions
from tests.support.machines import JOIN, RoomHarness

HOST, OTHER = 50, 51
QUIZ = QuizConfig(questions=2, lobby=4, question_time=10)


def hosted(*hosts: int, instant: bool = True, timed: bool = False) -> RoomHarness:
    """A room with these hosts, moved by hand unless ``timed``."""
    harness = RoomHarness(quiz=QUIZ, instant=instant)
    if not timed:
        harness.room.game.pace = MANUAL_PACE
    for connection in hosts or (HOST,):
        harness.room.host(connection, harness.now)
        harness.collect()
    return harness


def results(harness: RoomHarness, connection: int = HOST) -> list[tuple[str, str, int]]:
    """Every answer to an order of this host."""
    found = [message for message in harness.sent[connection] if isinstance(message, HostResult)]
    return [(result.action, result.verdict, result.step) for result in found]


def moves(harness: RoomHarness) -> list[QuizState]:
    """Every step that was handed to the store."""
    return [row for persist in harness.persisted for row in persist.rows if isinstance(row, QuizState)]


def order(harness: RoomHarness, action: HostAction, connection: int = HOST, step: int | None = None) -> None:
    """An order for this moment, or for another step."""
    current = harness.room.game.progress.step
    harness.say(connection, HostCommand(action, current if step is None else step))


def phase_of(harness: RoomHarness) -> Phase:
    """Where the quiz is now."""
    return harness.room.game.phase


def statuses(harness: RoomHarness, connection: int = HOST) -> list[HostStatus]:
    """Every status that this host was shown."""
    return [message for message in harness.sent[connection] if isinstance(message, HostStatus)]


# carried out ----------------------------------------------------------------------------------------------------------


def test_the_orders_of_a_host_move_the_whole_quiz() -> None:
    """Every order moves the quiz once, and every host sees each step."""
    harness = hosted()
    phases = []
    actions = [HostAction.START, HostAction.REVEAL, HostAction.NEXT, HostAction.NEXT, HostAction.REVEAL]
    for action in [*actions, HostAction.NEXT, HostAction.NEXT]:
        order(harness, action)
        phases.append(harness.room.game.phase)
    question, reveal, leaderboard = Phase.QUESTION, Phase.REVEAL, Phase.LEADERBOARD
    assert phases == [question, reveal, leaderboard, question, reveal, leaderboard, Phase.FINISHED]
    assert [verdict for _, verdict, _ in results(harness)] == ["done"] * 7
    assert [status.phase for status in statuses(harness)] == phases
    assert len(moves(harness)) == 7


def test_an_order_is_answered_after_its_commit_and_moves_the_quiz_then() -> None:
    """Nothing is said or done before."""
    harness = hosted(instant=False)
    order(harness, HostAction.START)
    assert (results(harness), phase_of(harness)) == ([], Phase.LOBBY)
    harness.commit()
    assert (results(harness), phase_of(harness)) == ([("start", "done", 1)], Phase.QUESTION)


def test_an_order_whose_commit_fails_was_never_given() -> None:
    """It is refused with the reason, the quiz stays, and the same order works when the store does."""
    harness = hosted(instant=False)
    order(harness, HostAction.START)
    harness.fail()
    result = harness.last(HOST)
    assert isinstance(result, HostResult)
    assert (result.verdict, result.step, result.rule) == ("refused", 0, "it could not be stored; try again")
    assert phase_of(harness) is Phase.LOBBY
    order(harness, HostAction.START)
    harness.commit()
    assert phase_of(harness) is Phase.QUESTION


@pytest.mark.parametrize("again", [1, 5])
def test_an_order_sent_again_before_its_commit_is_done_once(again: int) -> None:
    """One row, one step; each sending gets the same answer."""
    harness = hosted(instant=False)
    for _ in range(1 + again):
        order(harness, HostAction.START)
    harness.commit()
    assert results(harness) == [("start", "done", 1)] * (1 + again)
    assert (len(moves(harness)), harness.room.game.progress.step) == (1, 1)


def test_an_order_sent_again_after_its_commit_does_nothing_more() -> None:
    """A host whose answer was lost learns that the quiz has moved on, and where to."""
    harness = hosted()
    order(harness, HostAction.START)
    order(harness, HostAction.START, step=0)
    assert results(harness) == [("start", "done", 1), ("start", "stale_step", 1)]
    assert len(moves(harness)) == 1


# overtaken ------------------------------------------------------------------------------------------------------------


def test_two_hosts_who_give_the_same_order_at_once_move_the_quiz_once() -> None:
    """Both hosts receive an acknowledgement."""
    harness = hosted(HOST, OTHER, instant=False)
    order(harness, HostAction.START, HOST)
    order(harness, HostAction.START, OTHER)
    harness.commit()
    assert results(harness, HOST) == results(harness, OTHER) == [("start", "done", 1)]
    assert harness.room.game.progress.step == 1


def test_two_hosts_with_different_orders_for_one_step() -> None:
    """The first counts, the second has been overtaken, whatever becomes of the first."""
    harness = hosted(HOST, OTHER, instant=False)
    order(harness, HostAction.START, HOST)
    order(harness, HostAction.FINISH, OTHER)
    harness.commit()
    assert results(harness, HOST) == [("start", "done", 1)]
    assert [verdict for _, verdict, _ in results(harness, OTHER)] == ["stale_step"]
    assert phase_of(harness) is Phase.QUESTION


def test_a_timer_waits_for_an_order_that_is_on_its_way_to_the_store() -> None:
    """The quiz moves once, by the order, and the one stored state of that step is the state of the quiz."""
    harness = hosted(timed=True)
    harness.join(1)
    harness.run(4.5)
    assert phase_of(harness) is Phase.QUESTION
    harness.instant = False
    harness.run(13.9)
    order(harness, HostAction.REVEAL)
    harness.run(14.1)
    assert (phase_of(harness), harness.room.next_deadline() == 14.0) == (Phase.QUESTION, False)
    harness.commit()
    assert [verdict for _, verdict, _ in results(harness)] == ["done"]
    assert (harness.room.game.phase, harness.room.game.index) == (Phase.REVEAL, 0)
    assert [state for state in moves(harness) if state.step == 2] == [harness.room.game.progress]


def test_a_timer_that_waited_for_an_order_in_vain_does_its_work_then() -> None:
    """The question is closed with its planned end although the order's commit failed after it."""
    harness = hosted(timed=True)
    harness.join(1)
    harness.run(13.9)
    harness.instant = False
    order(harness, HostAction.FINISH)
    harness.run(14.5)
    harness.fail()
    assert [verdict for _, verdict, _ in results(harness)] == ["refused"]
    assert (phase_of(harness), harness.room.game.progress.since) == (Phase.REVEAL, 14.0)
    harness.instant = True
    harness.commit()
    harness.run(16.1)
    assert phase_of(harness) is Phase.LEADERBOARD


@pytest.mark.parametrize("action", [HostAction.START, HostAction.FINISH])
def test_the_lobby_of_the_first_player_takes_no_order_back(action: HostAction) -> None:
    """The join that starts the lobby time is stored while an order to leave the lobby is on its way to the store."""
    harness = hosted(instant=False, timed=True)
    harness.say(1, JOIN)
    order(harness, action)
    join, command = harness.waiting
    harness.waiting = []
    harness.room.committed(join.ticket, harness.now)
    harness.collect()
    harness.room.committed(command.ticket, harness.now)
    harness.collect()
    assert [verdict for _, verdict, _ in results(harness)] == ["done"]
    steps = [state.step for state in moves(harness)]
    assert steps == sorted(steps)
    assert moves(harness)[-1] == harness.room.game.progress


def test_the_lobby_ends_only_by_a_time_that_is_stored() -> None:
    """What a crash would forget is no deadline: the start of the lobby time is stored again until that succeeds."""
    harness = hosted(instant=False, timed=True)
    harness.say(1, JOIN)
    harness.commit()
    harness.fail()
    for _ in range(8):
        harness.run(harness.now + 1.1)
        harness.fail()
    assert (phase_of(harness), harness.room.game.phase_ends_at) == (Phase.LOBBY, None)
    harness.run(harness.now + 1.1)
    harness.commit()
    ends_at = harness.room.game.phase_ends_at
    assert ends_at is not None
    assert moves(harness)[-1] == harness.room.game.progress
    harness.run(ends_at)
    assert phase_of(harness) is Phase.QUESTION


def test_the_lobby_time_starts_after_an_order_that_was_not_stored() -> None:
    harness = hosted(instant=False, timed=True)
    harness.say(1, JOIN)
    order(harness, HostAction.START)
    join, command = harness.waiting
    harness.waiting = []
    harness.room.committed(join.ticket, harness.now)
    harness.room.commit_failed(command.ticket, harness.now)
    harness.collect()
    harness.commit()
    assert (phase_of(harness), harness.room.game.phase_ends_at) == (Phase.LOBBY, 4.0)
    assert moves(harness)[-1] == harness.room.game.progress


def test_an_order_that_arrives_after_the_timer() -> None:
    """It was meant for a step that is over."""
    harness = hosted(timed=True)
    harness.join(1)
    harness.run(14.1)
    order(harness, HostAction.REVEAL, step=1)
    assert [verdict for _, verdict, _ in results(harness)] == ["stale_step"]


def test_an_early_reveal_moves_the_timer_with_it() -> None:
    """The pauses after it count from the order; the old deadline opens and closes nothing."""
    harness = hosted(timed=True)
    harness.join(1)
    harness.run(6.0)
    order(harness, HostAction.REVEAL)
    assert phase_of(harness) is Phase.REVEAL
    harness.run(8.1)
    assert phase_of(harness) is Phase.LEADERBOARD
    harness.run(10.1)
    assert (harness.room.game.phase, harness.room.game.index) == (Phase.QUESTION, 1)


def test_a_question_that_a_host_closes_takes_no_answer_after_it() -> None:
    """The order's own instant is the close, not its commit's; what came before it counts."""
    harness = hosted(instant=False)
    harness.instant = True
    harness.join(1)
    harness.join(2, "bob")
    order(harness, HostAction.START)
    harness.say(1, Answer("q1", 0, "k"))
    order(harness, HostAction.REVEAL)
    harness.now += 0.1
    harness.say(2, Answer("q1", 0, "k"))
    assert codec.encode(harness.last(1)).count(b"score_changed") == 1
    assert codec.encode(harness.last(2)).count(b"rejected_late") == 1


def test_an_end_during_a_question_closes_it_as_its_time_does() -> None:
    """Its right answer and the scores are revealed before the quiz is over, to those who are here and to hosts."""
    harness = hosted()
    harness.join(1)
    harness.join(2, "bob")
    order(harness, HostAction.START)
    question = harness.room.game.questions[0]
    harness.say(1, Answer("q1", question.correct, "k"))
    said = {connection: len(harness.sent[connection]) for connection in (1, 2)}
    order(harness, HostAction.FINISH)
    heard = {connection: harness.sent[connection][number:] for connection, number in said.items()}
    revealed, own, over = heard[1]
    assert isinstance(over, QuizFinished)
    assert (revealed, own) == (QuestionRevealed(over.seq - 1, "q1", question.correct), ScoreChanged("q1", 1000, 1000))
    assert heard[2] == [revealed, over]
    assert over.leaders[0].score == 1000
    assert [record.kind for record in harness.records].count(LogEventKind.QUESTION_CLOSED) == 1
    assert (statuses(harness)[-1].phase, statuses(harness)[-1].leaders[0].score) == (Phase.FINISHED, 1000)
    assert [state.phase for state in moves(harness)] == [Phase.QUESTION, Phase.FINISHED]
    harness.join(3, "cy")
    (welcome,) = [message for message in harness.sent[3] if isinstance(message, Joined)]
    assert welcome.snapshot.phase == Phase.FINISHED


@pytest.mark.parametrize("way", [[], [HostAction.START, HostAction.REVEAL]])
def test_an_end_at_another_time_reveals_nothing_again(way: list[HostAction]) -> None:
    harness = hosted()
    harness.join(1)
    for action in [*way, HostAction.FINISH]:
        order(harness, action)
    revealed = [message for message in harness.sent[1] if isinstance(message, QuestionRevealed)]
    assert len(revealed) == (1 if way else 0)


# refused --------------------------------------------------------------------------------------------------------------

ALLOWED = {
    (Phase.LOBBY, HostAction.START),
    (Phase.QUESTION, HostAction.REVEAL),
    (Phase.REVEAL, HostAction.NEXT),
    (Phase.LEADERBOARD, HostAction.NEXT),
    *((phase, HostAction.FINISH) for phase in Phase if phase is not Phase.FINISHED),
}
WAY = {
    Phase.LOBBY: [],
    Phase.QUESTION: [HostAction.START],
    Phase.REVEAL: [HostAction.START, HostAction.REVEAL],
    Phase.LEADERBOARD: [HostAction.START, HostAction.REVEAL, HostAction.NEXT],
    Phase.FINISHED: [HostAction.FINISH],
}


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("action", HostAction)
def test_an_order_means_something_in_its_phases_only(phase: Phase, action: HostAction) -> None:
    """The whole table: done, or refused with the rule and the phase."""
    harness = hosted()
    for step in WAY[phase]:
        order(harness, step)
    before = harness.room.game.progress
    order(harness, action)
    result = [message for message in harness.sent[HOST] if isinstance(message, HostResult)][-1]
    if (phase, action) in ALLOWED:
        assert (result.verdict, harness.room.game.progress.step) == ("done", before.step + 1)
    else:
        assert (result.verdict, harness.room.game.progress) == ("refused", before)
        assert result.rule.startswith(f"{action} is for ")
        assert result.rule.endswith(f"the quiz is in {phase}")


@pytest.mark.parametrize("message", [Pong(1), Leave(), Answer("q1", 0, "k"), Host(event="e", key="k" * 16)])
def test_a_message_that_is_not_for_hosts_gets_an_error(message: Pong | Leave | Answer | Host) -> None:
    """The sender stays a host."""
    harness = hosted()
    harness.say(HOST, message)
    assert isinstance(harness.last(HOST), Error)
    harness.say(HOST, Probe(7))
    assert harness.last(HOST) == ProbeReply(7)


def test_a_host_does_not_take_part_and_who_takes_part_does_not_host() -> None:
    """One connection is one or the other; an order without the key changes nothing."""
    harness = hosted()
    harness.say(HOST, Join(event="e", name="h", instance="h"))
    assert isinstance(harness.last(HOST), Error)
    harness.join(1)
    plan = QuizPlan(arithmetic_questions(1, 1, 5.0))
    forbidden: list[Message] = [HostCommand(HostAction.START, 0), CreateEvent(plan), Host(event="e", key="x")]
    for message in forbidden:
        harness.say(1, message)  # type: ignore[arg-type]
        assert harness.last(1) == Error("unexpected", "type", "only a host may say this")
    assert (harness.room.game.phase, moves(harness)) == (Phase.LOBBY, [])


# what they are shown --------------------------------------------------------------------------------------------------


def test_a_new_host_receives_the_whole_status_at_once() -> None:
    harness = hosted(HOST)
    harness.join(1)
    order(harness, HostAction.START)
    harness.room.host(OTHER, harness.now)
    harness.collect()
    hosting = harness.last(OTHER)
    assert isinstance(hosting, Hosting)
    assert hosting.status is not None
    assert (hosting.status.phase, hosting.status.question, hosting.status.questions) == (Phase.QUESTION, 1, 2)
    assert (hosting.status.connected, hosting.status.away, hosting.status.gone) == (1, 0, 0)


def test_a_status_says_how_long_a_question_is_open_in_total() -> None:
    """A host that comes later draws the same bar as one that saw the question open."""
    harness = hosted(timed=True)
    harness.join(1)
    harness.run(harness.now + QUIZ.lobby + 3.0)
    harness.room.host(OTHER, harness.now)
    harness.collect()
    hosting = harness.last(OTHER)
    assert isinstance(hosting, Hosting)
    assert hosting.status is not None
    assert (hosting.status.phase, hosting.status.time_ms) == (Phase.QUESTION, 1000 * QUIZ.question_time)
    assert 0 < (hosting.status.remaining_ms or 0) < 1000 * QUIZ.question_time - 2000
    assert b"time_ms" not in codec.encode(statuses(harness)[0]), "the lobby has no question"


def test_hosts_are_shown_changes_at_most_twice_a_second() -> None:
    """However many come and go in it."""
    harness = hosted()
    for connection in range(1, 41):
        harness.join(connection, f"n{connection}")
        harness.run(harness.now + 0.05)
    harness.run(harness.now + 2.0)
    assert 1 <= len(statuses(harness)) <= 6
    assert statuses(harness)[-1].connected == 40


def test_a_status_shows_neither_the_right_answer_nor_the_points_before_the_reveal() -> None:
    """A shared screen must not tell: while a question is open, its points are in no standing."""
    harness = hosted()
    harness.join(1)
    order(harness, HostAction.START)
    correct = harness.room.game.questions[0].correct
    harness.say(1, Answer("q1", correct, "k"))
    harness.run(harness.now + 1.0)
    status = statuses(harness)[-1]
    assert (status.answered, [standing.score for standing in status.leaders]) == (1, [0])
    assert b"correct" not in codec.encode(status)
    assert status.choices == harness.room.game.questions[0].choices
    order(harness, HostAction.REVEAL)
    assert statuses(harness)[-1].correct == correct
    assert statuses(harness)[-1].leaders[0].score > 0


@pytest.mark.parametrize("late", [0.6, 31.0, 100.0])
def test_a_host_is_not_let_go_for_a_stall_of_the_server(late: float) -> None:
    """F8: it gets the lag back as participants do, and is let go when it stays silent after the stall."""
    harness = hosted(HOST, OTHER)
    harness.now += 30.0 + late
    harness.room.handle_timeout(harness.now)
    harness.collect()
    assert harness.closed == {}
    harness.say(OTHER, Probe(1))
    harness.run(harness.now + 29.0)
    assert harness.closed == {HOST: CloseCode.SILENT}


def test_a_silent_host_is_let_go_after_the_grace_period() -> None:
    """A host that probes stays; the quiz continues without either."""
    harness = hosted(HOST, OTHER)
    for _ in range(8):
        harness.run(harness.now + 5.0)
        harness.say(OTHER, Probe(1))
    assert harness.closed == {HOST: CloseCode.SILENT}
    harness.lose(HOST)
    harness.lose(OTHER)
    harness.run(200.0)
    assert harness.room._stream._host_commands._heard == {}
    assert [record.kind for record in harness.records].count(LogEventKind.HOST_ATTACHED) == 2
