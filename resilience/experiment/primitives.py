"""The primitive operations of which faults are composed, and the symptoms by which a canary recognises them. Pure.

Each lane carries out each operation once (``lab.system`` names who does); what a fault does is a composition of these
(``faults``). A *condition* holds from its :class:`Impose` to its :class:`Lift`. Conditions on one link add up: a link
refuses while at least one ``Refuse`` holds.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


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


Condition = Refuse | Drop

# operations on a link -------------------------------------------------------------------------------------------------


class CloseAll(msgspec.Struct, frozen=True, tag="close_all"):
    """Close every connection once: both ends see EOF (FIN)."""


class ResetAll(msgspec.Struct, frozen=True, tag="reset_all"):
    """Reset every connection once: both ends see RST."""


class Impose(msgspec.Struct, frozen=True, tag="impose"):
    """Make a condition hold."""

    condition: Condition


class Lift(msgspec.Struct, frozen=True, tag="lift"):
    """Undo one :class:`Impose` of an equal condition; harmless where none holds."""

    condition: Condition


LinkOperation = CloseAll | ResetAll | Impose | Lift

# operations on the server ---------------------------------------------------------------------------------------------


class Kill(msgspec.Struct, frozen=True, tag="kill"):
    """End the server process at once (SIGKILL)."""


class Start(msgspec.Struct, frozen=True, tag="start"):
    """Start a server process on the database, address and log of the one before; harmless while one runs."""


ServerOperation = Kill | Start
Operation = LinkOperation | ServerOperation

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


Symptom = ConnectionsEnd | DialsRefused | Silence | ServerGone
