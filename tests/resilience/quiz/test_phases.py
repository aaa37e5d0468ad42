"""The table of phases."""

from __future__ import annotations

from itertools import pairwise

import pytest

from resilience.errors import LocalProtocolError
from resilience.quiz.game import Game
from resilience.quiz.phases import NEXT, Phase
from resilience.quiz.plan import Pace
from resilience.quiz.questions import arithmetic_questions


def phases_played(questions: int) -> list[Phase]:
    """Every phase of an automatic quiz."""
    game = Game(arithmetic_questions(1, questions, 6.0), Pace(6.0, 2.0, 2.0))
    game.start_lobby(0.0)
    seen = [game.phase]
    while game.phase_ends_at is not None:
        seen.append(game.advance())
    return seen


def test_every_phase_is_in_the_table_and_can_be_reached() -> None:
    reached, frontier = {Phase.LOBBY}, [Phase.LOBBY]
    while frontier:
        fresh = NEXT[frontier.pop()] - reached
        reached |= fresh
        frontier += fresh
    assert reached == set(Phase) == set(NEXT)


def test_the_table_has_exactly_the_allowed_transitions() -> None:
    """Lobby, then question, reveal and leaderboard in turn; an end from anywhere; nothing after it."""
    assert {phase: set(following) - {Phase.FINISHED} for phase, following in NEXT.items()} == {
        Phase.LOBBY: {Phase.QUESTION},
        Phase.QUESTION: {Phase.REVEAL},
        Phase.REVEAL: {Phase.LEADERBOARD},
        Phase.LEADERBOARD: {Phase.QUESTION},
        Phase.FINISHED: set(),
    }
    assert all(Phase.FINISHED in following for phase, following in NEXT.items() if phase is not Phase.FINISHED)


@pytest.mark.parametrize("questions", [0, 1, 2, 5])
def test_a_quiz_makes_only_transitions_of_the_table(questions: int) -> None:
    """Question, reveal and leaderboard once for each question, then the end."""
    seen = phases_played(questions)
    assert all(following in NEXT[phase] for phase, following in pairwise(seen))
    assert seen == [
        Phase.LOBBY,
        *[Phase.QUESTION, Phase.REVEAL, Phase.LEADERBOARD] * questions,
        Phase.FINISHED,
    ]


def test_a_finished_quiz_cannot_advance() -> None:
    game = Game((), Pace(1.0, 1.0, 1.0))
    game.start_lobby(0.0)
    game.advance()
    with pytest.raises(LocalProtocolError, match="finished"):
        game.advance()


def test_an_empty_lobby_does_not_end() -> None:
    """The lobby is timed from the first join."""
    game = Game(arithmetic_questions(1, 1, 6.0), Pace(6.0, 2.0, 2.0))
    with pytest.raises(LocalProtocolError, match="lobby"):
        game.advance()
