"""Tables of behaviour: each line is the result of running the code."""

from __future__ import annotations

import itertools

import msgspec

from docgen.sources import table
from reports.invariants import CHECKS
from resilience.policy.return_window import return_window
from resilience.protocol.server.tokens import TokenRegistry, token_hash
from resilience.quiz.game import Game
from resilience.quiz.plan import MANUAL_PACE
from resilience.quiz.questions import arithmetic_questions

QUESTION_S, LATE_S = 20.0, 2.0


class Submission(msgspec.Struct, frozen=True):
    """One answer that a participant submits."""

    situation: str
    question: str = "q1"
    key: str = "k1"
    choice: int = 0
    at: float = 5.0
    after: str | None = None
    excused: bool = False


SUBMISSIONS = (
    Submission("the first answer, while the question is open"),
    Submission("the same again, with the same key", at=6.0, after="k1"),
    Submission("the same again, with the same key, long after the close", at=90.0, after="k1"),
    Submission("another answer after it, with another key", key="k2", choice=1, at=6.0, after="k1"),
    Submission("an answer to a question that is not open yet", question="q2"),
    Submission("an answer after the close", at=QUESTION_S),
    Submission("the same, by a participant whose outage overlapped the close", at=QUESTION_S + 1.5, excused=True),
    Submission("the same, but later than the late window", at=QUESTION_S + LATE_S, excused=True),
    Submission("an answer to a question that does not exist", question="q9"),
    Submission("a choice that does not exist", choice=9),
)


def verdicts() -> str:
    """The verdict on each kind of answer; the late window is two seconds here."""
    rows = []
    for submission in SUBMISSIONS:
        game = _game(submission)
        verdict, stored = game.judge(
            "p1", submission.question, submission.key, submission.choice, submission.at, excused=submission.excused
        )
        rows.append([submission.situation, f"`{verdict}`", "a row" if stored else "nothing"])
    return table(["submission", "verdict", "stored"], rows)


def _game(submission: Submission) -> Game:
    """A game at the time of a submission: its first question is open, or closed and revealed."""
    game = Game(arithmetic_questions(1, 2, QUESTION_S), MANUAL_PACE, late_window=LATE_S)
    game.apply(game.next_state(0.0))
    if submission.after is not None:
        _, stored = game.judge("p1", "q1", submission.after, 0, 5.0)
        if stored is not None:
            game.store(stored)
    if submission.at >= QUESTION_S:
        game.advance()
    return game


def tokens() -> str:
    """The tokens that resume the session after each step of one participant's life."""
    numbers = itertools.count(1)
    registry = TokenRegistry(lambda _participant: f"T{next(numbers)}")
    rows: list[list[str]] = []

    def happened(what: str, given: str = "") -> None:
        known = [f"T{i}" for i in range(1, 5)]
        accepted = [token for token in known if registry.find(token_hash(token)) == "p1"]
        retired = [token for token in known if registry.rejection_of(token_hash(token))[1] == "p1"]
        rows.append([what, given, ", ".join(accepted), ", ".join(retired)])

    happened("the participant joins", registry.rotate("p1", None))
    registry.confirm("p1", registry.state_of("p1").generation)
    happened("it confirms T1")
    happened("it resumes with T1, but the reply is lost", registry.rotate("p1", token_hash("T1")))
    happened("it resumes with T1 again", registry.rotate("p1", token_hash("T1")))
    registry.confirm("p1", registry.state_of("p1").generation)
    happened("it confirms T3")
    happened("it resumes with T3", registry.rotate("p1", token_hash("T3")))
    registry.confirm("p1", registry.state_of("p1").generation)
    happened("it confirms T4")
    return table(["step", "new token", "accepted tokens", "rejected as `retired`"], rows)


def windows() -> str:
    """The return windows that a server announces if it accepts 3000 joins a second."""
    rows = []
    for population in (30, 300, 3000, 10_000, 100_000):
        window = return_window(population, 3000.0)
        rows.append([f"{population}", *(f"{s:.3g} s" for s in (window.spread_s, window.step_s, window.cap_s))])
    return table(["participants", "first attempt within", "first step", "longest step"], rows)


def invariants() -> str:
    """The invariants that every report checks on the recorded history."""
    return table(["invariant", "rule"], [[f"`{name}`", rule.words] for name, rule in CHECKS.items()])
