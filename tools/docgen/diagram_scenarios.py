"""The conversations on the protocol page: each scenario causes events, and the machines produce the messages."""

from __future__ import annotations

from docgen.transcripts import AUTOMATIC, SequenceRecorder
from resilience.protocol.client.connection import ReconnectingConnection
from resilience.protocol.client.host import HostMachine
from resilience.protocol.client.participant import ParticipantClient
from resilience.protocol.effects import SessionRow
from resilience.protocol.messages import AnswerResult, HostAction, ScoreChanged
from resilience.quiz.phases import Phase


def join() -> str:
    """A new participant joins."""
    recorder = SequenceRecorder({"C": "Client"})
    recorder.unseen = ()
    recorder.start("C")
    recorder.commit()
    recorder.wait("S")
    return recorder.diagram()


def resume() -> str:
    """A connection is cut; the client reconnects and resumes."""
    recorder = _joined({"C": "Client"}, question=True)
    recorder.cut("C")
    recorder.note("the first delay is drawn over the return window")
    recorder.wait("C")
    recorder.commit()
    return recorder.diagram()


def fencing() -> str:
    """A second connection of the same participant replaces the first one while that still looks alive."""
    recorder = _joined({"A": "Old connection", "B": "New connection"})
    recorder.copy("A", "B")
    recorder.start("B")
    recorder.commit()
    return recorder.diagram()


def lost_ack() -> str:
    """An answer is stored, but the network loses the acknowledgement."""
    recorder = _joined({"C": "Client"}, question=True)
    recorder.losing = (AnswerResult,)
    recorder.do("C", lambda client: _answer(client, recorder))
    recorder.commit()
    recorder.losing = ()
    recorder.cut("C")
    recorder.wait("C")
    recorder.commit()
    return recorder.diagram()


def host() -> str:
    """A host creates an event and starts its first questions."""
    recorder = SequenceRecorder({"H": "Host", "C": "Client"})
    recorder.unseen = (*recorder.unseen, ScoreChanged, SessionRow)
    recorder.start("H")
    recorder.recording = False
    recorder.start("C")
    recorder.commit()
    recorder.recording = True
    recorder.do("H", lambda client: _order(client, HostAction.START))
    recorder.commit()
    recorder.note("a command crosses the close of its question")
    recorder.cross("H", lambda client: _order(client, HostAction.REVEAL), Phase.REVEAL)
    return recorder.diagram()


def _joined(cast: dict[str, str], *, question: bool = False) -> SequenceRecorder:
    """A recorder whose first client has joined already, with a question open if requested."""
    recorder = SequenceRecorder(cast, AUTOMATIC)
    recorder.recording = False
    first = next(iter(cast))
    recorder.start(first)
    recorder.commit()
    if question:
        recorder.wait_for(Phase.QUESTION)
    recorder.commit()
    recorder.recording = True
    return recorder


def _answer(client: ReconnectingConnection, recorder: SequenceRecorder) -> None:
    if isinstance(client, ParticipantClient):
        client.answer("q1", 2, recorder.now)


def _order(client: ReconnectingConnection, action: HostAction) -> None:
    if isinstance(client, HostMachine):
        client.order(action)
