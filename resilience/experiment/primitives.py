"""The primitive operations of which faults are composed, and the symptoms by which a canary recognises them. Pure.

Each lane carries out each operation once (``lab.system`` names who does); what a fault does is a composition of these
(``faults``). A *condition* holds from its :class:`Impose` to its :class:`Lift`. Conditions on one link add up: a link
refuses while at least one ``Refuse`` holds.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from resilience.units import Seconds


class FaultTarget(StrEnum):
    """What a fault acts on."""

    LINK = "link"
    SERVER = "server"
    CLIENT = "client"


class Direction(StrEnum):
    """A direction of a link, seen from the client."""

    BOTH = "both"
    UP = "up"
    DOWN = "down"

    @property
    def ways(self) -> tuple[Direction, ...]:
        """The single directions that this one stands for."""
        return (Direction.UP, Direction.DOWN) if self is Direction.BOTH else (self,)


# conditions of a link -------------------------------------------------------------------------------------------------


class Refuse(msgspec.Struct, frozen=True, tag="refuse"):
    """New connections are refused."""


class Drop(msgspec.Struct, frozen=True, tag="drop"):
    """Bytes vanish; the end of a connection still passes. Lifting it closes every connection: bytes are missing."""

    direction: Direction = Direction.BOTH


class Hold(msgspec.Struct, frozen=True, tag="hold"):
    """Bytes wait, and a close behind them; a close without bytes before it passes. Lifting it lets all through."""

    direction: Direction = Direction.BOTH


class Freeze(msgspec.Struct, frozen=True, tag="freeze"):
    """Nothing passes: bytes, closes and new connections wait, both ways. Lifting it lets all through, in order.

    What is ordered of a link meanwhile is carried out when the last such condition is lifted.
    """


class Delay(msgspec.Struct, frozen=True, tag="delay"):
    """Bytes take ``delay`` seconds longer each way, give or take ``spread`` (uniform), in order. Delays add up."""

    delay: Seconds
    spread: Seconds = 0.0


class Throttle(msgspec.Struct, frozen=True, tag="throttle"):
    """Each connection passes ``rate`` bytes per second each way."""

    rate: int


class Slice(msgspec.Struct, frozen=True, tag="slice"):
    """Bytes arrive in writes of at most ``size`` bytes, ``delay`` seconds apart, both ways."""

    size: int
    delay: Seconds


class CutAfter(msgspec.Struct, frozen=True, tag="cut_after"):
    """Each connection is closed (FIN) once it has passed ``size`` bytes in a direction, since this or its own start."""

    size: int
    direction: Direction = Direction.BOTH


class HoldClose(msgspec.Struct, frozen=True, tag="hold_close"):
    """A close is passed on ``delay`` seconds later; bytes are not delayed."""

    delay: Seconds
    direction: Direction = Direction.BOTH


Condition = Refuse | Drop | Hold | Freeze | Delay | Throttle | Slice | CutAfter | HoldClose

# operations on a link -------------------------------------------------------------------------------------------------


class CloseAll(msgspec.Struct, frozen=True, tag="close_all"):
    """Close every connection once: both ends see EOF (FIN)."""


class ResetAll(msgspec.Struct, frozen=True, tag="reset_all"):
    """Reset every connection once: both ends see RST."""


class Impose(msgspec.Struct, frozen=True, tag="impose"):
    """Make a condition hold."""

    condition: Condition


class Lift(msgspec.Struct, frozen=True, tag="lift"):
    """Undo one :class:`Impose` of an equal condition; an error where none holds."""

    condition: Condition


LinkOperation = CloseAll | ResetAll | Impose | Lift

# operations on the server ---------------------------------------------------------------------------------------------


class CrashPoint(StrEnum):
    """Boundaries in the server's work at which the virtual lane can kill it."""

    INSTANT = "instant"
    EVENT = "event"
    ORDERED = "ordered"
    NEVER_WRITTEN = "never_written"
    WRITTEN = "written"
    SETTLED = "settled"
    LOGGED = "logged"
    HANDSHAKE = "handshake"
    DRAIN = "drain"
    RECOVERING = "recovering"
    READING = "reading"
    LISTENING = "listening"

    @property
    def description(self) -> str:
        """Where the server dies, in words."""
        return _DESCRIPTIONS[self]


_DESCRIPTIONS = {
    CrashPoint.INSTANT: "at some instant",
    CrashPoint.EVENT: "when something happens, before it acts",
    CrashPoint.ORDERED: "before a commit is handed to storage",
    CrashPoint.NEVER_WRITTEN: "in a commit that never happens",
    CrashPoint.WRITTEN: "in a commit that is durable",
    CrashPoint.SETTLED: "after a commit, before the log is flushed",
    CrashPoint.LOGGED: "after the log is flushed, before clients receive it",
    CrashPoint.HANDSHAKE: "during a handshake",
    CrashPoint.DRAIN: "while it drains",
    CrashPoint.RECOVERING: "while it acquires the lease of a stored run",
    CrashPoint.READING: "while it reads the stored run",
    CrashPoint.LISTENING: "right after it listens",
}


class Crash(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where exactly a server dies and what survives it: a refinement that only the virtual lane can carry out.

    The server dies when it reaches ``point`` for the ``skip`` + 1-th time after the kill was ordered, in whichever
    server process, and ``within`` so many seconds at the latest. ``pause``: seconds from the death to the next start.
    ``lands``: whether the commit that storage is working on still happens; ``flushes``: whether bytes that were sent
    still reach the clients; ``kept``: the share of the unflushed log that reaches the disk.
    """

    point: CrashPoint = CrashPoint.INSTANT
    skip: int = 0
    within: Seconds = 0.0
    pause: Seconds = 0.0
    lands: bool = False
    flushes: bool = True
    kept: float = 0.0


class Kill(msgspec.Struct, frozen=True, tag="kill"):
    """End the server process at once (SIGKILL), or where ``crash`` says."""

    crash: Crash | None = None


class Start(msgspec.Struct, frozen=True, tag="start"):
    """Start a server process on the database, address and log of the one before, once that has ended.

    An error while one runs that was neither killed nor asked to end. One that was asked, and was suspended since, is
    woken first.
    """


class SuspendServer(msgspec.Struct, frozen=True, tag="suspend_server"):
    """Stop the server process where it is (SIGSTOP): connections stay open, new ones are not answered."""


class ResumeServer(msgspec.Struct, frozen=True, tag="resume_server"):
    """Let a suspended server process continue (SIGCONT); nothing happens to one that was killed or woken meanwhile."""


class DrainServer(msgspec.Struct, frozen=True, tag="drain_server"):
    """Ask the server to end in order (SIGTERM); it closes its connections with advice and ends when it is done.

    A suspended server is woken, as a service manager does it: it could not end otherwise.
    """


ServerOperation = Kill | Start | SuspendServer | ResumeServer | DrainServer

# operations on clients ------------------------------------------------------------------------------------------------


class SuspendClients(msgspec.Struct, frozen=True, tag="suspend_clients"):
    """Stop the clients' process where it is (SIGSTOP), as a device that sleeps; its system keeps their connections."""


class ResumeClients(msgspec.Struct, frozen=True, tag="resume_clients"):
    """Let suspended clients continue (SIGCONT)."""


class DuplicateClients(msgspec.Struct, frozen=True, tag="duplicate_clients"):
    """Open a second tab for each client that has a session now: another client with a copy of its stored session.

    It connects over the same link, with a name of its own in the log (``lab.participants``).
    """


class ReplayTokens(msgspec.Struct, frozen=True, tag="replay_tokens"):
    """Present, for each client that has a session now, a token that it held before and that was replaced since.

    Another program does so, on its own way to the server, while the client is connected. It takes the reply and leaves.
    """


Suspension = SuspendClients | ResumeClients
ClientOrder = DuplicateClients | ReplayTokens
"""What clients do themselves when they are ordered to; a suspension is done to their process."""

ClientOperation = Suspension | ClientOrder
Operation = LinkOperation | ServerOperation | ClientOperation

# symptoms -------------------------------------------------------------------------------------------------------------


class ConnectionsEnd(msgspec.Struct, frozen=True):
    """An idle connection over the link ends, one that goes straight to the server does not; ``reset``: with RST."""

    reset: bool = False


class DialsRefused(msgspec.Struct, frozen=True):
    """A new connection over the link is refused."""


class Silence(msgspec.Struct, frozen=True):
    """A request over the link is not answered, one that goes straight to the server is."""

    direction: Direction = Direction.BOTH


class ServerGone(msgspec.Struct, frozen=True):
    """A new connection that goes straight to the server is refused."""


class ServerSilent(msgspec.Struct, frozen=True):
    """A request that goes straight to the server is not answered."""


class ServerDraining(msgspec.Struct, frozen=True):
    """The server says that it is not ready, or refuses new connections."""


class ClientsSilent(msgspec.Struct, frozen=True):
    """The clients' process shows no sign of life."""


class SecondConnections(msgspec.Struct, frozen=True):
    """Every second tab that was ordered presents its session over an open connection, while the first has one too."""


class ReplaysAnswered(msgspec.Struct, frozen=True):
    """The server answers every replayed token that was ordered, whatever it says."""


class SlowReplies(msgspec.Struct, frozen=True):
    """A request over the link is answered, ``at_least`` so many seconds later than one straight to the server."""

    at_least: Seconds


class SlowBytes(msgspec.Struct, frozen=True):
    """A request that is ``padding`` bytes longer is answered, ``at_least`` so many seconds later than a short one."""

    padding: int
    at_least: Seconds


class SmallPieces(msgspec.Struct, frozen=True):
    """The reply over the link comes in pieces of about ``size`` bytes, ``delay`` seconds apart."""

    size: int
    delay: Seconds


class TornMessage(msgspec.Struct, frozen=True):
    """A connection ends after ``size`` bytes of a request or reply, one that goes straight to the server does not."""

    size: int
    direction: Direction = Direction.BOTH


class LateClose(msgspec.Struct, frozen=True):
    """The server's end of a connection that its client has ended comes ``at_least`` so many seconds late."""

    at_least: Seconds


Symptom = (
    ClientsSilent
    | ConnectionsEnd
    | DialsRefused
    | LateClose
    | ReplaysAnswered
    | SecondConnections
    | ServerDraining
    | ServerGone
    | ServerSilent
    | Silence
    | SlowBytes
    | SlowReplies
    | SmallPieces
    | TornMessage
)
