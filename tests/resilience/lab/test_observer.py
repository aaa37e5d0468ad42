"""An observing client plays as any scripted client and records what it is shown, whatever its machine makes of it."""

from __future__ import annotations

import msgspec
import pytest

from resilience.experiment.spec import Cohort, Experiment
from resilience.lab.observation import Observation, ObservationKind
from resilience.lab.observer import TOKEN_DIGITS, ObservingClient, make_observing_client
from resilience.lab.participants import make_scripted_client, participants_of
from resilience.protocol.messages import (
    AnswerResult,
    Credentials,
    Joined,
    LeaderboardShown,
    OpenQuestion,
    Ping,
    Player,
    PresenceChanged,
    QuestionOpened,
    QuestionRevealed,
    QuizFinished,
    ResumeRejected,
    Roster,
    ScoreChanged,
    ServerMessage,
    Snapshot,
    Standing,
    StateRestored,
    Timing,
)
from resilience.protocol.states import ClientState
from resilience.quiz.phases import Phase

K = ObservationKind
WORLD = Experiment("small", 60.0, (Cohort("all", 1),))
(MEMBER,) = participants_of(WORLD, 1)
ACTOR = MEMBER.actor
CREDENTIALS, TIMING = Credentials("p1", "t" * 32, 1, 1), Timing(1, 2, 3, 4, 5, 6)
DIGEST = "8408c6d2a7b286b1"
"""The first digits of the SHA-256 of that token."""
OPEN = OpenQuestion("q1", "1 + 1", ("2", "3"), 6000, 4500)


def _snapshot(phase: Phase, question: OpenQuestion | None, score: int, answer: int | None = None) -> Snapshot:
    roster = msgspec.Raw(msgspec.json.encode(Roster(1, (Player("p1", "ada", "connected"),), ())))
    return Snapshot("e.1", 0, phase, score, 0, roster, question, answer)


def _machine(*messages: ServerMessage) -> ObservingClient:
    machine = make_observing_client(WORLD, MEMBER, 1)
    machine.start(0.0)
    machine.transport_opened(1, 0.5)
    for i, message in enumerate(messages):
        machine.receive(message, 1, 1.0 + i)
    return machine


def _shown(*messages: ServerMessage) -> list[Observation]:
    """Without the closing row of the open connection."""
    return [row for row in _machine(*messages).observations if row.kind is not K.OPEN]


JOINED = Joined(CREDENTIALS, TIMING, _snapshot(Phase.LOBBY, None, 0))
RESTORED = StateRestored(CREDENTIALS, TIMING, _snapshot(Phase.QUESTION, OPEN, 700))


def _row(t: float, kind: ObservationKind, phase: Phase | None, question: str | None, **more: object) -> Observation:
    known = Observation(t, ACTOR, "p1", phase, question, kind=kind, connection=1)
    return msgspec.structs.replace(known, **more)


SNAPSHOT = {"epoch": "e.1", "seq": 0, "name": "ada", "token": DIGEST, "fence": 1}
IN_STREAM = {"epoch": "e.1", "seq": 1}


@pytest.mark.parametrize(
    "messages, last",
    [
        ([JOINED], _row(1.0, K.JOINED, Phase.LOBBY, None, score=0, **SNAPSHOT)),
        ([RESTORED], _row(1.0, K.RESTORED, Phase.QUESTION, "q1", score=700, remaining=4.5, **SNAPSHOT)),
        (
            [StateRestored(CREDENTIALS, TIMING, _snapshot(Phase.REVEAL, OPEN, 700, answer=1))],
            _row(1.0, K.RESTORED, Phase.REVEAL, "q1", score=700, answer=1, **SNAPSHOT),
        ),
        ([JOINED, QuestionOpened(1, OPEN)], _row(2.0, K.QUESTION, Phase.QUESTION, "q1", remaining=4.5, **IN_STREAM)),
        ([JOINED, QuestionRevealed(1, "q1", 0)], _row(2.0, K.REVEAL, Phase.REVEAL, "q1", correct=0, **IN_STREAM)),
        (
            [JOINED, LeaderboardShown(1, (Standing("p1", "ada", 9), Standing("p2", "bob", 0)))],
            _row(2.0, K.LEADERBOARD, Phase.LEADERBOARD, None, content="p1:9 p2:0", **IN_STREAM),
        ),
        ([JOINED, QuizFinished(1, ())], _row(2.0, K.FINISHED, Phase.FINISHED, None, content="", **IN_STREAM)),
        (
            [
                JOINED,
                PresenceChanged(
                    1,
                    4,
                    (Player("p4", "dan", "connected"),),
                    (
                        Player("p1", "ada", "connected"),
                        Player("p2", "bob", "temporarily_disconnected"),
                        Player("p3", "cy", "disconnected"),
                    ),
                ),
            ],
            _row(2.0, K.PRESENCE, None, None, content="+p4 =p1 -p2 !p3", **IN_STREAM),
        ),
        ([JOINED, ScoreChanged("q1", 700, 900)], _row(2.0, K.SCORE, Phase.REVEAL, "q1", score=900, points=700)),
        (
            [JOINED, AnswerResult("q1", "k", "accepted")],
            _row(2.0, K.VERDICT, None, "q1", ref="q1/k", outcome="accepted"),
        ),
        ([JOINED, Ping(1, 2, 3, 4)], _row(1.0, K.JOINED, Phase.LOBBY, None, score=0, **SNAPSHOT)),
    ],
)
def test_it_remembers_what_it_is_shown(messages: list[ServerMessage], last: Observation) -> None:
    """When, of which question, over which connection, and what it learnt from it."""
    assert _shown(*messages)[-1] == last


def test_a_message_that_the_machine_ignores_is_remembered() -> None:
    """A number of the stream that was there before, and a verdict that no answer waits for."""
    rows = _shown(JOINED, QuestionOpened(1, OPEN), QuestionOpened(1, OPEN), AnswerResult("q9", "x", "accepted"))
    assert [row.kind for row in rows] == [K.JOINED, K.QUESTION, K.QUESTION, K.VERDICT]


def test_a_message_of_an_old_connection_is_marked() -> None:
    machine = _machine(JOINED)
    machine.transport_lost(1, "closed", 2.0)
    machine.wake(2.0)
    machine.receive(ScoreChanged("q1", 700, 900), 1, 9.0)
    last = machine.observations[-1]
    assert (last.kind, last.connection, last.stale) == (K.SCORE, 1, True)


def test_the_end_of_a_connection_has_its_signs_of_life() -> None:
    """Of an open one too, as of its last message."""
    machine = _machine(JOINED, Ping(1, 2, 3, 4), Ping(2, 2, 3, 4))
    assert machine.observations[-1] == _row(3.0, K.OPEN, None, None, epoch="e.1", since=1.0, heard=3.0, pings=2)
    machine.transport_lost(1, "closed", 5.0)
    machine.transport_lost(1, "closed", 6.0)
    ends = [row for row in machine.observations if row.kind in (K.OPEN, K.LOST)]
    expected = _row(5.0, K.LOST, None, None, epoch="e.1", outcome="closed", since=1.0, heard=3.0, pings=2)
    assert ends == [expected]


def test_a_loss_by_the_clients_own_decision_is_a_loss() -> None:
    """Silence, and a gap in the stream."""
    silent = _machine(JOINED)
    while silent.state is ClientState.OPEN:
        silent.handle_timeout(silent.next_deadline() or 0.0)
    gap = _machine(JOINED, LeaderboardShown(3, ()))
    assert [machine.observations[-1].outcome for machine in (silent, gap)] == ["silence", "stream_gap"]
    assert [row.seq for row in gap.observations if row.kind is K.LEADERBOARD] == [3]


def test_leaving_is_no_loss() -> None:
    machine = _machine(JOINED)
    machine.leave(4.0)
    machine.transport_lost(1, "closed", 4.1)
    assert [row.kind for row in machine.observations] == [K.JOINED, K.LEFT]


def test_a_refused_token_is_remembered() -> None:
    assert [(row.kind, row.outcome) for row in _shown(ResumeRejected("unknown"))] == [(K.REFUSED, "unknown")]


def test_an_answer_is_remembered_each_time_that_it_is_sent() -> None:
    """Under its key, with its choice."""
    machine = _machine(JOINED, QuestionOpened(1, OPEN))
    machine.answer("q1", 1, 2.5)
    machine.transport_lost(1, "closed", 3.0)
    machine.wake(3.0)
    machine.transport_opened(2, 6.0)
    machine.receive(RESTORED, 2, 7.0)
    sent = [row for row in machine.observations if row.kind is K.SENT]
    assert [(row.t, row.connection, row.ref, row.answer) for row in sent] == [
        (2.5, 1, f"q1/{ACTOR}-1", 1),
        (7.0, 2, f"q1/{ACTOR}-1", 1),
    ]


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


def test_the_tokens_of_a_large_run_differ() -> None:
    """By the birthday bound: of a million tokens two are alike in fewer than one run of ten million."""
    tokens, values = 10**6, 16**TOKEN_DIGITS
    assert tokens * (tokens - 1) / (2 * values) < 1e-7
