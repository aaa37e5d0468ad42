"""An observing client plays as any scripted client and records what it is shown."""

from __future__ import annotations

import pytest

from resilience.experiment.spec import Cohort, Experiment
from resilience.lab.observer import Observation, ObservingClient, make_observing_client
from resilience.lab.participants import make_scripted_client, participants_of
from resilience.protocol.messages import (
    Credentials,
    Joined,
    LeaderboardShown,
    OpenQuestion,
    QuestionOpened,
    QuestionRevealed,
    ScoreChanged,
    ServerMessage,
    Snapshot,
    StateRestored,
    Timing,
)
from resilience.quiz.phases import Phase

WORLD = Experiment("small", 60.0, (Cohort("all", 1),))
(MEMBER,) = participants_of(WORLD, 1)
ACTOR = MEMBER.actor
CREDENTIALS, TIMING = Credentials("p1", "t" * 32, 1, 1), Timing(1, 2, 3, 4, 5, 6)
OPEN = OpenQuestion("q1", "1 + 1", ("2", "3"), 6000, 4500)


def _snapshot(phase: Phase, question: OpenQuestion | None, score: int) -> Snapshot:
    return Snapshot("e.1", 0, phase, score, 0, b"{}", question)  # type: ignore[arg-type]


def _shown(*messages: ServerMessage) -> list[Observation]:
    machine = make_observing_client(WORLD, MEMBER, 1)
    machine.start(0.0)
    machine.transport_opened(1, 0.5)
    for i, message in enumerate(messages):
        machine.receive(message, 1, 1.0 + i)
    return machine.observations


JOINED = Joined(CREDENTIALS, TIMING, _snapshot(Phase.LOBBY, None, 0))
RESTORED = StateRestored(CREDENTIALS, TIMING, _snapshot(Phase.QUESTION, OPEN, 700))


@pytest.mark.parametrize(
    "messages, last",
    [
        ([JOINED], Observation(1.0, ACTOR, "p1", Phase.LOBBY, None, 0)),
        ([RESTORED], Observation(1.0, ACTOR, "p1", Phase.QUESTION, "q1", 700, 4.5)),
        ([JOINED, QuestionOpened(1, OPEN)], Observation(2.0, ACTOR, "p1", Phase.QUESTION, "q1", remaining=4.5)),
        ([JOINED, QuestionRevealed(1, "q1", 0)], Observation(2.0, ACTOR, "p1", Phase.REVEAL, "q1", correct=0)),
        ([JOINED, ScoreChanged("q1", 700, 900)], Observation(2.0, ACTOR, "p1", Phase.REVEAL, "q1", 900)),
        ([JOINED, LeaderboardShown(1, ())], Observation(1.0, ACTOR, "p1", Phase.LOBBY, None, 0)),
    ],
)
def test_it_remembers_what_it_is_shown(messages: list[ServerMessage], last: Observation) -> None:
    """When, of which question, and what it learnt from it."""
    assert _shown(*messages)[-1] == last


def test_it_plays_like_any_other() -> None:
    """The same seed gives the same answer at the same moment."""
    deadlines = []
    for machine in (make_observing_client(WORLD, MEMBER, 7), make_scripted_client(WORLD, MEMBER, 7)):
        machine.start(0.0)
        machine.transport_opened(1, 0.5)
        machine.receive(RESTORED, 1, 1.0)
        deadlines.append(machine.next_deadline())
        assert isinstance(machine, ObservingClient) is (len(deadlines) == 1)
    assert deadlines[0] == deadlines[1] is not None
