"""What a driver reports of its clients' messages becomes the observations that the fleet makes of the same messages."""

from __future__ import annotations

import msgspec
import pytest

from chaos.drivers import messages as m
from chaos.drivers.observed import DriverObserver
from resilience.eventlog.vocabulary import LogEventKind as K
from resilience.lab.observation import Observation, ObservationKind
from resilience.lab.observer import ClientObserver
from resilience.protocol.codec import encode
from resilience.protocol.effects import Record
from resilience.protocol.messages import (
    Answer,
    AnswerResult,
    Credentials,
    Joined,
    Leave,
    OpenQuestion,
    Ping,
    QuestionOpened,
    Roster,
    ServerMessage,
    Snapshot,
    StateRestored,
    Timing,
)
from resilience.quiz.phases import Phase

WHO = "pages-0001"
ROSTER = msgspec.Raw(msgspec.json.encode(Roster(1, (), ())))
SNAPSHOT = Snapshot("e.1", 0, Phase.LOBBY, 0, 0, ROSTER, None, None)
TIMING = Timing(1, 2, 3, 4, 5, 6)
JOINED = Joined(Credentials("p1", "t" * 32, 1, 1), TIMING, SNAPSHOT)
RESTORED = StateRestored(Credentials("p1", "u" * 32, 1, 2), TIMING, SNAPSHOT)
QUESTION = QuestionOpened(1, OpenQuestion("q1", "1 + 1", ("2", "3"), 6000, 4500))
PING = Ping(7, 1000, 100, 30_000)
ANSWER = Answer("q1", 1, "key-1")


def received(message: ServerMessage, newer: int = 0) -> m.Received:
    return m.Received(0.0, WHO, encode(message).decode(), newer)


def dialled() -> DriverObserver:
    """The observer of a client that has dialled once."""
    observer = DriverObserver(WHO)
    observer.note(Record(K.TRANSPORT_OPENING, 0.5, connection_no=1))
    return observer


def kinds(observer: DriverObserver) -> list[ObservationKind]:
    return [row.kind for row in observer.rows]


def test_messages_are_observed_as_those_of_the_fleet() -> None:
    observer, fleet = dialled(), ClientObserver(WHO)
    messages: list[ServerMessage] = [JOINED, PING, QUESTION, AnswerResult("q1", "key-1", "accepted")]
    for at, message in enumerate(messages, 1):
        observer.receive(received(message), float(at))
        fleet.receive(message, 1, float(at))
    observer.receive(m.Sent(0.0, WHO, encode(ANSWER).decode()), 5.0)
    fleet.sent(ANSWER, 1, 5.0)
    assert observer.rows == fleet.rows
    assert kinds(observer)[-1] is ObservationKind.OPEN


@pytest.mark.parametrize(
    "record, kind, cause",
    [
        (Record(K.TRANSPORT_LOST, 9.0, cause="closed"), ObservationKind.LOST, "closed"),
        (Record(K.PEER_DEAD, 9.0, value=5.0), ObservationKind.LOST, "silence"),
        (Record(K.SESSION_SUPERSEDED, 9.0, cause="close_4200"), ObservationKind.LOST, "client"),
        (Record(K.CLIENT_LEFT, 9.0), ObservationKind.LEFT, None),
    ],
    ids=["closed", "silent", "replaced", "left"],
)
def test_a_connection_ends_as_the_client_records_it(record: Record, kind: ObservationKind, cause: str | None) -> None:
    observer = dialled()
    observer.receive(received(JOINED), 1.0)
    observer.note(record)
    last = observer.rows[-1]
    assert (last.kind, last.outcome, last.t, last.since, last.heard) == (kind, cause, 9.0, 1.0, 1.0)


def test_connections_are_counted_over_all_documents_of_a_page() -> None:
    """A page that is reloaded counts its own dials from 1 again."""
    observer = dialled()
    observer.receive(received(JOINED), 1.0)
    observer.note(Record(K.TRANSPORT_LOST, 2.0, cause="the page was left"))
    observer.note(Record(K.TRANSPORT_OPENING, 3.0, connection_no=1))
    observer.receive(received(RESTORED), 4.0)
    shown = [row for row in observer.rows if row.kind in {ObservationKind.JOINED, ObservationKind.RESTORED}]
    assert [row.connection for row in shown] == [1, 2]


def test_a_message_over_an_older_connection_is_stale() -> None:
    observer = dialled()
    observer.note(Record(K.TRANSPORT_OPENING, 0.7, connection_no=2))
    observer.receive(received(QUESTION, newer=1), 1.0)
    (row,) = observer.rows
    assert (row.connection, row.stale) == (1, True)


def test_a_message_that_only_newer_clients_know_has_its_number() -> None:
    observer = dialled()
    observer.receive(m.Received(0.0, WHO, '{"type":"confetti","seq":4}'), 1.0)
    (row,) = observer.rows
    assert (row.kind, row.seq) == (ObservationKind.UNKNOWN, 4)


VERDICT = Record(K.ANSWER_ACKED, 3.0, ref="q1/key-1", outcome="accepted")
RESULT, SENT = received(AnswerResult("q1", "key-1", "accepted")), m.Sent(0.0, WHO, encode(ANSWER).decode())


@pytest.mark.parametrize("reports", [(), (SENT, RESULT)], ids=["neither", "both"])
def test_an_answer_and_its_verdict_are_reported_both_or_neither(reports: tuple[m.ExchangeReport, ...]) -> None:
    observer = dialled()
    for report in reports:
        observer.receive(report, 2.0)
    observer.note(VERDICT)
    assert kinds(observer) == [ObservationKind.SENT, ObservationKind.VERDICT][: len(reports)]


@pytest.mark.parametrize("report", [SENT, RESULT], ids=["sent", "received"])
def test_an_answer_of_which_half_is_reported_ends_the_run(report: m.ExchangeReport) -> None:
    """A verdict on an answer that was never sent would be the server's failure."""
    observer = dialled()
    observer.receive(report, 2.0)
    with pytest.raises(m.BrokenLineError, match="has a verdict on q1/key-1: an answer is reported as sent, and its"):
        observer.note(VERDICT)


@pytest.mark.parametrize("text", ["{", '{"type":"joined"}', "null"])
def test_what_the_client_cannot_read_is_not_shown(text: str) -> None:
    observer = dialled()
    observer.receive(m.Received(0.0, WHO, text), 1.0)
    assert observer.rows == list[Observation]()


@pytest.mark.parametrize(
    "report, words",
    [
        (m.Sent(0.0, WHO, "{"), "sent what is no message of a client"),
        (m.Sent(0.0, WHO, encode(Leave()).decode()), "sent Leave; only answers are reported"),
        (received(JOINED, newer=1), "over a connection with 1 after it, and it has opened 1"),
    ],
    ids=["no message", "no answer", "no connection"],
)
def test_a_report_that_cannot_be_true_is_refused_in_words(report: m.ExchangeReport, words: str) -> None:
    with pytest.raises(m.BrokenLineError, match=words):
        dialled().receive(report, 1.0)
