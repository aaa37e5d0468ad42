"""Three sources that agree break no rule; each lie of one of them breaks the rule about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import msgspec
import pytest

from reports.frames import RunHistory
from reports.invariants import CHECKS, run_checks
from resilience.eventlog.vocabulary import LogEvent, LogEventKind, Role, Verdict
from resilience.experiment.faults import ClientSuspendFault, ServerSuspendFault, SlowCloseFault, StallFault
from resilience.lab.observation import Observation
from resilience.lab.stored_run import StoredRun
from resilience.quiz.game import QuizState, StoredAnswer
from resilience.quiz.phases import Phase
from resilience.quiz.plan import Pace, QuizPlan
from resilience.quiz.questions import Question
from resilience.quiz.scoring import points

from ..support.log_builder import LogBuilder, clean_history

DURABILITY_CHECKS = [name for name, rule in CHECKS.items() if rule.check.__module__.endswith(".durability")]
TIMED_CHECKS = ("answers_in_time", "deadlines_hold", "nothing_told_early")
CHECKS_OF_ANSWERS = ("acknowledged_are_stored", "stored_once", "log_agrees")
OPENS, TIME, PAUSES = 7.5, 10.0, 1.0
QUESTIONS = tuple(Question(f"q{i}", "?", ("right", "wrong"), 0, TIME) for i in (1, 2, 3))
PLAN = QuizPlan(QUESTIONS, pace=Pace(0.0, PAUSES / 2, PAUSES / 2))
TIMES = {q.id: OPENS + i * (TIME + PAUSES) for i, q in enumerate(QUESTIONS)}
AT_THE_REVEAL = QuizState(Phase.REVEAL, 1, 4, opened_at=TIMES["q2"], closes_at=TIMES["q2"] + TIME)


@dataclass
class Case:
    """Log, stored run and observations; all answers were right and came when the clients gave them."""

    history: LogBuilder = field(default_factory=clean_history)
    answers: list[StoredAnswer] = field(default_factory=list)
    scores: dict[str, int] = field(default_factory=dict)
    observations: dict[str, list[Observation]] = field(default_factory=dict)
    progress: QuizState = AT_THE_REVEAL
    plan: QuizPlan = PLAN
    incarnation: int = 1

    def judged(self) -> dict[str, Verdict]:
        """The verdict of every rule about the database."""
        return {item.name: item.verdict for item in run_checks(self.run_history()) if item.name in DURABILITY_CHECKS}

    def run_history(self) -> RunHistory:
        """The run as the reports read it."""
        stored = StoredRun(self.plan, self.progress, self.scores, tuple(self.answers), self.incarnation)
        seen = [observation for observations in self.observations.values() for observation in observations]
        return replace(self.history.log(), observations=seen, stored=stored)


def case() -> Case:
    """Four clients that answered two questions, each seen to the reveal."""
    made = Case()
    made.history.events = [_with_points(event) for event in made.history.events]
    for who, person in made.history.people.items():
        rows = [_row(person.session, who, question, t) for question, t in (("q1", 8.01), ("q2", 21.01))]
        made.answers += rows
        made.scores[person.session] = sum(row.points for row in rows)
        made.observations[who] = _observations(who, person.session, rows)
    made.history.add(0.1, Role.SERVER, "server", LogEventKind.SERVER_STARTED, outcome="fresh")
    for question in ("q1", "q2"):
        made.history.add(TIMES[question], Role.SERVER, "server", LogEventKind.QUESTION_OPENED, ref=question)
        made.history.add(TIMES[question] + TIME, Role.SERVER, "server", LogEventKind.QUESTION_CLOSED, ref=question)
    return made


def _won(question: str, t: float) -> int:
    return points(correct=True, taken=t - TIMES[question], allowed=TIME)


def _with_points(event: LogEvent) -> LogEvent:
    if event.kind is not LogEventKind.ANSWER_COMMITTED:
        return event
    return msgspec.structs.replace(event, value=float(_won((event.ref or "").partition("/")[0], event.t)))


def _row(session: str, who: str, question: str, t: float) -> StoredAnswer:
    return StoredAnswer(session, question, f"{who}-{question}", 0, t, _won(question, t))


def _observations(who: str, session: str, rows: list[StoredAnswer]) -> list[Observation]:
    total, seen = 0, []
    for row in rows:
        opens = TIMES[row.question]
        closes = opens + TIME
        total += row.points
        seen += [
            Observation(opens, who, session, Phase.QUESTION, row.question, remaining=TIME),
            Observation(opens + 1.0, who, session, Phase.QUESTION, row.question, total - row.points, TIME - 1.0),
            Observation(closes, who, session, Phase.REVEAL, row.question, correct=0),
            Observation(closes, who, session, Phase.REVEAL, row.question, total),
        ]
    return seen


def test_sources_that_agree_pass_every_check() -> None:
    """Pass, not inconclusive: every check has data."""
    assert case().judged() == dict.fromkeys(DURABILITY_CHECKS, Verdict.PASS)


def test_an_empty_run_is_inconclusive() -> None:
    """Only that there are no answers is no surprise: no question was opened."""
    empty = Case(history=LogBuilder(clean_history().experiment), progress=QuizState())
    judged = empty.judged()
    assert {judged.pop(name) for name in (*TIMED_CHECKS, *CHECKS_OF_ANSWERS)} == {Verdict.NOT_APPLICABLE}
    assert set(judged.values()) == {Verdict.INCONCLUSIVE}


@pytest.mark.parametrize("source", ["database", "log", "clients"])
def test_a_run_without_answers_is_inconclusive_where_any_source_knows_of_a_question(source: str) -> None:
    made = Case(history=LogBuilder(clean_history().experiment), progress=QuizState())
    if source == "database":
        made.progress = AT_THE_REVEAL
    elif source == "log":
        made.history.add(TIMES["q1"], Role.SERVER, "server", LogEventKind.QUESTION_OPENED, ref="q1")
    else:
        made.observations["c0"] = [Observation(TIMES["q1"], "c0", "p-c0", Phase.QUESTION, "q1", remaining=TIME)]
    assert {made.judged()[name] for name in CHECKS_OF_ANSWERS} == {Verdict.INCONCLUSIVE}


@pytest.mark.parametrize("name", ["stored_once", "log_agrees"])
def test_an_answer_without_any_question_is_judged(name: str) -> None:
    made = case()
    made.progress, made.observations = QuizState(), {}
    made.history.events = [e for e in made.history.events if e.kind is not LogEventKind.QUESTION_OPENED]
    _change_row(made, participant="p-unknown")
    assert made.judged()[name] is Verdict.FAIL


@pytest.mark.parametrize(
    "window, back_at, received_at, verdict",
    [
        (1.0, 17.8, 18.0, Verdict.PASS),
        (1.0, 17.8, 18.6, Verdict.FAIL),
        (1.0, 17.3, 18.0, Verdict.FAIL),
        (1.0, 18.2, 18.0, Verdict.FAIL),
        (0.0, 17.8, 18.0, Verdict.FAIL),
    ],
    ids=["returned after the close", "after the window", "was there at the close", "returned later", "no window"],
)
def test_a_late_answer_counts_within_the_late_window_of_a_client_that_was_away(
    window: float, back_at: float, received_at: float, verdict: Verdict
) -> None:
    made = case()
    server = msgspec.structs.replace(made.history.experiment.server, late_window=window)
    made.history.experiment = msgspec.structs.replace(made.history.experiment, server=server)
    made.history.restore("c0", back_at)
    _change_row(made, received_at=received_at)
    assert made.judged()["answers_in_time"] is verdict


def test_a_server_that_comes_late_closes_late() -> None:
    """What was due while no server ran is done as soon as one runs, and is recorded at that time."""
    made = case()
    _move_close(made, "q2", 8.0)
    made.incarnation = 2
    made.history.add(TIMES["q2"] + TIME + 7.9, Role.SERVER, "server", LogEventKind.SERVER_STARTED, outcome="recovered")
    assert made.judged()["deadlines_hold"] is Verdict.PASS


@pytest.mark.parametrize("early, verdict", [(0.0, Verdict.PASS), (4e-15, Verdict.PASS), (0.5, Verdict.FAIL)])
def test_a_suspended_server_closes_late_by_its_own_clock(early: float, verdict: Verdict) -> None:
    """The server's clock and the injector's may disagree on the instant at which it continues."""
    made, end = case(), TIMES["q2"] + TIME + 4.0
    fault = ServerSuspendFault(end - 9.0, duration=9.0)
    faults = (*made.history.experiment.faults, fault)
    made.history.experiment = msgspec.structs.replace(made.history.experiment, faults=faults)
    made.history.fault("1.0:server_suspend@server", end - 9.0, end)
    _move_close(made, "q2", 4.0 - early)
    assert made.judged()["deadlines_hold"] is verdict


def test_faults_in_succession_hold_a_message_back_for_as_long_as_all_of_them() -> None:
    """A stall lets through what a suspended client does not read yet."""
    made, begin = case(), TIMES["q2"]
    faults = StallFault(begin, ("alpha",), duration=2.0), ClientSuspendFault(begin + 2.0, ("alpha",), duration=2.0)
    more = (*made.history.experiment.faults, *faults)
    made.history.experiment = msgspec.structs.replace(made.history.experiment, faults=more)
    made.history.fault("1.0:stall@alpha", begin, begin + 2.0)
    made.history.fault("2.0:client_suspend@alpha", begin + 2.0, begin + 4.0)
    _change_observation(made, 4, t=begin + 4.0, remaining=TIME, actor="alpha-0001")
    assert made.judged()["deadlines_hold"] is Verdict.PASS


@pytest.mark.parametrize(
    "kind, later, verdict",
    [
        ("stall", 0.0, Verdict.PASS),
        ("stall", 1.5, Verdict.FAIL),
        ("stall", -5.0, Verdict.FAIL),
        ("slow_close", 0.0, Verdict.FAIL),
    ],
)
def test_a_deadline_may_be_late_by_as_much_as_a_fault_held_the_message_back(
    kind: str, later: float, verdict: Verdict
) -> None:
    """The message says how many seconds are left; only a fault that holds bytes back excuses it, and no more."""
    made = case()
    begin, end = TIMES["q2"] - 0.5, TIMES["q2"] + 2.5
    stall = StallFault(begin, ("alpha",), duration=end - begin)
    slow_close = SlowCloseFault(begin, ("alpha",), duration=end - begin, delay=1.0)
    faults = (*made.history.experiment.faults, stall if kind == "stall" else slow_close)
    made.history.experiment = msgspec.structs.replace(made.history.experiment, faults=faults)
    made.history.fault(f"1.0:{kind}@alpha", begin, end)
    _change_observation(made, 4, t=end, remaining=TIME + later, actor="alpha-0001")
    assert made.judged()["deadlines_hold"] is verdict


def test_an_answer_whose_commit_outlasted_its_question_may_be_missing_until_then() -> None:
    """The reveal showed the score without it; that is what was durable then."""
    made = case()
    session = made.history.people["c0"].session
    made.history.events = [
        msgspec.structs.replace(e, t=TIMES["q2"] + TIME + 0.3)
        if e.kind is LogEventKind.ANSWER_COMMITTED and e.session_id == session and e.ref == "q2/c0-q2"
        else e
        for e in made.history.events
    ]
    last = made.observations["c0"].pop()
    made.observations["c0"].append(msgspec.structs.replace(last, score=_won("q1", 8.01)))
    assert made.judged()["shown_scores_true"] is Verdict.PASS


def test_a_quiz_that_a_host_moves_is_judged_without_its_times() -> None:
    made = case()
    made.plan = QuizPlan(QUESTIONS)
    due = dict.fromkeys(DURABILITY_CHECKS, Verdict.PASS) | dict.fromkeys(TIMED_CHECKS, Verdict.NOT_APPLICABLE)
    assert made.judged() == due


def test_a_host_command_makes_the_times_of_a_paced_quiz_unknown() -> None:
    made = case()
    made.history.add(20.0, Role.SERVER, "server", LogEventKind.HOST_ORDERED, ref="reveal", outcome="done")
    assert made.judged()["deadlines_hold"] is Verdict.NOT_APPLICABLE


def test_without_a_database_no_check_of_it_applies() -> None:
    judged = {item.name: item.verdict for item in run_checks(case().history.log())}
    assert {judged[name] for name in DURABILITY_CHECKS} == {Verdict.NOT_APPLICABLE}


def test_a_participant_that_was_forgotten_after_it_had_gone_needs_no_row() -> None:
    made = case()
    made.answers[:] = [answer for answer in made.answers if answer.participant != "p-c1"]
    del made.scores["p-c1"]
    made.history.server(50.0, "c1", LogEventKind.SESSION_FORGOTTEN, cause="left")
    assert made.judged()["one_identity_each"] is Verdict.FAIL
    made.history.server(49.0, "c1", LogEventKind.SESSION_LEFT)
    assert made.judged()["one_identity_each"] is Verdict.PASS


def _start_server(made: Case, outcome: str) -> None:
    made.history.add(50.0, Role.SERVER, "server", LogEventKind.SERVER_STARTED, outcome=outcome)


def _move_close(made: Case, question: str, by: float) -> None:
    made.history.events = [
        msgspec.structs.replace(e, t=e.t + by) if e.kind is LogEventKind.QUESTION_CLOSED and e.ref == question else e
        for e in made.history.events
    ]


def _change_row(made: Case, **changes: object) -> None:
    made.answers[0] = msgspec.structs.replace(made.answers[0], **changes)


def _change_observation(made: Case, number: int, **changes: object) -> None:
    made.observations["c0"][number] = msgspec.structs.replace(made.observations["c0"][number], **changes)


def _restore_as_somebody_else(made: Case) -> None:
    made.history.people["c0"] = replace(made.history.people["c0"], session="p-stranger")
    made.history.restore("c0", 40.0)


def _join_again(made: Case) -> None:
    made.history.client(40.0, "c0", LogEventKind.SESSION_JOINED, connection_no=1, seq=0)


DEFECTS: dict[str, tuple[str, Callable[[Case], object]]] = {
    "an acknowledged answer is gone": ("acknowledged_are_stored", lambda c: c.answers.pop()),
    "another answer is stored": ("acknowledged_are_stored", lambda c: _change_row(c, key="other")),
    "an answer is stored twice": ("stored_once", lambda c: c.answers.append(c.answers[0])),
    "an answer has no participant": ("stored_once", lambda c: _change_row(c, participant="p-unknown")),
    "points changed since the log": ("log_agrees", lambda c: _change_row(c, points=1)),
    "a score is off by one": ("scores_recompute", lambda c: c.scores.update({"p-c0": c.scores["p-c0"] + 1})),
    "points for a wrong answer": ("scores_recompute", lambda c: _change_row(c, choice=1)),
    "points of another moment": ("scores_recompute", lambda c: _change_row(c, received_at=9.0)),
    "a shown score is too high": ("shown_scores_true", lambda c: _change_observation(c, 3, score=5000)),
    "a shown score is too low": ("shown_scores_true", lambda c: _change_observation(c, 7, score=3)),
    "an answer after the close": ("answers_in_time", lambda c: _change_row(c, received_at=17.6)),
    "an answer before the opening": ("answers_in_time", lambda c: _change_row(c, received_at=7.4)),
    "a question closes late": ("deadlines_hold", lambda c: _move_close(c, "q2", 2.0)),
    "a question closes early": ("deadlines_hold", lambda c: _move_close(c, "q2", -2.0)),
    "a client is promised more time": ("deadlines_hold", lambda c: _change_observation(c, 1, remaining=TIME + 1.0)),
    "an open question comes with its answer": ("nothing_told_early", lambda c: _change_observation(c, 0, correct=0)),
    "a reveal comes early": ("nothing_told_early", lambda c: _change_observation(c, 2, t=17.0)),
    "a score tells what was right": ("nothing_told_early", lambda c: _change_observation(c, 3, t=9.0)),
    "a participant has no client": ("one_identity_each", lambda c: c.scores.update({"p-9": 0})),
    "a client has no participant": ("one_identity_each", lambda c: c.scores.pop("p-c1")),
    "a client comes back as another": ("one_identity_each", _restore_as_somebody_else),
    "a client joins again": ("one_identity_each", _join_again),
    "a later server begins another run": ("one_run", lambda c: _start_server(c, "fresh")),
    "a server that the database does not know": ("one_run", lambda c: _start_server(c, "recovered")),
    "a token is refused": (
        "one_identity_each",
        lambda c: c.history.client(40.0, "c0", LogEventKind.SESSION_REJECTED, cause="unknown"),
    ),
}


@pytest.mark.parametrize("what", DEFECTS)
def test_a_lie_is_caught(what: str) -> None:
    """By the rule about it."""
    rule, tell = DEFECTS[what]
    made = case()
    tell(made)
    assert made.judged()[rule] is Verdict.FAIL
