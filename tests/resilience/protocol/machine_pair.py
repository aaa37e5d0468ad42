"""Both machines over a fake link: no sockets, no event loop, a clock that jumps from deadline to deadline.

The link keeps order and has one latency at a time. What can be done to it: ``cut`` (both ends notice), ``hole``
(bytes vanish, closes pass), ``silent`` (nothing passes, not even a close), ``refused`` (no new connection). ``heal``
ends any of these. The store can be slow or broken, the server can stall.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from resilience.config import ClientConfig, QuizConfig, ServerConfig
from resilience.eventlog.vocabulary import Lane, Role
from resilience.eventlog.writer import EventList
from resilience.lab.scripted_client import ScriptedClient
from resilience.protocol import codec
from resilience.protocol.client.participant import Identity
from resilience.protocol.effects import (
    AbortTransport,
    Broadcast,
    CloseTransport,
    Disconnect,
    OpenTransport,
    Persist,
    Record,
    SendToClient,
    SendToServer,
    event_of,
)
from resilience.protocol.messages import Message
from resilience.protocol.server.room import Room
from resilience.random_streams import random_for
from sim.keyed_names import keyed_tokens
from tests.support.counted_names import counted

COMMIT_S = 0.003


@dataclass
class Peer:
    """One participant and the two ends of its current link."""

    name: str
    machine: ScriptedClient
    dial: int = 0
    connection: int | None = None
    link: str = "up"
    links: dict[int, int] = field(default_factory=dict)
    orphans: list[int] = field(default_factory=list)
    """Connections that the client closed while the link was silent: they are still open at the server."""


@dataclass(frozen=True)
class Sent:
    """One message as it left the server."""

    t: float
    connection: int
    text: str


class MachinePair:
    """One room, some participants, and the events in flight between them."""

    def __init__(
        self,
        clients: int = 1,
        *,
        seed: int = 1,
        server: ServerConfig | None = None,
        client: ClientConfig | None = None,
        quiz: QuizConfig | None = None,
        latency: float = 0.01,
        commit_s: float = COMMIT_S,
        room_type: type[Room] = Room,
    ) -> None:
        self.now, self.log, self.latency = 0.0, EventList(), latency
        self.commit_s, self.store_broken, self.stalled_until = commit_s, False, 0.0
        self.commits: list[tuple[float, Persist]] = []
        self.wire: list[Sent] = []
        self._order = itertools.count()
        self._connections = itertools.count(1)
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._owner: dict[int, Peer] = {}
        self._last: dict[object, float] = {}
        quiz = quiz or QuizConfig()
        self.room = room_type(
            quiz.game(seed, (server or ServerConfig()).late_window),
            (server or ServerConfig()).room,
            epoch="1",
            new_id=counted(),
            new_token=keyed_tokens(seed),
            draw=random_for(seed, "server"),
        )
        rules = (client or ClientConfig()).rules
        self.peers = [
            Peer(name, ScriptedClient(Identity("e", name, name), rules, quiz.player, random_for(seed, name)))
            for name in (f"c{i}" for i in range(clients))
        ]

    # the clock --------------------------------------------------------------------------------------------------------

    def start(self, spread: float = 0.0) -> None:
        """Every client dials, spread evenly over so many seconds."""
        for i, peer in enumerate(self.peers):
            self.at(spread * i / len(self.peers), lambda peer=peer: peer.machine.start(self.now), peer)  # type: ignore[misc]

    def at(self, when: float, action: Callable[[], None], peer: Peer | None = None) -> None:
        """Do something at a time; then see what the machines want done."""
        heapq.heappush(self._queue, (when, next(self._order), lambda: self._act(action, peer)))

    def run(self, until: float) -> None:
        """Jump from event to event until this time."""
        while (when := self._next()) <= until:
            self.now = max(self.now, when)
            if self._queue and self._queue[0][0] <= self.now:
                heapq.heappop(self._queue)[2]()
            else:
                self._fire()
        self.now = until

    def _next(self) -> float:
        deadlines = [self._queue[0][0]] if self._queue else []
        deadlines += [d for d in (peer.machine.next_deadline() for peer in self.peers) if d is not None]
        room = self.room.next_deadline()
        return min([*deadlines, *([] if room is None else [max(room, self.stalled_until)])], default=float("inf"))

    def _fire(self) -> None:
        if self.now >= self.stalled_until:
            self.room.handle_timeout(self.now)
            self._carry_out_server()
        for peer in self.peers:
            deadline = peer.machine.next_deadline()
            if deadline is not None and deadline <= self.now:
                peer.machine.handle_timeout(self.now)
                self._carry_out_client(peer)

    def _act(self, action: Callable[[], None], peer: Peer | None) -> None:
        action()
        if peer is not None:
            self._carry_out_client(peer)
        self._carry_out_server()

    def _in_order(self, lane: object, when: float) -> float:
        """``when``, but not before what travels in the same lane already."""
        self._last[lane] = max(when, self._last.get(lane, when))
        return self._last[lane]

    def _to_server(self, when: float, action: Callable[[], None]) -> None:
        """Call the room at a time, or when it has woken from its stall."""
        self.at(when, lambda: self._unless_stalled(action))

    def _unless_stalled(self, action: Callable[[], None]) -> None:
        if self.now < self.stalled_until:
            self._to_server(self.stalled_until, action)
        else:
            action()

    # faults -----------------------------------------------------------------------------------------------------------

    def cut(self, peer: Peer, server_later: float = 0.0) -> None:
        """Close the peer's link: the client notices at once, the server so many seconds later."""
        dial, connection = peer.dial, peer.connection
        peer.connection = None
        if connection is not None:
            self._to_server(self.now + server_later, lambda: self.room.transport_lost(connection, "closed", self.now))
            self.at(self.now, lambda: peer.machine.transport_lost(dial, "closed", self.now), peer)

    def heal(self, peer: Peer, server_later: float = 0.0) -> None:
        """End a hole, a silence or a refusal; what was open is closed, since bytes are missing."""
        if peer.link == "hole":
            self._refuse_pending(peer)
        peer.link = "up"
        for orphan in peer.orphans:
            self._server_hears_of_end(orphan, self.now + server_later)
        peer.orphans.clear()
        self.cut(peer, server_later)

    def _refuse_pending(self, peer: Peer) -> None:
        """A dial into a hole was accepted and never answered; it is closed with the rest."""
        dial = peer.dial
        self.at(self.now, lambda: peer.machine.transport_failed(dial, "closed", self.now), peer)

    def stall(self, seconds: float) -> None:
        """The server does nothing for so long; what reaches it waits."""
        self.stalled_until = self.now + seconds

    def _server_hears_of_end(self, connection: int, when: float) -> None:
        self._to_server(when, lambda: self.room.transport_lost(connection, "closed", self.now))

    # effects ----------------------------------------------------------------------------------------------------------

    def _carry_out_client(self, peer: Peer) -> None:
        for effect in peer.machine.effects():
            if isinstance(effect, Record):
                self._log(effect, Role.CLIENT, peer.name)
            elif isinstance(effect, OpenTransport):
                peer.dial = effect.dial
                self._open(peer, effect.dial)
            elif isinstance(effect, SendToServer):
                self._send_up(peer, effect.message)
            elif isinstance(effect, AbortTransport | CloseTransport):
                self._close_from_client(peer)

    def _open(self, peer: Peer, dial: int) -> None:
        if peer.link == "refused":
            self.at(self.now + self.latency, lambda: peer.machine.transport_failed(dial, "refused", self.now), peer)
        elif peer.link == "up":
            self.at(self.now + 2 * self.latency, lambda: self._opened(peer, dial), peer)

    def _opened(self, peer: Peer, dial: int) -> None:
        if peer.link != "up":
            return
        if dial == peer.machine.dial:
            peer.connection = next(self._connections)
            self._owner[peer.connection] = peer
        peer.machine.transport_opened(dial, self.now)

    def _send_up(self, peer: Peer, message: Message) -> None:
        connection = peer.connection
        if peer.link == "up" and connection is not None:
            text = codec.encode(message).decode()
            arrives = self._in_order(("up", connection), self.now + self.latency)
            self._to_server(arrives, lambda: self._arrive_up(peer, connection, text))

    def _arrive_up(self, peer: Peer, connection: int, text: str) -> None:
        if peer.connection == connection and peer.link == "up":
            self.room.receive(codec.decode_client(text), connection, self.now)

    def _close_from_client(self, peer: Peer) -> None:
        connection, peer.connection = peer.connection, None
        if connection is None:
            return
        if peer.link == "silent":
            peer.orphans.append(connection)
        else:
            self._server_hears_of_end(connection, self._in_order(("up", connection), self.now + self.latency))

    def _carry_out_server(self) -> None:
        for effect in self.room.effects():
            if isinstance(effect, Record):
                self._log(effect, Role.SERVER, "server")
            elif isinstance(effect, SendToClient):
                self._send_down(effect.connection, codec.encode(effect.message).decode())
            elif isinstance(effect, Broadcast):
                text = codec.encode(effect.message).decode()
                for connection in effect.connections:
                    self._send_down(connection, text)
            elif isinstance(effect, Disconnect):
                self._close_from_server(effect)
            else:
                self._persist(effect)

    def _persist(self, effect: Persist) -> None:
        self.commits.append((self.now, effect))
        done = self._in_order("store", self.now + self.commit_s)
        self._to_server(done, lambda: self._committed(effect.ticket))

    def _committed(self, ticket: int) -> None:
        if self.store_broken:
            self.room.commit_failed(ticket, self.now)
        else:
            self.room.committed(ticket, self.now)

    def _send_down(self, connection: int, text: str) -> None:
        self.wire.append(Sent(self.now, connection, text))
        peer = self._owner[connection]
        if peer.link == "up" and peer.connection == connection:
            dial = peer.dial
            arrives = self._in_order(("down", connection), self.now + self.latency)
            self.at(arrives, lambda: self._arrive_down(peer, connection, dial, text), peer)

    def _arrive_down(self, peer: Peer, connection: int, dial: int, text: str) -> None:
        if peer.connection == connection and peer.link == "up":
            peer.machine.receive(codec.decode_server(text), dial, self.now)

    def _close_from_server(self, effect: Disconnect) -> None:
        peer, connection = self._owner[effect.connection], effect.connection
        self._server_hears_of_end(connection, self.now)
        if peer.connection != connection:
            return
        dial, peer.connection = peer.dial, None
        if peer.link != "silent":
            self.at(
                self._in_order(("down", connection), self.now + self.latency),
                lambda: peer.machine.transport_lost(dial, "closed", self.now, effect.code, retry_after(effect.reason)),
                peer,
            )

    def _log(self, record: Record, role: Role, actor: str) -> None:
        self.log.write(event_of(record, Lane.PAIR, role, actor, None if role is Role.SERVER else "all"))


def retry_after(reason: str) -> float | None:
    """The retry-after that a close reason carries, seconds."""
    found = [word.removeprefix("retry_after=") for word in reason.split() if word.startswith("retry_after=")]
    return float(found[0]) if found else None
