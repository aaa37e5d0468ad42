"""Hosts' orders: carried out once and after their commit, refused where they mean nothing, overtaken without harm."""

from __future__ import annotations

import pytest

from resilience.config import QuizConfig
from resilience.events import LogEventKind
from resilience.policy.retry import CloseCode
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
    Leave,
    Message,
    Pong,
    Probe,
    ProbeReply,
)
from resilience.quiz.game import QuizState
from resilience.quiz.phases import Phase
from resilience.quiz.plan import MANUAL_PACE, QuizPlan
from resilience.quiz.questions import arithmetic_questions
from tests.resilience.protocol.stand import Stand

HOST, OTHER = 50, 51
QUIZ = QuizConfig(questions=2, lobby=4, question_time=10)


def hosted(*hosts: int, instant: bool = True, timed: bool = False) -> Stand:
    """A room with these hosts, moved by hand unless ``timed``."""
    stand = Stand(quiz=QUIZ, instant=instant)
    if not timed:
        stand.room.game.pace = MANUAL_PACE
    for connection in hosts or (HOST,):
        stand.room.host(connection, stand.now)
        stand.collect()
    return stand


def results(stand: Stand, connection: int = HOST) -> list[tuple[str, str, int]]:
    """Every answer to an order of this host."""
    found = [message for message in stand.sent[connection] if isinstance(message, HostResult)]
    return [(result.action, result.verdict, result.step) for result in found]


def moves(stand: Stand) -> list[QuizState]:
    """Every step that was handed to the store."""
    return [row for persist in stand.persisted for row in persist.rows if isinstance(row, QuizState)]


def order(stand: Stand, action: HostAction, connection: int = HOST, step: int | None = None) -> None:
    """An order for this moment, or for another step."""
    current = stand.room.game.progress.step
    stand.say(connection, HostCommand(action, current if step is None else step))


def phase_of(stand: Stand) -> Phase:
    """Where the quiz is now."""
    return stand.room.game.phase


def statuses(stand: Stand, connection: int = HOST) -> list[HostStatus]:
    """Every status that this host was shown."""
    return [message for message in stand.sent[connection] if isinstance(message, HostStatus)]


# carried out ----------------------------------------------------------------------------------------------------------


def test_a_whole_quiz_by_hand() -> None:
    """Every order moves the quiz once, and every host sees each step."""
    stand = hosted()
    phases = []
    walk = [HostAction.START, HostAction.REVEAL, HostAction.NEXT, HostAction.NEXT, HostAction.REVEAL]
    for action in [*walk, HostAction.NEXT, HostAction.NEXT]:
        order(stand, action)
        phases.append(stand.room.game.phase)
    question, reveal, board = Phase.QUESTION, Phase.REVEAL, Phase.LEADERBOARD
    assert phases == [question, reveal, board, question, reveal, board, Phase.FINISHED]
    assert [verdict for _, verdict, _ in results(stand)] == ["done"] * 7
    assert [status.phase for status in statuses(stand)] == phases
    assert len(moves(stand)) == 7


def test_an_order_is_answered_after_its_commit_and_moves_the_quiz_then() -> None:
    """Nothing is said or done before."""
    stand = hosted(instant=False)
    order(stand, HostAction.START)
    assert (results(stand), phase_of(stand)) == ([], Phase.LOBBY)
    stand.commit()
    assert (results(stand), phase_of(stand)) == ([("start", "done", 1)], Phase.QUESTION)


def test_an_order_whose_commit_fails_was_never_given() -> None:
    """It is refused with the reason, the quiz stays, and the same order works when the store does."""
    stand = hosted(instant=False)
    order(stand, HostAction.START)
    stand.fail()
    result = stand.last(HOST)
    assert isinstance(result, HostResult)
    assert (result.verdict, result.step, result.rule) == ("refused", 0, "it could not be stored; try again")
    assert phase_of(stand) is Phase.LOBBY
    order(stand, HostAction.START)
    stand.commit()
    assert phase_of(stand) is Phase.QUESTION


@pytest.mark.parametrize("again", [1, 5])
def test_an_order_sent_again_before_its_commit_is_done_once(again: int) -> None:
    """One row, one step; each sending gets the same answer."""
    stand = hosted(instant=False)
    for _ in range(1 + again):
        order(stand, HostAction.START)
    stand.commit()
    assert results(stand) == [("start", "done", 1)] * (1 + again)
    assert (len(moves(stand)), stand.room.game.progress.step) == (1, 1)


def test_an_order_sent_again_after_its_commit_does_nothing_more() -> None:
    """A host whose answer was lost learns that the quiz has moved on, and where to."""
    stand = hosted()
    order(stand, HostAction.START)
    order(stand, HostAction.START, step=0)
    assert results(stand) == [("start", "done", 1), ("start", "stale_step", 1)]
    assert len(moves(stand)) == 1


# overtaken ------------------------------------------------------------------------------------------------------------


def test_two_hosts_who_give_the_same_order_at_once_move_the_quiz_once() -> None:
    """Both are told that it is done."""
    stand = hosted(HOST, OTHER, instant=False)
    order(stand, HostAction.START, HOST)
    order(stand, HostAction.START, OTHER)
    stand.commit()
    assert results(stand, HOST) == results(stand, OTHER) == [("start", "done", 1)]
    assert stand.room.game.progress.step == 1


def test_two_hosts_with_different_orders_for_one_step() -> None:
    """The first counts, the second has been overtaken, whatever becomes of the first."""
    stand = hosted(HOST, OTHER, instant=False)
    order(stand, HostAction.START, HOST)
    order(stand, HostAction.FINISH, OTHER)
    stand.commit()
    assert results(stand, HOST) == [("start", "done", 1)]
    assert [verdict for _, verdict, _ in results(stand, OTHER)] == ["stale_step"]
    assert phase_of(stand) is Phase.QUESTION


def test_an_order_that_the_timer_overtakes_before_its_commit() -> None:
    """The quiz goes on by the timer, once, and what the store has last is where the quiz is."""
    stand = hosted(timed=True)
    stand.join(1)
    stand.run(4.5)
    assert phase_of(stand) is Phase.QUESTION
    stand.instant = False
    stand.run(13.9)
    order(stand, HostAction.REVEAL)
    stand.run(14.1)
    stand.commit()
    assert [verdict for _, verdict, _ in results(stand)] == ["stale_step"]
    assert (stand.room.game.phase, stand.room.game.index) == (Phase.REVEAL, 0)
    assert moves(stand)[-1] == stand.room.game.progress


def test_an_order_that_arrives_after_the_timer() -> None:
    """It was meant for a step that is over."""
    stand = hosted(timed=True)
    stand.join(1)
    stand.run(14.1)
    order(stand, HostAction.REVEAL, step=1)
    assert [verdict for _, verdict, _ in results(stand)] == ["stale_step"]


def test_an_early_reveal_moves_the_timer_with_it() -> None:
    """The pauses after it count from the order; the old deadline opens and closes nothing."""
    stand = hosted(timed=True)
    stand.join(1)
    stand.run(6.0)
    order(stand, HostAction.REVEAL)
    assert phase_of(stand) is Phase.REVEAL
    stand.run(8.1)
    assert phase_of(stand) is Phase.LEADERBOARD
    stand.run(10.1)
    assert (stand.room.game.phase, stand.room.game.index) == (Phase.QUESTION, 1)


def test_a_question_that_a_host_closes_takes_no_answer_after_it() -> None:
    """The order's own instant is the close, not its commit's; what came before it counts."""
    stand = hosted(instant=False)
    stand.instant = True
    stand.join(1)
    stand.join(2, "bob")
    order(stand, HostAction.START)
    stand.say(1, Answer("q1", 0, "k"))
    order(stand, HostAction.REVEAL)
    stand.now += 0.1
    stand.say(2, Answer("q1", 0, "k"))
    assert codec.encode(stand.last(1)).count(b"score_changed") == 1
    assert codec.encode(stand.last(2)).count(b"rejected_late") == 1


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
    stand = hosted()
    for step in WAY[phase]:
        order(stand, step)
    before = stand.room.game.progress
    order(stand, action)
    result = [message for message in stand.sent[HOST] if isinstance(message, HostResult)][-1]
    if (phase, action) in ALLOWED:
        assert (result.verdict, stand.room.game.progress.step) == ("done", before.step + 1)
    else:
        assert (result.verdict, stand.room.game.progress) == ("refused", before)
        assert result.rule.startswith(f"{action} is for ")
        assert result.rule.endswith(f"the quiz is in {phase}")


@pytest.mark.parametrize("message", [Pong(1), Leave(), Answer("q1", 0, "k"), Host(event="e", key="k" * 16)])
def test_a_host_says_what_hosts_say(message: Pong | Leave | Answer | Host) -> None:
    """Anything else is answered with a typed error; it stays a host."""
    stand = hosted()
    stand.say(HOST, message)
    assert isinstance(stand.last(HOST), Error)
    stand.say(HOST, Probe(7))
    assert stand.last(HOST) == ProbeReply(7)


def test_a_host_does_not_take_part_and_who_takes_part_does_not_host() -> None:
    """One connection is one or the other; an order without the key changes nothing."""
    stand = hosted()
    stand.say(HOST, Join(event="e", name="h", instance="h"))
    assert isinstance(stand.last(HOST), Error)
    stand.join(1)
    plan = QuizPlan(arithmetic_questions(1, 1, 5.0))
    forbidden: list[Message] = [HostCommand(HostAction.START, 0), CreateEvent(plan), Host(event="e", key="x")]
    for message in forbidden:
        stand.say(1, message)  # type: ignore[arg-type]
        assert stand.last(1) == Error("unexpected", "type", "only a host may say this")
    assert (stand.room.game.phase, moves(stand)) == (Phase.LOBBY, [])


# what they are shown --------------------------------------------------------------------------------------------------


def test_a_host_that_comes_is_told_how_things_stand() -> None:
    """At once, whole."""
    stand = hosted(HOST)
    stand.join(1)
    order(stand, HostAction.START)
    stand.room.host(OTHER, stand.now)
    stand.collect()
    hosting = stand.last(OTHER)
    assert isinstance(hosting, Hosting)
    assert hosting.status is not None
    assert (hosting.status.phase, hosting.status.question, hosting.status.questions) == (Phase.QUESTION, 1, 2)
    assert (hosting.status.connected, hosting.status.away, hosting.status.gone) == (1, 0, 0)


def test_hosts_are_shown_changes_at_most_twice_a_second() -> None:
    """However many come and go in it."""
    stand = hosted()
    for connection in range(1, 41):
        stand.join(connection, f"n{connection}")
        stand.run(stand.now + 0.05)
    stand.run(stand.now + 2.0)
    assert 1 <= len(statuses(stand)) <= 6
    assert statuses(stand)[-1].connected == 40


def test_a_status_never_shows_the_right_answer_or_the_open_points() -> None:
    """A shared screen must not tell: while a question is open, its points are in no standing."""
    stand = hosted()
    stand.join(1)
    order(stand, HostAction.START)
    correct = stand.room.game.questions[0].correct
    stand.say(1, Answer("q1", correct, "k"))
    stand.run(stand.now + 1.0)
    status = statuses(stand)[-1]
    assert (status.answered, [standing.score for standing in status.leaders]) == (1, [0])
    assert b"correct" not in codec.encode(status)
    order(stand, HostAction.REVEAL)
    assert statuses(stand)[-1].leaders[0].score > 0


def test_a_silent_host_is_let_go_after_the_grace_period() -> None:
    """One that probes stays; the quiz goes on without either."""
    stand = hosted(HOST, OTHER)
    for _ in range(8):
        stand.run(stand.now + 5.0)
        stand.say(OTHER, Probe(1))
    assert stand.closed == {HOST: CloseCode.SILENT}
    stand.lose(HOST)
    stand.lose(OTHER)
    stand.run(200.0)
    assert stand.room._host_commands._heard == {}
    assert [record.kind for record in stand.records].count(LogEventKind.HOST_ATTACHED) == 2
