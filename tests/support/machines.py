"""One machine on a test stand: the test is its driver, and says when commits are done and what time it is."""

from __future__ import annotations

from collections import defaultdict

import msgspec

from resilience.config import ClientConfig, QuizConfig, ServerConfig
from resilience.protocol import codec
from resilience.protocol.client.participant import Identity, ParticipantClient
from resilience.protocol.compression import roster_of
from resilience.protocol.effects import (
    Broadcast,
    ClientEffect,
    Disconnect,
    Persist,
    Record,
    SendToClient,
    SendToServer,
    SessionRow,
)
from resilience.protocol.messages import (
    ClientMessage,
    Credentials,
    Join,
    Joined,
    Message,
    Resume,
    Roster,
    ServerMessage,
    Snapshot,
    StateRestored,
    Timing,
)
from resilience.protocol.server.room import Room
from tests.support.counted_names import counted


class RoomHarness:
    """One room. Commits wait until :meth:`commit` or :meth:`fail`, unless ``instant``."""

    def __init__(
        self,
        *,
        server: ServerConfig | None = None,
        quiz: QuizConfig | None = None,
        room_type: type[Room] = Room,
        instant: bool = True,
        first_ping: float = 0.5,
    ) -> None:
        self.now, self.instant = 0.0, instant
        self.sent: defaultdict[int, list[Message]] = defaultdict(list)
        self.closed: dict[int, int] = {}
        self.records: list[Record] = []
        self.persisted: list[Persist] = []
        self.waiting: list[Persist] = []
        self.room = room_type(
            (quiz or QuizConfig()).game(1, (server or ServerConfig()).late_window),
            (server or ServerConfig()).room,
            epoch="1",
            new_id=counted(),
            new_token=counted("t"),
            draw=lambda _purpose, _incident, _attempt: first_ping,
        )

    # the driver's hands -----------------------------------------------------------------------------------------------

    def collect(self) -> None:
        """Carry out what the room wants done."""
        for effect in self.room.effects():
            if isinstance(effect, Record):
                self.records.append(effect)
            elif isinstance(effect, SendToClient):
                self.sent[effect.connection].append(over_the_wire(effect.message))
            elif isinstance(effect, Broadcast):
                for connection in effect.connections:
                    self.sent[connection].append(over_the_wire(effect.message))
            elif isinstance(effect, Disconnect):
                self.closed.setdefault(effect.connection, effect.code)
            else:
                self.persisted.append(effect)
                self.waiting.append(effect)
        if self.instant and self.waiting:
            self.commit()

    def commit(self) -> None:
        """The store has written everything that waits."""
        waiting, self.waiting = self.waiting, []
        for persist in waiting:
            self.room.committed(persist.ticket, self.now)
        self.collect()

    def fail(self) -> None:
        """The store has written nothing of what waits."""
        waiting, self.waiting = self.waiting, []
        for persist in waiting:
            self.room.commit_failed(persist.ticket, self.now)
        self.collect()

    def run(self, until: float) -> None:
        """Let time pass; the room is called at each of its deadlines."""
        while (deadline := self.room.next_deadline()) is not None and deadline <= until:
            self.now = max(self.now, deadline)
            self.room.handle_timeout(self.now)
            self.collect()
        self.now = until

    # what clients do --------------------------------------------------------------------------------------------------

    def say(self, connection: int, message: ClientMessage) -> None:
        """A message arrives over a connection."""
        self.room.receive(message, connection, self.now)
        self.collect()

    def join(self, connection: int, name: str = "ann") -> Credentials:
        """Join over a fresh connection; needs instant commits."""
        self.say(connection, Join(event="e", name=name, instance=name))
        return credentials_in(self.sent[connection][-1])

    def resume(self, connection: int, token: str) -> Credentials:
        """Resume over a fresh connection; needs instant commits."""
        self.say(connection, Resume(event="e", token=token))
        return credentials_in(self.sent[connection][-1])

    def lose(self, connection: int) -> None:
        """A connection ends."""
        self.room.transport_lost(connection, "closed", self.now)
        self.collect()

    def last(self, connection: int) -> Message:
        """What was sent over a connection last."""
        return self.sent[connection][-1]

    def restored(self, connection: int) -> StateRestored:
        """The ``state_restored`` that was sent over a connection."""
        (found,) = [message for message in self.sent[connection] if isinstance(message, StateRestored)]
        return found

    def roster(self, connection: int) -> Roster:
        """The roster in the snapshot that was sent over a connection."""
        message = self.sent[connection][0]
        assert isinstance(message, Joined | StateRestored)
        return roster_of(message.snapshot)

    def rows(self) -> list[SessionRow]:
        """Every session row that was handed to the store, in order."""
        return [row for persist in self.persisted for row in persist.rows if isinstance(row, SessionRow)]


class ClientHarness:
    """One client machine; every random number it draws is ``u``."""

    def __init__(self, config: ClientConfig | None = None, u: float = 0.5) -> None:
        self.machine = ParticipantClient(
            Identity("e", "ann", "i1"), (config or ClientConfig()).rules, lambda _purpose, _incident, _attempt: u
        )
        self.records: list[Record] = []

    def take_effects(self) -> list[ClientEffect]:
        """What the machine wants done now; its records are kept apart."""
        effects = self.machine.effects()
        self.records += [effect for effect in effects if isinstance(effect, Record)]
        return [effect for effect in effects if not isinstance(effect, Record)]

    def sent_messages(self) -> list[Message]:
        """What the machine wants sent now."""
        return [effect.message for effect in self.take_effects() if isinstance(effect, SendToServer)]

    def open(self, now: float = 0.0, *, seq: int = 0) -> None:
        """Dial and join for the first time; what that wants done is dropped."""
        machine = self.machine
        machine.start(now)
        machine.transport_opened(machine.dial, now)
        machine.receive(joined(seq=seq), machine.dial, now)
        self.take_effects()

    def back(self, now: float, *, seq: int = 0, number: int = 2) -> list[Message]:
        """Be restored over the dial that is under way; returns what is said at once."""
        machine = self.machine
        machine.transport_opened(machine.dial, now)
        self.take_effects()
        machine.receive(restored(seq=seq, number=number), machine.dial, now)
        return self.sent_messages()


def over_the_wire(message: Message) -> ServerMessage:
    """A message as its receiver decodes it."""
    return codec.decode_server(codec.encode(message))


def credentials_in(message: Message) -> Credentials:
    """The credentials that the message gives its receiver."""
    assert isinstance(message, Joined | StateRestored), message
    return message.credentials


def joined(*, seq: int = 0) -> Joined:
    """A server's welcome to a new participant."""
    return Joined(Credentials("p1", "t1", 1, 1), TIMING, snapshot(seq))


def restored(*, seq: int = 0, number: int = 2) -> StateRestored:
    """A server's welcome to a returning participant."""
    return StateRestored(Credentials("p1", f"t{number}", number, number), TIMING, snapshot(seq))


def snapshot(seq: int = 0) -> Snapshot:
    """An empty room at a position of its stream."""
    return Snapshot("1", seq, "lobby", 0, 0, msgspec.Raw(b'{"count":0,"players":[],"leaders":[]}'))


TIMING = Timing(15_000, 30_000, 60_000, 100, 300, 3000)


JOIN = Join(event="e", name="ann", instance="ann")
# The default quiz, counted from the first join: q1 open from 6 to 12, revealed until 14, on the board until 16; q2 ...


def resume(token: str) -> Resume:
    """Come back with a token."""
    return Resume(event="e", token=token)


def seqs(harness: RoomHarness, connection: int) -> list[int]:
    """The stream numbers that a connection was sent, from its snapshot's on."""
    found = []
    for message in harness.sent[connection]:
        if isinstance(message, Joined) or hasattr(message, "snapshot"):
            found.append(message.snapshot.seq)
        elif hasattr(message, "seq"):
            found.append(message.seq)
    return found


def in_order(numbers: list[int]) -> bool:
    """Each is the one before plus one."""
    return numbers == list(range(numbers[0], numbers[0] + len(numbers)))
