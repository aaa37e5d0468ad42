"""What a client of another program was shown and sent, kept as observations of this project's clients are. Pure.

The driver reports the messages themselves, as they cross the client's WebSocket; what they mean is read here, by the
same code that observes this project's own clients. So the checks judge both by the same evidence. Where a connection
ends, the client's own records say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from resilience.errors import RemoteProtocolError
from resilience.eventlog.vocabulary import LogEventKind as K
from resilience.lab.observation import SILENCE, Observation, ObservationKind
from resilience.lab.observer import ClientObserver
from resilience.protocol.codec import Unknown, decode_client, decode_server_lenient
from resilience.protocol.effects import Record
from resilience.protocol.messages import Answer
from resilience.units import Instant

from . import messages as m

_BY_CLIENT = "client"

_ENDINGS: Mapping[K, tuple[ObservationKind, str | None]] = {
    K.TRANSPORT_LOST: (ObservationKind.LOST, None),
    K.PEER_DEAD: (ObservationKind.LOST, SILENCE),
    K.CLIENT_LEFT: (ObservationKind.LEFT, None),
    K.SESSION_SUPERSEDED: (ObservationKind.LOST, _BY_CLIENT),
    K.CLIENT_DISMISSED: (ObservationKind.LOST, _BY_CLIENT),
    K.GAVE_UP: (ObservationKind.LOST, _BY_CLIENT),
}
"""By the kind of a record that ends a connection: how the observation calls that, and its cause.

A lost transport has that of its record.
"""


class DriverObserver:
    """Keeps the observations of one client.

    Its connections are numbered by the attempts that it recorded, over all documents of a page.
    """

    def __init__(self, client: str) -> None:
        self._client, self._observer = client, ClientObserver(client)
        self._dials = 0
        self._has_received = False
        self._sent: set[str] = set()

    @property
    def rows(self) -> list[Observation]:
        """Everything so far; last the connection that is open, as of its last message."""
        return list(self._observer.rows)

    def lines(self) -> Iterator[bytes]:
        """The same as JSON Lines, in pieces of whole lines."""
        return self._observer.lines()

    def receive(self, report: m.ExchangeReport, now: Instant) -> None:
        """A message crossed its connection at ``now``; BrokenLineError for one that this client cannot have sent."""
        if isinstance(report, m.Sent):
            answer = self._answer(report.text)
            self._sent.add(f"{answer.question}/{answer.key}")
            self._observer.sent(answer, self._dials, now)
        else:
            self._has_received = True
            self._receive(report, now)

    def note(self, record: Record) -> None:
        """The client recorded this; BrokenLineError for the verdict on an answer of which half was reported."""
        if record.kind is K.TRANSPORT_OPENING:
            self._dials += 1
        if record.kind in _ENDINGS:
            ending, cause = _ENDINGS[record.kind]
            cause = record.cause if record.kind is K.TRANSPORT_LOST else cause
            self._observer.ended(self._observer.connection, ending, record.t, cause)
        if record.kind is K.ANSWER_ACKED and self._has_received is not (record.ref in self._sent):
            both = "an answer is reported as sent, and its verdict as received, or neither"
            raise m.BrokenLineError(f"{self._client} has a verdict on {record.ref}: {both}")

    def _receive(self, report: m.Received, now: Instant) -> None:
        dial, stale = self._dials - report.newer, report.newer > 0
        if dial < 1:
            opened = f"{report.newer} after it, and it has opened {self._dials}"
            raise m.BrokenLineError(f"{self._client} received a message over a connection with {opened}")
        try:
            message = decode_server_lenient(report.text)
        except RemoteProtocolError:  # the client ends the connection, and records that
            return
        if isinstance(message, Unknown):
            self._observer.receive_unknown(message.seq, dial, now, stale=stale)
        else:
            self._observer.receive(message, dial, now, stale=stale)

    def _answer(self, text: str) -> Answer:
        try:
            message = decode_client(text)
        except RemoteProtocolError as error:
            raise m.BrokenLineError(f"{self._client} sent what is no message of a client: {error}") from None
        if not isinstance(message, Answer):
            raise m.BrokenLineError(f"{self._client} sent {type(message).__name__}; only answers are reported")
        return message
