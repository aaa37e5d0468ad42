"""The conversations that the protocol page shows: each scene says what happens, the machines say the rest."""

from __future__ import annotations

from docgen.transcripts import AUTOMATIC, Scene
from resilience.protocol.client import ParticipantClient
from resilience.protocol.effects import SessionRow
from resilience.protocol.host import HostMachine
from resilience.protocol.link import ReconnectingConnection
from resilience.protocol.messages import AnswerResult, HostAction, ScoreChanged
from resilience.quiz.phases import Phase


def join() -> str:
    """Somebody new."""
    scene = Scene({"C": "Client"})
    scene.unseen = ()
    scene.start("C")
    scene.commit()
    scene.wait("S")
    return scene.diagram()


def resume() -> str:
    """A connection is cut; the client comes back by itself."""
    scene = _joined({"C": "Client"}, question=True)
    scene.cut("C")
    scene.note("the first delay is drawn over the return window")
    scene.wait("C")
    scene.commit()
    return scene.diagram()


def fencing() -> str:
    """A second connection of the same participant takes over while the first one still looks alive."""
    scene = _joined({"A": "Old connection", "B": "New connection"})
    scene.copy("A", "B")
    scene.start("B")
    scene.commit()
    return scene.diagram()


def lost_ack() -> str:
    """An answer is stored, but the network loses the word of it."""
    scene = _joined({"C": "Client"}, question=True)
    scene.losing = (AnswerResult,)
    scene.do("C", lambda client: _answer(client, scene))
    scene.commit()
    scene.losing = ()
    scene.cut("C")
    scene.wait("C")
    scene.commit()
    return scene.diagram()


def host() -> str:
    """A host creates an event and moves it on."""
    scene = Scene({"H": "Host", "C": "Client"})
    scene.unseen = (*scene.unseen, ScoreChanged, SessionRow)
    scene.start("H")
    scene.recording = False
    scene.start("C")
    scene.commit()
    scene.recording = True
    scene.do("H", lambda client: _order(client, HostAction.START))
    scene.commit()
    scene.note("an order crosses the close of its question")
    scene.cross("H", lambda client: _order(client, HostAction.REVEAL), Phase.REVEAL)
    return scene.diagram()


def _joined(cast: dict[str, str], *, question: bool = False) -> Scene:
    """A scene in which the first client has joined already, perhaps with a question open."""
    scene = Scene(cast, AUTOMATIC)
    scene.recording = False
    first = next(iter(cast))
    scene.start(first)
    scene.commit()
    if question:
        scene.wait_for(Phase.QUESTION)
    scene.commit()
    scene.recording = True
    return scene


def _answer(client: ReconnectingConnection, scene: Scene) -> None:
    if isinstance(client, ParticipantClient):
        client.answer("q1", 2, scene.now)


def _order(client: ReconnectingConnection, action: HostAction) -> None:
    if isinstance(client, HostMachine):
        client.order(action)
