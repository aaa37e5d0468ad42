"""One quiz: verdicts, deadlines, scores."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.quiz.game import Game, StoredAnswer
from resilience.quiz.phases import Phase
from resilience.quiz.plan import Pace
from resilience.quiz.questions import Question
from resilience.quiz.verdicts import AnswerVerdict

QUESTIONS = tuple(Question(f"q{i}", "?", ("a", "b", "c", "d"), i % 4, 6.0) for i in range(1, 4))
PACE = Pace(lobby=6.0, reveal=2.0, leaderboard=2.0)
# q1 is open from 6 to 12, revealed until 14, on the leaderboard until 16; q2 from 16 to 22, ...


def game_at(now: float, late_window: float = 0.0) -> Game:
    """The quiz at a time after the first join."""
    game = Game(QUESTIONS, PACE, late_window)
    game.start_lobby(0.0)
    while game.phase_ends_at is not None and game.phase_ends_at <= now:
        game.advance()
    return game


def give(game: Game, who: str, question: str, choice: int, *, at: float, key: str = "k1") -> AnswerVerdict:
    """Judge an answer, and store it if it is accepted."""
    verdict, stored = game.judge(who, question, key, choice, at)
    if stored is not None:
        game.store(stored)
    return verdict


def test_the_first_answer_counts() -> None:
    """Another key for an answered question changes nothing."""
    game = game_at(7.0)
    assert give(game, "p1", "q1", 0, at=7.0) is AnswerVerdict.ACCEPTED
    assert give(game, "p1", "q1", 1, at=8.0, key="k2") is AnswerVerdict.DUPLICATE
    stored = game.answer_of("p1", "q1")
    assert stored is not None
    assert (stored.choice, stored.key) == (0, "k1")


@pytest.mark.parametrize("later", [8.0, 13.0, 15.0, 17.0, 1000.0])
def test_the_same_key_gets_the_same_verdict(later: float) -> None:
    """A resend gets ``accepted`` again, in every phase, and scores once."""
    game = game_at(7.0)
    give(game, "p1", "q1", 1, at=7.0)
    score = game.scores["p1"]
    while game.phase_ends_at is not None and game.phase_ends_at <= later:
        game.advance()
    assert give(game, "p1", "q1", 1, at=later) is AnswerVerdict.ACCEPTED
    assert game.scores["p1"] == score


@pytest.mark.parametrize("choice", [-1, 0, 99])
@pytest.mark.parametrize("key, verdict", [("k1", AnswerVerdict.ACCEPTED), ("k2", AnswerVerdict.DUPLICATE)])
def test_the_key_decides_on_a_resend_whatever_its_choice(choice: int, key: str, verdict: AnswerVerdict) -> None:
    game = game_at(7.0)
    give(game, "p1", "q1", 1, at=7.0)
    assert give(game, "p1", "q1", choice, at=8.0, key=key) is verdict


@pytest.mark.parametrize(
    "now, question, expected",
    [
        (1.0, "q1", AnswerVerdict.REJECTED_PHASE),
        (6.0, "q1", AnswerVerdict.ACCEPTED),
        (11.999, "q1", AnswerVerdict.ACCEPTED),
        (12.0, "q1", AnswerVerdict.REJECTED_LATE),
        (13.0, "q1", AnswerVerdict.REJECTED_LATE),
        (15.0, "q1", AnswerVerdict.REJECTED_LATE),
        (17.0, "q1", AnswerVerdict.REJECTED_LATE),
        (17.0, "q2", AnswerVerdict.ACCEPTED),
        (7.0, "q2", AnswerVerdict.REJECTED_PHASE),
        (15.0, "q2", AnswerVerdict.REJECTED_PHASE),
        (1000.0, "q3", AnswerVerdict.REJECTED_LATE),
        (7.0, "q9", AnswerVerdict.REJECTED_INVALID),
        (7.0, "", AnswerVerdict.REJECTED_INVALID),
    ],
)
def test_verdict_by_phase(now: float, question: str, expected: AnswerVerdict) -> None:
    """A closed question is late, one that is not open yet is out of phase, one that does not exist is invalid."""
    assert give(game_at(now), "p1", question, 1, at=now) is expected


@pytest.mark.parametrize("choice", [-1, 4, 1000])
def test_an_unknown_choice_is_invalid_in_any_phase(choice: int) -> None:
    assert give(game_at(7.0), "p1", "q1", choice, at=7.0) is AnswerVerdict.REJECTED_INVALID


def test_the_deadline_holds_when_the_server_wakes_late() -> None:
    """An answer received after the close is late although the phase is still question."""
    game = game_at(7.0)
    assert game.phase is Phase.QUESTION
    assert give(game, "p1", "q1", 1, at=12.5) is AnswerVerdict.REJECTED_LATE


@pytest.mark.parametrize(
    "excused, at, expected",
    [
        (True, 12.5, AnswerVerdict.ACCEPTED),
        (True, 13.0, AnswerVerdict.REJECTED_LATE),
        (False, 12.5, AnswerVerdict.REJECTED_LATE),
    ],
)
def test_the_late_window_is_for_the_excused(excused: bool, at: float, expected: AnswerVerdict) -> None:
    """One second after the close, and only for participants that were absent."""
    verdict, _ = game_at(at, late_window=1.0).judge("p1", "q1", "k", 1, at, excused=excused)
    assert verdict is expected


def test_a_late_answer_earns_the_least() -> None:
    _, stored = game_at(12.5, late_window=1.0).judge("p1", "q1", "k", 1, 12.5, excused=True)
    assert stored is not None
    assert stored.points == 500


def test_judging_stores_nothing() -> None:
    game = game_at(7.0)
    game.judge("p1", "q1", "k", 1, 7.0)
    assert game.answer_of("p1", "q1") is None
    assert game.scores == {}


def test_the_visible_score_hides_the_open_question() -> None:
    """Until the reveal a right answer shows in no score and no standing."""
    game = game_at(7.0)
    game.add_participant("p2")
    give(game, "p1", "q1", 1, at=6.0)
    assert (game.scores["p1"], game.visible_score("p1"), game.leaders(5)) == (1000, 0, [("p1", 0), ("p2", 0)])
    game.advance()
    assert (game.visible_score("p1"), game.leaders(5)) == (1000, [("p1", 1000), ("p2", 0)])


def test_ties_are_in_order_of_ids() -> None:
    game = game_at(13.0)
    for who in ("p3", "p1", "p2"):
        game.add_participant(who, 10)
    assert game.leaders(2) == [("p1", 10), ("p2", 10)]


def test_adding_a_participant_again_keeps_its_score() -> None:
    game = game_at(13.0)
    game.add_participant("p1", 700)
    game.add_participant("p1")
    assert game.scores["p1"] == 700


@given(st.lists(st.floats(0.0, 30.0), min_size=12, max_size=12))
def test_late_wake_ups_shift_no_deadline(lags: list[float]) -> None:
    """Each phase is timed from the planned end of the one before."""
    game = Game(QUESTIONS, PACE)
    game.start_lobby(0.0)
    opened = []
    for lag in lags:
        if game.phase_ends_at is None:
            break
        _woken_at = game.phase_ends_at + lag
        if game.advance() is Phase.QUESTION:
            opened.append((game.progress.opened_at, game.phase_ends_at))
    assert opened == [(6.0, 12.0), (16.0, 22.0), (26.0, 32.0)]


def test_the_lobby_is_counted_from_the_first_join_only() -> None:
    game = Game(QUESTIONS, PACE)
    game.start_lobby(3.0)
    game.start_lobby(5.0)
    assert game.phase_ends_at == 9.0


SUBMISSIONS = st.lists(
    st.tuples(
        st.sampled_from(["p1", "p2", "p3"]),
        st.sampled_from(["q1", "q2", "q3", "q9"]),
        st.integers(-1, 4),
        st.floats(0.0, 40.0),
        st.sampled_from(["k1", "k2"]),
    ),
    max_size=60,
)


@given(SUBMISSIONS)
def test_scores_equal_their_recomputation_from_the_answer_log(
    submissions: list[tuple[str, str, int, float, str]],
) -> None:
    """One answer per participant and question; verdict and storage agree."""
    game = game_at(0.0)
    accepted: dict[tuple[str, str], StoredAnswer] = {}
    for who, question, choice, at, key in sorted(submissions, key=lambda item: item[3]):
        while game.phase_ends_at is not None and game.phase_ends_at <= at:
            game.advance()
        verdict, stored = game.judge(who, question, key, choice, at)
        if stored is not None:
            assert verdict is AnswerVerdict.ACCEPTED
            assert (who, question) not in accepted
            accepted[who, question] = stored
            game.store(stored)
    for who in ("p1", "p2", "p3"):
        mine = sum(answer.points for (owner, _), answer in accepted.items() if owner == who)
        assert game.scores.get(who, 0) == game.recomputed_score(who) == mine
        assert game.visible_score(who) == game.recomputed_visible_score(who) <= mine
